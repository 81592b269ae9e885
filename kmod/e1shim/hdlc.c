/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

#include "hdlc.h"

#define FCS_START	0xffffU
#define FCS_GOOD	0xf0b8U	/* what is left when frame and check sequence were both taken in */
#define FLAG		0x7eU	/* the same read from either end */

/* Stages of a transmitter. */
enum { TX_FLAGS, TX_FRAME };

uint16_t
hdlc_fcs(uint16_t fcs, uint8_t octet)
{
	uint8_t x = (uint8_t)(fcs ^ octet);

	x ^= (uint8_t)(x << 4);
	return ((uint16_t)((fcs >> 8) ^ ((uint16_t)x << 8) ^ ((uint16_t)x << 3) ^ (x >> 4)));
}

static void
rx_restart(struct hdlc_rx *rx)
{
	rx->bits = 0;
	rx->octet = 0;
	rx->length = 0;
	rx->fcs = FCS_START;
	rx->too_long = false;
}

void
hdlc_rx_init(struct hdlc_rx *rx, enum hdlc_order order)
{
	memset(rx, 0, sizeof(*rx));
	rx->order = order;
	rx_restart(rx);
}

/* A flag has ended. Of its eight bits, six ones and the zero before them went into `octet` as if
   they were data: 7 bits of the flag (0111111) are there when the last zero is judged. */
static enum hdlc_event
rx_flag(struct hdlc_rx *rx)
{
	enum hdlc_event event = HDLC_NOTHING;

	/* A whole frame leaves exactly those 7 bits. Flags next to each other leave none of their
	   own or share the zero between them: then nothing was received. */
	if (rx->inside && (rx->length > 0 || rx->too_long)) {
		if (rx->too_long)
			rx->long_frames++;
		else if (rx->bits != 7)
			rx->unaligned++;
		else if (rx->length < HDLC_FRAME_MIN)
			rx->short_frames++;
		else if (rx->fcs != FCS_GOOD)
			rx->fcs_errors++;
		else {
			rx->frame_length = (uint16_t)(rx->length - 2);
			rx->frames++;
			event = HDLC_FRAME;
		}
	}
	rx_restart(rx);
	rx->inside = true;
	return (event);
}

static void
rx_data_bit(struct hdlc_rx *rx, uint8_t bit)
{
	rx->octet = (uint8_t)(rx->octet >> 1 | bit << 7);
	if (++rx->bits < 8)
		return;
	rx->bits = 0;
	if (rx->length == HDLC_FRAME_MAX) {
		rx->too_long = true;
		return;
	}
	rx->buffer[rx->length++] = rx->octet;
	rx->fcs = hdlc_fcs(rx->fcs, rx->octet);
}

static enum hdlc_event
rx_bit(struct hdlc_rx *rx, uint8_t bit)
{
	uint8_t ones = rx->ones;

	if (bit != 0) {
		if (ones < 7)
			rx->ones++;
		if (ones == 6 && rx->inside) {
			/* The seventh one: an abort, or an idle line. */
			if (rx->length > 0 || rx->too_long)
				rx->aborts++;
			rx->inside = false;
			rx_restart(rx);
		}
	} else {
		rx->ones = 0;
		if (ones == 6)
			return (rx_flag(rx));
		if (ones == 5)
			return (HDLC_NOTHING);	/* the inserted zero */
	}
	if (rx->inside)
		rx_data_bit(rx, bit);
	return (HDLC_NOTHING);
}

enum hdlc_event
hdlc_rx_octet(struct hdlc_rx *rx, uint8_t octet)
{
	enum hdlc_event event = HDLC_NOTHING;
	uint32_t i;

	/* The timeslots of most lines carry flags all day: eight ones change nothing outside. */
	if (octet == 0xff && rx->ones == 7 && !rx->inside)
		return (HDLC_NOTHING);
	for (i = 0; i < 8; i++) {
		uint32_t shift = rx->order == HDLC_MSB_FIRST ? 7 - i : i;

		if (rx_bit(rx, octet >> shift & 1) == HDLC_FRAME)
			event = HDLC_FRAME;
	}
	return (event);
}

void
hdlc_tx_init(struct hdlc_tx *tx, enum hdlc_order order)
{
	memset(tx, 0, sizeof(*tx));
	tx->order = order;
	tx->stage = TX_FLAGS;
}

bool
hdlc_tx_idle(const struct hdlc_tx *tx)
{
	return (tx->length == 0);
}

bool
hdlc_tx_frame(struct hdlc_tx *tx, const uint8_t *frame, size_t length)
{
	uint16_t fcs = FCS_START;
	size_t i;

	if (tx->length != 0 || length + 2 < HDLC_FRAME_MIN || length + 2 > HDLC_FRAME_MAX)
		return (false);
	for (i = 0; i < length; i++)
		fcs = hdlc_fcs(fcs, frame[i]);
	fcs = (uint16_t)~fcs;
	memcpy(tx->frame, frame, length);
	tx->frame[length] = (uint8_t)fcs;
	tx->frame[length + 1] = (uint8_t)(fcs >> 8);
	tx->length = (uint16_t)(length + 2);
	tx->place = 0;
	tx->bit = 0;
	return (true);
}

static uint8_t
tx_bit(struct hdlc_tx *tx)
{
	uint8_t bit;

	if (tx->stage == TX_FLAGS) {
		bit = FLAG >> tx->flag_bit & 1;
		if (++tx->flag_bit == 8) {
			tx->flag_bit = 0;
			/* A whole flag went out: a waiting frame may follow. */
			if (tx->length != 0) {
				tx->stage = TX_FRAME;
				tx->ones = 0;
			}
		}
		return (bit);
	}
	if (tx->ones == 5) {
		tx->ones = 0;
		bit = 0;
	} else {
		bit = tx->frame[tx->place] >> tx->bit & 1;
		tx->ones = bit != 0 ? tx->ones + 1 : 0;
		if (++tx->bit == 8) {
			tx->bit = 0;
			tx->place++;
		}
	}
	/* The last bit may still owe an inserted zero. */
	if (tx->place == tx->length && tx->ones < 5) {
		tx->length = 0;
		tx->stage = TX_FLAGS;
	}
	return (bit);
}

uint8_t
hdlc_tx_octet(struct hdlc_tx *tx)
{
	uint32_t octet = 0, i;

	if (tx->stage == TX_FLAGS && tx->flag_bit == 0 && tx->length == 0)
		return (FLAG);
	for (i = 0; i < 8; i++) {
		uint32_t shift = tx->order == HDLC_MSB_FIRST ? 7 - i : i;

		octet |= (uint32_t)tx_bit(tx) << shift;
	}
	return ((uint8_t)octet);
}
