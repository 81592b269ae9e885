/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * Spans: making and removing them, what happens in a millisecond, and the requests.
 * Locks and life times: see var.h.
 */

#include "var.h"

#include <sys/mbuf.h>
#include <sys/time.h>

/* e1_sx. */
static struct e1_span_softc *table[E1_SPANS_MAX];

CTASSERT(E1_ALARM_LOS == G704_LOS && E1_ALARM_AIS == G704_AIS && E1_ALARM_RAI == G704_RAI &&
    E1_ALARM_LFA == G704_LFA && E1_ALARM_LMFA == G704_LMFA);
CTASSERT(E1_FRAMING_CLEAR == G704_CLEAR && E1_FRAMING_FAS == G704_FAS &&
    E1_FRAMING_CRC4 == G704_CRC4);

/* ---- a millisecond; with the group's mutex ---- */

static void
deliver(struct e1_span_softc *s, const uint8_t *unit)
{
	struct e1_end *user = &s->user;

	if (!user->opened)
		return;
	if (s->slip_delete > 0) {
		s->slip_delete--;
		s->slips++;
		s->counters.slip_rx_delete++;
		return;
	}
	if (!ring_put(&user->in, unit))
		s->slips++;
	if (s->slip_repeat > 0) {
		s->slip_repeat--;
		s->slips++;
		s->counters.slip_rx_repeat++;
		(void)ring_put(&user->in, unit);
	}
	e1_end_readable(user);
}

/* What goes out on the line. False: no signal. */
static bool
span_send(struct e1_span_softc *s, uint8_t *unit, uint32_t *code_errors)
{
	bool signal;

	if (ring_take(&s->user.out, unit))
		e1_end_writable(&s->user);
	else {
		memset(unit, s->idle, E1_UNIT_BYTES);
		if (s->user.wrote) {
			s->counters.slip_tx_idle++;
			s->slips++;
		}
	}
	s->counters.tx_units++;
	*code_errors = 0;
	if (s->loop == E1_LOOP_LINE) {
		memcpy(unit, s->loop_unit, E1_UNIT_BYTES);
		return (s->loop_signal);
	}
	if (s->loop == E1_LOOP_PAYLOAD)
		memcpy(unit, s->loop_unit, E1_UNIT_BYTES);
	signal = g704_tx(&s->framer, unit, code_errors);
	if (s->loop == E1_LOOP_LOCAL)
		deliver(s, unit);
	return (signal);
}

/* What came from the line; NULL: no signal. */
static void
span_receive(struct e1_span_softc *s, const uint8_t *line, uint32_t code_errors)
{
	uint8_t out[E1_UNIT_BYTES];
	uint32_t changed = g704_rx(&s->framer, line, code_errors, out);

	s->uptime_ms++;
	s->counters.rx_units++;
	if (s->loop == E1_LOOP_LINE) {
		s->loop_signal = line != NULL;
		if (line != NULL)
			memcpy(s->loop_unit, line, sizeof(s->loop_unit));
	} else if (s->loop == E1_LOOP_PAYLOAD)
		memcpy(s->loop_unit, out, sizeof(s->loop_unit));
	if (s->loop != E1_LOOP_LOCAL)
		deliver(s, out);
	if (changed != 0)
		e1_event_post(s->number, E1_EVENT_ALARM, s->framer.alarms, changed);
	if (s->slips != 0 && s->uptime_ms - s->slips_told_ms >= 1000) {
		e1_event_post(s->number, E1_EVENT_SLIP, s->framer.alarms, s->slips);
		s->slips = 0;
		s->slips_told_ms = s->uptime_ms;
	}
}

static void
tick_pair(struct e1_span_softc *a, struct e1_span_softc *b)
{
	uint8_t from_a[E1_UNIT_BYTES], from_b[E1_UNIT_BYTES];
	uint32_t code_a, code_b;
	bool signal_a, signal_b;

	signal_a = span_send(a, from_a, &code_a);
	signal_b = span_send(b, from_b, &code_b);
	span_receive(b, signal_a ? from_a : NULL, code_a);
	span_receive(a, signal_b ? from_b : NULL, code_b);
}

/* What the network brought for this millisecond, framed where it came without timeslot 0. */
static bool
line_from_network(struct e1_span_softc *s, uint8_t *unit)
{
	uint32_t none;

	if (s->silent_ms < UINT32_MAX)
		s->silent_ms++;
	if (!s->playing && ring_fill(&s->jitter) >= E1_JITTER_START)
		s->playing = true;
	if (s->playing && ring_fill(&s->jitter) == 0 && s->silent_ms > E1_NET_LOS_MS) {
		s->playing = false;
		ring_clear(&s->jitter);
	}
	if (!s->playing)
		return (false);
	if (!ring_take_elastic(&s->jitter, unit, s->idle))
		s->slips++;
	if (s->framing != E1_FRAMING_CLEAR && s->channels < TDMOE_CHANNELS_MAX) {
		g704_inject(&s->far, G704_FAULT_RAI,
		    (s->rx_flags & TDMOE_FLAG_YELLOW) != 0 ? G704_FOREVER : 0);
		(void)g704_tx(&s->far, unit, &none);
	}
	return (true);
}

struct mbuf *
e1_span_tick_tdmoe(struct e1_span_softc *s)
{
	uint8_t unit[E1_UNIT_BYTES];
	uint32_t code_errors;
	struct mbuf *m = NULL;
	uint8_t flags;

	if (span_send(s, unit, &code_errors)) {
		flags = (g704_sent(&s->framer) & G704_RAI) != 0 ? TDMOE_FLAG_YELLOW : 0;
		m = e1_ng_frame(s, unit, flags);
	}
	span_receive(s, line_from_network(s, unit) ? unit : NULL, 0);
	return (m);
}

/* A unit written to N.line: the line's clock. */
void
e1_span_line_in(struct e1_span_softc *s, const uint8_t *line)
{
	uint8_t unit[E1_UNIT_BYTES];
	uint32_t code_errors;

	if (!span_send(s, unit, &code_errors))
		memset(unit, 0, sizeof(unit));
	span_receive(s, s->line_signal ? line : NULL, s->line_code_errors);
	s->line_code_errors = 0;
	if (!ring_put(&s->line.in, unit))
		s->counters.net_tx_fail++;
	e1_end_readable(&s->line);
}

static struct mbuf *
tick_group(struct e1_group *g)
{
	struct e1_span_softc *s = g->span[0];

	switch (s->backend) {
	case E1_BACKEND_PAIR:
		tick_pair(s, g->span[1]);
		return (NULL);
	case E1_BACKEND_TDMOE:
		if (s->clock == E1_CLOCK_LINE && ++s->hold_ms <= E1_HOLDOVER_MS)
			return (NULL);
		return (e1_span_tick_tdmoe(s));
	}
	return (NULL);
}

/* callout(9): called with the group's mutex, returns without (CALLOUT_RETURNUNLOCKED), since
   netgraph is called without it. Due times are absolute, so lateness does not add up; hz is 100 in
   virtual machines, so several milliseconds may be due at once. */
static void
clock_due(void *arg)
{
	struct e1_group *g = arg;
	struct e1_span_softc *s = g->span[0];
	struct mbuf *first = NULL, **last = &first, *m;
	sbintime_t now = sbinuptime();
	char port[E1_PORT_NAME];
	uint32_t skipped;
	u_int dropped;
	int n, i;

	mtx_assert(&g->mtx, MA_OWNED);
	if (g->stopping) {
		mtx_unlock(&g->mtx);
		return;
	}
	for (n = 0; g->next <= now && n < E1_CATCH_UP_MAX; n++) {
		m = tick_group(g);
		if (m != NULL) {
			*last = m;
			last = &m->m_nextpkt;
		}
		g->next += SBT_1MS;
	}
	if (g->next <= now) {
		skipped = (uint32_t)((now - g->next) / SBT_1MS) + 1;
		g->next += (sbintime_t)skipped * SBT_1MS;
		for (i = 0; i < 2 && g->span[i] != NULL; i++) {
			g->span[i]->counters.clock_skip_ms += skipped;
			e1_event_post(g->span[i]->number, E1_EVENT_CLOCK,
			    g->span[i]->framer.alarms, skipped);
		}
	}
	callout_reset_sbt(&g->clock, g->next, 0, clock_due, g, C_ABSOLUTE);
	memcpy(port, s->port, sizeof(port));
	mtx_unlock(&g->mtx);
	/* The span stays until we return: who removes it waits in callout_drain(9). */
	if (first != NULL && (dropped = e1_ng_send_to(port, first)) != 0) {
		mtx_lock(&g->mtx);
		s->counters.net_tx -= dropped;
		s->counters.net_tx_fail += dropped;
		mtx_unlock(&g->mtx);
	}
}

/* ---- making and removing; with e1_sx exclusive ---- */

struct e1_span_softc *
e1_span_find(uint16_t number)
{
	return (number < E1_SPANS_MAX ? table[number] : NULL);
}

uint64_t
e1_span_present(void)
{
	uint64_t present = 0;
	u_int i;

	for (i = 0; i < E1_SPANS_MAX; i++)
		if (table[i] != NULL)
			present |= (uint64_t)1 << i;
	return (present);
}

static void
frame_anew(struct e1_span_softc *s)
{
	g704_init(&s->framer, (enum g704_framing)s->framing, s->sa);
	g704_init(&s->far, (enum g704_framing)s->framing, 0x1f);
	g704_assume_aligned(&s->far);
}

static struct e1_span_softc *
span_make(struct e1_group *g, uint16_t number, const struct e1_create *arg)
{
	struct e1_span_softc *s = malloc(sizeof(*s), M_E1SHIM, M_WAITOK | M_ZERO);

	s->number = number;
	s->group = g;
	s->backend = arg->backend;
	s->framing = E1_FRAMING_CRC4;
	s->idle = E1_IDLE_DEFAULT;
	s->sa = 0x1f;
	s->line_signal = true;
	frame_anew(s);
	e1_end_make(&s->user, s, false, E1_DEPTH_DEFAULT, E1_DEPTH_DEFAULT);
	if (arg->backend == E1_BACKEND_LINE)
		e1_end_make(&s->line, s, true, E1_DEPTH_DEFAULT, 1);
	if (arg->backend == E1_BACKEND_TDMOE) {
		memcpy(s->port, arg->port, sizeof(s->port));
		memcpy(s->mac, arg->mac, sizeof(s->mac));
		s->subaddress = arg->subaddress;
		s->channels = arg->channels;
		s->clock = arg->clock;
		s->jitter_store = malloc(E1_JITTER_DEPTH * RING_UNIT, M_E1SHIM, M_WAITOK);
		ring_init(&s->jitter, s->jitter_store, E1_JITTER_DEPTH);
		s->silent_ms = E1_NET_LOS_MS + 1;
	}
	return (s);
}

static void
span_free(struct e1_span_softc *s)
{
	e1_end_free(&s->user);
	e1_end_free(&s->line);
	free(s->jitter_store, M_E1SHIM);
	free(s, M_E1SHIM);
}

/* The clock first: then nothing touches the devices any more. No device is open (see var.h). */
static void
group_free(struct e1_group *g)
{
	struct e1_span_softc *s;
	int i;

	mtx_lock(&g->mtx);
	g->ready = false;
	g->stopping = true;
	mtx_unlock(&g->mtx);
	if (g->bound)
		e1_ng_unbind(g->span[0]);
	callout_drain(&g->clock);
	for (i = 0; i < 2 && (s = g->span[i]) != NULL; i++) {
		e1_end_unpublish(&s->user);
		e1_end_unpublish(&s->line);
	}
	for (i = 0; i < 2 && (s = g->span[i]) != NULL; i++) {
		table[s->number] = NULL;
		if (g->announced)
			e1_event_post(s->number, E1_EVENT_DESTROY, 0, 0);
		span_free(s);
	}
	mtx_destroy(&g->mtx);
	free(g, M_E1SHIM);
}

static bool
all_zero(const void *bytes, size_t length)
{
	const uint8_t *p = bytes;

	while (length-- > 0)
		if (*p++ != 0)
			return (false);
	return (true);
}

static int
create_check(const struct e1_create *a)
{
	bool tdmoe = a->backend == E1_BACKEND_TDMOE;

	if (a->backend < E1_BACKEND_PAIR || a->backend > E1_BACKEND_TDMOE)
		return (EINVAL);
	if (a->backend != E1_BACKEND_PAIR && a->peer != E1_SPAN_ANY)
		return (EINVAL);
	if (!tdmoe)
		return (a->subaddress == 0 && a->channels == 0 && a->clock == 0 &&
		    all_zero(a->mac, sizeof(a->mac)) && all_zero(a->port, sizeof(a->port)) ?
		    0 : EINVAL);
	/* The frames' source is compared with it: an address of one station, not of a group. */
	if ((a->mac[0] & 1) != 0 || all_zero(a->mac, sizeof(a->mac)))
		return (EINVAL);
	if (a->channels < 1 || a->channels > TDMOE_CHANNELS_MAX || a->clock > E1_CLOCK_LINE)
		return (EINVAL);
	if (a->port[0] == '\0' || a->port[E1_PORT_NAME - 1] != '\0')
		return (EINVAL);
	return (0);
}

/* The number wanted, or the lowest free one that is not `other`. */
static int
choose_number(uint16_t *number, uint16_t other)
{
	uint16_t i;

	if (*number != E1_SPAN_ANY) {
		if (*number >= E1_SPANS_MAX)
			return (ENXIO);
		return (table[*number] == NULL ? 0 : EEXIST);
	}
	for (i = 0; i < E1_SPANS_MAX; i++)
		if (table[i] == NULL && i != other) {
			*number = i;
			return (0);
		}
	return (ENOSPC);
}

static int
group_publish(struct e1_group *g)
{
	struct e1_span_softc *s;
	int error = 0, i;

	for (i = 0; error == 0 && i < 2 && (s = g->span[i]) != NULL; i++) {
		error = e1_end_publish(&s->user);
		if (error == 0 && s->backend == E1_BACKEND_LINE)
			error = e1_end_publish(&s->line);
	}
	return (error);
}

int
e1_span_create(struct e1_create *arg)
{
	uint16_t number = arg->head.span, peer = arg->peer;
	struct e1_group *g;
	int error, i;

	if ((error = create_check(arg)) != 0 ||
	    (error = choose_number(&number, peer)) != 0)
		return (error);
	if (arg->backend == E1_BACKEND_PAIR) {
		if (peer == number)
			return (EINVAL);
		if ((error = choose_number(&peer, number)) != 0)
			return (error);
	}
	g = malloc(sizeof(*g), M_E1SHIM, M_WAITOK | M_ZERO);
	mtx_init(&g->mtx, "e1shim group", NULL, MTX_DEF);
	callout_init_mtx(&g->clock, &g->mtx, CALLOUT_RETURNUNLOCKED);
	g->span[0] = table[number] = span_make(g, number, arg);
	if (arg->backend == E1_BACKEND_PAIR) {
		g->span[1] = table[peer] = span_make(g, peer, arg);
		g->span[0]->peer = g->span[1];
		g->span[1]->peer = g->span[0];
	}
	if (arg->backend == E1_BACKEND_TDMOE) {
		error = e1_ng_bind(g->span[0]);
		g->bound = error == 0;
	}
	/* Opens fail with ENXIO until all devices are there: going back is then safe. */
	if (error == 0)
		error = group_publish(g);
	if (error != 0) {
		group_free(g);
		return (error);
	}
	mtx_lock(&g->mtx);
	g->ready = true;
	if (arg->backend != E1_BACKEND_LINE) {
		g->next = sbinuptime() + SBT_1MS;
		callout_reset_sbt(&g->clock, g->next, 0, clock_due, g, C_ABSOLUTE);
	}
	mtx_unlock(&g->mtx);
	g->announced = true;
	for (i = 0; i < 2 && g->span[i] != NULL; i++)
		e1_event_post(g->span[i]->number, E1_EVENT_CREATE, g->span[i]->framer.alarms,
		    arg->backend);
	arg->head.span = number;
	arg->peer = peer;
	return (0);
}

int
e1_span_destroy(uint16_t number)
{
	struct e1_span_softc *s = e1_span_find(number);
	struct e1_group *g;
	int busy = 0, i;

	if (s == NULL)
		return (ENXIO);
	g = s->group;
	mtx_lock(&g->mtx);
	for (i = 0; i < 2 && g->span[i] != NULL; i++)
		if (g->span[i]->user.opened || g->span[i]->line.opened)
			busy = EBUSY;
	if (busy == 0)
		g->ready = false;	/* from here on opens get ENXIO */
	mtx_unlock(&g->mtx);
	if (busy == 0)
		group_free(g);
	return (busy);
}

/* At unload: e1_open_forbid has made sure that nothing is open. */
void
e1_span_destroy_all(void)
{
	u_int i;

	for (i = 0; i < E1_SPANS_MAX; i++)
		if (table[i] != NULL)
			group_free(table[i]->group);
}

/* ---- requests ---- */

static void
get_config(struct e1_span_softc *s, struct e1_config *c)
{
	mtx_lock(&s->group->mtx);
	c->framing = s->framing;
	c->rx_depth = (uint16_t)s->user.in.depth;
	c->tx_depth = (uint16_t)s->user.out.depth;
	c->idle = s->idle;
	c->sa = s->sa;
	c->reserved = 0;
	c->reserved2 = 0;
	mtx_unlock(&s->group->mtx);
}

/* Puts a new ring in the old one's place, and keeps its counts. Returns the old store. */
static uint8_t *
replace_ring(struct ring *r, uint8_t *store, uint16_t depth)
{
	uint8_t *old = r->store;
	uint64_t deleted = r->deleted, repeated = r->repeated;

	ring_init(r, store, depth);
	r->deleted = deleted;
	r->repeated = repeated;
	return (old);
}

static int
set_config(struct e1_span_softc *s, struct e1_end *from, const struct e1_config *c)
{
	uint8_t *in, *out, *old_in = NULL, *old_out = NULL;
	int error = 0;

	if (c->framing > E1_FRAMING_CRC4 || c->sa > 0x1f || c->reserved != 0 ||
	    c->reserved2 != 0 || c->rx_depth < E1_DEPTH_MIN || c->rx_depth > E1_DEPTH_MAX ||
	    c->tx_depth < E1_DEPTH_MIN || c->tx_depth > E1_DEPTH_MAX)
		return (EINVAL);
	in = malloc((size_t)c->rx_depth * RING_UNIT, M_E1SHIM, M_WAITOK);
	out = malloc((size_t)c->tx_depth * RING_UNIT, M_E1SHIM, M_WAITOK);
	mtx_lock(&s->group->mtx);
	if (from == NULL && s->user.opened)
		error = EBUSY;
	else {
		old_in = replace_ring(&s->user.in, in, c->rx_depth);
		old_out = replace_ring(&s->user.out, out, c->tx_depth);
		s->user.in_store = in;
		s->user.out_store = out;
		s->user.wrote = false;
		s->framing = c->framing;
		s->idle = c->idle;
		s->sa = c->sa;
		/* Alarms begin anew with the framing; counts go on. */
		struct g704_counters counts = s->framer.counters;

		frame_anew(s);
		s->framer.counters = counts;
		e1_end_writable(&s->user);
	}
	mtx_unlock(&s->group->mtx);
	if (error != 0) {
		old_in = in;
		old_out = out;
	}
	free(old_in, M_E1SHIM);
	free(old_out, M_E1SHIM);
	return (error);
}

static void
get_status(struct e1_span_softc *s, struct e1_status *st)
{
	mtx_lock(&s->group->mtx);
	st->alarms = s->framer.alarms;
	st->sent = g704_sent(&s->framer);
	st->loop = s->loop;
	st->backend = s->backend;
	st->peer = s->peer != NULL ? s->peer->number : E1_SPAN_ANY;
	st->sa = s->framer.sa_received;
	st->opened = (s->user.opened ? 1 : 0) | (s->line.opened ? 2 : 0);
	st->rx_fill = (uint16_t)ring_fill(&s->user.in);
	st->tx_fill = (uint16_t)ring_fill(&s->user.out);
	st->uptime_ms = s->uptime_ms;
	mtx_unlock(&s->group->mtx);
}

static int
get_counters(struct e1_span_softc *s, struct e1_counters *c)
{
	struct e1_head head = c->head;
	uint32_t clear = c->clear;
	struct g704_counters *f = &s->framer.counters;

	if (clear > 1 || c->reserved != 0)
		return (EINVAL);
	mtx_lock(&s->group->mtx);
	*c = s->counters;
	c->head = head;
	c->clear = clear;
	c->reserved = 0;
	c->fas = f->fas;
	c->crc = f->crc;
	c->ebit = f->ebit;
	c->code = f->code;
	c->los = f->begun[0];
	c->ais = f->begun[1];
	c->rai = f->begun[2];
	c->lfa = f->begun[3];
	c->lmfa = f->begun[4];
	c->slip_rx_delete += s->user.in.deleted + s->jitter.deleted;
	c->slip_rx_repeat += s->jitter.repeated;
	if (clear == 1) {
		memset(&s->counters, 0, sizeof(s->counters));
		memset(f, 0, sizeof(*f));
		s->user.in.deleted = s->jitter.deleted = s->jitter.repeated = 0;
	}
	mtx_unlock(&s->group->mtx);
	return (0);
}

static int
set_loop(struct e1_span_softc *s, const struct e1_loop *l)
{
	int error = 0;

	if (l->loop > E1_LOOP_PAYLOAD || l->reserved != 0)
		return (EINVAL);
	mtx_lock(&s->group->mtx);
	/* Two mirrors would send the same unit to and fro for ever. */
	if (l->loop >= E1_LOOP_LINE && s->peer != NULL && s->peer->loop != E1_LOOP_OFF)
		error = EBUSY;
	else if (s->loop != l->loop) {
		s->loop = l->loop;
		s->loop_signal = false;
		memset(s->loop_unit, s->idle, sizeof(s->loop_unit));
	}
	mtx_unlock(&s->group->mtx);
	return (error);
}

static int
inject(struct e1_span_softc *s, const struct e1_inject *in)
{
	static const struct {
		uint32_t kind;
		enum g704_fault fault;
		uint32_t framing;	/* the least that it needs */
	} faults[] = {
		{ E1_INJECT_FAS, G704_FAULT_FAS, E1_FRAMING_FAS },
		{ E1_INJECT_CRC, G704_FAULT_CRC, E1_FRAMING_CRC4 },
		{ E1_INJECT_CODE, G704_FAULT_CODE, E1_FRAMING_CLEAR },
		{ E1_INJECT_EBIT, G704_FAULT_EBIT, E1_FRAMING_CRC4 },
		{ E1_INJECT_LOS, G704_FAULT_LOS, E1_FRAMING_CLEAR },
		{ E1_INJECT_AIS, G704_FAULT_AIS, E1_FRAMING_CLEAR },
		{ E1_INJECT_RAI, G704_FAULT_RAI, E1_FRAMING_FAS },
		{ E1_INJECT_LFA, G704_FAULT_LFA, E1_FRAMING_FAS },
		{ E1_INJECT_LMFA, G704_FAULT_LMFA, E1_FRAMING_CRC4 },
	};
	int error = EINVAL;
	u_int i;

	mtx_lock(&s->group->mtx);
	if (in->kind == E1_INJECT_SLIP_DELETE || in->kind == E1_INJECT_SLIP_REPEAT) {
		if (in->kind == E1_INJECT_SLIP_DELETE)
			s->slip_delete = in->amount;
		else
			s->slip_repeat = in->amount;
		error = 0;
	}
	for (i = 0; i < nitems(faults); i++) {
		if (faults[i].kind != in->kind)
			continue;
		error = s->framing < faults[i].framing ? EBUSY : 0;
		if (error == 0)
			g704_inject(&s->framer, faults[i].fault, in->amount);
	}
	mtx_unlock(&s->group->mtx);
	return (error);
}

static int
line_state(struct e1_span_softc *s, const struct e1_line_state *l)
{
	if (l->signal > 1)
		return (EINVAL);
	mtx_lock(&s->group->mtx);
	s->line_signal = l->signal == 1;
	s->line_code_errors += l->code_errors;
	mtx_unlock(&s->group->mtx);
	return (0);
}

/* The span stays: its device is open (`from`), or e1_sx is held. */
int
e1_span_ioctl(struct e1_span_softc *s, struct e1_end *from, u_long cmd, caddr_t data)
{
	switch (cmd) {
	case E1_GET_CONFIG:
		get_config(s, (struct e1_config *)data);
		return (0);
	case E1_SET_CONFIG:
		return (set_config(s, from, (struct e1_config *)data));
	case E1_GET_STATUS:
		get_status(s, (struct e1_status *)data);
		return (0);
	case E1_GET_COUNTERS:
		return (get_counters(s, (struct e1_counters *)data));
	case E1_SET_LOOP:
		return (set_loop(s, (struct e1_loop *)data));
	case E1_INJECT:
		return (inject(s, (struct e1_inject *)data));
	case E1_LINE_STATE:
		return (line_state(s, (struct e1_line_state *)data));
	}
	return (ENOTTY);
}
