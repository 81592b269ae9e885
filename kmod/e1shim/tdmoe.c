/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

#include "tdmoe.h"

static uint16_t
get16(const uint8_t *p)
{
	return ((uint16_t)((uint16_t)p[0] << 8 | p[1]));
}

static void
put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* With 32 channels the first is timeslot 0, else timeslot 1. */
static uint32_t
first_timeslot(uint16_t channels)
{
	return (channels == TDMOE_CHANNELS_MAX ? 0 : 1);
}

enum tdmoe_verdict
tdmoe_parse(const uint8_t *octets, size_t length, struct tdmoe_frame *frame)
{
	size_t need = TDMOE_HEADER;

	if (length < need)
		return (TDMOE_SHORT);
	if (octets[2] != TDMOE_SAMPLES)
		return (TDMOE_SAMPLES_WRONG);
	frame->subaddress = get16(octets);
	frame->flags = octets[3];
	frame->sequence = get16(octets + 4);
	frame->channels = get16(octets + 6);
	if (frame->channels == 0 || frame->channels > TDMOE_CHANNELS_MAX)
		return (TDMOE_CHANNELS_WRONG);
	if ((frame->flags &
	    ~(TDMOE_FLAG_YELLOW | TDMOE_FLAG_SIGNALLING | TDMOE_FLAG_LOOPBACK)) != 0)
		return (TDMOE_FLAGS_WRONG);
	if ((frame->flags & TDMOE_FLAG_SIGNALLING) != 0)
		need += 2 * (((size_t)frame->channels + 3) / 4);
	if (length < need + (size_t)frame->channels * TDMOE_SAMPLES)
		return (TDMOE_LENGTH_LIES);
	frame->payload = octets + need;
	return (TDMOE_OK);
}

void
tdmoe_to_unit(const struct tdmoe_frame *frame, uint8_t unit[TDMOE_UNIT])
{
	const uint8_t *from = frame->payload;
	uint32_t first = first_timeslot(frame->channels), channel, i;

	for (channel = 0; channel < frame->channels; channel++)
		for (i = 0; i < TDMOE_SAMPLES; i++)
			unit[i * 32 + first + channel] = *from++;
}

size_t
tdmoe_emit(uint8_t *out, uint16_t subaddress, uint16_t sequence, uint16_t channels, uint8_t flags,
    const uint8_t unit[TDMOE_UNIT])
{
	uint8_t *to = out + TDMOE_HEADER;
	uint32_t first = first_timeslot(channels), channel, i;

	put16(out, subaddress);
	out[2] = TDMOE_SAMPLES;
	out[3] = flags & (uint8_t)~TDMOE_FLAG_SIGNALLING;
	put16(out + 4, sequence);
	put16(out + 6, channels);
	for (channel = 0; channel < channels; channel++)
		for (i = 0; i < TDMOE_SAMPLES; i++)
			*to++ = unit[i * 32 + first + channel];
	return ((size_t)(to - out));
}
