/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file ring.h
 * A ring of units (256 bytes, 1 ms of one direction), first in first out, over storage that the
 * caller gives. It never waits and never allocates; the caller holds the lock. What it does when
 * a side is late is the caller's choice: put into a full ring drops the oldest unit (a slip that
 * deletes), take from an empty ring gives nothing, and `ring_take_elastic` gives the last unit
 * again (a slip that repeats), as the buffer of ITU-T G.823 / G.822 does with frames.
 */

#ifndef E1_RING_H
#define E1_RING_H

#include "e1types.h"

#define RING_UNIT	256U	/**< bytes of a unit */

struct ring {
	uint8_t		*store;		/**< `depth` units */
	uint32_t	depth;		/**< units that fit, 1 or more */
	uint32_t	head;		/**< index of the oldest unit */
	uint32_t	fill;		/**< units inside, 0 to depth */
	uint64_t	deleted;	/**< units dropped since the ring was full */
	uint64_t	repeated;	/**< units given again since the ring was empty */
	bool		has_last;	/**< `last` holds a unit */
	uint8_t		last[RING_UNIT];	/**< the unit taken last */
};

/** Begins with an empty ring over `store`, `depth` * RING_UNIT bytes. */
void	ring_init(struct ring *r, uint8_t *store, uint32_t depth);
/** Forgets the units, and keeps the counters. */
void	ring_clear(struct ring *r);
/** Units inside. */
uint32_t ring_fill(const struct ring *r);
/** Units that still fit. */
uint32_t ring_room(const struct ring *r);
/** Puts a unit; full: the oldest goes and is counted. @return true if nothing was dropped */
bool	ring_put(struct ring *r, const uint8_t *unit);
/** Puts a unit if there is room. @return false when full */
bool	ring_offer(struct ring *r, const uint8_t *unit);
/** Takes the oldest unit. @return false, and `unit` untouched, when empty */
bool	ring_take(struct ring *r, uint8_t *unit);
/** Takes the oldest unit, or gives the last again (counted), or `idle` bytes before any came.
 *  @return true if the unit was new */
bool	ring_take_elastic(struct ring *r, uint8_t *unit, uint8_t idle);
/** Throws the oldest unit away and counts it. @return false when empty */
bool	ring_delete(struct ring *r);

#endif /* E1_RING_H */
