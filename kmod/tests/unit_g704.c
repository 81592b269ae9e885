/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * Framing: two ends, and a line between them that can be late by any number of bits.
 */

#include <string.h>

#include "check.h"
#include "g704.h"

struct wire {
	uint8_t		past[G704_UNIT];
	uint32_t	late;		/* bits, 0 to 2047 */
};

struct bench {
	struct g704	a, b;
	struct wire	ab, ba;
	uint8_t		got_a[G704_UNIT], got_b[G704_UNIT];
	uint8_t		fill;		/* 0: random payload, else this byte */
	uint64_t	seed;
	uint32_t	changed_b;
};

static void
carry(struct wire *w, const uint8_t *unit, uint8_t *out)
{
	uint32_t i, k = w->late;

	for (i = 0; i < G704_UNIT; i++) {
		/* out's bit n is the stream's bit n - late. */
		uint32_t at = G704_UNIT * 8 + i * 8 - k, byte = at / 8, shift = at % 8;
		uint32_t hi = byte < G704_UNIT ? w->past[byte] : unit[byte - G704_UNIT];
		uint32_t lo = byte + 1 < G704_UNIT ? w->past[byte + 1] :
		    byte + 1 < 2 * G704_UNIT ? unit[byte + 1 - G704_UNIT] : 0;

		out[i] = (uint8_t)((hi << 8 | lo) >> (8 - shift));
	}
	memcpy(w->past, unit, G704_UNIT);
}

static void
payload(struct bench *t, uint8_t *unit)
{
	uint32_t i;

	for (i = 0; i < G704_UNIT; i++)
		unit[i] = t->fill != 0 ? t->fill : (uint8_t)next_random(&t->seed);
}

static uint32_t
one_way(struct bench *t, struct g704 *from, struct wire *w, struct g704 *to, uint8_t *got)
{
	uint8_t unit[G704_UNIT], line[G704_UNIT];
	uint32_t code;
	bool signal;

	payload(t, unit);
	signal = g704_tx(from, unit, &code);
	carry(w, unit, line);
	return (g704_rx(to, signal ? line : NULL, code, got));
}

static void
run(struct bench *t, uint32_t ms)
{
	for (; ms > 0; ms--) {
		t->changed_b |= one_way(t, &t->a, &t->ab, &t->b, t->got_b);
		(void)one_way(t, &t->b, &t->ba, &t->a, t->got_a);
	}
}

static void
start(struct bench *t, enum g704_framing framing, uint32_t late)
{
	memset(t, 0, sizeof(*t));
	g704_init(&t->a, framing, 0x1f);
	g704_init(&t->b, framing, 0x0a);
	t->ab.late = late;
	t->seed = 0x1234567 + late;
	t->fill = 0xd5;
}

static void
crc_matches_long_division(void)
{
	uint8_t bytes[256];
	uint64_t seed = 42;
	uint32_t round, i, bit, crc;

	for (round = 0; round < 100; round++) {
		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)next_random(&seed);
		for (crc = 0, i = 0; i < sizeof(bytes); i++)
			for (bit = 8; bit-- > 0;) {
				crc ^= (uint32_t)(bytes[i] >> bit & 1) << 3;
				crc = (crc & 8) != 0 ? (crc << 1 ^ 0x13) & 0xf : crc << 1;
			}
		CHECK_EQ(g704_crc4(bytes, sizeof(bytes)), crc);
	}
}

static void
timeslot0_is_what_g704_says(void)
{
	struct bench t;
	uint8_t unit[G704_UNIT];
	static const uint8_t nfas_bit1[6] = { 0, 0, 1, 0, 1, 1 };
	uint32_t half, i, code;

	start(&t, G704_CRC4, 0);
	run(&t, 20);
	CHECK_EQ(t.a.alarms, 0);
	if (t.a.tx_half == 1)
		CHECK(g704_tx(&t.a, unit, &code));
	for (half = 0; half < 2; half++) {
		memset(unit, 0xd5, sizeof(unit));
		CHECK(g704_tx(&t.a, unit, &code));
		for (i = 0; i < 8; i += 2) {
			CHECK_EQ(unit[i * 32] & 0x7f, 0x1b);
			/* Si, 1, A = 0, Sa4 to Sa8 = 1 */
			CHECK_EQ(unit[(i + 1) * 32] & 0x7f, 0x5f);
			if (half * 4 + i / 2 < 6)
				CHECK_EQ(unit[(i + 1) * 32] >> 7, nfas_bit1[half * 4 + i / 2]);
			else
				CHECK_EQ(unit[(i + 1) * 32] >> 7, 1);
		}
		for (i = 0; i < 256; i++)
			CHECK(i % 32 == 0 || unit[i] == 0xd5);
	}
}

static void
aligns_at_every_bit(enum g704_framing framing)
{
	struct bench t;
	uint32_t late;

	for (late = 0; late < 2048; late += late < 300 ? 1 : 97) {
		start(&t, framing, late);
		t.fill = 0;
		run(&t, 40);
		CHECK_EQ(t.b.alarms, 0);
		CHECK_EQ(t.a.alarms, 0);
		CHECK_EQ(t.b.counters.crc, 0);
		CHECK_EQ(t.b.sa_received, 0x1f);
		CHECK_EQ(t.a.sa_received, 0x0a);
		t.fill = 0xd5;
		run(&t, 3);
		CHECK_EQ(t.got_b[1], 0xd5);
		CHECK_EQ(t.got_b[255], 0xd5);
		run(&t, 2000);
		CHECK_EQ(t.b.counters.crc, 0);
		CHECK_EQ(t.b.counters.fas, 0);
		if (late >= 8)
			late += 13;
	}
}

static void
two_wrong_fas_keep_alignment_three_lose_it(void)
{
	struct bench t;

	start(&t, G704_CRC4, 5);
	run(&t, 30);
	t.changed_b = 0;
	g704_inject(&t.a, G704_FAULT_FAS, 2);
	run(&t, 10);
	CHECK_EQ(t.b.counters.fas, 2);
	CHECK_EQ(t.b.counters.crc, 0);
	CHECK_EQ(t.changed_b, 0);
	g704_inject(&t.a, G704_FAULT_FAS, 3);
	run(&t, 40);
	CHECK_EQ(t.b.counters.fas, 5);
	CHECK_EQ(t.b.counters.begun[3], 1);
	CHECK(t.changed_b & G704_LFA);
	CHECK_EQ(t.b.alarms, 0);
	/* The far end heard of it. */
	CHECK(t.a.counters.begun[2] >= 1);
}

static void
crc_errors_are_counted_and_told(void)
{
	struct bench t;
	uint64_t told;

	start(&t, G704_CRC4, 77);
	run(&t, 50);
	told = t.a.counters.ebit;
	g704_inject(&t.a, G704_FAULT_CRC, 17);
	run(&t, 100);
	CHECK_EQ(t.b.counters.crc, 17);
	CHECK_EQ(t.a.counters.ebit - told, 17);
	CHECK_EQ(t.b.counters.fas, 0);
	CHECK_EQ(t.b.alarms, 0);
	g704_inject(&t.b, G704_FAULT_EBIT, 4);
	run(&t, 20);
	CHECK_EQ(t.a.counters.ebit - told, 21);
	/* 915 of 1000 wrong blocks: another alignment is looked for. */
	g704_inject(&t.a, G704_FAULT_CRC, G704_FOREVER);
	/* The thousand that has begun may end first. */
	run(&t, 1950);
	CHECK_EQ(t.b.counters.begun[3], 1);
	g704_inject(&t.a, G704_FAULT_CRC, 0);
	run(&t, 100);
	CHECK_EQ(t.b.alarms, 0);
}

/* The verdict on the last block of a thousand still belongs to it. */
static void
the_915th_wrong_block_may_be_the_last_of_the_thousand(void)
{
	struct bench t;
	uint64_t wrong, lost, exact = 0;
	uint32_t before;

	for (before = 76; before < 92; before++) {
		start(&t, G704_CRC4, 0);
		run(&t, 50);
		while (t.b.blocks != before)
			run(&t, 1);
		wrong = t.b.counters.crc;
		lost = t.b.counters.begun[3];
		g704_inject(&t.a, G704_FAULT_CRC, G704_FOREVER);
		do
			run(&t, 1);
		while (t.b.blocks > before);
		/* The next thousand may have a verdict already. */
		wrong = t.b.counters.crc - wrong - t.b.blocks_wrong;
		lost = t.b.counters.begun[3] - lost;
		CHECK_EQ(lost, wrong >= 915 ? 1 : 0);
		/* One start is just too late. */
		exact += wrong == 914 ? 1 : 0;
	}
	CHECK_EQ(exact, 1);
}

static void
alarms_come_and_go(void)
{
	struct bench t;

	start(&t, G704_CRC4, 1000);
	run(&t, 50);
	g704_inject(&t.a, G704_FAULT_LOS, 10);
	CHECK_EQ(g704_sent(&t.a), G704_LOS);
	run(&t, 1);
	CHECK_EQ(t.b.alarms, G704_LOS);
	CHECK_EQ(t.got_b[40], 0xff);
	run(&t, 9);
	CHECK_EQ(t.b.alarms, G704_LOS);
	CHECK_EQ(t.a.alarms, G704_RAI);
	run(&t, 30);
	CHECK_EQ(t.b.alarms, 0);
	CHECK_EQ(t.a.alarms, 0);

	g704_inject(&t.a, G704_FAULT_AIS, 20);
	run(&t, 3);
	CHECK_EQ(t.b.alarms, G704_AIS);
	run(&t, 17);
	CHECK_EQ(t.a.alarms, G704_RAI);
	run(&t, 30);
	CHECK_EQ(t.b.alarms, 0);
	CHECK_EQ(t.b.counters.begun[1], 1);

	g704_inject(&t.a, G704_FAULT_RAI, G704_FOREVER);
	run(&t, 3);
	CHECK_EQ(t.b.alarms, G704_RAI);
	CHECK_EQ(t.got_b[40], 0xd5);
	g704_inject(&t.a, G704_FAULT_RAI, 0);
	run(&t, 3);
	CHECK_EQ(t.b.alarms, 0);

	g704_inject(&t.a, G704_FAULT_LFA, 50);
	run(&t, 3);
	CHECK_EQ(t.b.alarms, G704_LFA);
	run(&t, 90);
	CHECK_EQ(t.b.alarms, 0);
	g704_inject(&t.a, G704_FAULT_CODE, 9);
	run(&t, 2);
	CHECK_EQ(t.b.counters.code, 9);
}

static void
lmfa_after_400_ms(void)
{
	struct bench t;
	uint32_t ms;

	start(&t, G704_CRC4, 3);
	run(&t, 50);
	g704_inject(&t.a, G704_FAULT_LMFA, G704_FOREVER);
	for (ms = 0; ms < 1000 && t.b.alarms == 0; ms++)
		run(&t, 1);
	CHECK_EQ(t.b.alarms, G704_LMFA);
	/* Four wrong words (7 to 10 ms), then 400 ms. */
	CHECK(ms >= 400 && ms <= 412);
	/* Traffic went on. */
	CHECK_EQ(t.got_b[40], 0xd5);
	g704_inject(&t.a, G704_FAULT_LMFA, 0);
	run(&t, 25);
	CHECK_EQ(t.b.alarms, 0);
	/* A far end without CRC-4. */
	g704_init(&t.a, G704_FAS, 0x1f);
	run(&t, 300);
	CHECK_EQ(t.b.alarms & G704_LFA, 0);
	run(&t, 200);
	CHECK_EQ(t.b.alarms, G704_LMFA);
}

/* A payload that looks like timeslot 0 lures the first search; CRC-4 finds the true one. */
static void
a_lure_does_not_last(void)
{
	struct g704 a, b;
	struct wire w = { .late = 8 * 16 };
	uint8_t unit[G704_UNIT], line[G704_UNIT], got[G704_UNIT];
	uint32_t ms, i, code;

	memset(w.past, 0, sizeof(w.past));
	g704_init(&a, G704_CRC4, 0x1f);
	g704_init(&b, G704_CRC4, 0x1f);
	for (ms = 0; ms < 200; ms++) {
		memset(unit, 0xd5, sizeof(unit));
		for (i = 0; i < 8; i++)
			unit[i * 32 + 31] = (i & 1) == 0 ? 0x9b : 0xdf;
		(void)g704_tx(&a, unit, &code);
		carry(&w, unit, line);
		(void)g704_rx(&b, line, code, got);
		if (ms == 2)
			CHECK_EQ(b.in_use.offset, 8 * 15);
	}
	/* Nobody talks to a, so it sends the remote alarm. */
	CHECK_EQ(b.alarms, G704_RAI);
	CHECK_EQ(b.in_use.offset, 8 * 16);
	CHECK(b.in_use.mf.aligned);
	/* Half a frame late: the user's first frame is the last of the unit before. */
	CHECK_EQ(got[31], 0xdf);
	CHECK_EQ(got[32 + 31], 0x9b);
	CHECK_EQ(got[1], 0xd5);
}

static void
clear_channel_passes_everything(void)
{
	struct g704 a, b;
	uint8_t unit[G704_UNIT], copy[G704_UNIT], got[G704_UNIT];
	uint32_t i, code;

	g704_init(&a, G704_CLEAR, 0);
	g704_init(&b, G704_CLEAR, 0);
	for (i = 0; i < G704_UNIT; i++)
		copy[i] = unit[i] = (uint8_t)(i * 7);
	CHECK(g704_tx(&a, unit, &code));
	CHECK_EQ(g704_rx(&b, unit, code, got), 0);
	CHECK(memcmp(got, copy, sizeof(got)) == 0);
	memset(unit, 0xff, sizeof(unit));
	CHECK_EQ(g704_rx(&b, unit, 0, got), G704_AIS);
	CHECK_EQ(g704_rx(&b, copy, 0, got), G704_AIS);
	CHECK_EQ(g704_rx(&b, NULL, 0, got), G704_LOS);
}

int
main(void)
{
	crc_matches_long_division();
	timeslot0_is_what_g704_says();
	aligns_at_every_bit(G704_FAS);
	aligns_at_every_bit(G704_CRC4);
	two_wrong_fas_keep_alignment_three_lose_it();
	crc_errors_are_counted_and_told();
	the_915th_wrong_block_may_be_the_last_of_the_thousand();
	alarms_come_and_go();
	lmfa_after_400_ms();
	a_lure_does_not_last();
	clear_channel_passes_everything();
	puts("g704: 11 tests passed");
	return (0);
}
