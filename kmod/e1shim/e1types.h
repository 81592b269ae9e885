/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file e1types.h
 * Fixed-width integers, bool and the mem* functions, in the kernel and outside it. The rooms that
 * are free of the kernel (g704 hdlc tdmoe ring) include nothing else of the system.
 */

#ifndef E1TYPES_H
#define E1TYPES_H

#ifdef _KERNEL
#include <sys/param.h>
#include <sys/systm.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

#endif /* E1TYPES_H */
