/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * One target for all that reads bytes from a line or a network. The first byte chooses the room.
 * With libFuzzer (clang -fsanitize=fuzzer) LLVMFuzzerTestOneInput is driven by it; without, main()
 * replays the files that it is given, then tries seeded inputs: fuzz -n COUNT [FILE...].
 */

#include <string.h>

#include "check.h"
#include "g704.h"
#include "hdlc.h"
#include "ring.h"
#include "tdmoe.h"

int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
fuzz_g704(const uint8_t *bytes, size_t length, enum g704_framing framing)
{
	struct g704 g;
	uint8_t line[G704_UNIT], out[G704_UNIT], send[G704_UNIT];
	uint32_t alarms, changed, code;
	size_t round, i;

	g704_init(&g, framing, 0x1f);
	for (round = 0; round < 40; round++) {
		/* The input over and over: alignment needs what comes back each 256 bits. */
		for (i = 0; i < G704_UNIT; i++)
			line[i] = bytes[(round * G704_UNIT + i) % length];
		alarms = g.alarms;
		changed = g704_rx(&g, line[7] == 0xee ? NULL : line, line[0] & 1, out);
		CHECK_EQ(alarms ^ changed, g.alarms);
		CHECK((g.alarms & ~0x1fU) == 0);
		CHECK(!(g.alarms & G704_LFA) || !g.aligned);
		CHECK(!g.aligned || g.in_use.offset < 256);
		if (line[1] < G704_FAULTS)
			g704_inject(&g, (enum g704_fault)line[1], line[2]);
		memset(send, line[3], sizeof(send));
		(void)g704_tx(&g, send, &code);
	}
}

static void
fuzz_hdlc(const uint8_t *bytes, size_t length)
{
	struct hdlc_rx rx;
	struct hdlc_tx tx;
	size_t i;

	hdlc_rx_init(&rx, bytes[0] & 1 ? HDLC_MSB_FIRST : HDLC_LSB_FIRST);
	for (i = 0; i < length; i++)
		if (hdlc_rx_octet(&rx, bytes[i]) == HDLC_FRAME)
			CHECK(rx.frame_length >= 3 && rx.frame_length <= HDLC_FRAME_MAX - 2);
	/* What is sent is received, whatever it is. */
	hdlc_tx_init(&tx, HDLC_MSB_FIRST);
	hdlc_rx_init(&rx, HDLC_MSB_FIRST);
	if (!hdlc_tx_frame(&tx, bytes, length))
		return;
	for (i = 0; i < 2 * length + 16 && rx.frames == 0; i++)
		(void)hdlc_rx_octet(&rx, hdlc_tx_octet(&tx));
	CHECK_EQ(rx.frames, 1);
	CHECK_EQ(rx.frame_length, length);
	CHECK(memcmp(rx.buffer, bytes, length) == 0);
}

static void
fuzz_tdmoe(const uint8_t *bytes, size_t length)
{
	/* A copy of exactly that size: AddressSanitizer sees the octet behind it. */
	uint8_t *exact = malloc(length), unit[TDMOE_UNIT] = { 0 }, again[TDMOE_MAX];
	struct tdmoe_frame f, g;

	CHECK(exact != NULL);
	memcpy(exact, bytes, length);
	if (tdmoe_parse(exact, length, &f) == TDMOE_OK) {
		CHECK(f.payload + f.channels * 8 <= exact + length);
		tdmoe_to_unit(&f, unit);
		length = tdmoe_emit(again, f.subaddress, f.sequence, f.channels, f.flags, unit);
		CHECK_EQ(tdmoe_parse(again, length, &g), TDMOE_OK);
		CHECK(memcmp(f.payload, g.payload, f.channels * 8U) == 0);
	}
	free(exact);
}

static void
fuzz_ring(const uint8_t *bytes, size_t length)
{
	uint32_t depth = 1 + bytes[0] % 8;
	uint8_t *store = malloc((size_t)depth * RING_UNIT), unit[RING_UNIT] = { 0 };
	struct ring r;
	size_t i;

	CHECK(store != NULL);
	ring_init(&r, store, depth);
	for (i = 1; i < length; i++) {
		switch (bytes[i] % 6) {
		case 0: (void)ring_put(&r, unit); break;
		case 1: (void)ring_offer(&r, unit); break;
		case 2: (void)ring_take(&r, unit); break;
		case 3: (void)ring_take_elastic(&r, unit, 0xd5); break;
		case 4: (void)ring_delete(&r); break;
		default: if (bytes[i] > 250) ring_clear(&r); break;
		}
		CHECK(ring_fill(&r) <= depth && ring_fill(&r) + ring_room(&r) == depth);
	}
	free(store);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length < 2)
		return (0);
	switch (bytes[0] % 6) {
	case 0: fuzz_g704(bytes + 1, length - 1, G704_CRC4); break;
	case 1: fuzz_g704(bytes + 1, length - 1, G704_FAS); break;
	case 2: fuzz_g704(bytes + 1, length - 1, G704_CLEAR); break;
	case 3: fuzz_hdlc(bytes + 1, length - 1); break;
	case 4: fuzz_tdmoe(bytes + 1, length - 1); break;
	default: fuzz_ring(bytes + 1, length - 1); break;
	}
	return (0);
}

#ifndef WITH_LIBFUZZER
static uint8_t buffer[4096];

/* Noise, or noise with what the rooms look for laid in. */
static size_t
make_input(uint64_t *seed)
{
	size_t length = 2 + next_random(seed) % 700, i;
	uint32_t kind = next_random(seed) % 4;

	for (i = 0; i < length; i++)
		buffer[i] = (uint8_t)next_random(seed);
	if (kind == 1)
		for (i = 1; i < length; i += 32)
			buffer[i] = (i / 32) % 2 == 0 ? 0x1b : (uint8_t)(0x40 | buffer[i]);
	if (kind == 2 && length > 9) {
		buffer[3] = 8;
		buffer[4] &= 7;
		buffer[7] = 0;
		buffer[8] = (uint8_t)((length - 9) / 8);
	}
	if (kind == 3)
		for (i = 1; i < length; i += 1 + next_random(seed) % 20)
			buffer[i] = 0x7e;
	return (length);
}

int
main(int argc, char **argv)
{
	uint64_t seed = 0x9e3779b97f4a7c15ULL;
	long count = 0, i;
	int files = 0, at = 1;

	if (argc > 2 && strcmp(argv[1], "-n") == 0) {
		count = atol(argv[2]);
		at = 3;
	}
	for (; at < argc; at++, files++) {
		FILE *file = fopen(argv[at], "rb");
		size_t length;

		CHECK(file != NULL);
		length = fread(buffer, 1, sizeof(buffer), file);
		fclose(file);
		LLVMFuzzerTestOneInput(buffer, length);
	}
	for (i = 0; i < count; i++)
		LLVMFuzzerTestOneInput(buffer, make_input(&seed));
	printf("fuzz: %d files replayed, %ld seeded inputs tried\n", files, count);
	return (0);
}
#endif
