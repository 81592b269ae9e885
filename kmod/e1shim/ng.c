/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * TDMoE through netgraph(4). A node of type "e1shim" is made by its user:
 *
 *     kldload ng_ether
 *     ngctl mkpeer em0: e1shim orphans em0
 *
 * Its hooks may have any name; a span names the hook that carries it (e1_create.port). What
 * ng_ether(4) gives on "orphans" are whole Ethernet frames of types that nobody else wants
 * (sys/net/if_ethersubr.c, ether_demux), and what it takes there are whole frames to send, whose
 * source address it fills in (sys/netgraph/ng_ether.c, ng_ether_rcv_lower) once it is told to:
 * setautosrc is off unless asked for, so a hook that is connected asks.
 *
 * The node ends with its last hook. Data arrives in a netgraph or network thread, inside the
 * network's epoch: mutexes may be taken, nothing may sleep. We send with NG_QUEUE, so a thread of
 * netgraph (sys/netgraph/ng_base.c, ngthread) enters the network's epoch and ng_ether's lock order
 * never meets ours; ng_address_hook drops data for a hook that is on its way out.
 */

#include "var.h"

#include <sys/mbuf.h>
#include <sys/sysctl.h>
#include <net/ethernet.h>
#include <netgraph/ng_ether.h>
#include <netgraph/ng_message.h>
#include <netgraph/netgraph.h>

struct port {
	LIST_ENTRY(port) ports;
	hook_p		hook;
	char		name[E1_PORT_NAME];
};

static struct mtx e1_ng_mtx;
static LIST_HEAD(, port) ports = LIST_HEAD_INITIALIZER(ports);
static LIST_HEAD(, e1_span_softc) spans = LIST_HEAD_INITIALIZER(spans);
static u_int stray;

static SYSCTL_NODE(_hw, OID_AUTO, e1shim, CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, "E1 spans");
SYSCTL_UINT(_hw_e1shim, OID_AUTO, net_stray, CTLFLAG_RD, &stray, 0,
    "TDMoE frames that belong to no span");
SYSCTL_UINT(_hw_e1shim, OID_AUTO, built_for, CTLFLAG_RD, SYSCTL_NULL_UINT_PTR, __FreeBSD_version,
    "__FreeBSD_version that the module was built with");

static ng_constructor_t	e1_ng_constructor;
static ng_shutdown_t	e1_ng_shutdown;
static ng_newhook_t	e1_ng_newhook;
static ng_connect_t	e1_ng_connect;
static ng_rcvdata_t	e1_ng_rcvdata;
static ng_disconnect_t	e1_ng_disconnect;

static struct ng_type e1_ng_type = {
	.version =	NG_ABI_VERSION,
	.name =		"e1shim",
	.constructor =	e1_ng_constructor,
	.shutdown =	e1_ng_shutdown,
	.newhook =	e1_ng_newhook,
	.connect =	e1_ng_connect,
	.rcvdata =	e1_ng_rcvdata,
	.disconnect =	e1_ng_disconnect,
};

void
e1_ng_init(void)
{
	mtx_init(&e1_ng_mtx, "e1shim ports", NULL, MTX_DEF);
}

/* From here on nodes can be made. */
int
e1_ng_attach(void)
{
	return (ng_newtype(&e1_ng_type));
}

/* EBUSY while a node of ours exists (sys/netgraph/ng_base.c, ng_rmtype). */
int
e1_ng_forbid(void)
{
	return (ng_rmtype(&e1_ng_type));
}

/* No span is left that would look for a hook. */
void
e1_ng_fini(void)
{
	mtx_destroy(&e1_ng_mtx);
}

static int
e1_ng_constructor(node_p node __unused)
{
	return (0);
}

static int
e1_ng_shutdown(node_p node)
{
	NG_NODE_UNREF(node);
	return (0);
}

static int
e1_ng_newhook(node_p node __unused, hook_p hook, const char *name)
{
	struct port *p, *other;

	if (strlen(name) >= E1_PORT_NAME)
		return (EINVAL);
	p = malloc(sizeof(*p), M_E1SHIM, M_NOWAIT | M_ZERO);
	if (p == NULL)
		return (ENOMEM);
	strlcpy(p->name, name, sizeof(p->name));
	p->hook = hook;
	mtx_lock(&e1_ng_mtx);
	LIST_FOREACH(other, &ports, ports)
		if (strcmp(other->name, name) == 0)
			break;
	if (other == NULL)
		LIST_INSERT_HEAD(&ports, p, ports);
	mtx_unlock(&e1_ng_mtx);
	if (other != NULL) {
		free(p, M_E1SHIM);
		return (EEXIST);
	}
	NG_HOOK_SET_PRIVATE(hook, p);
	return (0);
}

static int
e1_ng_disconnect(hook_p hook)
{
	struct port *p = NG_HOOK_PRIVATE(hook);
	node_p node = NG_HOOK_NODE(hook);

	if (p != NULL) {
		mtx_lock(&e1_ng_mtx);
		LIST_REMOVE(p, ports);
		mtx_unlock(&e1_ng_mtx);
		NG_HOOK_SET_PRIVATE(hook, NULL);
		free(p, M_E1SHIM);
	}
	if (NG_NODE_NUMHOOKS(node) == 0 && NG_NODE_IS_VALID(node))
		ng_rmnode_self(node);
	return (0);
}

/* A frame for a span whose lock is held: into the jitter buffer. False: it was dropped. */
static bool
take_frame(struct e1_span_softc *s, const uint8_t *octets, size_t length)
{
	struct tdmoe_frame f;
	uint8_t unit[E1_UNIT_BYTES];
	int16_t ahead;

	if (tdmoe_parse(octets, length, &f) != TDMOE_OK || f.channels != s->channels) {
		s->counters.net_bad++;
		return (false);
	}
	if (s->rx_any) {
		ahead = (int16_t)(f.sequence - s->rx_sequence);
		if (ahead < 0 && ahead >= -E1_SEQUENCE_BACK_MAX) {
			s->counters.net_late++;
			return (false);
		}
		if (ahead > 0)
			s->counters.net_lost += (uint64_t)ahead;
	}
	s->rx_any = true;
	s->rx_sequence = f.sequence + 1;
	s->rx_flags = f.flags;
	s->counters.net_rx++;
	s->silent_ms = 0;
	s->hold_ms = 0;
	memset(unit, s->idle, sizeof(unit));
	tdmoe_to_unit(&f, unit);
	if (!ring_put(&s->jitter, unit))
		s->slips++;
	return (true);
}

static void
take_ethernet(struct port *p, const uint8_t *frame, size_t length)
{
	const uint8_t *body = frame + ETHER_HDR_LEN;
	struct e1_span_softc *s;
	struct mbuf *list = NULL;
	uint16_t subaddress;

	if (length < ETHER_HDR_LEN + 2 ||
	    (frame[12] << 8 | frame[13]) != (int)TDMOE_ETHERTYPE)
		return;
	subaddress = (uint16_t)(body[0] << 8 | body[1]);
	mtx_lock(&e1_ng_mtx);
	LIST_FOREACH(s, &spans, on_port)
		if (s->subaddress == subaddress && strcmp(s->port, p->name) == 0 &&
		    memcmp(s->mac, frame + 6, sizeof(s->mac)) == 0)
			break;
	if (s == NULL) {
		stray++;
		mtx_unlock(&e1_ng_mtx);
		return;
	}
	/* e1_ng_unbind needs e1_ng_mtx, so the span stays for as long as that is held. */
	mtx_lock(&s->group->mtx);
	if (take_frame(s, body, length - ETHER_HDR_LEN) && s->clock == E1_CLOCK_LINE)
		list = e1_span_tick_tdmoe(s);
	mtx_unlock(&s->group->mtx);
	if (list != NULL) {
		char name[E1_PORT_NAME];

		strlcpy(name, s->port, sizeof(name));
		mtx_unlock(&e1_ng_mtx);
		(void)e1_ng_send_to(name, list);
		return;
	}
	mtx_unlock(&e1_ng_mtx);
}

static int
e1_ng_rcvdata(hook_p hook, item_p item)
{
	struct port *p = NG_HOOK_PRIVATE(hook);
	uint8_t frame[ETHER_HDR_LEN + TDMOE_MAX];
	struct mbuf *m;
	int length;

	NGI_GET_M(item, m);
	NG_FREE_ITEM(item);
	if (p != NULL && m->m_pkthdr.len >= ETHER_HDR_LEN) {
		length = min(m->m_pkthdr.len, (int)sizeof(frame));
		m_copydata(m, 0, length, (caddr_t)frame);
		take_ethernet(p, frame, (size_t)length);
	}
	m_freem(m);
	return (0);
}

/* Asks ng_ether(4) for its interface's address in what we send: the far end looks for it. */
static int
e1_ng_connect(hook_p hook)
{
	struct ng_mesg *message;
	int error;

	NG_MKMESSAGE(message, NGM_ETHER_COOKIE, NGM_ETHER_SET_AUTOSRC, sizeof(uint32_t), M_NOWAIT);
	if (message == NULL)
		return (ENOMEM);
	*(uint32_t *)message->data = 1;
	/*
	 * To the node, as no hook is valid yet (sys/netgraph/ng_base.c, ng_con_part2). Other kinds
	 * of nodes refuse, and put a source of their own or none: so be it.
	 */
	NG_SEND_MSG_ID(error, NG_HOOK_NODE(hook), message, NG_NODE_ID(NG_PEER_NODE(hook)), 0);
	(void)error;
	return (0);
}

/* With e1_sx held. EEXIST: another span has that address. */
int
e1_ng_bind(struct e1_span_softc *s)
{
	struct e1_span_softc *other;

	mtx_lock(&e1_ng_mtx);
	LIST_FOREACH(other, &spans, on_port)
		if (other->subaddress == s->subaddress && strcmp(other->port, s->port) == 0 &&
		    memcmp(other->mac, s->mac, sizeof(s->mac)) == 0)
			break;
	if (other == NULL)
		LIST_INSERT_HEAD(&spans, s, on_port);
	mtx_unlock(&e1_ng_mtx);
	return (other == NULL ? 0 : EEXIST);
}

void
e1_ng_unbind(struct e1_span_softc *s)
{
	mtx_lock(&e1_ng_mtx);
	LIST_REMOVE(s, on_port);
	mtx_unlock(&e1_ng_mtx);
}

/* With the span's lock. */
struct mbuf *
e1_ng_frame(struct e1_span_softc *s, const uint8_t *unit, uint8_t flags)
{
	struct mbuf *m = m_getcl(M_NOWAIT, MT_DATA, M_PKTHDR);
	uint8_t *frame;
	size_t length;

	if (m == NULL) {
		s->counters.net_tx_fail++;
		return (NULL);
	}
	frame = mtod(m, uint8_t *);
	memcpy(frame, s->mac, 6);
	memset(frame + 6, 0, 6);
	frame[12] = TDMOE_ETHERTYPE >> 8;
	frame[13] = TDMOE_ETHERTYPE & 0xff;
	length = ETHER_HDR_LEN + tdmoe_emit(frame + ETHER_HDR_LEN, s->subaddress, s->tx_sequence++,
	    s->channels, flags, unit);
	m->m_len = m->m_pkthdr.len = (int)length;
	s->counters.net_tx++;
	return (m);
}

u_int
e1_ng_send_to(const char *name, struct mbuf *list)
{
	struct port *p;
	struct mbuf *m;
	hook_p hook = NULL;
	u_int dropped = 0;
	int error = 0;

	mtx_lock(&e1_ng_mtx);
	LIST_FOREACH(p, &ports, ports)
		if (strcmp(p->name, name) == 0) {
			hook = p->hook;
			NG_HOOK_REF(hook);
			break;
		}
	mtx_unlock(&e1_ng_mtx);
	while ((m = list) != NULL) {
		list = m->m_nextpkt;
		m->m_nextpkt = NULL;
		if (hook == NULL) {
			m_freem(m);
			dropped++;
		} else
			NG_SEND_DATA_FLAGS(error, hook, m, NG_QUEUE);
	}
	/* What netgraph did with a frame is its own to count. */
	(void)error;
	if (hook != NULL)
		NG_HOOK_UNREF(hook);
	return (dropped);
}
