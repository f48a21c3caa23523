/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures over the wire: what passes a port, as records that a client makes a pcap file of. A reply takes as many as
 * fit; one that does not comes in pieces. What was read is gone, but for the last reply, which is kept for a client
 * that did not get it: replies are numbered.
 *
 * What a guest sends is its own business: a capture is an operator's, and a key that is limited to VMs has those of
 * its VMs alone.
 */
#include "lua/cmd_net.h"

#include <string.h>

#include "guest/network.h"
#include "guest/vm_nic.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/nets.h"

#define RECORD_HEAD 48u  /* bytes that a piece takes besides its data */
#define PIECE_MIN 128u   /* smaller ones are not worth it */
#define DATA_ORDER 5u    /* pages for one record: 128 KiB */

#define LAST_AT (PAGE_SIZE << (DATA_ORDER - 1)) /* the last reply's records, behind the record */
#define DATA_BYTES (PAGE_SIZE << DATA_ORDER)

_Static_assert(LAST_AT + PAGE_SIZE >= NET_TAP_SNAP_MAX && DATA_BYTES >= LAST_AT + PAGE_SIZE + SMP_BODY_MAX, "all fits");

/* A capture that somebody reads. The control task's. */
static struct reader {
	uint32_t capture; /* 0: the place is free */
	char vm[VM_NAME_MAX]; /* whose port it is; "": of no VM */
	uint64_t read_at; /* ticks */
	struct net_tap_record record; /* the one that is on its way */
	uint32_t told;    /* bytes of it that went out */
	bool pending;     /* some are left, or it has not begun */
	uint64_t replies; /* so far */
	size_t last_bytes; /* of the records in the last one */
	bool last_more;
	uint8_t *data;
	hfn_t frame;
} readers[NETWORK_TAPS_MAX];

/* ---- places ---- */

static struct reader *find_reader(uint32_t capture)
{
	for (unsigned i = 0; i < NETWORK_TAPS_MAX && capture; i++)
		if (readers[i].capture == capture)
			return &readers[i];
	return NULL;
}

/* A place for another one. Where all are taken, whose capture was read least lately has ended by itself. */
static struct reader *free_reader(void)
{
	struct reader *oldest = &readers[0];

	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++) {
		if (!readers[i].capture)
			return &readers[i];
		if (readers[i].read_at < oldest->read_at)
			oldest = &readers[i];
	}
	return oldest;
}

static void drop(struct control *c, struct reader *r)
{
	unsigned long masked;

	if (!r->capture)
		return;
	masked = control_mask(c);
	memmgr_free(c->cfg.machine->mm, r->frame, DATA_ORDER);
	control_unmask(c, masked);
	*r = (struct reader){.capture = 0};
}

/* One that has only begun. */
static void give_up(struct control *c, uint32_t capture)
{
	struct error err;
	uint64_t lost;

	if (network_capture_end(c->cfg.machine, capture, &lost, &err) != ST_OK)
		log_error("%s", err.text);
}

void captures_init(void)
{
	memset(readers, 0, sizeof readers);
}

void captures_drop(struct control *c)
{
	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++)
		drop(c, &readers[i]);
}

static enum status take_memory(struct control *c, struct reader *r, struct error *err)
{
	unsigned long masked = control_mask(c);
	enum status st = memmgr_alloc(c->cfg.machine->mm, DATA_ORDER, &r->frame);

	control_unmask(c, masked);
	if (st != ST_OK)
		return fail(err, st, "there is no memory for a capture");
	r->data = memmgr_va(c->cfg.machine->mm, r->frame);
	return ST_OK;
}

/* ---- begin ---- */

/* The VM that a port's name, "web/lan0", is of; NULL: of no VM. */
static struct vm *vm_of(struct control *c, const char *port)
{
	char name[NETWORK_PORT_MAX];
	const char *slash = strchr(port, '/');
	struct vm *vm;

	if (!slash)
		return NULL;
	format(name, sizeof name, "%.*s", (int)(slash - port), port);
	vm = vm_find(c->cfg.machine, name);
	return vm && vm_nic_find(vm, slash + 1, strlen(slash + 1)) ? vm : NULL;
}

static enum status read_port(struct control *c, const struct command_args *a, char port[NETWORK_PORT_MAX],
			     struct vm **vm, struct failure *f)
{
	char shown[NETWORK_PORT_MAX];

	if (a->port.len >= NETWORK_PORT_MAX || memchr(a->port.text, '\0', a->port.len))
		return fail(&f->error, ST_NOT_FOUND, "there is no port %s",
			    log_clean(shown, sizeof shown, a->port.text, a->port.len));
	memcpy(port, a->port.text, a->port.len);
	port[a->port.len] = '\0';
	*vm = vm_of(c, port);
	return ST_OK;
}

static enum status check_right(const struct control *c, const struct command_args *a, const struct vm *vm,
			       const char *what, struct failure *f)
{
	if (a->from_script || session_may(c, vm))
		return ST_OK;
	return fail(&f->error, ST_DENIED, "the key %s has no rights on %s", c->session.who, what);
}

enum status capture_begin_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char port[NETWORK_PORT_MAX];
	struct vm *vm;
	enum status st = nets_there(c, &f->error);

	audit_on(c, a->port.text, a->port.len);
	if (st == ST_OK)
		st = read_port(c, a, port, &vm, f);
	if (st == ST_OK && a->snap.given && (a->snap.value == 0 || a->snap.value > NET_TAP_SNAP_MAX))
		return fail(&f->error, ST_INVALID, "snap is %llu, it can be 1 to %u", (unsigned long long)a->snap.value,
			    NET_TAP_SNAP_MAX);
	return st == ST_OK ? check_right(c, a, vm, port, f) : st;
}

enum status capture_begin_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct reader fresh = {.read_at = control_ticks(c)};
	uint64_t seconds = host_wall_seconds(c->cfg.machine->host);
	char port[NETWORK_PORT_MAX];
	struct reader *r;
	struct vm *vm;
	enum status st = read_port(c, a, port, &vm, f);

	if (st == ST_OK)
		st = network_capture_begin(c->cfg.machine, port, a->snap.given ? (uint32_t)a->snap.value : 0,
					   &fresh.capture, &f->error);
	if (st != ST_OK)
		return st;
	r = free_reader();
	drop(c, r);
	st = take_memory(c, &fresh, &f->error);
	if (st != ST_OK) {
		give_up(c, fresh.capture);
		return st;
	}
	format(fresh.vm, sizeof fresh.vm, "%s", vm ? vm->config.name : "");
	*r = fresh;
	log_info("port %s: %s captures what passes it", port, a->from_script ? "a script" : c->session.who);
	command_put_uint(w, "capture", fresh.capture);
	command_put_uint(w, "now_ns", ticks_to_ns(control_ticks(c), c->cfg.clock->hz));
	if (seconds != HOST_WALL_UNKNOWN)
		command_put_uint(w, "time", seconds);
	return ST_OK;
}

/* ---- read, end ---- */

static enum status no_capture(const struct command_args *a, struct failure *f)
{
	return fail(&f->error, ST_NOT_FOUND, "there is no capture %llu", (unsigned long long)a->capture.value);
}

enum status capture_decode(struct control *c, struct command_args *a, struct failure *f)
{
	const struct reader *r = a->capture.value <= UINT32_MAX ? find_reader((uint32_t)a->capture.value) : NULL;
	char what[32];

	if (!r)
		return no_capture(a, f);
	format(what, sizeof what, "capture %u", r->capture);
	return check_right(c, a, r->vm[0] ? vm_find(c->cfg.machine, r->vm) : NULL, what, f);
}

/* One that ended by itself is gone here too. */
static enum status next_record(struct control *c, struct reader *r, struct failure *f)
{
	bool got = false;
	enum status st = network_capture_read(c->cfg.machine, r->capture, &r->record, r->data, &got, &f->error);

	if (st != ST_OK) {
		drop(c, r);
		return st;
	}
	r->pending = got;
	r->told = 0;
	return ST_OK;
}

/* [ns, bytes of the frame, bytes kept, sent by the port's owner, where this piece begins, piece] */
static void put_piece(const struct control *c, struct reader *r, struct cbor_writer *w)
{
	size_t room = w->size - w->len - RECORD_HEAD - PIECE_MIN / 2; /* the ends of the reply */
	uint32_t n = (uint32_t)MIN(r->record.kept - r->told, room);
	struct cbor_mark list = cbor_open(w);

	cbor_put_uint(w, ticks_to_ns(r->record.at, c->cfg.clock->hz));
	cbor_put_uint(w, r->record.bytes);
	cbor_put_uint(w, r->record.kept);
	cbor_put_bool(w, r->record.sent);
	cbor_put_uint(w, r->told);
	cbor_put_bytes(w, r->data + r->told, n);
	cbor_close_array(w, list);
	r->told += n;
	r->pending = r->told < r->record.kept;
}

static uint8_t *last_of(const struct reader *r)
{
	return r->data + LAST_AT + PAGE_SIZE;
}

/* The records that there are, as many as fit; and they are the last ones from now on. */
static enum status put_records(struct control *c, struct reader *r, struct cbor_writer *w, struct failure *f)
{
	size_t from = w->len;
	struct cbor_mark list = cbor_open(w);
	enum status st = ST_OK;
	bool room;

	while ((room = command_fits(w, RECORD_HEAD + PIECE_MIN))) {
		if (!r->pending)
			st = next_record(c, r, f);
		if (st != ST_OK || !r->pending)
			break;
		put_piece(c, r, w);
	}
	cbor_close_array(w, list);
	if (st != ST_OK)
		return st;
	r->last_more = !room;
	r->last_bytes = w->len - from;
	memcpy(last_of(r), w->buf + from, r->last_bytes);
	r->replies++;
	return ST_OK;
}

enum status capture_records_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct reader *r = find_reader((uint32_t)a->capture.value);
	uint64_t number = a->number.value;
	enum status st = ST_OK;

	if (!r)
		return no_capture(a, f);
	if (a->number.given && number != r->replies && number + 1 != r->replies)
		return fail(&f->error, ST_NOT_FOUND, "the next reply is number %llu, and of those before the last one is kept",
			    (unsigned long long)r->replies);
	r->read_at = control_ticks(c);
	cbor_put_text(w, "records");
	if (a->number.given && number != r->replies)
		cbor_put_raw(w, last_of(r), r->last_bytes);
	else
		st = put_records(c, r, w, f);
	if (st != ST_OK)
		return st;
	cbor_put_text(w, "more");
	cbor_put_bool(w, r->last_more); /* it stopped for want of room */
	return ST_OK;
}

enum status capture_end_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct reader *r = find_reader((uint32_t)a->capture.value);
	uint64_t lost = 0;
	enum status st;

	if (!r)
		return no_capture(a, f);
	st = network_capture_end(c->cfg.machine, r->capture, &lost, &f->error);
	drop(c, r);
	if (st == ST_OK)
		command_put_uint(w, "lost", lost);
	return st;
}
