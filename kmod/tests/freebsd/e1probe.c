/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026 The voip project
 *
 * What the ATF tests do with e1shim(4), one verb each. FreeBSD only. Exit 0: as it should be;
 * 1: not, with the reason on standard error; 64: used wrongly.
 *
 *   e1probe pair|line A [B]         make spans          e1probe destroy N
 *   e1probe tdmoe N PORT MAC SUB    make a TDMoE span   e1probe errors
 *   e1probe transfer A B UNITS      A's payload arrives at B, in order, byte by byte
 *   e1probe alarms N                prints the alarms as a number
 *   e1probe wait N MASK MS          waits until the alarms are MASK
 *   e1probe inject N KIND AMOUNT    e1probe counter N NAME
 *   e1probe loop N KIND             e1probe modes A B: O_NONBLOCK, poll, kqueue
 *   e1probe late N                  slips: reads nothing for half a second
 *   e1probe hold N SECONDS          keeps /dev/e1/N open, reading and writing
 *   e1probe events                  made, removed, seen
 */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/ioctl.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "e1shim.h"

static int
ctl(void)
{
	int fd = open("/dev/e1/ctl", O_RDWR);

	if (fd < 0)
		err(1, "/dev/e1/ctl");
	return (fd);
}

static struct e1_head
head(unsigned n)
{
	return ((struct e1_head){ .version = E1_ABI_VERSION, .span = (uint16_t)n });
}

static int
open_span(unsigned n, const char *suffix, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/e1/%u%s", n, suffix);
	if ((fd = open(path, flags)) < 0)
		err(1, "%s", path);
	return (fd);
}

static void
request(int fd, unsigned long cmd, void *arg, const char *name)
{
	if (ioctl(fd, cmd, arg) != 0)
		err(1, "%s", name);
}

static void
create(unsigned backend, unsigned a, unsigned b, struct e1_create *more)
{
	struct e1_create c;
	int fd = ctl();

	memset(&c, 0, sizeof(c));
	if (more != NULL)
		c = *more;
	c.head = head(a);
	c.backend = backend;
	c.peer = (uint16_t)b;
	request(fd, E1_CREATE, &c, "E1_CREATE");
	close(fd);
}

static unsigned
alarms(unsigned n)
{
	struct e1_status st = { .head = head(n) };
	int fd = ctl();

	request(fd, E1_GET_STATUS, &st, "E1_GET_STATUS");
	close(fd);
	return (st.alarms);
}

static void
wait_alarms(unsigned n, unsigned mask, unsigned ms)
{
	unsigned i, now = ~0U;

	for (i = 0; i <= ms; i += 5) {
		if ((now = alarms(n)) == mask)
			return;
		usleep(5000);
	}
	errx(1, "span %u: alarms are %#x, not %#x", n, now, mask);
}

/* Payload of unit n: its number in timeslots 1 to 4 of each frame, a pattern in the others. */
static void
stamp(uint8_t *unit, uint32_t n)
{
	unsigned f, t;

	for (f = 0; f < E1_UNIT_FRAMES; f++)
		for (t = 0; t < E1_TIMESLOTS; t++)
			unit[f * 32 + t] = (uint8_t)(t == 0 ? 0 : t <= 4 ? n >> (8 * (t - 1)) :
			    n * 31 + t * 7 + f);
}

/* Frame by frame: a far end's units begin anywhere in ours, as its multiframes do. */
static void
transfer(unsigned a, unsigned b, uint32_t units)
{
	uint8_t out[E1_UNIT_BYTES], in[E1_UNIT_BYTES], want[E1_UNIT_BYTES];
	const uint8_t *frame;
	int fa = open_span(a, "", O_RDWR | O_NONBLOCK), fb = open_span(b, "", O_RDWR);
	uint32_t sent = 1, got = 0, idle = 0;
	unsigned f, next = 0;

	while (got < units) {
		for (; sent <= units; sent++) {
			stamp(out, sent);
			if (write(fa, out, sizeof(out)) != (ssize_t)sizeof(out)) {
				if (errno == EAGAIN)
					break;
				err(1, "write");
			}
		}
		if (read(fb, in, sizeof(in)) != (ssize_t)sizeof(in))
			err(1, "read");
		for (f = 0; f < E1_UNIT_FRAMES && got < units; f++) {
			frame = in + f * E1_TIMESLOTS;
			if (next == 0 && frame[5] == E1_IDLE_DEFAULT && frame[6] == E1_IDLE_DEFAULT) {
				if (++idle > 2000 * E1_UNIT_FRAMES)
					errx(1, "2000 idle units, %u of %u arrived", got, units);
				continue;
			}
			stamp(want, got + 1);
			if (memcmp(frame + 1, want + next * E1_TIMESLOTS + 1, E1_TIMESLOTS - 1) != 0)
				errx(1, "unit %u frame %u differs", got + 1, next);
			next = (next + 1) % E1_UNIT_FRAMES;
			got += next == 0;
		}
	}
	printf("%u units arrived\n", got);
}

static uint64_t
counter(unsigned n, const char *name)
{
	struct e1_counters c = { .head = head(n) };
	int fd = ctl();

	request(fd, E1_GET_COUNTERS, &c, "E1_GET_COUNTERS");
	close(fd);
#define IS(field) if (strcmp(name, #field) == 0) return (c.field)
	IS(rx_units); IS(tx_units); IS(fas); IS(crc); IS(ebit); IS(code); IS(slip_rx_delete);
	IS(slip_rx_repeat); IS(slip_tx_idle); IS(los); IS(ais); IS(rai); IS(lfa); IS(lmfa);
	IS(clock_skip_ms); IS(net_rx); IS(net_tx); IS(net_bad); IS(net_lost); IS(net_late);
	IS(net_tx_fail);
	errx(64, "no counter %s", name);
}

static void
refused(int fd, unsigned long cmd, void *arg, int want, const char *what)
{
	int got = ioctl(fd, cmd, arg) == 0 ? 0 : errno;

	if (got != want)
		errx(1, "%s: errno %d, not %d", what, got, want);
}

/* Every error that e1shim.h promises and that one pair can show. Spans 0 and 1 must exist. */
static void
errors(void)
{
	struct e1_status st = { .head = head(0) };
	struct e1_inject in = { .head = head(0), .kind = 999 };
	struct e1_loop loop = { .head = head(0), .loop = 9 };
	struct e1_create c = { .head = head(0), .backend = E1_BACKEND_LINE, .peer = E1_SPAN_ANY };
	struct e1_config cf = { .head = head(0) };
	struct e1_span sp = { .head = head(0) };
	uint8_t bytes[512];
	int fd = ctl(), n = open_span(0, "", O_RDWR | O_NONBLOCK);

	refused(fd, E1_IOWR(77, struct e1_span), &sp, ENOTTY, "unknown request");
	refused(fd, E1_LINE_STATE, &in, ENOTTY, "line request on ctl");
	refused(n, E1_CREATE, &c, ENOTTY, "create on a span");
	refused(fd, E1_IOWR(6, struct e1_span), &sp, EINVAL, "wrong length");
	st.head.version = 2;
	refused(fd, E1_GET_STATUS, &st, EINVAL, "wrong version");
	st.head = head(31);
	refused(fd, E1_GET_STATUS, &st, ENXIO, "no such span");
	st.head = head(32);
	refused(fd, E1_GET_STATUS, &st, ENXIO, "span out of range");
	st.head = head(1);
	refused(n, E1_GET_STATUS, &st, ENXIO, "another span's number");
	refused(fd, E1_INJECT, &in, EINVAL, "unknown fault");
	refused(fd, E1_SET_LOOP, &loop, EINVAL, "unknown loop");
	refused(fd, E1_CREATE, &c, EEXIST, "taken number");
	refused(fd, E1_DESTROY, &sp, EBUSY, "open span");
	refused(fd, E1_GET_CONFIG, &cf, 0, "configuration");
	refused(fd, E1_SET_CONFIG, &cf, EBUSY, "owner's span");
	cf.rx_depth = 1;
	refused(n, E1_SET_CONFIG, &cf, EINVAL, "ring of one unit");
	if (open("/dev/e1/0", O_RDWR) >= 0 || errno != EBUSY)
		errx(1, "second open was not EBUSY");
	if (read(n, bytes, 100) >= 0 || errno != EINVAL)
		errx(1, "read of 100 bytes was not EINVAL");
	if (write(n, bytes, 300) >= 0 || errno != EINVAL)
		errx(1, "write of 300 bytes was not EINVAL");
}

static void
modes(unsigned a, unsigned b)
{
	uint8_t unit[E1_UNIT_BYTES], many[E1_UNIT_BYTES * 16];
	int fa = open_span(a, "", O_RDWR), fb = open_span(b, "", O_RDWR | O_NONBLOCK), kq = kqueue();
	struct kevent change[2], event;
	struct pollfd p = { .fd = fb, .events = POLLIN };
	struct timespec wait = { 2, 0 };
	int i, eagain = 0;

	if (kq < 0)
		err(1, "kqueue");
	while (read(fb, many, sizeof(many)) > 0)
		;
	if (errno != EAGAIN)
		err(1, "empty read was not EAGAIN");
	if (poll(&p, 1, 2000) != 1 || (p.revents & POLLIN) == 0)
		errx(1, "poll saw no unit in two seconds");
	if (read(fb, unit, sizeof(unit)) != (ssize_t)sizeof(unit))
		err(1, "read after poll");
	EV_SET(&change[0], fb, EVFILT_READ, EV_ADD, 0, 0, NULL);
	EV_SET(&change[1], fa, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, NULL);
	if (kevent(kq, change, 2, NULL, 0, NULL) != 0)
		err(1, "kevent add");
	for (i = 0; i < 200; i++) {
		if (kevent(kq, NULL, 0, &event, 1, &wait) != 1)
			errx(1, "kevent gave nothing in two seconds");
		if (event.filter == EVFILT_READ) {
			if (event.data < (intptr_t)sizeof(unit) || event.data % (intptr_t)sizeof(unit))
				errx(1, "kevent data is %jd", (intmax_t)event.data);
			if (read(fb, unit, sizeof(unit)) != (ssize_t)sizeof(unit))
				err(1, "read after kevent");
		}
	}
	/* Writing without waiting ends in EAGAIN when the ring is full, and writing on waits. */
	if (fcntl(fa, F_SETFL, O_NONBLOCK) != 0)
		err(1, "F_SETFL");
	memset(unit, 0x55, sizeof(unit));
	for (i = 0; i < 2000 && !eagain; i++)
		eagain = write(fa, unit, sizeof(unit)) < 0 && errno == EAGAIN;
	if (!eagain)
		errx(1, "a full ring was not EAGAIN");
	if (fcntl(fa, F_SETFL, 0) != 0)
		err(1, "F_SETFL");
	for (i = 0; i < 100; i++)
		if (write(fa, unit, sizeof(unit)) != (ssize_t)sizeof(unit))
			err(1, "write that waits");
	/* A knote on a file that is closed goes with it. */
	close(fb);
	close(fa);
	close(kq);
}

static void
hold(unsigned n, unsigned seconds)
{
	uint8_t unit[E1_UNIT_BYTES];
	int fd = open_span(n, "", O_RDWR);
	time_t end = time(NULL) + seconds;

	memset(unit, 0x5a, sizeof(unit));
	while (time(NULL) < end)
		if (write(fd, unit, sizeof(unit)) < 0 || read(fd, unit, sizeof(unit)) < 0)
			err(1, "hold");
}

static void
line_span(unsigned n)
{
	struct e1_line_state ls = { .head = head(n), .signal = 0, .code_errors = 3 };
	uint8_t unit[E1_UNIT_BYTES];
	int line = open_span(n, ".line", O_RDWR), i;

	memset(unit, 0xff, sizeof(unit));
	/* What the span sends comes back to it: it hears itself. */
	for (i = 0; i < 100; i++) {
		if (write(line, unit, sizeof(unit)) != (ssize_t)sizeof(unit) ||
		    read(line, unit, sizeof(unit)) != (ssize_t)sizeof(unit))
			err(1, "line");
	}
	if (alarms(n) != 0)
		errx(1, "a line looped to itself has alarms %#x", alarms(n));
	request(line, E1_LINE_STATE, &ls, "E1_LINE_STATE");
	if (write(line, unit, sizeof(unit)) < 0)
		err(1, "line");
	if (alarms(n) != E1_ALARM_LOS)
		errx(1, "a dead line has alarms %#x", alarms(n));
	if (counter(n, "code") != 3)
		errx(1, "3 code errors were not counted");
}

static void
events(void)
{
	struct e1_event e;
	int fd = ctl(), made = 0, gone = 0, i;
	struct e1_span sp = { .head = head(30) };

	create(E1_BACKEND_PAIR, 30, 31, NULL);
	usleep(50000);
	request(fd, E1_DESTROY, &sp, "E1_DESTROY");
	for (i = 0; i < 100 && gone < 2; i++) {
		if (read(fd, &e, sizeof(e)) != (ssize_t)sizeof(e))
			err(1, "read event");
		if (e.version != E1_ABI_VERSION || e.time_ns == 0)
			errx(1, "event of version %u", e.version);
		made += e.type == E1_EVENT_CREATE && e.span >= 30;
		gone += e.type == E1_EVENT_DESTROY && e.span >= 30;
	}
	if (made != 2 || gone != 2)
		errx(1, "%d made and %d gone", made, gone);
}

static unsigned
number(const char *text)
{
	char *end;
	unsigned long v = strtoul(text, &end, 0);

	if (*text == '\0' || *end != '\0')
		errx(64, "not a number: %s", text);
	return ((unsigned)v);
}

static void
tdmoe(char **v)
{
	struct e1_create c;
	unsigned m[6], i;

	memset(&c, 0, sizeof(c));
	snprintf(c.port, sizeof(c.port), "%s", v[3]);
	if (sscanf(v[4], "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		errx(64, "not an address: %s", v[4]);
	for (i = 0; i < 6; i++)
		c.mac[i] = (uint8_t)m[i];
	c.subaddress = (uint16_t)number(v[5]);
	c.channels = 31;
	create(E1_BACKEND_TDMOE, number(v[2]), E1_SPAN_ANY, &c);
}

static void
set(unsigned long cmd, unsigned n, unsigned kind, unsigned amount)
{
	/* e1_loop and e1_inject have one shape. */
	struct e1_inject in = { .head = head(n), .kind = kind, .amount = amount };
	int fd = ctl();

	request(fd, cmd, &in, "request");
	close(fd);
}

int
main(int argc, char **v)
{
	const char *verb = argc > 1 ? v[1] : "";
	struct e1_span sp;

#define VERB(name, args) (strcmp(verb, name) == 0 && argc == 2 + (args))
	if (VERB("pair", 2))
		create(E1_BACKEND_PAIR, number(v[2]), number(v[3]), NULL);
	else if (VERB("line", 1)) {
		create(E1_BACKEND_LINE, number(v[2]), E1_SPAN_ANY, NULL);
		line_span(number(v[2]));
	} else if (VERB("tdmoe", 4))
		tdmoe(v);
	else if (VERB("destroy", 1)) {
		sp.head = head(number(v[2]));
		request(ctl(), E1_DESTROY, &sp, "E1_DESTROY");
	} else if (VERB("transfer", 3))
		transfer(number(v[2]), number(v[3]), number(v[4]));
	else if (VERB("alarms", 1))
		printf("%#x\n", alarms(number(v[2])));
	else if (VERB("wait", 3))
		wait_alarms(number(v[2]), number(v[3]), number(v[4]));
	else if (VERB("inject", 3))
		set(E1_INJECT, number(v[2]), number(v[3]), number(v[4]));
	else if (VERB("loop", 2))
		set(E1_SET_LOOP, number(v[2]), number(v[3]), 0);
	else if (VERB("counter", 2))
		printf("%ju\n", (uintmax_t)counter(number(v[2]), v[3]));
	else if (VERB("errors", 0))
		errors();
	else if (VERB("modes", 2))
		modes(number(v[2]), number(v[3]));
	else if (VERB("hold", 2))
		hold(number(v[2]), number(v[3]));
	else if (VERB("late", 1)) {
		int fd = open_span(number(v[2]), "", O_RDWR);

		usleep(500000);
		close(fd);
	} else if (VERB("events", 0))
		events();
	else
		errx(64, "see the head of e1probe.c for the verbs");
	return (0);
}
