/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/** @file check.h  What the unit tests say with: CHECK, CHECK_EQ, a seeded generator. */

#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what) do {							\
	if (!(what)) {								\
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);	\
		exit(1);							\
	}									\
} while (0)

#define CHECK_EQ(left, right) do {						\
	uint64_t l_ = (uint64_t)(left), r_ = (uint64_t)(right);			\
	if (l_ != r_) {								\
		fprintf(stderr, "%s:%d: %s is %" PRIu64 ", not %" PRIu64 "\n",	\
		    __FILE__, __LINE__, #left, l_, r_);				\
		exit(1);							\
	}									\
} while (0)

/** xorshift64*: the same numbers for the same seed, everywhere. */
static inline uint32_t
next_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return ((uint32_t)((*seed * 0x2545f4914f6cdd1dULL) >> 32));
}

#endif /* CHECK_H */
