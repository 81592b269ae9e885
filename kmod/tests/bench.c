/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * What the kernel-free code of 32 spans costs: for each millisecond of each span, one unit framed,
 * one deframed 3 bits off, both through a ring, one HDLC timeslot each way, one TDMoE frame each
 * way. Prints the share of one core, and fails at 5 % or more.
 */

#include <string.h>
#include <time.h>

#include "check.h"
#include "g704.h"
#include "hdlc.h"
#include "ring.h"
#include "tdmoe.h"

#define SPANS	32
#define MS	4000

static struct span {
	struct g704	g;
	struct ring	rx, tx;
	struct hdlc_rx	hr;
	struct hdlc_tx	ht;
	uint8_t		store[2][64 * RING_UNIT];
	uint8_t		line[G704_UNIT + 1];
} spans[SPANS];

static void
one_ms(struct span *s, uint32_t ms)
{
	uint8_t unit[G704_UNIT], got[G704_UNIT], frame[TDMOE_MAX];
	struct tdmoe_frame f;
	uint32_t code, i;
	size_t length;

	memset(unit, (int)ms, sizeof(unit));
	for (i = 0; i < 8; i++)
		unit[i * 32 + 16] = hdlc_tx_octet(&s->ht);
	if (hdlc_tx_idle(&s->ht))
		(void)hdlc_tx_frame(&s->ht, unit, 40);
	(void)ring_put(&s->tx, unit);
	(void)ring_take(&s->tx, unit);
	(void)g704_tx(&s->g, unit, &code);
	/* Three bits late. */
	s->line[0] = (uint8_t)(s->line[256] << 5 | unit[0] >> 3);
	for (i = 1; i < G704_UNIT; i++)
		s->line[i] = (uint8_t)(unit[i - 1] << 5 | unit[i] >> 3);
	s->line[256] = unit[255];
	(void)g704_rx(&s->g, s->line, 0, got);
	(void)ring_put(&s->rx, got);
	(void)ring_take(&s->rx, got);
	for (i = 0; i < 8; i++)
		(void)hdlc_rx_octet(&s->hr, got[i * 32 + 16]);
	length = tdmoe_emit(frame, 1, (uint16_t)ms, 31, 0, got);
	CHECK(tdmoe_parse(frame, length, &f) == TDMOE_OK);
	tdmoe_to_unit(&f, got);
}

int
main(void)
{
	struct timespec t0, t1;
	double spent, share;
	uint32_t ms, i;

	for (i = 0; i < SPANS; i++) {
		struct span *s = &spans[i];

		g704_init(&s->g, G704_CRC4, 0x1f);
		ring_init(&s->rx, s->store[0], 64);
		ring_init(&s->tx, s->store[1], 64);
		hdlc_rx_init(&s->hr, HDLC_MSB_FIRST);
		hdlc_tx_init(&s->ht, HDLC_MSB_FIRST);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
	for (ms = 0; ms < MS; ms++)
		for (i = 0; i < SPANS; i++)
			one_ms(&spans[i], ms);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
	for (i = 0; i < SPANS; i++) {
		CHECK_EQ(spans[i].g.alarms, 0);
		CHECK_EQ(spans[i].g.counters.crc, 0);
		CHECK(spans[i].hr.frames > 0);
	}
	spent = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	share = 100.0 * spent / (MS / 1000.0);
	printf("32 spans: %.2f %% of a core (%.0f ns a span and millisecond)\n", share,
	    spent * 1e9 / MS / SPANS);
	return (share < 5.0 ? 0 : 1);
}
