/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * The module: coming and going. See var.h for locks and e1shim.h for what users see.
 *
 * Going: refused with EBUSY while any device is open or a netgraph node of ours exists, forced or
 * not (kldunload(8) -f skips MOD_QUIESCE only). From e1_open_forbid on opens get ENXIO; destroy_dev
 * waits for those inside d_open and for destructors that still run; spans stop their clocks; the
 * devd task is drained last, since the clocks feed it.
 */

#include "var.h"

#include <sys/mbuf.h>
#include <sys/module.h>

#include <netgraph/ng_message.h>
#include <netgraph/netgraph.h>

MALLOC_DEFINE(M_E1SHIM, "e1shim", "E1 spans");

struct sx e1_sx;
static struct cdev *ctl;

static int
come(void)
{
	struct make_dev_args args;
	int error;

	sx_init(&e1_sx, "e1shim spans");
	e1_event_init();
	e1_ng_init();
	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_CHECKNAME | MAKEDEV_WAITOK;
	args.mda_devsw = &e1_ctl_cdevsw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = GID_WHEEL;
	args.mda_mode = 0600;
	/* The type last: a node made of it could not be taken back. Opens get ENXIO until then. */
	error = make_dev_s(&args, &ctl, "e1/ctl");
	if (error == 0 && (error = e1_ng_attach()) != 0)
		destroy_dev(ctl);
	if (error == 0) {
		e1_open_allow();
		return (0);
	}
	e1_ng_fini();
	e1_event_fini();
	sx_destroy(&e1_sx);
	return (error);
}

static int
go(void)
{
	int error;

	if ((error = e1_open_forbid()) != 0)
		return (error);
	if ((error = e1_ng_forbid()) != 0) {
		e1_open_allow();
		return (error);
	}
	destroy_dev(ctl);
	/* A destructor counts itself out and then returns through our text: let it. */
	pause("e1go", howmany(hz, 10));
	sx_xlock(&e1_sx);
	e1_span_destroy_all();
	sx_xunlock(&e1_sx);
	e1_ng_fini();
	e1_event_fini();
	sx_destroy(&e1_sx);
	return (0);
}

static int
e1shim_event(module_t module __unused, int what, void *data __unused)
{
	switch (what) {
	case MOD_LOAD:
		return (come());
	case MOD_QUIESCE:
		return (e1_open_any());
	case MOD_UNLOAD:
		return (go());
	case MOD_SHUTDOWN:
		return (0);
	}
	return (EOPNOTSUPP);
}

static moduledata_t e1shim_module = { "e1shim", e1shim_event, NULL };

/* After SI_SUB_NETGRAPH, where netgraph(4) makes itself ready when both are loaded at boot. */
DECLARE_MODULE(e1shim, e1shim_module, SI_SUB_PSEUDO, SI_ORDER_ANY);
MODULE_VERSION(e1shim, 1);
MODULE_DEPEND(e1shim, netgraph, NG_ABI_VERSION, NG_ABI_VERSION, NG_ABI_VERSION);
