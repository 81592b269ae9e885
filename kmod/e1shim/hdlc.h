/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file hdlc.h
 * HDLC framing of one timeslot for LAPD (ITU-T Q.921 §2; ISO/IEC 13239): flags 01111110, zero-bit
 * insertion after five ones, 16-bit frame check sequence, abort (seven ones or more). One receiver
 * and one transmitter per timeslot, fed with the octets of that timeslot as they come.
 *
 * An HDLC octet goes out least significant bit first, while a timeslot's octet goes out most
 * significant bit first (G.704); `HDLC_MSB_FIRST` says that the timeslot's octets are in G.704's
 * order, as in our units; `HDLC_LSB_FIRST` suits hardware that turned them.
 */

#ifndef E1_HDLC_H
#define E1_HDLC_H

#include "e1types.h"

/** Longest frame with its check sequence: address 2, control 2, information 260 (Q.921 N201), 2. */
#define HDLC_FRAME_MAX	266U
/** Shortest frame with its check sequence: address 2, control 1, 2 (Q.921 §2.9 item b, c). */
#define HDLC_FRAME_MIN	5U

enum hdlc_order { HDLC_MSB_FIRST, HDLC_LSB_FIRST };

/** What hdlc_rx_octet found. */
enum hdlc_event {
	HDLC_NOTHING = 0,
	HDLC_FRAME,	/**< `frame`, `length` hold a frame without its check sequence */
};

struct hdlc_rx {
	enum hdlc_order	order;
	uint8_t		ones;		/**< ones in a row, stops at 7 */
	uint8_t		bits;		/**< bits in `octet` */
	uint8_t		octet;
	bool		inside;		/**< a flag was seen and no abort since */
	bool		too_long;
	uint16_t	length;		/**< octets in `buffer` */
	uint16_t	fcs;
	uint8_t		buffer[HDLC_FRAME_MAX];
	uint16_t	frame_length;	/**< octets of the frame found last */
	uint64_t	frames;		/**< good frames */
	uint64_t	fcs_errors;
	uint64_t	aborts;		/**< frames ended by seven ones */
	uint64_t	short_frames;
	uint64_t	long_frames;
	uint64_t	unaligned;	/**< frames of broken octets */
};

struct hdlc_tx {
	enum hdlc_order	order;
	uint8_t		ones;		/**< ones in a row sent inside a frame */
	uint8_t		stage;		/**< see hdlc.c */
	uint16_t	length;		/**< octets of the frame with its check sequence; 0: none */
	uint16_t	place;		/**< octet that is being sent */
	uint8_t		bit;		/**< next bit of it */
	uint8_t		flag_bit;	/**< next bit of the flag */
	uint8_t		frame[HDLC_FRAME_MAX];
};

/** CRC of ISO/IEC 13239: polynomial x^16+x^12+x^5+1, ones first, reflected. */
uint16_t hdlc_fcs(uint16_t fcs, uint8_t octet);

void	hdlc_rx_init(struct hdlc_rx *rx, enum hdlc_order order);
/** Takes one octet of the timeslot. HDLC_FRAME: `rx->buffer` holds `rx->frame_length` octets until
 *  the next call. At most one frame can end within an octet, since the shortest has five. */
enum hdlc_event hdlc_rx_octet(struct hdlc_rx *rx, uint8_t octet);

void	hdlc_tx_init(struct hdlc_tx *tx, enum hdlc_order order);
/** Gives a frame without check sequence, 3 to 264 octets.
 *  @return false: one is still being sent, or the length is out of range */
bool	hdlc_tx_frame(struct hdlc_tx *tx, const uint8_t *frame, size_t length);
/** True when hdlc_tx_frame would take a frame. */
bool	hdlc_tx_idle(const struct hdlc_tx *tx);
/** The timeslot's next octet: the frame, or flags. */
uint8_t	hdlc_tx_octet(struct hdlc_tx *tx);

#endif /* E1_HDLC_H */
