/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a room needs from another it has declared as a struct of functions; here
 * they are filled. No decisions are made in this file but sizes.
 */
#include "firmware/wiring.h"

#include <string.h>

#include "firmware/apic.h"
#include "firmware/cmdline.h"
#include "firmware/control_task.h"
#include "firmware/cpu.h"
#include "firmware/cpuloop.h"
#include "firmware/disk.h"
#include "firmware/fpu.h"
#include "firmware/hardware.h"
#include "firmware/ipi.h"
#include "firmware/irq.h"
#include "firmware/nic.h"
#include "firmware/paging.h"
#include "firmware/percpu.h"
#include "firmware/selftest.h"
#include "firmware/smp.h"
#include "firmware/tsc.h"
#include "firmware/watchdog.h"
#include "guest/machine.h"
#include "guest/network.h"
#include "guest/storage.h"
#include "io/files.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"
#include "memmgr/memmgr.h"
#include "vmx/selftest.h"
#include "vmx/vmx.h"

#define MIB (1024ull * 1024)
#define CLEAR_AHEAD_SHARE 4u   /* of RAM, this part is kept cleared in 2 MiB blocks for first touches */
#define CLEAR_STEP_PAGES 512u
#define HOST_SPARE (8 * MIB)   /* not promised to VMs: the control plane's growth, stacks, page tables */
#define DISK_TABLES_ORDER 2u   /* a page for each channel */
#define TEXT_MAX 160

_Static_assert(DISK_CHANNELS <= 1u << DISK_TABLES_ORDER, "a page for each");

static struct machine machine;
static struct store store;
static struct files files;

static void must(enum status st, const struct error *err)
{
	if (st != ST_OK)
		hardware_stop(err->text);
}

/* ---- memory ---- */

static bool get_frame(hpa_t *frame)
{
	hfn_t f;

	if (memmgr_alloc(machine.mm, 0, &f) != ST_OK)
		return false;
	*frame = hfn_to_hpa(f);
	return true;
}

static void put_frame(hpa_t frame) { memmgr_free(machine.mm, hpa_to_hfn(frame), 0); }

static void *give_memory(size_t bytes)
{
	unsigned order = 0;
	hfn_t frames;

	while (bytes > PAGE_SIZE << order)
		order++;
	if (order > MEMMGR_MAX_ORDER || memmgr_alloc(machine.mm, order, &frames) != ST_OK)
		return NULL;
	return memset(memmgr_va(machine.mm, frames), 0, PAGE_SIZE << order);
}

static unsigned cpu_index(void) { return this_cpu()->id; }

void wire_memory(void)
{
	static struct mem_range ram[MEMMAP_MAX];
	const struct memmap *map = &hardware.memory;
	struct memmgr_config cfg = {
		.ram = ram,
		/* Those that may start yet. */
		.cpus = MIN(hardware.acpi.cpu_count, CPUS_MAX),
		.this_cpu = cpu_index,
		.direct_map = (void *)DIRECT_MAP_BASE,
		.clear_ahead_2m = MIN(memmap_bytes(map, MEMMAP_RAM) / CLEAR_AHEAD_SHARE >> (PAGE_SHIFT + ORDER_2M),
				      MEMMGR_CLEAR_AHEAD_2M),
		.clear_ahead_4k = MEMMGR_CLEAR_AHEAD_4K,
	};
	struct memmgr_stats stats;
	struct error err;
	uint64_t free;

	for (unsigned i = 0; i < map->count; i++) {
		const struct memmap_entry *e = &map->entry[i];

		if (e->type == MEMMAP_RAM)
			ram[cfg.ram_count++] = (struct mem_range){hpa_to_hfn(hpa(e->start)), (e->end - e->start) >> PAGE_SHIFT};
	}
	must(memmgr_init(&cfg, &machine.mm, &err), &err);
	/* The first VM starts before the CPU has ever been idle. */
	while (memmgr_clear_step(machine.mm, CLEAR_STEP_PAGES) == ST_AGAIN)
		;
	paging_set_frame_source(get_frame, put_frame);
	memmgr_stats(machine.mm, &stats);
	free = stats.frames[FRAME_FREE] << PAGE_SHIFT;
	machine.capacity = free > HOST_SPARE ? free - HOST_SPARE : 0;
	log_info("memory management: %llu MiB free, frame table %llu KiB", (unsigned long long)(free / MIB),
		 (unsigned long long)(stats.table_bytes / 1024));
}

/* ---- store ---- */

void wire_store(void)
{
	const struct loaded_module *m = &hardware.boot.module[0];
	struct error err;

	files_init(&files, &store, "no disk has been looked for yet");
	machine.files = &files;
	if (hardware.boot.module_count == 0) {
		log_warn("store: the loader passed no module; there are no scripts and no images");
		return;
	}
	if (store_open(&store, direct_map(hpa(m->start)), m->len, &err) != ST_OK)
		log_error("%s", err.text);
	log_info("store: %u files, %llu KiB", store.files, (unsigned long long)(m->len / 1024));
}

/* Memory for a writable store on @range; NULL when it is too small for one, or memory is short. */
static void *store_memory(const struct block_range *range, size_t *bytes)
{
	unsigned order = 0;
	hfn_t frames;

	*bytes = kvlog_memory_bytes(range);
	while (*bytes > PAGE_SIZE << order)
		order++;
	if (order > MEMMGR_MAX_ORDER || memmgr_alloc(machine.mm, order, &frames) != ST_OK)
		return NULL;
	*bytes = PAGE_SIZE << order;
	return memmgr_va(machine.mm, frames);
}

/* Part of every checksum in the store: not to be guessed by whoever may upload to it, where the CPU can see to that. */
static uint64_t store_id(void)
{
	uint64_t id;

	return cpu_entropy(&id, sizeof(id), NULL) == ST_OK ? id : hv_seed();
}

static void report_store(const struct block_range *range, bool made)
{
	struct kvlog_stats s;

	kvlog_stats(files.kv, &s);
	log_info("store: %s on %s from sector %llu: %u names, %llu of %llu KiB used, generation %llu",
		 made ? "made" : "opened", range->device->name, (unsigned long long)range->first, s.keys,
		 (unsigned long long)(s.used_bytes / 1024), (unsigned long long)(s.size_bytes / 1024),
		 (unsigned long long)s.generation);
	if (!s.writable)
		log_warn("store: it is read-only: %s", s.why_not);
	if (s.damaged_bytes || s.damaged_keys || s.bad_superblocks)
		log_warn("store: damage: %llu bytes of the log, parts of %u names, %u superblocks",
			 (unsigned long long)s.damaged_bytes, s.damaged_keys, s.bad_superblocks);
}

static void mount_store(const struct block_range *range)
{
	struct error err;
	size_t bytes;
	bool made;
	void *memory = store_memory(range, &bytes);

	if (!memory)
		bytes = 0; /* the sentence is the store's */
	if (files_mount(&files, range, store_id(), memory, bytes, &made, &err) == ST_OK)
		report_store(range, made);
	else
		log_error("store: nothing can be written: %s", err.text);
}

/* ---- disks ---- */

static struct dma_identity dma_identity;
static struct dma dma;
static struct storage_domain *domains[DISK_CHANNELS];
static bool has_dma;

/* Only the direct map is contiguous for devices: what lies elsewhere is out of their reach. */
static uint64_t to_physical(const void *p)
{
	uint64_t at = (uint64_t)p - DIRECT_MAP_BASE;

	return (uint64_t)p >= DIRECT_MAP_BASE && at < DIRECT_MAP_BYTES ? at : UINT64_MAX;
}

static void start_dma(void)
{
	hfn_t frames;

	dma_identity_init(&dma_identity, to_physical, &dma);
	if (memmgr_alloc(machine.mm, DISK_TABLES_ORDER, &frames) != ST_OK)
		return;
	has_dma = disk_use_dma(&dma, memmgr_va(machine.mm, frames));
	if (!has_dma)
		memmgr_free(machine.mm, frames, DISK_TABLES_ORDER);
}

static void disk_interrupt(void *domain) { storage_interrupt(domain); }

static void name_disk(char *out, size_t size, const struct disk *d) { format(out, size, "disk%u", d->number); }

static void add_disk(const struct disk *d)
{
	char name[VOLUME_NAME_MAX];
	enum status st = ST_OK;
	struct error err;

	if (!domains[d->channel]) {
		format(name, sizeof(name), "ide%u", d->channel);
		st = storage_add_domain(machine.storage, name, &domains[d->channel], &err);
	}
	name_disk(name, sizeof(name), d);
	if (st == ST_OK)
		st = storage_add_disk(machine.storage, domains[d->channel], name, d->device, &err);
	if (st != ST_OK)
		log_error("disk: %s is no volume: %s", d->device->name, err.text);
}

static void start_interrupts(void)
{
	for (unsigned c = 0; c < DISK_CHANNELS; c++)
		if (domains[c] && disk_use_interrupts(c, disk_interrupt, domains[c]))
			storage_has_interrupts(domains[c]);
}

/* Its sectors are the store's own, which goes beside VMs that use the rest of the disk. */
static enum status take_sectors(const struct disk *d, struct block_range *range, struct error *err)
{
	char name[VOLUME_NAME_MAX];

	name_disk(name, sizeof(name), d);
	return storage_host_range(machine.storage, name, range->first, range->count, "the store", &range->device, err);
}

/* Until the last line disks are polled by whoever waits for them: nobody runs who could be woken. */
void wire_disk(void)
{
	struct block_range range;
	const struct disk *d;
	struct error err, why;
	enum status st;

	disk_probe(&hardware.board.store_disk);
	start_dma();
	st = disk_find_store(&hardware.board.store_disk, &d, &range, &why);
	if (storage_create(&machine, &err) != ST_OK)
		log_error("there are no volumes: %s", err.text);
	for (unsigned i = 0; machine.storage && disk_at(i); i++)
		add_disk(disk_at(i));
	if (st == ST_OK && machine.storage)
		st = take_sectors(d, &range, &why);
	if (st == ST_OK) {
		mount_store(&range);
	} else {
		files_init(&files, &store, why.text);
		log_warn("store: nothing can be written: %s", why.text);
	}
	start_interrupts();
}

/* ---- network ---- */

void wire_network(void)
{
	struct error err;

	nic_probe(&dma, give_memory);
	has_dma |= nic_at(0) != NULL;
	if (networks_create(&machine, &err) != ST_OK) {
		log_error("there are no networks: %s", err.text);
		return;
	}
	for (unsigned i = 0; nic_at(i); i++)
		if (networks_add_nic(&machine, nic_at(i), &err) != ST_OK)
			log_error("%s has no use: %s", nic_at(i)->name, err.text);
}

/* ---- engine ---- */

static struct vmx_host vmx_host = {
	.this_cpu = cpu_index,
	.kick_cpu = cpu_kick,
	.arm_timer = host_timer_arm,
	.mitigations = true,
	.held_interrupt_quirk = true,
};

/* ---- the other CPUs ---- */

static enum status join_engine(struct error *err) { return vmx_cpu_init(&vmx_host, err); }

static void start_cpus(void)
{
	const struct smp_config cfg = {
		.acpi = &hardware.acpi,
		.mtrr = the_cpu.mtrr ? &hardware.mtrr : NULL,
		.page = hardware.start_page,
		.args = boot_args(),
		.alloc = give_memory,
		.join = join_engine,
	};

	smp_start(&cfg);
}

void wire_release(void)
{
	smp_release(cpu_loop);
	watchdog_start();
}

/* ---- engine, continued ---- */

void wire_engine(void)
{
	char text[TEXT_MAX];
	struct error err;

	vmx_host.mm = machine.mm;
	vmx_host.mitigations = !cmdline_is(boot_args(), "mitigations", "off");
	vmx_host.options.no_virtual_interrupts = cmdline_get(boot_args(), "novid", NULL, 0);
	vmx_host.options.no_pause_loop = cmdline_get(boot_args(), "nople", NULL, 0);
	must(vmx_cpu_init(&vmx_host, &err), &err);
	fpu_set_guest_eviction(vmx_fpu_take);
	vmx_describe(text, sizeof(text));
	log_info("%s", text);
	vmx_describe_mitigations(text, sizeof(text));
	log_info("%s", text);
	start_cpus();
	must(cpuloop_init(machine.mm, control_task_wake, &err), &err);
	machine.engine = vmx_engine();
	host_ops.line_busy = hardware_lines_busy;
	machine.host = &host_ops;
	machine.sched = host_sched;
	pools_init(&machine, cpuloop_system_pool());
	if (cmdline_is(boot_args(), "selftest", "vmx"))
		vmx_selftest(machine.mm, irq_dispatch);
}

/* ---- control plane ---- */

static struct control_fact facts[6];
static char mitigations[TEXT_MAX], engine[TEXT_MAX], clock_rate[32];

/* What follows "NAME: " in a line made for the log. */
static const char *after_name(const char *line)
{
	const char *colon = strchr(line, ':');

	return colon && colon[1] == ' ' ? colon + 2 : line;
}

static unsigned collect_facts(void)
{
	unsigned n = 0;

	vmx_describe(engine, sizeof(engine));
	vmx_describe_mitigations(mitigations, sizeof(mitigations));
	format(clock_rate, sizeof(clock_rate), "%llu kHz", (unsigned long long)(host_clock.hz / 1000));
	facts[n++] = (struct control_fact){"board", hardware.board.model};
	facts[n++] = (struct control_fact){"cpus", smp_describe()};
	facts[n++] = (struct control_fact){"engine", after_name(engine)};
	facts[n++] = (struct control_fact){"mitigations", after_name(mitigations)};
	facts[n++] = (struct control_fact){"tsc", clock_rate};
	if (has_dma)
		facts[n++] = (struct control_fact){"DMA", "unprotected"}; /* dma_ops.is_protected of the identity */
	return n;
}

void wire_control(void)
{
	struct error err;

	must(control_task_start(&machine, &hardware.management, facts, collect_facts(), &err), &err);
	selftest_start_flush(boot_args(), &machine);
	selftest_start_nic(boot_args());
}
