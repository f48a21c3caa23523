/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each step either succeeds or stops the boot with a sentence: nothing runs yet
 * that could be saved by going on.
 */
#include "firmware/hardware.h"

#include <string.h>

#include "firmware/apic.h"
#include "firmware/cmdline.h"
#include "firmware/cpu.h"
#include "firmware/hostlog.h"
#include "firmware/ioapic.h"
#include "firmware/paging.h"
#include "firmware/power.h"
#include "firmware/report.h"
#include "firmware/stack.h"
#include "firmware/symtab.h"
#include "firmware/tsc.h"
#include "firmware/wallclock.h"
#include "gen/version.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/lock.h"
#include "lib/log.h"

#define IDENTITY_BYTES (4ull << 30) /* what start.S maps one to one */
#define LOW_MEMORY_BYTES 0x10000u
#define MIB (1024u * 1024)
#define SEED_STEP 0x9e3779b9u /* 2^32 / golden ratio */

struct hardware hardware;

extern const uint8_t boot_phys_start[], image_phys_end[]; /* board/corbel.ld */
extern const uint8_t boot_stack_bottom[], boot_stack_high_top[]; /* start.S */

/* switch.S */
__attribute__((noreturn)) void stack_continue(uint64_t top, void (*fn)(void));

void hardware_stop(const char *sentence)
{
	report_begin();
	report_printf("\n*** corbel cannot start: %s\n", sentence);
	report_end();
}

static void must(enum status st, const struct error *err)
{
	if (st != ST_OK)
		hardware_stop(err->text);
}

#ifdef CORBEL_LOCK_CHECKS
static struct lock_context *own_locks(void) { return &this_cpu()->locks; }
#endif

void hardware_begin(void)
{
	cpu_early_init();
#ifdef CORBEL_LOCK_CHECKS
	lock_set_context(own_locks);
#endif
	tsc_mark_boot();
	hostlog_init();
	panic_set_handler(report_panic);
	stack_register("boot", (uint64_t)boot_stack_bottom, (uint64_t)boot_stack_high_top);
	log_info("Corbel " CORBEL_VERSION " (" CORBEL_COMMIT ")");
}

static const void *read_identity(void *ctx, hpa_t at, uint64_t len)
{
	(void)ctx;
	/* An address of 0 means "not given"; the rest of page 0 is in use by some loaders. */
	if (at.v == 0 || at.v >= IDENTITY_BYTES || len > IDENTITY_BYTES - at.v)
		return NULL;
	return (const void *)at.v;
}

uint32_t lock_seed(const char *args, unsigned cpu)
{
	uint64_t seed;

	if (!cmdline_number(args, "lock-seed", &seed))
		return 0;
	/* Not 0, which means no delays. */
	return ((uint32_t)seed ^ cpu * SEED_STEP) << 1 | 1;
}

static void read_options(void)
{
	if (cmdline_is(boot_args(), "panic", "reset"))
		report_set_action(REPORT_RESET);
	if (cmdline_is(boot_args(), "panic", "off"))
		report_set_action(REPORT_POWER_OFF);
	if (cmdline_get(boot_args(), "debug", NULL, 0))
		log_set_level(LOG_DEBUG);
	this_cpu()->locks.seed = lock_seed(boot_args(), 0);
}

void hardware_read_loader(unsigned protocol, uint32_t info)
{
	const struct phys_reader identity = {.map = read_identity};
	struct boot_info *b = &hardware.boot;
	char text[BOOT_NAME_MAX + 160];
	struct error err;

	must(bootinfo_read(&identity, protocol, hpa(info), b, &err), &err);
	read_options();
	log_info("loaded by %s, %u modules",
		 b->loader[0] ? log_clean(text, sizeof(text), b->loader, strlen(b->loader))
			      : (protocol == BOOT_PVH ? "PVH" : "multiboot2"),
		 b->module_count);
	log_info("arguments: %s", log_clean(text, sizeof(text), b->cmdline, strlen(b->cmdline)));
}

void hardware_enable_cpu(void)
{
	struct error err;

	cpu_detect();
	log_info("processor: %s, signature 0x%x, %u physical bits", the_cpu.brand[0] ? the_cpu.brand : the_cpu.vendor,
		 the_cpu.signature, the_cpu.phys_bits);
	must(cpu_enable(&err), &err);
	log_info("protections: nx%s%s%s, xcr0 0x%llx", the_cpu.smep ? " smep" : "", the_cpu.smap ? " smap" : "",
		 the_cpu.umip ? " umip" : "", (unsigned long long)the_cpu.xcr0);
}

void hardware_read_board(void)
{
	char name[BOARD_NAME_MAX] = BOARD_DEFAULT;
	const struct board_blob *blob;
	struct error err;

	cmdline_get(boot_args(), "board", name, sizeof(name));
	must(board_find(name, &blob, &err), &err);
	must(board_read(blob->start, blob->size, &hardware.board, &err), &err);
	if (hardware.board.log.port)
		report_set_port(hardware.board.log.port, false);
	log_info("board: %s (%s)", blob->name, hardware.board.model);
}

/* ---- memory ---- */

static void claim(uint64_t start, uint64_t len, enum memmap_type type)
{
	struct error err;

	must(memmap_claim(&hardware.memory, hpa(start), len, type, &err), &err);
}

static void claim_all(void)
{
	const struct boot_info *b = &hardware.boot;

	claim(0, LOW_MEMORY_BYTES, MEMMAP_LOW);
	claim((uint64_t)boot_phys_start, (uint64_t)image_phys_end - (uint64_t)boot_phys_start, MEMMAP_IMAGE);
	for (unsigned i = 0; i < b->module_count; i++)
		claim(b->module[i].start, b->module[i].len, MEMMAP_MODULE);
	for (unsigned i = 0; i < hardware.board.reserved_count; i++)
		claim(hardware.board.reserved[i].start, hardware.board.reserved[i].len, MEMMAP_BOARD);
	/* Planned for 4 TiB: what lies beyond is not in the direct map and stays unused. */
	if (hardware.memory.count > 0 && hardware.memory.entry[hardware.memory.count - 1].end > DIRECT_MAP_BYTES) {
		claim(DIRECT_MAP_BYTES, UINT64_MAX - 2 * PAGE_SIZE - DIRECT_MAP_BYTES, MEMMAP_BOARD);
		log_warn("memory: what lies beyond 4 TiB is not used");
	}
}

void hardware_map_memory(void)
{
	struct memmap *map = &hardware.memory;
	struct error err;

	must(memmap_build(map, hardware.boot.range, hardware.boot.range_count, &err), &err);
	claim_all();
	for (unsigned i = 0; i < map->count; i++)
		log_debug("memory: %012llx-%012llx %s", (unsigned long long)map->entry[i].start,
			  (unsigned long long)map->entry[i].end, memmap_type_name(map->entry[i].type));
	if (memmap_start_page(map, &hardware.start_page) != ST_OK)
		hardware.start_page = hpa(0);
	must(paging_init(map, &err), &err);
	if (cpu_create_ist_stacks(this_cpu()) != ST_OK)
		hardware_stop("no memory for the fault stacks");
	log_info("memory: %llu MiB free, %llu MiB in modules, image %llu KiB, page tables %llu KiB",
		 (unsigned long long)memmap_bytes(map, MEMMAP_RAM) / MIB,
		 (unsigned long long)memmap_bytes(map, MEMMAP_MODULE) / MIB,
		 (unsigned long long)memmap_bytes(map, MEMMAP_IMAGE) / 1024,
		 (unsigned long long)paging_table_bytes() / 1024);
}

void hardware_continue_on_stack(const char *name, unsigned pages, void (*fn)(void))
{
	uint64_t top;

	if (stack_create(name, pages, &top) != ST_OK)
		hardware_stop("no memory for the boot stack");
	stack_continue(top, fn);
}

/* ---- devices ---- */

static void read_acpi(void)
{
	const struct acpi_root root = {hardware.boot.rsdp, hardware.boot.rsdp_len, hardware.boot.rsdp_at};
	struct acpi_info *a = &hardware.acpi;
	struct error err;
	enum status st = acpi_read(&phys_window, &root, a, &err);

	if (st != ST_OK)
		hardware_stop(err.text);
	log_info("ACPI: by %s, %u processors, %u I/O APICs, %u PCI segments%s%s", a->oem, a->cpu_count,
		 a->ioapic_count, a->mcfg_count, a->hpet_address ? ", HPET" : "", a->s5_known ? ", power-off" : "");
	if (a->skipped)
		log_warn("%s (%u parts left out)", a->note.text, a->skipped);
}

static void check_memory_types(void)
{
	struct error err;

	if (!the_cpu.mtrr) {
		log_warn("MTRRs: this processor has none");
		return;
	}
	mtrr_read(&hardware.mtrr, the_cpu.phys_bits);
	if (mtrr_check_ram(&hardware.mtrr, &hardware.memory, &err) == ST_OK)
		log_info("MTRRs: all RAM is write-back");
	else
		log_warn("%s", err.text);
}

static void open_uart(struct uart *u, const struct board_uart *wanted, const char *name)
{
	const struct uart_config cfg = {wanted->port, wanted->irq, wanted->baud, wanted->clock_hz};
	enum status st;

	if (!wanted->named)
		return;
	st = uart_init(u, &cfg);
	if (st == ST_OK)
		st = uart_start(u, name);
	if (st == ST_OK)
		log_info("%s: UART at 0x%x, interrupt %u, %u baud", name, cfg.port, cfg.irq, cfg.baud);
	else
		log_warn("%s: UART at 0x%x: %s", name, cfg.port,
			 st == ST_NOT_FOUND && !u->present ? "nothing answers" : status_name(st));
}

/* Where the tree names no line: the first of the usual ports that answers and is not taken. */
static void discover_uart(struct board_uart *out, const struct board_uart *taken)
{
	static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};

	for (unsigned i = 0; i < ARRAY_SIZE(ports) && !out->named; i++)
		if (!(taken->named && taken->port == ports[i]) && uart_probe(ports[i]))
			*out = (struct board_uart){true, ports[i], board_usual_irq(ports[i]), UART_BAUD_DEFAULT,
						   UART_CLOCK_HZ};
}

static void open_lines(void)
{
	struct board *b = &hardware.board;

	/* A machine with one line gives it to the operator, who can read the log through it. */
	discover_uart(&b->management, &b->log);
	discover_uart(&b->log, &b->management);
	hostlog_attach(&hardware.log);
	open_uart(&hardware.log, &b->log, "log");
	open_uart(&hardware.management, &b->management, "management");
	report_set_port(hardware.log.present ? b->log.port : b->management.port, true);
}

bool hardware_lines_busy(void)
{
	return uart_busy(&hardware.management) || uart_busy(&hardware.log);
}

void hardware_start_devices(void)
{
	struct error err;

	read_acpi();
	check_memory_types();
	power_init(&hardware.acpi, hardware.board.shutdown_port);
	must(apic_init(&hardware.acpi, !cmdline_get(boot_args(), "nox2apic", NULL, 0), &err), &err);
	must(ioapic_init(&hardware.acpi, &err), &err);
	must(tsc_calibrate(&hardware.acpi, &err), &err);
	if (wallclock_init(&err) != ST_OK)
		log_warn("%s; guests start in 2000", err.text);
	open_lines();
}
