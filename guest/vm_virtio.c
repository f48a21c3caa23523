/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_virtio.h. */
#include "guest/vm_virtio.h"

#include "guest/guest_mem.h"
#include "guest/machine.h"
#include "guest/virtio_pci.h"
#include "guest/vm_balloon.h"
#include "guest/vm_console.h"
#include "guest/vm_disk.h"
#include "guest/vm_internal.h"
#include "guest/vm_net.h"
#include "guest/vm_nic.h"
#include "io/virtio_rng.h"
#include "lib/assert.h"
#include "lib/format.h"

#define OTHERS_MAX 3u /* devices that are neither disks nor network interfaces */
#define DISK_LARGE 8u /* of a disk's requests, those that may have many pieces at a time */

struct rng_device {
	struct virtio_rng rng;
	struct virtio_pci pci;
};

struct disk_device {
	struct virtio_pci pci;
	struct vm_disk_place *place;
	struct virtio_blk *blk; /* NULL: not made */
	struct vm_disk_source source;
	bool opened;
};

struct vm_virtio {
	struct vm *vm;
	struct rng_device *rng;
	struct vm_console *console; /* NULL: it has none; likewise the next */
	struct vm_balloon *balloon;
	struct disk_device *disks[VM_DISKS_MAX];
	struct vm_net *nics[VM_NICS_MAX];
	struct virtio_device *devices[VM_DISKS_MAX + VM_NICS_MAX + OTHERS_MAX]; /* those that are plugged in */
	unsigned device_count;
};

/* ---- memory ---- */

static unsigned queues_of(const struct vm_config *cfg, const struct vm_disk *d)
{
	unsigned queues = d->queues ? d->queues : cfg->cpu.count;

	return MIN(queues, VIRTIO_BLK_QUEUES_MAX);
}

static struct virtio_blk_config blk_config(const struct vm_config *cfg, const struct vm_disk *d)
{
	return (struct virtio_blk_config){.queues = queues_of(cfg, d), .requests = VM_DISK_REQUESTS, .large = DISK_LARGE};
}

static uint64_t padded(uint64_t bytes) { return align_up(bytes, VM_VIRTIO_ALIGN); }

uint64_t vm_virtio_bytes(const struct vm_config *cfg)
{
	uint64_t bytes = padded(sizeof(struct vm_virtio));

	if (cfg->rng)
		bytes += padded(sizeof(struct rng_device));
	if (cfg->console == CONSOLE_VIRTIO)
		bytes += padded(sizeof(struct vm_console));
	if (cfg->balloon)
		bytes += padded(sizeof(struct vm_balloon));
	for (unsigned i = 0; i < cfg->disk_count; i++) {
		struct virtio_blk_config c = blk_config(cfg, &cfg->disks[i]);

		bytes += padded(sizeof(struct disk_device)) + padded(virtio_blk_bytes(&c));
	}
	for (unsigned i = 0; i < cfg->nic_count; i++)
		bytes += padded(vm_net_bytes(cfg, &cfg->nics[i]));
	return bytes;
}

/* vm_virtio_bytes() has counted it. */
static void *take(struct vm *vm, uint64_t bytes)
{
	void *p = arena_alloc(&vm->arena, padded(bytes), VM_VIRTIO_ALIGN);

	ASSERT(p);
	return p;
}

static enum status plug(struct vm_virtio *v, struct virtio_pci *pci, struct vpci *bus, struct virtio_device *device,
			struct error *err)
{
	struct error why = {""};
	enum status st = virtio_pci_plug(pci, bus, &v->vm->io, device, &why);

	if (st != ST_OK)
		return fail(err, st, "VM %s: %.150s", v->vm->config.name, why.text);
	v->devices[v->device_count++] = device;
	return ST_OK;
}

/* ---- entropy ---- */

static size_t fill(void *ctx, void *out, size_t bytes)
{
	const struct host_ops *host = ((struct vm *)ctx)->machine->host;

	for (size_t done = 0; done < bytes; done += sizeof(uint64_t)) {
		uint64_t word = host->random();

		memcpy((uint8_t *)out + done, &word, MIN(sizeof word, bytes - done));
	}
	return bytes;
}

static const struct virtio_rng_ops rng_ops = {.fill = fill};

static enum status add_rng(struct vm_virtio *v, struct vpci *bus, struct error *err)
{
	struct guest_mem mem = vm_guest_mem(v->vm);

	v->rng = take(v->vm, sizeof *v->rng);
	virtio_rng_init(&v->rng->rng, &mem, &rng_ops, v->vm);
	return plug(v, &v->rng->pci, bus, &v->rng->rng.device, err);
}

/* ---- console and balloon ---- */

static enum status add_console(struct vm_virtio *v, struct vpci *bus, struct error *err)
{
	v->console = take(v->vm, sizeof *v->console);
	vm_console_init(v->console, v->vm);
	return plug(v, &v->console->pci, bus, &v->console->port.device, err);
}

static enum status add_balloon(struct vm_virtio *v, struct vpci *bus, struct error *err)
{
	v->balloon = take(v->vm, sizeof *v->balloon);
	vm_balloon_init(v->balloon, v->vm);
	return plug(v, &v->balloon->pci, bus, &v->balloon->balloon.device, err);
}

struct vm_balloon *vm_virtio_balloon(struct vm_virtio *v) { return v->balloon; }

void vm_virtio_console_typed(struct vm_virtio *v)
{
	if (v->console)
		vm_console_typed(v->console);
}

void vm_virtio_console_size(struct vm_virtio *v)
{
	if (v->console)
		vm_console_resized(v->console, v->vm);
}

/* ---- disks ---- */

static enum status open_disk(struct vm_virtio *v, struct disk_device *d, const struct vm_disk *disk, struct error *err)
{
	const struct machine *m = v->vm->machine;
	struct error why = {""};
	enum status st;

	if (!m->disk_ops)
		return fail(err, ST_UNSUPPORTED, "VM %s: disk.%s: this machine has no volumes", v->vm->config.name,
			    disk->name);
	st = m->disk_ops->open(m->disk_ctx, v->vm, disk, &d->source, &why);
	if (st != ST_OK)
		return fail(err, st, "VM %s: disk.%s: %.150s", v->vm->config.name, disk->name, why.text);
	d->opened = true;
	return ST_OK;
}

static void no_space(void *ctx) { vm_want_pause(ctx); }

static void failed(void *ctx)
{
	const struct disk_device *d = ctx;

	vm_disk_failed(d->place->vm, d->place->index);
}

static enum status make_disk(struct vm_virtio *v, struct disk_device *d, const struct vm_disk *disk, struct error *err)
{
	struct virtio_blk_config c = blk_config(&v->vm->config, disk);
	const char *serial = disk->serial[0] ? disk->serial : disk->name;
	struct error why = {""};
	enum status st;

	c.mem = vm_guest_mem(v->vm);
	c.backend = d->source.backend;
	c.backend_ctx = d->source.backend_ctx;
	c.disk = d->source.disk;
	c.no_space = no_space;
	c.no_space_ctx = v->vm;
	c.failed = failed;
	c.failed_ctx = d;
	c.coalesce = disk->coalesce;
	c.clock = v->vm->machine->host->clock;
	memcpy(c.serial, serial, MIN(config_length(serial, sizeof c.serial), sizeof c.serial));
	st = virtio_blk_init(take(v->vm, virtio_blk_bytes(&c)), &c, &d->blk, &why);
	if (st != ST_OK)
		return fail(err, st, "VM %s: disk.%s: %.150s", v->vm->config.name, disk->name, why.text);
	return ST_OK;
}

static enum status add_disk(struct vm_virtio *v, struct vpci *bus, unsigned i, struct error *err)
{
	const struct vm_disk *disk = &v->vm->config.disks[i];
	struct disk_device *d = v->disks[i] = take(v->vm, sizeof *d);
	enum status st = ST_OK;

	d->place = &v->vm->disk_places[i];
	st = open_disk(v, d, disk, err);

	if (st == ST_OK)
		st = make_disk(v, d, disk, err);
	return st == ST_OK ? plug(v, &d->pci, bus, virtio_blk_device(d->blk), err) : st;
}

/* ---- network interfaces ---- */

static enum status add_nic(struct vm_virtio *v, struct vpci *bus, unsigned i, struct error *err)
{
	const struct vm_config *cfg = &v->vm->config;
	void *memory = take(v->vm, vm_net_bytes(cfg, &cfg->nics[i]));
	enum status st = vm_net_open(v->vm, i, memory, &v->nics[i], err);

	return st == ST_OK ? plug(v, &v->nics[i]->pci, bus, virtio_net_device(v->nics[i]->net), err) : st;
}

void vm_virtio_renumber_nic(struct vm_virtio *v, unsigned index)
{
	if (index < VM_NICS_MAX && v->nics[index])
		vm_net_renumber(v->nics[index]);
}

void vm_virtio_nic_figures(struct vm_virtio *v, unsigned index, struct vm_nic_figures *out)
{
	if (index < VM_NICS_MAX && v->nics[index])
		vm_net_figures(v->nics[index], out);
	else
		memset(out, 0, sizeof *out);
}

/* ---- all ---- */

enum status vm_virtio_create(struct vm *vm, struct vpci *bus, struct vm_virtio **out, struct error *err)
{
	struct vm_virtio *v = take(vm, sizeof *v);
	enum status st = ST_OK;

	v->vm = vm;
	*out = v;
	/* Disks first: what boots is where most look first. */
	for (unsigned i = 0; i < vm->config.disk_count && st == ST_OK; i++)
		st = add_disk(v, bus, i, err);
	for (unsigned i = 0; i < vm->config.nic_count && st == ST_OK; i++)
		st = add_nic(v, bus, i, err);
	if (st == ST_OK && vm->config.rng)
		st = add_rng(v, bus, err);
	if (st == ST_OK && vm->config.console == CONSOLE_VIRTIO)
		st = add_console(v, bus, err);
	return st == ST_OK && vm->config.balloon ? add_balloon(v, bus, err) : st;
}

struct virtio_blk *vm_virtio_disk(struct vm_virtio *v, unsigned index)
{
	return index < VM_DISKS_MAX && v->disks[index] ? v->disks[index]->blk : NULL;
}

void vm_virtio_renumber(struct vm_virtio *v, unsigned index)
{
	const struct machine *m = v->vm->machine;
	struct disk_device *d = index < VM_DISKS_MAX ? v->disks[index] : NULL;

	if (!d || !d->opened)
		return;
	if (d->blk)
		virtio_blk_set_coalesce(d->blk, &v->vm->config.disks[index].coalesce);
	if (m->disk_ops->set)
		m->disk_ops->set(m->disk_ctx, &d->source, &v->vm->config.disks[index]);
}

void vm_virtio_figures(struct vm_virtio *v, unsigned index, struct iosched_figures *out)
{
	const struct machine *m = v->vm->machine;
	struct disk_device *d = index < VM_DISKS_MAX ? v->disks[index] : NULL;

	*out = (struct iosched_figures){.waiting = 0};
	if (d && d->opened && m->disk_ops->figures)
		m->disk_ops->figures(m->disk_ctx, &d->source, out);
}

void vm_virtio_retry(struct vm_virtio *v)
{
	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		struct virtio_blk *blk = vm_virtio_disk(v, i);
		unsigned long masked = vm_mask(v->vm);

		if (blk)
			virtio_blk_retry(blk);
		vm_unmask(v->vm, masked);
	}
}

/* ---- the end ---- */

/*
 * Disks end what they have begun by themselves; nobody cuts them off. What came back while we had the lock was left to
 * the worker, which is off.
 */
static bool is_quiet(struct vm *vm, struct virtio_device *d)
{
	unsigned long masked = vm_mask(vm);
	bool quiet;

	lock_acquire(&d->lock);
	quiet = virtio_reset(d);
	(void)virtio_work(d, 0);
	quiet |= virtio_status(d) == 0;
	lock_release(&d->lock);
	vm_unmask(vm, masked);
	return quiet;
}

/* Those of @v that are quiet are none of its devices any more. */
static bool all_quiet(struct vm_virtio *v)
{
	for (unsigned i = v->device_count; i-- > 0;)
		if (is_quiet(v->vm, v->devices[i]))
			v->devices[i] = v->devices[--v->device_count];
	return v->device_count == 0;
}

bool vm_virtio_quiesce(struct vm_virtio *v, uint64_t until)
{
	const struct clock *clock = v->vm->machine->host->clock;

	while (!all_quiet(v)) {
		if (clock->ticks() >= until)
			return false;
		__builtin_ia32_pause();
	}
	return true;
}

const struct vm_disk *vm_virtio_held(const struct vm_virtio *v)
{
	for (unsigned i = 0; v->device_count && i < VM_DISKS_MAX; i++)
		if (v->disks[i] && v->disks[i]->blk && virtio_blk_device(v->disks[i]->blk) == v->devices[0])
			return &v->vm->config.disks[i];
	return NULL;
}

/* A start that failed has come to nothing. */
static void keep_figures(struct vm *vm)
{
	unsigned long masked = vm_mask(vm);

	if (vm->state != VM_LOADING)
		vm_disks_keep_figures(vm);
	if (vm->state != VM_LOADING)
		vm_nics_keep_figures(vm);
	vm_unmask(vm, masked);
}

void vm_virtio_stop(struct vm_virtio *v)
{
	const struct machine *m = v->vm->machine;
	bool quiet = vm_virtio_quiesce(v, UINT64_MAX);

	ASSERT(quiet);
	keep_figures(v->vm);
	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		if (v->disks[i] && v->disks[i]->opened)
			m->disk_ops->close(m->disk_ctx, &v->disks[i]->source);
		v->disks[i] = NULL;
	}
	for (unsigned i = 0; i < VM_NICS_MAX; i++) {
		if (v->nics[i])
			vm_net_close(v->nics[i]);
		v->nics[i] = NULL;
	}
	v->console = NULL;
	v->balloon = NULL;
	console_port_listens(&v->vm->console, false);
}
