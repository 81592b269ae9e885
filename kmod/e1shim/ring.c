/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

#include "ring.h"

static uint8_t *
slot(struct ring *r, uint32_t place)
{
	uint32_t i = r->head + place;

	if (i >= r->depth)
		i -= r->depth;
	return (r->store + (size_t)i * RING_UNIT);
}

static void
drop_oldest(struct ring *r)
{
	r->head = r->head + 1 == r->depth ? 0 : r->head + 1;
	r->fill--;
}

void
ring_init(struct ring *r, uint8_t *store, uint32_t depth)
{
	memset(r, 0, sizeof(*r));
	r->store = store;
	r->depth = depth;
}

void
ring_clear(struct ring *r)
{
	r->head = 0;
	r->fill = 0;
	r->has_last = false;
}

uint32_t
ring_fill(const struct ring *r)
{
	return (r->fill);
}

uint32_t
ring_room(const struct ring *r)
{
	return (r->depth - r->fill);
}

bool
ring_offer(struct ring *r, const uint8_t *unit)
{
	if (r->fill == r->depth)
		return (false);
	memcpy(slot(r, r->fill), unit, RING_UNIT);
	r->fill++;
	return (true);
}

bool
ring_put(struct ring *r, const uint8_t *unit)
{
	bool whole = r->fill < r->depth;

	if (!whole) {
		drop_oldest(r);
		r->deleted++;
	}
	(void)ring_offer(r, unit);
	return (whole);
}

bool
ring_take(struct ring *r, uint8_t *unit)
{
	if (r->fill == 0)
		return (false);
	memcpy(unit, slot(r, 0), RING_UNIT);
	drop_oldest(r);
	return (true);
}

bool
ring_take_elastic(struct ring *r, uint8_t *unit, uint8_t idle)
{
	if (ring_take(r, unit)) {
		memcpy(r->last, unit, RING_UNIT);
		r->has_last = true;
		return (true);
	}
	if (r->has_last) {
		memcpy(unit, r->last, RING_UNIT);
		r->repeated++;
	} else
		memset(unit, idle, RING_UNIT);
	return (false);
}

bool
ring_delete(struct ring *r)
{
	if (r->fill == 0)
		return (false);
	drop_oldest(r);
	r->deleted++;
	return (true);
}
