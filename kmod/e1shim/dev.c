/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * /dev/e1/N and /dev/e1/N.line: read, write, poll, kqueue, and the checks of every request.
 * Locks and life times: see var.h.
 */

#include "var.h"

#include <sys/fcntl.h>
#include <sys/filio.h>
#include <sys/ioccom.h>
#include <sys/poll.h>
#include <sys/uio.h>

/* The header writes the numbers out, for systems that compute them otherwise. */
CTASSERT((uint32_t)E1_CREATE == (uint32_t)_IOWR('E', 1, struct e1_create));
CTASSERT((uint32_t)E1_DESTROY == (uint32_t)_IOWR('E', 2, struct e1_span));
CTASSERT((uint32_t)E1_LIST == (uint32_t)_IOWR('E', 3, struct e1_list));
CTASSERT((uint32_t)E1_GET_CONFIG == (uint32_t)_IOWR('E', 4, struct e1_config));
CTASSERT((uint32_t)E1_SET_CONFIG == (uint32_t)_IOWR('E', 5, struct e1_config));
CTASSERT((uint32_t)E1_GET_STATUS == (uint32_t)_IOWR('E', 6, struct e1_status));
CTASSERT((uint32_t)E1_GET_COUNTERS == (uint32_t)_IOWR('E', 7, struct e1_counters));
CTASSERT((uint32_t)E1_SET_LOOP == (uint32_t)_IOWR('E', 8, struct e1_loop));
CTASSERT((uint32_t)E1_INJECT == (uint32_t)_IOWR('E', 9, struct e1_inject));
CTASSERT((uint32_t)E1_LINE_STATE == (uint32_t)_IOWR('E', 10, struct e1_line_state));
CTASSERT(RING_UNIT == E1_UNIT_BYTES && G704_UNIT == E1_UNIT_BYTES && TDMOE_UNIT == E1_UNIT_BYTES);

static d_open_t		end_open;
static d_read_t		end_read;
static d_write_t	end_write;
static d_ioctl_t	end_ioctl;
static d_poll_t		end_poll;
static d_kqfilter_t	end_kqfilter;

static struct cdevsw end_cdevsw = {
	.d_version =	D_VERSION,
	.d_name =	"e1",
	.d_open =	end_open,
	.d_read =	end_read,
	.d_write =	end_write,
	.d_ioctl =	end_ioctl,
	.d_poll =	end_poll,
	.d_kqfilter =	end_kqfilter,
};

static struct mtx *
end_mtx(struct e1_end *end)
{
	return (&end->span->group->mtx);
}

/* The group's mutex must be ready: it is the knlists' lock. */
void
e1_end_make(struct e1_end *end, struct e1_span_softc *s, bool line, uint16_t in_depth,
    uint16_t out_depth)
{
	end->span = s;
	end->line = line;
	sx_init(&end->writer, "e1shim writer");
	knlist_init_mtx(&end->rsel.si_note, end_mtx(end));
	knlist_init_mtx(&end->wsel.si_note, end_mtx(end));
	end->in_store = malloc((size_t)in_depth * RING_UNIT, M_E1SHIM, M_WAITOK);
	end->out_store = malloc((size_t)out_depth * RING_UNIT, M_E1SHIM, M_WAITOK);
	ring_init(&end->in, end->in_store, in_depth);
	ring_init(&end->out, end->out_store, out_depth);
}

/* si_drv1 is set before the name appears (make_dev(9), make_dev_s). */
int
e1_end_publish(struct e1_end *end)
{
	struct make_dev_args args;

	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_CHECKNAME | MAKEDEV_WAITOK;
	args.mda_devsw = &end_cdevsw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = GID_WHEEL;
	args.mda_mode = 0600;
	args.mda_unit = end->span->number;
	args.mda_si_drv1 = end;
	return (make_dev_s(&args, &end->dev, end->line ? "e1/%u.line" : "e1/%u",
	    (unsigned)end->span->number));
}

void
e1_end_unpublish(struct e1_end *end)
{
	if (end->dev != NULL)
		destroy_dev(end->dev);
	end->dev = NULL;
}

/* The device is gone, the clock is drained, nobody has it open: no knote is left. */
void
e1_end_free(struct e1_end *end)
{
	if (end->in_store == NULL)
		return;
	seldrain(&end->rsel);
	seldrain(&end->wsel);
	knlist_destroy(&end->rsel.si_note);
	knlist_destroy(&end->wsel.si_note);
	sx_destroy(&end->writer);
	free(end->in_store, M_E1SHIM);
	free(end->out_store, M_E1SHIM);
}

/* A unit has come: with the group's mutex. */
void
e1_end_readable(struct e1_end *end)
{
	mtx_assert(end_mtx(end), MA_OWNED);
	wakeup(&end->in);
	selwakeup(&end->rsel);
	KNOTE_LOCKED(&end->rsel.si_note, 0);
}

/* There is room for a unit: with the group's mutex. */
void
e1_end_writable(struct e1_end *end)
{
	mtx_assert(end_mtx(end), MA_OWNED);
	wakeup(&end->out);
	selwakeup(&end->wsel);
	KNOTE_LOCKED(&end->wsel.si_note, 0);
}

/* The last reference to the file is gone: no knote, no sleeper. */
static void
end_gone(void *data)
{
	struct e1_end *end = data;

	mtx_lock(end_mtx(end));
	ring_clear(&end->in);
	ring_clear(&end->out);
	end->wrote = false;
	end->opened = false;
	if (end->line)
		end->span->line_signal = true;
	mtx_unlock(end_mtx(end));
	e1_open_end();
}

static int
end_open(struct cdev *dev, int flags __unused, int type __unused, struct thread *td __unused)
{
	struct e1_end *end = dev->si_drv1;
	int error;

	if ((error = e1_open_begin()) != 0)
		return (error);
	mtx_lock(end_mtx(end));
	if (!end->span->group->ready)
		error = ENXIO;
	else if (end->opened)
		error = EBUSY;
	else
		end->opened = true;
	mtx_unlock(end_mtx(end));
	if (error != 0) {
		e1_open_end();
		return (error);
	}
	error = devfs_set_cdevpriv(end, end_gone);
	if (error != 0)
		end_gone(end);
	return (error);
}

/* Whole units, at least one. */
static int
length_check(const struct uio *uio)
{
	if (uio->uio_resid < (ssize_t)E1_UNIT_BYTES || uio->uio_resid % E1_UNIT_BYTES != 0)
		return (EINVAL);
	return (0);
}

static int
end_read(struct cdev *dev __unused, struct uio *uio, int flags)
{
	struct e1_end *end;
	uint8_t unit[E1_UNIT_BYTES];
	bool any = false;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&end)) != 0 ||
	    (error = length_check(uio)) != 0)
		return (error);
	while (uio->uio_resid > 0) {
		mtx_lock(end_mtx(end));
		while (!ring_take(&end->in, unit) && error == 0) {
			/* sys/fs/devfs/devfs_vnops.c, devfs_read_f: the file's O_NONBLOCK. */
			if (any || (flags & O_NONBLOCK) != 0)
				error = EAGAIN;
			else
				error = mtx_sleep(&end->in, end_mtx(end), PCATCH, "e1rd", 0);
			if (error != 0)
				break;
		}
		mtx_unlock(end_mtx(end));
		if (error != 0)
			return (any ? 0 : error);
		/* A unit whose copy faults is lost, as on a line that nobody listens to. */
		if ((error = uiomove(unit, sizeof(unit), uio)) != 0)
			return (error);
		any = true;
	}
	return (0);
}

/* Waits for room. The writer's lock is held, so what is free stays free. */
static int
wait_for_room(struct e1_end *end, bool may_wait)
{
	int error = 0;

	mtx_lock(end_mtx(end));
	while (error == 0 && ring_room(&end->out) == 0)
		error = may_wait ?
		    mtx_sleep(&end->out, end_mtx(end), PCATCH, "e1wr", 0) : EAGAIN;
	mtx_unlock(end_mtx(end));
	return (error);
}

static int
write_units(struct e1_end *end, struct uio *uio, bool may_wait)
{
	uint8_t unit[E1_UNIT_BYTES];
	bool any = false;
	int error;

	while (uio->uio_resid > 0) {
		/* The line's side is the clock: it is never made to wait. */
		if (!end->line && (error = wait_for_room(end, may_wait && !any)) != 0)
			return (any ? 0 : error);
		if ((error = uiomove(unit, sizeof(unit), uio)) != 0)
			return (error);
		mtx_lock(end_mtx(end));
		if (end->line)
			e1_span_line_in(end->span, unit);
		else {
			/* E1_SET_CONFIG may have made the ring smaller meanwhile. */
			(void)ring_put(&end->out, unit);
			end->wrote = true;
		}
		mtx_unlock(end_mtx(end));
		any = true;
	}
	return (0);
}

static int
end_write(struct cdev *dev __unused, struct uio *uio, int flags)
{
	struct e1_end *end;
	bool may_wait = (flags & O_NONBLOCK) == 0;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&end)) != 0 ||
	    (error = length_check(uio)) != 0)
		return (error);
	if (may_wait) {
		if ((error = sx_xlock_sig(&end->writer)) != 0)
			return (error);
	} else if (!sx_try_xlock(&end->writer))
		return (EAGAIN);
	error = write_units(end, uio, may_wait);
	sx_xunlock(&end->writer);
	return (error);
}

static bool
end_has_room(const struct e1_end *end)
{
	return (end->line || ring_room(&end->out) != 0);
}

static int
end_poll(struct cdev *dev __unused, int wanted, struct thread *td)
{
	const int in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM;
	struct e1_end *end;
	int ready = 0;

	if (devfs_get_cdevpriv((void **)&end) != 0)
		return (POLLHUP);
	mtx_lock(end_mtx(end));
	if ((wanted & in) != 0) {
		if (ring_fill(&end->in) != 0)
			ready |= wanted & in;
		else
			selrecord(td, &end->rsel);
	}
	if ((wanted & out) != 0) {
		if (end_has_room(end))
			ready |= wanted & out;
		else
			selrecord(td, &end->wsel);
	}
	mtx_unlock(end_mtx(end));
	return (ready);
}

static void
read_detach(struct knote *kn)
{
	struct e1_end *end = kn->kn_hook;

	knlist_remove(&end->rsel.si_note, kn, 0);
}

static void
write_detach(struct knote *kn)
{
	struct e1_end *end = kn->kn_hook;

	knlist_remove(&end->wsel.si_note, kn, 0);
}

/* Both are called with the knlist's lock, the group's mutex. */
static int
read_event(struct knote *kn, long hint __unused)
{
	struct e1_end *end = kn->kn_hook;

	mtx_assert(end_mtx(end), MA_OWNED);
	kn->kn_data = (int64_t)ring_fill(&end->in) * E1_UNIT_BYTES;
	return (kn->kn_data != 0);
}

static int
write_event(struct knote *kn, long hint __unused)
{
	struct e1_end *end = kn->kn_hook;

	mtx_assert(end_mtx(end), MA_OWNED);
	kn->kn_data = (int64_t)(end->line ? E1_DEPTH_MAX : ring_room(&end->out)) * E1_UNIT_BYTES;
	return (kn->kn_data != 0);
}

static const struct filterops read_filterops = {
	.f_isfd =	1,
	.f_detach =	read_detach,
	.f_event =	read_event,
};

static const struct filterops write_filterops = {
	.f_isfd =	1,
	.f_detach =	write_detach,
	.f_event =	write_event,
};

static int
end_kqfilter(struct cdev *dev __unused, struct knote *kn)
{
	struct e1_end *end;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&end)) != 0)
		return (error);
	kn->kn_hook = end;
	switch (kn->kn_filter) {
	case EVFILT_READ:
		kn->kn_fop = &read_filterops;
		knlist_add(&end->rsel.si_note, kn, 0);
		return (0);
	case EVFILT_WRITE:
		kn->kn_fop = &write_filterops;
		knlist_add(&end->wsel.si_note, kn, 0);
		return (0);
	}
	return (EINVAL);
}

int
e1_request_check(u_long cmd, const u_long *known, caddr_t data)
{
	const struct e1_head *head = (const struct e1_head *)data;

	for (; *known != 0; known++) {
		if (cmd == *known)
			return (head->version == E1_ABI_VERSION && head->reserved == 0 ?
			    0 : EINVAL);
		/* The same request with another length, or another direction. */
		if (IOCGROUP(cmd) == 'E' && (cmd & 0xff) == (*known & 0xff))
			return (EINVAL);
	}
	return (ENOTTY);
}

static int
end_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data, int flags __unused,
    struct thread *td __unused)
{
	static const u_long of_user[] = { E1_GET_CONFIG, E1_SET_CONFIG, E1_GET_STATUS,
	    E1_GET_COUNTERS, E1_SET_LOOP, E1_INJECT, 0 };
	static const u_long of_line[] = { E1_GET_CONFIG, E1_GET_STATUS, E1_GET_COUNTERS,
	    E1_LINE_STATE, 0 };
	struct e1_end *end;
	int error;

	if ((error = devfs_get_cdevpriv((void **)&end)) != 0)
		return (error);
	/* fcntl(F_SETFL) asks these (sys/kern/kern_descrip.c, kern_fcntl). */
	if (cmd == FIONBIO || (cmd == FIOASYNC && *(int *)data == 0))
		return (0);
	if ((error = e1_request_check(cmd, end->line ? of_line : of_user, data)) != 0)
		return (error);
	if (((struct e1_head *)data)->span != end->span->number)
		return (ENXIO);
	return (e1_span_ioctl(end->span, end, cmd, data));
}
