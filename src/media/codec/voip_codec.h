/*
 * What a codec plugin of voipd exports: [services] g729_plugin of voip.toml(5).
 *
 * A plugin is a shared library with one function, voip_codec(), which returns a table that lives as
 * long as the process. voipd loads it once, before its media process gives up its rights; later
 * nothing can be opened, not even by the library itself.
 *
 * Frames are those of G.729 (RFC 3551 4.5.6): 80 samples of 16 bits at 8 kHz, 10 octets. Comfort
 * noise (Annex B) is neither written nor read.
 *
 * - A state is used by one thread at a time, not always the same one.
 * - Memory is taken by open_encoder and open_decoder alone, and given back by their close.
 * - No function waits, opens, prints, starts a thread or ends the process; each takes what a frame
 *   takes, whatever octets it is given: they come from the network.
 *
 * This file may be copied into plugins of any licence.
 */

#ifndef VOIP_CODEC_H
#define VOIP_CODEC_H

#include <stdint.h>

#define VOIP_CODEC_ABI 1
#define VOIP_CODEC_SAMPLES 80
#define VOIP_CODEC_OCTETS 10

struct voip_codec {
	/* VOIP_CODEC_ABI and sizeof(struct voip_codec), as the plugin was built with. */
	uint32_t abi;
	uint32_t size;
	/* The encoding name of a=rtpmap: "G729". */
	const char *name;

	/* A state at its start; NULL without memory. */
	void *(*open_encoder)(void);
	/* One frame; 0, or anything else if it could not be written. */
	int (*encode)(void *encoder, const int16_t samples[VOIP_CODEC_SAMPLES],
	    uint8_t octets[VOIP_CODEC_OCTETS]);
	void (*close_encoder)(void *encoder);

	void *(*open_decoder)(void);
	int (*decode)(void *decoder, const uint8_t octets[VOIP_CODEC_OCTETS],
	    int16_t samples[VOIP_CODEC_SAMPLES]);
	/* A frame in the place of one that was lost. */
	int (*conceal)(void *decoder, int16_t samples[VOIP_CODEC_SAMPLES]);
	void (*close_decoder)(void *decoder);
};

#ifdef __cplusplus
extern "C"
#endif
const struct voip_codec *voip_codec(void);

#endif
