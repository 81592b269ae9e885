/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file tdmoe.h
 * TDM over Ethernet: what follows the Ethernet header of a frame of type 0xd00d. Everything is
 * big endian:
 *
 *     u16 subaddress | u8 samples per channel (8) | u8 flags | u16 sequence | u16 channels
 *     signalling bits, four channels to a u16 (only with flag bit 1)
 *     channels x 8 octets, channel by channel
 *
 * A frame is 1 ms. Channels are timeslots 1 to n; with 32 channels timeslot 0 comes first. Ethernet
 * pads short frames, so octets behind the channels are allowed; missing ones are not: `channels`
 * is believed only where the octets are there.
 */

#ifndef E1_TDMOE_H
#define E1_TDMOE_H

#include "e1types.h"

#define TDMOE_ETHERTYPE		0xd00dU
#define TDMOE_HEADER		8U	/**< octets before the signalling bits */
#define TDMOE_SAMPLES		8U	/**< octets of a channel in a frame */
#define TDMOE_CHANNELS_MAX	32U
#define TDMOE_UNIT		256U	/**< 8 frames of 32 timeslots */
/** Octets of the longest frame: 32 channels with signalling bits. */
#define TDMOE_MAX	(TDMOE_HEADER + 2U * (TDMOE_CHANNELS_MAX / 4U) + TDMOE_CHANNELS_MAX * TDMOE_SAMPLES)

#define TDMOE_FLAG_YELLOW	0x01U	/**< remote alarm */
#define TDMOE_FLAG_SIGNALLING	0x02U	/**< signalling bits are there */
#define TDMOE_FLAG_LOOPBACK	0x04U

/** Why a frame is no frame. */
enum tdmoe_verdict {
	TDMOE_OK = 0,
	TDMOE_SHORT,		/**< not even a header */
	TDMOE_SAMPLES_WRONG,	/**< not 8 octets a channel */
	TDMOE_CHANNELS_WRONG,	/**< none, or more than 32 */
	TDMOE_LENGTH_LIES,	/**< fewer octets than the header says */
	TDMOE_FLAGS_WRONG,	/**< a flag that nobody has defined */
};

struct tdmoe_frame {
	uint16_t	subaddress;
	uint16_t	sequence;
	uint16_t	channels;	/**< 1 to 32 */
	uint8_t		flags;
	const uint8_t	*payload;	/**< channels * 8 octets inside the frame */
};

/** Reads the header of `length` octets at `octets`; `frame` is whole only with TDMOE_OK. */
enum tdmoe_verdict tdmoe_parse(const uint8_t *octets, size_t length, struct tdmoe_frame *frame);
/** Lays the channels of a parsed frame into a unit; other timeslots keep what they hold. */
void	tdmoe_to_unit(const struct tdmoe_frame *frame, uint8_t unit[TDMOE_UNIT]);
/** Writes a frame of the unit's channels, without signalling bits. `out` holds TDMOE_MAX octets.
 *  @return octets written */
size_t	tdmoe_emit(uint8_t *out, uint16_t subaddress, uint16_t sequence, uint16_t channels,
	    uint8_t flags, const uint8_t unit[TDMOE_UNIT]);

#endif /* E1_TDMOE_H */
