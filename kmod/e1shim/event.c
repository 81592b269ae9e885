/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * Events: a ring of the last E1_EVENTS_KEPT, a place in it for each open of /dev/e1/ctl, and a task
 * that tells devd(8). And /dev/e1/ctl itself. Locks: see var.h.
 */

#include "var.h"

#include <sys/devctl.h>
#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/poll.h>
#include <sys/taskqueue.h>
#include <sys/time.h>
#include <sys/uio.h>

/* One open of /dev/e1/ctl. */
struct reader {
	uint64_t	next;		/* number of the event that it reads next */
};

struct mtx e1_event_mtx;
static struct e1_event events[E1_EVENTS_KEPT];
static uint64_t event_count;		/* events ever posted; the last is event_count - 1 */
static uint64_t told_count;		/* told to devd(8) */
static struct selinfo event_sel;
static struct task tell_task;
static u_int opens;
static bool leaving;

int
e1_open_begin(void)
{
	int error = 0;

	mtx_lock(&e1_event_mtx);
	if (leaving)
		error = ENXIO;
	else
		opens++;
	mtx_unlock(&e1_event_mtx);
	return (error);
}

void
e1_open_end(void)
{
	mtx_lock(&e1_event_mtx);
	KASSERT(opens > 0, ("e1shim: closed more often than opened"));
	opens--;
	mtx_unlock(&e1_event_mtx);
}

int
e1_open_forbid(void)
{
	int error = 0;

	mtx_lock(&e1_event_mtx);
	if (opens != 0)
		error = EBUSY;
	else
		leaving = true;
	mtx_unlock(&e1_event_mtx);
	return (error);
}

void
e1_open_allow(void)
{
	mtx_lock(&e1_event_mtx);
	leaving = false;
	mtx_unlock(&e1_event_mtx);
}

int
e1_open_any(void)
{
	int busy;

	mtx_lock(&e1_event_mtx);
	busy = opens != 0 ? EBUSY : 0;
	mtx_unlock(&e1_event_mtx);
	return (busy);
}

void
e1_event_post(uint16_t span, uint16_t type, uint32_t alarms, uint32_t value)
{
	struct e1_event *e;

	mtx_lock(&e1_event_mtx);
	e = &events[event_count % E1_EVENTS_KEPT];
	memset(e, 0, sizeof(*e));
	e->time_ns = (uint64_t)sbttons(sbinuptime());
	e->version = E1_ABI_VERSION;
	e->span = span;
	e->type = type;
	e->alarms = alarms;
	e->value = value;
	event_count++;
	wakeup(&event_count);
	selwakeup(&event_sel);
	KNOTE_LOCKED(&event_sel.si_note, 0);
	mtx_unlock(&e1_event_mtx);
	taskqueue_enqueue(taskqueue_thread, &tell_task);
}

/* devctl_notify(9) allocates and takes its own lock: called from a thread that holds none. */
static void
tell_devd(void *context __unused, int pending __unused)
{
	static const char *const types[] = { "?", "ALARM", "SLIP", "CREATE", "DESTROY", "CLOCK" };
	struct e1_event e;
	char span[16], data[64];

	for (;;) {
		mtx_lock(&e1_event_mtx);
		if (told_count + E1_EVENTS_KEPT < event_count)
			told_count = event_count - E1_EVENTS_KEPT;
		if (told_count == event_count) {
			mtx_unlock(&e1_event_mtx);
			return;
		}
		e = events[told_count++ % E1_EVENTS_KEPT];
		mtx_unlock(&e1_event_mtx);
		snprintf(span, sizeof(span), "span%u", (unsigned)e.span);
		snprintf(data, sizeof(data), "alarms=0x%02x value=0x%x", (unsigned)e.alarms,
		    (unsigned)e.value);
		devctl_notify("E1", span, types[e.type < nitems(types) ? e.type : 0], data);
	}
}

void
e1_event_init(void)
{
	mtx_init(&e1_event_mtx, "e1shim events", NULL, MTX_DEF);
	knlist_init_mtx(&event_sel.si_note, &e1_event_mtx);
	TASK_INIT(&tell_task, 0, tell_devd, NULL);
	event_count = told_count = 0;
	opens = 0;
	leaving = true;		/* until e1_open_allow: the module is still on its way in */
}

/* No device is left, and no clock: nobody posts any more. */
void
e1_event_fini(void)
{
	taskqueue_drain(taskqueue_thread, &tell_task);
	seldrain(&event_sel);
	knlist_destroy(&event_sel.si_note);
	mtx_destroy(&e1_event_mtx);
}

/* ---- /dev/e1/ctl ---- */

static d_open_t		ctl_open;
static d_read_t		ctl_read;
static d_ioctl_t	ctl_ioctl;
static d_poll_t		ctl_poll;
static d_kqfilter_t	ctl_kqfilter;

struct cdevsw e1_ctl_cdevsw = {
	.d_version =	D_VERSION,
	.d_name =	"e1ctl",
	.d_open =	ctl_open,
	.d_read =	ctl_read,
	.d_ioctl =	ctl_ioctl,
	.d_poll =	ctl_poll,
	.d_kqfilter =	ctl_kqfilter,
};

/* The last reference to the file is gone. */
static void
ctl_gone(void *data)
{
	free(data, M_E1SHIM);
	e1_open_end();
}

static int
ctl_open(struct cdev *dev __unused, int flags __unused, int type __unused,
    struct thread *td __unused)
{
	struct reader *r;
	int error;

	if ((error = e1_open_begin()) != 0)
		return (error);
	r = malloc(sizeof(*r), M_E1SHIM, M_WAITOK | M_ZERO);
	mtx_lock(&e1_event_mtx);
	r->next = event_count;
	mtx_unlock(&e1_event_mtx);
	error = devfs_set_cdevpriv(r, ctl_gone);
	if (error != 0)
		ctl_gone(r);
	return (error);
}

static int
ctl_read(struct cdev *dev __unused, struct uio *uio, int flags)
{
	struct reader *r;
	struct e1_event e;
	bool any = false;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&r)) != 0)
		return (error);
	if (uio->uio_resid < (ssize_t)sizeof(e))
		return (EINVAL);
	while (uio->uio_resid >= (ssize_t)sizeof(e)) {
		mtx_lock(&e1_event_mtx);
		while (r->next == event_count && error == 0) {
			/* sys/fs/devfs/devfs_vnops.c, devfs_read_f: the file's O_NONBLOCK. */
			if (any || (flags & O_NONBLOCK) != 0)
				error = EAGAIN;
			else
				error = mtx_sleep(&event_count, &e1_event_mtx, PCATCH, "e1ev", 0);
		}
		if (error != 0) {
			mtx_unlock(&e1_event_mtx);
			return (any ? 0 : error);
		}
		uint32_t lost = 0;

		if (r->next + E1_EVENTS_KEPT < event_count) {
			lost = (uint32_t)(event_count - E1_EVENTS_KEPT - r->next);
			r->next = event_count - E1_EVENTS_KEPT;
		}
		e = events[r->next++ % E1_EVENTS_KEPT];
		mtx_unlock(&e1_event_mtx);
		e.lost = lost;
		if ((error = uiomove(&e, sizeof(e), uio)) != 0)
			return (error);
		any = true;
	}
	return (0);
}

static int
ctl_poll(struct cdev *dev __unused, int wanted, struct thread *td)
{
	struct reader *r;
	int ready = 0;

	if (devfs_get_cdevpriv((void **)&r) != 0)
		return (POLLHUP);
	mtx_lock(&e1_event_mtx);
	if ((wanted & (POLLIN | POLLRDNORM)) != 0) {
		if (r->next != event_count)
			ready = wanted & (POLLIN | POLLRDNORM);
		else
			selrecord(td, &event_sel);
	}
	mtx_unlock(&e1_event_mtx);
	return (ready);
}

static void
ctl_detach(struct knote *kn)
{
	knlist_remove(&event_sel.si_note, kn, 0);
}

/* Called with the knlist's lock, e1_event_mtx. */
static int
ctl_event(struct knote *kn, long hint __unused)
{
	struct reader *r = kn->kn_hook;
	uint64_t waiting = event_count - r->next;

	mtx_assert(&e1_event_mtx, MA_OWNED);
	if (waiting > E1_EVENTS_KEPT)
		waiting = E1_EVENTS_KEPT;
	kn->kn_data = (int64_t)(waiting * sizeof(struct e1_event));
	return (waiting != 0);
}

static const struct filterops ctl_filterops = {
	.f_isfd =	1,
	.f_detach =	ctl_detach,
	.f_event =	ctl_event,
};

static int
ctl_kqfilter(struct cdev *dev __unused, struct knote *kn)
{
	struct reader *r;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&r)) != 0)
		return (error);
	if (kn->kn_filter != EVFILT_READ)
		return (EINVAL);
	kn->kn_hook = r;
	kn->kn_fop = &ctl_filterops;
	knlist_add(&event_sel.si_note, kn, 0);
	return (0);
}

static int
list_spans(struct e1_list *l)
{
	sx_slock(&e1_sx);
	l->present = e1_span_present();
	sx_sunlock(&e1_sx);
	l->spans_max = E1_SPANS_MAX;
	l->module_version = E1_MODULE_VERSION;
	return (0);
}

static int
ctl_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data, int flags,
    struct thread *td __unused)
{
	static const u_long known[] = { E1_CREATE, E1_DESTROY, E1_LIST, E1_GET_CONFIG,
	    E1_SET_CONFIG, E1_GET_STATUS, E1_GET_COUNTERS, E1_SET_LOOP, E1_INJECT, 0 };
	struct e1_span_softc *s;
	struct e1_head *head;
	int error;

	/* fcntl(F_SETFL) asks these (sys/kern/kern_descrip.c, kern_fcntl). */
	if (cmd == FIONBIO || (cmd == FIOASYNC && *(int *)data == 0))
		return (0);
	if ((error = e1_request_check(cmd, known, data)) != 0)
		return (error);
	head = (struct e1_head *)data;
	switch (cmd) {
	case E1_LIST:
		return (list_spans((struct e1_list *)data));
	case E1_CREATE:
	case E1_DESTROY:
		if ((flags & FWRITE) == 0)
			return (EBADF);
		sx_xlock(&e1_sx);
		error = cmd == E1_CREATE ? e1_span_create((struct e1_create *)data) :
		    e1_span_destroy(head->span);
		sx_xunlock(&e1_sx);
		return (error);
	}
	/* The span stays while the lock is held. */
	sx_slock(&e1_sx);
	s = e1_span_find(head->span);
	error = s == NULL ? ENXIO : e1_span_ioctl(s, NULL, cmd, data);
	sx_sunlock(&e1_sx);
	return (error);
}
