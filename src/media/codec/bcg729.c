/*
 * G.729 for voipd by libbcg729 (audio/bcg729, libbcg729-dev):
 *
 *	cc -O2 -shared -fPIC -o g729.so bcg729.c -lbcg729
 *
 * On FreeBSD add -I/usr/local/include -L/usr/local/lib. libbcg729 is under the GPL, and so is what
 * is linked with it: voipd ships this source, and no such library.
 */

#include "voip_codec.h"

#include <bcg729/decoder.h>
#include <bcg729/encoder.h>
#include <stddef.h>

static void *
open_encoder(void)
{
	/* Without voice activity detection: each frame has ten octets. */
	return (initBcg729EncoderChannel(0));
}

static int
encode(void *encoder, const int16_t samples[VOIP_CODEC_SAMPLES],
    uint8_t octets[VOIP_CODEC_OCTETS])
{
	uint8_t length = 0;

	bcg729Encoder(encoder, samples, octets, &length);
	return (length != VOIP_CODEC_OCTETS);
}

static void
close_encoder(void *encoder)
{
	closeBcg729EncoderChannel(encoder);
}

static void *
open_decoder(void)
{
	return (initBcg729DecoderChannel());
}

static int
decode(void *decoder, const uint8_t octets[VOIP_CODEC_OCTETS],
    int16_t samples[VOIP_CODEC_SAMPLES])
{
	bcg729Decoder(decoder, octets, VOIP_CODEC_OCTETS, 0, 0, 0, samples);
	return (0);
}

static int
conceal(void *decoder, int16_t samples[VOIP_CODEC_SAMPLES])
{
	bcg729Decoder(decoder, NULL, 0, 1, 0, 0, samples);
	return (0);
}

static void
close_decoder(void *decoder)
{
	closeBcg729DecoderChannel(decoder);
}

const struct voip_codec *
voip_codec(void)
{
	static const struct voip_codec table = {
		.abi = VOIP_CODEC_ABI,
		.size = sizeof(struct voip_codec),
		.name = "G729",
		.open_encoder = open_encoder,
		.encode = encode,
		.close_encoder = close_encoder,
		.open_decoder = open_decoder,
		.decode = decode,
		.conceal = conceal,
		.close_decoder = close_decoder,
	};

	return (&table);
}
