/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file e1shim.h
 * What e1shim(4) and its users agree on: devices, sizes, ioctl numbers, structures.
 *
 * The same text is read by the kernel module, by C programs and by the test that holds the Rust
 * side (os/e1) against it. So every field has a fixed width, every gap is a named `reserved`
 * field, no structure holds a pointer, and sizes are the same on every machine that FreeBSD runs
 * on. The numbers of the ioctls are written as FreeBSD's <sys/ioccom.h> computes them, and the
 * module asserts that at compile time; so the header also compiles where ioctls are numbered
 * otherwise.
 *
 * Devices:
 *  - /dev/e1/ctl     makes, lists and removes spans; every request below, with `head.span` naming
 *                    the span; read(2) gives `struct e1_event`, as many whole ones as fit.
 *                    May be open many times; each open sees the events from its open(2) on.
 *  - /dev/e1/N       the user's side of span N: units in and out. Open once at a time (EBUSY).
 *                    Every request but E1_CREATE, E1_DESTROY and E1_LIST, for its own span.
 *  - /dev/e1/N.line  the line's side, only with E1_BACKEND_LINE: what read(2) gives goes out on
 *                    the line, what write(2) takes came from it. Open once at a time (EBUSY).
 *                    The line is the clock: each unit written moves the span on by 1 ms.
 *
 * A unit is 1 ms of one direction: 8 frames of 32 timeslots, 256 bytes, frame by frame, timeslot 0
 * first; in a byte the bit that is sent first is the most significant. read(2) and write(2) take
 * whole units: a length that is not a multiple of 256, or zero units, is EINVAL. They wait for one
 * unit (of room), then move as many as there are. With O_NONBLOCK they give EAGAIN instead of
 * waiting. poll(2), select(2) and kqueue(2) tell when one unit (of room) is there; kevent's `data`
 * is the bytes that can be read (written) without waiting. On the user's side of a framed span
 * timeslot 0 is what the line brought on read, and ignored on write.
 *
 * Errors of ioctl(2), the same on every device:
 *  - ENOTTY  no such request on this device;
 *  - EINVAL  the request's number is known but its length is not; `head.version` is not
 *            E1_ABI_VERSION; a reserved field is not zero; a value is out of its range;
 *  - ENXIO   `head.span` is not below E1_SPANS_MAX, or no such span is there;
 *  - EBUSY   the span is in a state that forbids it (each request says which);
 *  - EEXIST  E1_CREATE: that span number is taken, or its TDMoE address is;
 *  - ENOSPC  E1_CREATE: no span number is free;
 *  - EBADF   E1_CREATE, E1_DESTROY: ctl was opened for reading only;
 *  - EAGAIN  a read or write with O_NONBLOCK would wait.
 */

#ifndef E1SHIM_H
#define E1SHIM_H

#ifdef _KERNEL
#include <sys/types.h>
#else
#include <stdint.h>
#endif

/** Version of everything in this file; `head.version` of every request. */
#define E1_ABI_VERSION		1U

/** Frames of 125 microseconds in a unit. */
#define E1_UNIT_FRAMES		8U
/** Timeslots in a frame. */
#define E1_TIMESLOTS		32U
/** Bytes in a unit: 1 ms of one direction. */
#define E1_UNIT_BYTES		(E1_UNIT_FRAMES * E1_TIMESLOTS)
/** Spans are numbered 0 to E1_SPANS_MAX - 1. */
#define E1_SPANS_MAX		32U
/** The number that asks E1_CREATE for any free span. */
#define E1_SPAN_ANY		0xffffU
/** Least and most units that a ring may hold, and what it holds when nobody asks. */
#define E1_DEPTH_MIN		2U
#define E1_DEPTH_MAX		256U
#define E1_DEPTH_DEFAULT	64U
/** Events kept for readers of /dev/e1/ctl; who is slower loses the oldest (`lost` says so). */
#define E1_EVENTS_KEPT		256U
/** Octet sent in idle timeslots when nobody asks for another (A-law silence, even bits turned). */
#define E1_IDLE_DEFAULT		0xd5U
/** Bytes of the name of the netgraph hook that carries a TDMoE span, with the closing zero. */
#define E1_PORT_NAME		32U

/** @name Backends: what stands behind the line's side of a span
 * @{ */
/** Two spans whose lines are crossed, clocked by the module. */
#define E1_BACKEND_PAIR		1U
/** A driver in userland through /dev/e1/N.line, which is also the clock. */
#define E1_BACKEND_LINE		2U
/** TDMoE over a netgraph hook, Ethernet type 0xd00d. */
#define E1_BACKEND_TDMOE	3U
/** @} */

/** @name Framing (ITU-T G.704 §2.3)
 * @{ */
/** All 32 timeslots belong to the user; only LOS and AIS are seen. */
#define E1_FRAMING_CLEAR	0U
/** Frame alignment word, no CRC-4: bit 1 of timeslot 0 is sent as 1. */
#define E1_FRAMING_FAS		1U
/** Frame alignment and CRC-4 multiframe. The default. */
#define E1_FRAMING_CRC4		2U
/** @} */

/** @name Clock of a TDMoE span; a pair has E1_CLOCK_INTERNAL, a line span E1_CLOCK_LINE
 * @{ */
/** The module's own milliseconds. */
#define E1_CLOCK_INTERNAL	0U
/** Each frame received moves the span on; after 4 ms of silence the module's own clock does. */
#define E1_CLOCK_LINE		1U
/** @} */

/** @name Alarms: bits of `alarms`
 * Set and cleared by the times of G.706, G.732 and G.775; g704.h gives each rule.
 * @{ */
/** Loss of signal. */
#define E1_ALARM_LOS		0x00000001U
/** Alarm indication signal: unframed all ones. */
#define E1_ALARM_AIS		0x00000002U
/** Remote alarm indication: the A bit. */
#define E1_ALARM_RAI		0x00000004U
/** Loss of frame alignment. */
#define E1_ALARM_LFA		0x00000008U
/** Loss of CRC-4 multiframe alignment. */
#define E1_ALARM_LMFA		0x00000010U
/** Every alarm bit that there is. */
#define E1_ALARM_ALL		0x0000001fU
/** @} */

/** @name Loops
 * @{ */
#define E1_LOOP_OFF		0U
/** What the user sends comes back to the user; it is sent on the line as well. */
#define E1_LOOP_LOCAL		1U
/** What the line brings goes back on the line, bit by bit, timeslot 0 included. */
#define E1_LOOP_LINE		2U
/** Timeslots 1 to 31 from the line go back on the line; timeslot 0 is made anew. */
#define E1_LOOP_PAYLOAD		3U
/** @} */

/** @name Faults to inject (E1_INJECT)
 * All but the slips spoil what this span sends, so the far end sees them. `amount` is a number of
 * errors for the first group and milliseconds for the second, where 0 ends it at once and
 * E1_INJECT_FOREVER never ends by itself. The framed ones need framing (EBUSY without); CRC, E bit
 * and multiframe need CRC-4.
 * @{ */
/** `amount` wrong frame alignment words, one after the other. */
#define E1_INJECT_FAS		1U
/** `amount` sub-multiframes with a wrong CRC-4. */
#define E1_INJECT_CRC		2U
/** `amount` violations of the line code (HDB3), told to the far end's counter. */
#define E1_INJECT_CODE		3U
/** `amount` E bits sent as 0. */
#define E1_INJECT_EBIT		4U
/** `amount` units taken out of what this span receives. */
#define E1_INJECT_SLIP_DELETE	5U
/** `amount` units given twice in what this span receives. */
#define E1_INJECT_SLIP_REPEAT	6U
/** No signal. */
#define E1_INJECT_LOS		16U
/** All ones. */
#define E1_INJECT_AIS		17U
/** The A bit set. */
#define E1_INJECT_RAI		18U
/** Every frame alignment word wrong. */
#define E1_INJECT_LFA		19U
/** Every CRC-4 multiframe alignment word wrong. */
#define E1_INJECT_LMFA		20U
#define E1_INJECT_FOREVER	0xffffffffU
/** @} */

/** @name Events
 * @{ */
/** Alarms changed: `alarms` is the new mask, `value` the bits that changed. */
#define E1_EVENT_ALARM		1U
/** Units were lost or repeated: `value` is how many since the event before. At most 1 a second. */
#define E1_EVENT_SLIP		2U
/** A span was made. `value` is its backend. */
#define E1_EVENT_CREATE		3U
/** A span is gone. */
#define E1_EVENT_DESTROY	4U
/** The module's clock could not catch up: `value` milliseconds were left out. */
#define E1_EVENT_CLOCK		5U
/** @} */

/** The first 8 bytes of every request. */
struct e1_head {
	uint32_t	version;	/**< E1_ABI_VERSION */
	uint16_t	span;		/**< which span; on /dev/e1/N its own number */
	uint16_t	reserved;	/**< 0 */
};

/** Argument of E1_CREATE. In: all but `peer`. Out: `head.span`, `peer`. */
struct e1_create {
	struct e1_head	head;		/**< `span`: the number wanted, or E1_SPAN_ANY */
	uint32_t	backend;	/**< E1_BACKEND_* */
	uint16_t	peer;		/**< pair: the other span's number; else E1_SPAN_ANY.
					     In, for a pair: number wanted or E1_SPAN_ANY */
	uint16_t	subaddress;	/**< TDMoE: the address in the frame, 0 to 65535; else 0 */
	uint8_t		mac[6];		/**< TDMoE: where frames go and come from; else 0 */
	uint16_t	channels;	/**< TDMoE: 1 to 31: timeslots 1 to n; 32: timeslot 0 too.
					     Others: 0 */
	uint32_t	clock;		/**< E1_CLOCK_*; others than TDMoE: 0 */
	char		port[E1_PORT_NAME]; /**< TDMoE: name of the netgraph hook, zero-filled */
};

/** Argument of E1_DESTROY (either end removes a pair). */
struct e1_span {
	struct e1_head	head;
};

/** Argument of E1_LIST. Out: all but `head.version`; `head.span` is ignored. */
struct e1_list {
	struct e1_head	head;
	uint64_t	present;	/**< bit N: span N is there */
	uint32_t	spans_max;	/**< E1_SPANS_MAX of the module */
	uint32_t	module_version;	/**< version of the module, 10000 * major + 100 * minor */
};

/** Argument of E1_GET_CONFIG and E1_SET_CONFIG. */
struct e1_config {
	struct e1_head	head;
	uint32_t	framing;	/**< E1_FRAMING_* */
	uint16_t	rx_depth;	/**< units that wait for read(2), E1_DEPTH_MIN to _MAX */
	uint16_t	tx_depth;	/**< units that write(2) may be ahead */
	uint8_t		idle;		/**< octet sent in timeslots 1 to 31 when the user is late */
	uint8_t		sa;		/**< Sa4 (0x10) to Sa8 (0x01) to send; 0x1f where unused */
	uint16_t	reserved;	/**< 0 */
	uint32_t	reserved2;	/**< 0 */
};

/** Argument of E1_GET_STATUS. Out: all but `head`. */
struct e1_status {
	struct e1_head	head;
	uint32_t	alarms;		/**< E1_ALARM_* seen now */
	uint32_t	sent;		/**< E1_ALARM_RAI, _AIS, _LOS, _LFA, _LMFA sent now */
	uint32_t	loop;		/**< E1_LOOP_* */
	uint32_t	backend;	/**< E1_BACKEND_* */
	uint16_t	peer;		/**< pair: the other span; else E1_SPAN_ANY */
	uint8_t		sa;		/**< Sa bits received last, as in e1_config */
	uint8_t		opened;		/**< 1: /dev/e1/N is open; 2: N.line is; 3: both */
	uint16_t	rx_fill;	/**< units waiting for read(2) */
	uint16_t	tx_fill;	/**< units waiting to be sent */
	uint64_t	uptime_ms;	/**< units that the span's clock has passed */
};

/** Argument of E1_GET_COUNTERS. Counts since the span was made or the last clear. */
struct e1_counters {
	struct e1_head	head;
	uint32_t	clear;		/**< in: 1: set all to 0 once they are read; else 0 */
	uint32_t	reserved;	/**< 0 */
	uint64_t	rx_units;	/**< units from the line */
	uint64_t	tx_units;	/**< units to the line */
	uint64_t	fas;		/**< frame alignment words with a wrong bit, while aligned */
	uint64_t	crc;		/**< sub-multiframes with a wrong CRC-4 */
	uint64_t	ebit;		/**< E bits received as 0: the far end's CRC-4 errors */
	uint64_t	code;		/**< violations of the line code */
	uint64_t	slip_rx_delete;	/**< units lost since read(2) came too late */
	uint64_t	slip_rx_repeat;	/**< units given twice, or idle, since the line was late */
	uint64_t	slip_tx_idle;	/**< idle units sent since write(2) came too late */
	uint64_t	los;		/**< times that each alarm began */
	uint64_t	ais;
	uint64_t	rai;
	uint64_t	lfa;
	uint64_t	lmfa;
	uint64_t	clock_skip_ms;	/**< milliseconds that the clock left out */
	uint64_t	net_rx;		/**< TDMoE frames received for this span */
	uint64_t	net_tx;		/**< TDMoE frames handed to the network */
	uint64_t	net_bad;	/**< TDMoE frames dropped: lying length, wrong form */
	uint64_t	net_lost;	/**< gaps in the sequence, in frames */
	uint64_t	net_late;	/**< TDMoE frames out of order, dropped */
	uint64_t	net_tx_fail;	/**< TDMoE frames not sent: no hook, no memory.
					     Line: units that N.line did not read */
};

/** Argument of E1_SET_LOOP. EBUSY: line and payload loops of a span with a loop on its peer. */
struct e1_loop {
	struct e1_head	head;
	uint32_t	loop;		/**< E1_LOOP_* */
	uint32_t	reserved;	/**< 0 */
};

/** Argument of E1_INJECT. */
struct e1_inject {
	struct e1_head	head;
	uint32_t	kind;		/**< E1_INJECT_* */
	uint32_t	amount;		/**< errors or milliseconds, see there */
};

/** Argument of E1_LINE_STATE, on N.line only: what a byte stream cannot say. */
struct e1_line_state {
	struct e1_head	head;
	uint32_t	signal;		/**< 1: units written carry a signal; 0: the line is dead,
					     what is written only clocks */
	uint32_t	code_errors;	/**< violations of the line code to add to the counter */
};

/** One event, as read(2) of /dev/e1/ctl gives it. */
struct e1_event {
	uint64_t	time_ns;	/**< CLOCK_MONOTONIC when it happened */
	uint32_t	version;	/**< E1_ABI_VERSION */
	uint32_t	lost;		/**< events lost to this reader just before this one */
	uint16_t	span;
	uint16_t	type;		/**< E1_EVENT_* */
	uint32_t	alarms;		/**< alarms of the span after the event */
	uint32_t	value;		/**< see E1_EVENT_* */
	uint32_t	reserved;	/**< 0 */
};

/** What FreeBSD's <sys/ioccom.h> makes of _IOWR('E', n, type). */
#define E1_IOWR(n, type) \
	(0xc0000000UL | ((unsigned long)sizeof(type) << 16) | 0x4500UL | (unsigned long)(n))

/** @name Requests
 * @{ */
/** ctl. Makes a span (two for a pair). */
#define E1_CREATE		E1_IOWR(1, struct e1_create)
/** ctl. Removes a span, or the pair. EBUSY while any of its devices is open. */
#define E1_DESTROY		E1_IOWR(2, struct e1_span)
/** ctl. Which spans are there. */
#define E1_LIST			E1_IOWR(3, struct e1_list)
#define E1_GET_CONFIG		E1_IOWR(4, struct e1_config)
/** On ctl EBUSY while /dev/e1/N is open: its owner configures it. Empties both rings. */
#define E1_SET_CONFIG		E1_IOWR(5, struct e1_config)
#define E1_GET_STATUS		E1_IOWR(6, struct e1_status)
#define E1_GET_COUNTERS		E1_IOWR(7, struct e1_counters)
#define E1_SET_LOOP		E1_IOWR(8, struct e1_loop)
/** EBUSY: the framing lacks what is to be spoilt. */
#define E1_INJECT		E1_IOWR(9, struct e1_inject)
/** N.line only; ENOTTY elsewhere. */
#define E1_LINE_STATE		E1_IOWR(10, struct e1_line_state)
/** @} */

#endif /* E1SHIM_H */
