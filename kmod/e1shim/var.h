/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 */

/**
 * @file var.h
 * What the FreeBSD half of e1shim(4) shares among its files.
 *
 * Locks, in the order in which they are taken:
 *  1. e1_sx (sx, may sleep): the table of spans. Exclusive to make and remove spans, shared to look
 *     one up for a request on /dev/e1/ctl. Never taken by open, close, read, write, the clock or
 *     the network, so make_dev_s(9) and destroy_dev(9) may be called with it held.
 *  2. e1_end.writer (sx): one writer at a time, held over uiomove(9).
 *  3. e1_ng_mtx (mutex): hooks, and the list of spans that hang on them.
 *  4. e1_group.mtx (mutex): everything of the one or two spans of a group: a pair has one mutex, so
 *     that its clock never holds two of a kind. It is also the lock of the group's callout and of
 *     its knlists. uiomove(9), malloc(9) with M_WAITOK and netgraph's sends happen without it.
 *  5. e1_event_mtx (mutex): events, their readers' places, the number of opens. The lock of ctl's
 *     knlist. Nothing of ours is taken under it.
 *
 * How long things live: a span is freed only by its maker's way back or by E1_DESTROY or unload,
 * each of which refuses (EBUSY) while a device of it is open. Open means until the last reference
 * to the file is gone: the destructor of devfs_set_cdevpriv(9) ends it, and a knote and a sleeping
 * thread both hold such a reference (sys/kern/kern_event.c, kqueue_register: the knote keeps fp).
 * So when the count is 0 there is no knote, no reader and no writer. Then in this order: opens get
 * ENXIO, callout_drain(9), destroy_dev(9), which waits for threads still inside d_open
 * (sys/kern/kern_conf.c, destroy_devl: si_threadcount), seldrain, knlist_destroy, the memory.
 */

#ifndef E1_VAR_H
#define E1_VAR_H

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/sx.h>
#include <sys/malloc.h>
#include <sys/callout.h>
#include <sys/conf.h>
#include <sys/event.h>
#include <sys/selinfo.h>
#include <sys/queue.h>

#include "e1shim.h"
#include "g704.h"
#include "ring.h"
#include "tdmoe.h"

/** 10000 * major + 100 * minor. */
#define E1_MODULE_VERSION	10000U
/** Milliseconds that the clock makes up for at once; the rest are left out and counted. */
#define E1_CATCH_UP_MAX		50
/** TDMoE: units of the buffer that takes the network's jitter, and where it starts to play. */
#define E1_JITTER_DEPTH		16U
#define E1_JITTER_START		3U
/** TDMoE: milliseconds without a frame until the signal counts as lost. */
#define E1_NET_LOS_MS		10U
/** TDMoE with E1_CLOCK_LINE: silent milliseconds until the module's clock steps in. */
#define E1_HOLDOVER_MS		4U
/** TDMoE: a sequence further back than this is a sender that began anew, not a late frame. */
#define E1_SEQUENCE_BACK_MAX	64

MALLOC_DECLARE(M_E1SHIM);

struct e1_span_softc;

/** One device of a span. */
struct e1_end {
	struct e1_span_softc *span;
	struct cdev	*dev;
	bool		line;		/**< N.line */
	bool		opened;
	struct sx	writer;
	struct selinfo	rsel, wsel;
	struct ring	in, out;	/**< to read(2); from write(2) */
	uint8_t		*in_store, *out_store;
	bool		wrote;		/**< write(2) was called since open: late units count */
};

/** One clock and one lock, with one span or a pair. */
struct e1_group {
	struct mtx	mtx;
	struct callout	clock;
	sbintime_t	next;		/**< when the next millisecond is due */
	struct e1_span_softc *span[2];	/**< [1] only of a pair */
	bool		ready;		/**< devices may be opened */
	bool		announced;	/**< E1_EVENT_CREATE was posted */
	bool		stopping;	/**< the clock is not to be set again */
	bool		bound;		/**< span[0] is in the list of ng.c; e1_sx */
};

struct e1_span_softc {
	uint16_t	number;
	struct e1_group	*group;
	struct e1_span_softc *peer;	/**< of a pair */
	uint32_t	backend;
	struct e1_end	user, line;
	struct g704	framer;
	uint32_t	framing;
	uint8_t		idle, sa;
	uint32_t	loop;
	uint8_t		loop_unit[E1_UNIT_BYTES];
	bool		loop_signal;
	uint32_t	slip_delete, slip_repeat;	/**< injected, still to do */
	uint32_t	slips;		/**< since the last event */
	uint64_t	slips_told_ms;
	uint64_t	uptime_ms;
	struct e1_counters counters;	/**< what framer and rings do not count */
	bool		line_signal;	/**< E1_LINE_STATE */
	uint32_t	line_code_errors;

	/* TDMoE */
	LIST_ENTRY(e1_span_softc) on_port;	/**< e1_ng_mtx */
	char		port[E1_PORT_NAME];
	uint8_t		mac[6];
	uint16_t	subaddress, channels;
	uint32_t	clock;
	struct ring	jitter;
	uint8_t		*jitter_store;
	bool		playing;
	struct g704	far;		/**< frames what the network brings without timeslot 0 */
	uint16_t	tx_sequence, rx_sequence;
	bool		rx_any;
	uint8_t		rx_flags;
	uint32_t	silent_ms;	/**< since the last frame, in the span's milliseconds */
	uint32_t	hold_ms;	/**< since the last frame, in the module's */
};

/* e1shim.c */
extern struct sx e1_sx;

/* span.c */
int	e1_span_create(struct e1_create *arg);
int	e1_span_destroy(uint16_t number);
void	e1_span_destroy_all(void);
struct e1_span_softc *e1_span_find(uint16_t number);
uint64_t e1_span_present(void);
int	e1_span_ioctl(struct e1_span_softc *s, struct e1_end *from, u_long cmd, caddr_t data);
void	e1_span_line_in(struct e1_span_softc *s, const uint8_t *unit);
/** One millisecond of a TDMoE span, with its lock held. The frame to send, or NULL. */
struct mbuf *e1_span_tick_tdmoe(struct e1_span_softc *s);

/* dev.c */
void	e1_end_make(struct e1_end *end, struct e1_span_softc *s, bool line, uint16_t in_depth,
	    uint16_t out_depth);
int	e1_end_publish(struct e1_end *end);
void	e1_end_unpublish(struct e1_end *end);
void	e1_end_free(struct e1_end *end);
void	e1_end_readable(struct e1_end *end);
void	e1_end_writable(struct e1_end *end);
/** Checks a request against a list that ends with 0: 0, ENOTTY or EINVAL. */
int	e1_request_check(u_long cmd, const u_long *known, caddr_t data);

/* event.c */
extern struct mtx e1_event_mtx;
void	e1_event_init(void);
void	e1_event_fini(void);
void	e1_event_post(uint16_t span, uint16_t type, uint32_t alarms, uint32_t value);
/** Counts an open of any device. ENXIO while the module is on its way in or out. */
int	e1_open_begin(void);
void	e1_open_end(void);
/** Lets no more opens in, if there are none now. EBUSY otherwise. */
int	e1_open_forbid(void);
void	e1_open_allow(void);
int	e1_open_any(void);
extern struct cdevsw e1_ctl_cdevsw;

/* ng.c */
void	e1_ng_init(void);
int	e1_ng_attach(void);
int	e1_ng_forbid(void);
void	e1_ng_fini(void);
int	e1_ng_bind(struct e1_span_softc *s);
void	e1_ng_unbind(struct e1_span_softc *s);
struct mbuf *e1_ng_frame(struct e1_span_softc *s, const uint8_t *unit, uint8_t flags);
/** Sends a list linked by m_nextpkt through the hook of that name. No lock of ours may be held.
 *  @return frames dropped, since there is no such hook */
u_int	e1_ng_send_to(const char *name, struct mbuf *list);

#endif /* E1_VAR_H */
