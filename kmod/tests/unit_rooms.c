/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * ring, hdlc and tdmoe.
 */

#include <string.h>

#include "check.h"
#include "hdlc.h"
#include "ring.h"
#include "tdmoe.h"

static void
mark(uint8_t *unit, uint32_t n)
{
	memset(unit, 0, RING_UNIT);
	memcpy(unit, &n, sizeof(n));
}

static uint32_t
marked(const uint8_t *unit)
{
	uint32_t n;

	memcpy(&n, unit, sizeof(n));
	return (n);
}

static void
ring_keeps_order_and_drops_the_oldest(void)
{
	uint8_t store[5 * RING_UNIT], unit[RING_UNIT];
	struct ring r;
	uint32_t in = 0, out = 0, i;
	uint64_t seed = 7;

	ring_init(&r, store, 5);
	CHECK(!ring_take(&r, unit));
	for (i = 0; i < 10000; i++) {
		if (next_random(&seed) % 2 == 0) {
			mark(unit, in);
			if (ring_offer(&r, unit))
				in++;
			else
				CHECK_EQ(in - out, 5);
		} else if (ring_take(&r, unit))
			CHECK_EQ(marked(unit), out++);
		else
			CHECK_EQ(in, out);
		CHECK_EQ(ring_fill(&r), in - out);
		CHECK_EQ(ring_room(&r), 5 - (in - out));
	}
	while (ring_take(&r, unit))
		out++;
	CHECK_EQ(in, out);
	for (i = 0; i < 8; i++) {
		mark(unit, i);
		CHECK_EQ(ring_put(&r, unit), i < 5);
	}
	CHECK_EQ(r.deleted, 3);
	CHECK(ring_take(&r, unit));
	CHECK_EQ(marked(unit), 3);
	CHECK(ring_delete(&r));
	CHECK_EQ(r.deleted, 4);
	CHECK(ring_take(&r, unit));
	CHECK_EQ(marked(unit), 5);
	ring_clear(&r);
	CHECK(!ring_delete(&r));
}

static void
elastic_ring_repeats(void)
{
	uint8_t store[2 * RING_UNIT], unit[RING_UNIT];
	struct ring r;

	ring_init(&r, store, 2);
	CHECK(!ring_take_elastic(&r, unit, 0xd5));
	CHECK_EQ(unit[255], 0xd5);
	CHECK_EQ(r.repeated, 0);
	mark(unit, 9);
	CHECK(ring_put(&r, unit));
	CHECK(ring_take_elastic(&r, unit, 0xd5));
	mark(unit, 1);
	CHECK(!ring_take_elastic(&r, unit, 0xd5));
	CHECK_EQ(marked(unit), 9);
	CHECK_EQ(r.repeated, 1);
}

static void
fcs_is_the_standard_one(void)
{
	const char *digits = "123456789";
	uint16_t fcs = 0xffff;

	for (; *digits != '\0'; digits++)
		fcs = hdlc_fcs(fcs, (uint8_t)*digits);
	CHECK_EQ(fcs ^ 0xffff, 0x906e);
}

static void
frames_come_back(enum hdlc_order order)
{
	struct hdlc_tx tx;
	struct hdlc_rx rx;
	uint8_t frame[HDLC_FRAME_MAX];
	uint64_t seed = 99;
	uint32_t round, i, length, flags;

	hdlc_tx_init(&tx, order);
	hdlc_rx_init(&rx, order);
	for (round = 0; round < 2000; round++) {
		length = 3 + next_random(&seed) % (HDLC_FRAME_MAX - 4);
		for (i = 0; i < length; i++)
			frame[i] = round % 3 == 0 ? 0xff : (uint8_t)next_random(&seed);
		for (flags = next_random(&seed) % 4; flags > 0; flags--)
			CHECK_EQ(hdlc_rx_octet(&rx, hdlc_tx_octet(&tx)), HDLC_NOTHING);
		CHECK(hdlc_tx_idle(&tx));
		CHECK(hdlc_tx_frame(&tx, frame, length));
		CHECK(!hdlc_tx_frame(&tx, frame, length));
		for (i = 0; i < 400; i++)
			if (hdlc_rx_octet(&rx, hdlc_tx_octet(&tx)) == HDLC_FRAME)
				break;
		CHECK(i < 400);
		CHECK_EQ(rx.frame_length, length);
		CHECK(memcmp(rx.buffer, frame, length) == 0);
	}
	CHECK_EQ(rx.frames, 2000);
	CHECK_EQ(rx.fcs_errors + rx.aborts + rx.short_frames + rx.long_frames + rx.unaligned, 0);
}

/* Feeds bits, first sent first. */
static uint32_t
feed(struct hdlc_rx *rx, const char *bits)
{
	uint32_t frames = 0, n = 0, octet = 0;

	for (; *bits != '\0'; bits++) {
		if (*bits == ' ')
			continue;
		octet = octet << 1 | (uint32_t)(*bits - '0');
		if (++n % 8 == 0)
			frames += hdlc_rx_octet(rx, (uint8_t)octet) == HDLC_FRAME;
	}
	CHECK_EQ(n % 8, 0);
	return (frames);
}

static void
bad_frames_are_counted(void)
{
	struct hdlc_tx tx;
	struct hdlc_rx rx;
	uint8_t frame[100];
	uint32_t i, n;

	CHECK(!hdlc_tx_frame((hdlc_tx_init(&tx, HDLC_MSB_FIRST), &tx), frame, 2));
	CHECK(!hdlc_tx_frame(&tx, frame, HDLC_FRAME_MAX - 1));

	hdlc_rx_init(&rx, HDLC_MSB_FIRST);
	CHECK_EQ(feed(&rx, "01111110 10000000 11111111 11111111"), 0);
	CHECK_EQ(rx.aborts, 1);
	/* Flags that share a zero are no frames. */
	CHECK_EQ(feed(&rx, "0111111011111101 1111101111110 000"), 0);
	CHECK_EQ(rx.short_frames + rx.unaligned + rx.fcs_errors, 0);
	CHECK_EQ(feed(&rx, "01111110 10101010 10101010 01111110"), 0);
	CHECK_EQ(rx.short_frames, 1);
	/* 000 above ended within an octet: eleven bits behind the last flag are broken octets. */
	hdlc_rx_init(&rx, HDLC_MSB_FIRST);
	CHECK_EQ(feed(&rx, "01111110 10101010 10100111 1110 0000"), 0);
	CHECK_EQ(rx.unaligned, 1);

	hdlc_rx_init(&rx, HDLC_MSB_FIRST);
	memset(frame, 0x55, sizeof(frame));
	CHECK(hdlc_tx_frame(&tx, frame, sizeof(frame)));
	for (i = n = 0; i < 110; i++)
		n += hdlc_rx_octet(&rx, hdlc_tx_octet(&tx) ^ (i == 50 ? 0x10 : 0)) == HDLC_FRAME;
	CHECK_EQ(n, 0);
	CHECK_EQ(rx.fcs_errors, 1);

	hdlc_rx_init(&rx, HDLC_MSB_FIRST);
	feed(&rx, "01111110");
	for (i = 0; i < 1000; i++)
		CHECK_EQ(hdlc_rx_octet(&rx, 0xaa), HDLC_NOTHING);
	feed(&rx, "01111110");
	CHECK_EQ(rx.long_frames, 1);
}

static void
tdmoe_round_trip(void)
{
	uint8_t unit[TDMOE_UNIT], back[TDMOE_UNIT], out[TDMOE_MAX];
	struct tdmoe_frame f;
	uint64_t seed = 3;
	uint32_t channels, i;
	size_t length, cut;

	for (channels = 1; channels <= 32; channels++) {
		for (i = 0; i < TDMOE_UNIT; i++)
			unit[i] = (uint8_t)next_random(&seed);
		length = tdmoe_emit(out, 0x1234, (uint16_t)(65530 + channels), (uint16_t)channels,
		    TDMOE_FLAG_YELLOW, unit);
		CHECK_EQ(length, 8 + channels * 8);
		CHECK_EQ(tdmoe_parse(out, length, &f), TDMOE_OK);
		CHECK_EQ(f.subaddress, 0x1234);
		CHECK_EQ(f.sequence, (uint16_t)(65530 + channels));
		CHECK_EQ(f.channels, channels);
		CHECK_EQ(f.flags, TDMOE_FLAG_YELLOW);
		memset(back, 0, sizeof(back));
		tdmoe_to_unit(&f, back);
		for (i = 0; i < TDMOE_UNIT; i++) {
			bool carried = channels == 32 || (i % 32 >= 1 && i % 32 <= channels);

			CHECK_EQ(back[i], carried ? unit[i] : 0);
		}
		/* Padding is allowed, a missing octet never. */
		CHECK_EQ(tdmoe_parse(out, sizeof(out), &f), TDMOE_OK);
		for (cut = 0; cut < length; cut++)
			CHECK(tdmoe_parse(out, cut, &f) == (cut < 8 ? TDMOE_SHORT : TDMOE_LENGTH_LIES));
	}
}

static void
tdmoe_refuses_lies(void)
{
	uint8_t out[TDMOE_MAX], unit[TDMOE_UNIT] = { 0 };
	struct tdmoe_frame f;
	size_t length = tdmoe_emit(out, 1, 2, 31, 0, unit);

	out[3] = TDMOE_FLAG_SIGNALLING;		/* 8 words of signalling that are not there */
	CHECK_EQ(tdmoe_parse(out, length, &f), TDMOE_LENGTH_LIES);
	CHECK_EQ(tdmoe_parse(out, length + 15, &f), TDMOE_LENGTH_LIES);
	CHECK_EQ(tdmoe_parse(out, length + 16, &f), TDMOE_OK);
	CHECK(f.payload == out + 8 + 16);
	out[3] = 0x80;
	CHECK_EQ(tdmoe_parse(out, length, &f), TDMOE_FLAGS_WRONG);
	out[3] = 0;
	out[2] = 7;
	CHECK_EQ(tdmoe_parse(out, length, &f), TDMOE_SAMPLES_WRONG);
	out[2] = 8;
	out[7] = 33;
	CHECK_EQ(tdmoe_parse(out, sizeof(out), &f), TDMOE_CHANNELS_WRONG);
	out[6] = 0xff;
	CHECK_EQ(tdmoe_parse(out, sizeof(out), &f), TDMOE_CHANNELS_WRONG);
	out[6] = out[7] = 0;
	CHECK_EQ(tdmoe_parse(out, sizeof(out), &f), TDMOE_CHANNELS_WRONG);
}

int
main(void)
{
	ring_keeps_order_and_drops_the_oldest();
	elastic_ring_repeats();
	fcs_is_the_standard_one();
	frames_come_back(HDLC_MSB_FIRST);
	frames_come_back(HDLC_LSB_FIRST);
	bad_frames_are_counted();
	tdmoe_round_trip();
	tdmoe_refuses_lies();
	puts("ring, hdlc, tdmoe: 8 tests passed");
	return (0);
}
