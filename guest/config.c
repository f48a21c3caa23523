/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a definition that need no machine: a VM's, and those that it has
 * in common with a pool's. Each rule is a function of its own; all speak through
 * config_refuse(), so that every sentence starts with what is defined and where.
 * Definitions come from scripts and from the wire: strings are checked to end and
 * are cleaned before they are quoted.
 */
#include "guest/config.h"

#include <stdarg.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "sched/sched.h"

#define TEXT_MAX 160
#define DISK_WORDS_MAX (VM_DISK_NAME_MAX + 16)

const char *const reset_action_names[] = {[ON_RESET_RESTART] = "restart", [ON_RESET_STOP] = "stop", NULL};

const char *const console_kind_names[] = {[CONSOLE_UART] = "uart", [CONSOLE_VIRTIO] = "virtio", NULL};

const char *const vm_disk_unit_names[] = {[VM_DISK_IOPS] = "iops", [VM_DISK_BYTES] = "bandwidth", NULL};

void vm_disk_init(struct vm_disk *disk)
{
	*disk = (struct vm_disk){.numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT}};
	coalesce_settings_init(&disk->coalesce);
}

void vm_config_init(struct vm_config *cfg)
{
	memset(cfg, 0, sizeof *cfg);
	cfg->boot.protocol = BOOT_LINUX;
	cfg->cpu.count = 1;
	cfg->cpu.numbers = (struct rls){.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};
	cfg->on_reset = ON_RESET_RESTART;
	cfg->acpi = true;
	cfg->rng = true;
	cfg->balloon = true;
}

size_t config_length(const char *text, size_t size)
{
	const char *end = memchr(text, 0, size);

	return end ? (size_t)(end - text) : size;
}

bool config_ends(const char *text, size_t size)
{
	return config_length(text, size) < size;
}

enum status config_refuse(struct config_head head, struct error *err, enum status st, const char *fmt, ...)
{
	char name[VM_NAME_MAX], origin[VM_PATH_MAX], text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(text, sizeof text, fmt, ap);
	va_end(ap);
	log_clean(name, sizeof name, head.name, config_length(head.name, VM_NAME_MAX));
	log_clean(origin, sizeof origin, head.origin, config_length(head.origin, VM_PATH_MAX));
	if (origin[0])
		return fail(err, st, "%s %s (%.64s): %s", head.kind, name[0] ? name : "without a name", origin, text);
	return fail(err, st, "%s %s: %s", head.kind, name[0] ? name : "without a name", text);
}

static bool name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return !first && (c == '.' || c == '_' || c == '-');
}

unsigned config_name_fault(const char *name)
{
	for (unsigned i = 0; name[i]; i++)
		if (!name_char(name[i], i == 0))
			return i + 1;
	return 0;
}

enum status config_check_name(struct config_head head, struct error *err)
{
	unsigned at;

	if (!config_ends(head.name, VM_NAME_MAX))
		return config_refuse(head, err, ST_INVALID, "name is longer than %d characters", VM_NAME_MAX - 1);
	if (!head.name[0])
		return config_refuse(head, err, ST_INVALID, "name is missing");
	at = config_name_fault(head.name);
	if (at)
		return config_refuse(head, err, ST_INVALID,
				     "name has a character outside a-z, 0-9 and (not first) . _ - at position %u", at);
	return ST_OK;
}

enum status config_check_numbers(struct config_head head, const struct rls *n, struct error *err)
{
	if (n->shares < 1 || n->shares > RLS_SHARES_MAX)
		return config_refuse(head, err, ST_INVALID, "cpu.shares is %u, it can be 1 to %u", n->shares,
				     RLS_SHARES_MAX);
	if (n->limit == 0)
		return config_refuse(head, err, ST_INVALID, "a cpu.limit of 0 would never let it run");
	if (n->reservation > n->limit)
		return config_refuse(head, err, ST_INVALID, "cpu.reservation (%llu ppm) is above cpu.limit (%llu ppm)",
				     (unsigned long long)n->reservation, (unsigned long long)n->limit);
	return ST_OK;
}

/* ---- a VM's rules ---- */

static struct config_head head_of(const struct vm_config *cfg)
{
	return (struct config_head){.kind = "VM", .name = cfg->name, .origin = cfg->origin};
}

#define refuse(cfg, err, st, ...) config_refuse(head_of(cfg), err, st, __VA_ARGS__)

static enum status check_name(const struct vm_config *cfg, struct error *err)
{
	return config_check_name(head_of(cfg), err);
}

static enum status check_strings(const struct vm_config *cfg, struct error *err)
{
	const struct { const char *name, *text; size_t size; } all[] = {
		{"origin", cfg->origin, sizeof cfg->origin},
		{"pool", cfg->pool, sizeof cfg->pool},
		{"boot.image", cfg->boot.image, sizeof cfg->boot.image},
		{"boot.initrd", cfg->boot.initrd, sizeof cfg->boot.initrd},
		{"boot.cmdline", cfg->boot.cmdline, sizeof cfg->boot.cmdline},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (!config_ends(all[i].text, all[i].size))
			return refuse(cfg, err, ST_INVALID, "%s is longer than %zu characters", all[i].name,
				      all[i].size - 1);
	}
	return ST_OK;
}

static enum status check_modules(const struct vm_config *cfg, struct error *err)
{
	if (cfg->boot.module_count > VM_MODULES_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "boot.modules has %u entries, at most %d are possible",
			      cfg->boot.module_count, VM_MODULES_MAX);
	for (unsigned i = 0; i < cfg->boot.module_count; i++) {
		const struct boot_module *m = &cfg->boot.modules[i];

		if (!config_ends(m->image, sizeof m->image) || !config_ends(m->cmdline, sizeof m->cmdline))
			return refuse(cfg, err, ST_INVALID, "boot.modules[%u] is longer than %d characters", i + 1,
				      VM_PATH_MAX - 1);
		if (!m->image[0])
			return refuse(cfg, err, ST_INVALID, "boot.modules[%u] names no image", i + 1);
	}
	return ST_OK;
}

static const char *protocol_name(enum boot_protocol p)
{
	static const char *const names[] = {[BOOT_LINUX] = "linux", [BOOT_PVH] = "pvh", [BOOT_MULTIBOOT] = "multiboot"};

	return names[p];
}

static enum status check_boot(const struct vm_config *cfg, struct error *err)
{
	enum status st = check_modules(cfg, err);

	if (st != ST_OK)
		return st;
	if ((unsigned)cfg->boot.protocol > BOOT_MULTIBOOT)
		return refuse(cfg, err, ST_INVALID, "boot protocol %u is unknown", (unsigned)cfg->boot.protocol);
	if (!cfg->boot.image[0])
		return refuse(cfg, err, ST_INVALID, "boot.image is missing");
	if (cfg->boot.protocol == BOOT_MULTIBOOT && cfg->boot.initrd[0])
		return refuse(cfg, err, ST_INVALID,
			      "boot.initrd conflicts with the multiboot protocol, which takes boot.modules");
	if (cfg->boot.protocol != BOOT_MULTIBOOT && cfg->boot.module_count)
		return refuse(cfg, err, ST_INVALID, "boot.modules conflicts with the %s protocol, which takes boot.initrd",
			      protocol_name(cfg->boot.protocol));
	return ST_OK;
}

static enum status check_balloon(const struct vm_config *cfg, struct error *err)
{
	uint64_t size = cfg->memory.size, balloon = cfg->memory.balloon;

	if (balloon && !cfg->balloon)
		return refuse(cfg, err, ST_INVALID, "mem.balloon conflicts with balloon = false: it has none to fill");
	if (balloon > size)
		return refuse(cfg, err, ST_INVALID, "mem.balloon (%llu bytes) is above mem.size (%llu bytes)",
			      (unsigned long long)balloon, (unsigned long long)size);
	if (!is_aligned(balloon, PAGE_SIZE))
		return refuse(cfg, err, ST_INVALID, "mem.balloon is %llu bytes, not a multiple of 4096",
			      (unsigned long long)balloon);
	return ST_OK;
}

static enum status check_memory(const struct vm_config *cfg, struct error *err)
{
	uint64_t size = cfg->memory.size, reservation = cfg->memory.reservation;

	if (size == 0)
		return refuse(cfg, err, ST_INVALID, "mem.size is missing");
	if (size < VM_MEMORY_MIN)
		return refuse(cfg, err, ST_INVALID, "mem.size is %llu bytes, at least %llu are needed",
			      (unsigned long long)size, (unsigned long long)VM_MEMORY_MIN);
	if (size > VM_MEMORY_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "mem.size is %llu bytes, at most %llu are possible",
			      (unsigned long long)size, (unsigned long long)VM_MEMORY_MAX);
	if (!is_aligned(size, PAGE_SIZE))
		return refuse(cfg, err, ST_INVALID, "mem.size is %llu bytes, not a multiple of 4096",
			      (unsigned long long)size);
	if (reservation > size)
		return refuse(cfg, err, ST_INVALID, "mem.reservation (%llu bytes) is above mem.size (%llu bytes)",
			      (unsigned long long)reservation, (unsigned long long)size);
	if (reservation != size)
		return refuse(cfg, err, ST_UNSUPPORTED,
			      "mem.reservation (%llu bytes) must equal mem.size (%llu bytes) in this version",
			      (unsigned long long)reservation, (unsigned long long)size);
	return check_balloon(cfg, err);
}

static enum status check_cpu(const struct vm_config *cfg, struct error *err)
{
	const struct rls *n = &cfg->cpu.numbers;
	enum status st;

	if (cfg->cpu.count == 0)
		return refuse(cfg, err, ST_INVALID, "cpu.count is 0");
	if (cfg->cpu.count > VM_VCPUS_MAX)
		return refuse(cfg, err, ST_INVALID, "cpu.count is %u, a VM has at most %d CPUs", cfg->cpu.count,
			      VM_VCPUS_MAX);
	st = config_check_numbers(head_of(cfg), n, err);
	if (st != ST_OK)
		return st;
	if (n->reservation > cfg->cpu.count * (uint64_t)SCHED_ONE_CPU)
		return refuse(cfg, err, ST_INVALID, "cpu.reservation (%llu ppm) is more than its %u CPUs can use",
			      (unsigned long long)n->reservation, cfg->cpu.count);
	return ST_OK;
}

/* ---- disks ---- */

/* Of disk @n, from 1 on: the words in front of what is wrong with it. Names come from outside like all else. */
static const char *disk_words(const struct vm_config *cfg, unsigned n, char out[DISK_WORDS_MAX])
{
	const struct vm_disk *d = &cfg->disks[n - 1];
	char name[VM_DISK_NAME_MAX];

	log_clean(name, sizeof name, d->name, config_length(d->name, sizeof d->name));
	if (name[0])
		format(out, DISK_WORDS_MAX, "disk.%s", name);
	else
		format(out, DISK_WORDS_MAX, "disk %u", n);
	return out;
}

static enum status check_disk_name(const struct vm_config *cfg, unsigned n, const char *words, struct error *err)
{
	const struct vm_disk *d = &cfg->disks[n - 1];
	unsigned at;

	if (!config_ends(d->name, sizeof d->name))
		return refuse(cfg, err, ST_INVALID, "%s: the name is longer than %d characters", words,
			      VM_DISK_NAME_MAX - 1);
	if (!d->name[0])
		return refuse(cfg, err, ST_INVALID, "%s has no name", words);
	at = config_name_fault(d->name);
	if (at)
		return refuse(cfg, err, ST_INVALID,
			      "%s: the name has a character outside a-z, 0-9 and (not first) . _ - at position %u",
			      words, at);
	for (unsigned i = 0; i + 1 < n; i++)
		if (strcmp(cfg->disks[i].name, d->name) == 0)
			return refuse(cfg, err, ST_EXISTS, "%s is there twice", words);
	return ST_OK;
}

static enum status check_disk_texts(const struct vm_config *cfg, const struct vm_disk *d, const char *words,
				    struct error *err)
{
	size_t length = config_length(d->serial, sizeof d->serial);

	if (!config_ends(d->volume, sizeof d->volume))
		return refuse(cfg, err, ST_INVALID, "%s: volume is longer than %d characters", words, VM_PATH_MAX - 1);
	if (!d->volume[0])
		return refuse(cfg, err, ST_INVALID, "%s: volume is missing", words);
	if (length == sizeof d->serial)
		return refuse(cfg, err, ST_INVALID, "%s: serial is longer than %d characters", words,
			      VM_DISK_SERIAL_MAX - 1);
	for (size_t i = 0; i < length; i++)
		if (d->serial[i] < ' ' || d->serial[i] > '~')
			return refuse(cfg, err, ST_INVALID, "%s: serial has a character that does not print at position %zu",
				      words, i + 1);
	return ST_OK;
}

static enum status check_disk_numbers(const struct vm_config *cfg, const struct vm_disk *d, const char *words,
				      struct error *err)
{
	const struct rls *n = &d->numbers;
	const char *unit;

	if (d->queues > VM_DISK_QUEUES_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: queues is %u, a disk has at most %d", words, d->queues,
			      VM_DISK_QUEUES_MAX);
	if ((unsigned)d->unit >= VM_DISK_UNITS)
		return refuse(cfg, err, ST_INVALID, "%s: unit %u of its numbers is unknown", words, (unsigned)d->unit);
	unit = vm_disk_unit_names[d->unit];
	if (n->shares < 1 || n->shares > RLS_SHARES_MAX)
		return refuse(cfg, err, ST_INVALID, "%s: %s.shares is %u, it can be 1 to %u", words, unit, n->shares,
			      RLS_SHARES_MAX);
	if (n->limit == 0)
		return refuse(cfg, err, ST_INVALID, "%s: %s.limit is 0: it would never read or write", words, unit);
	if (n->reservation > n->limit)
		return refuse(cfg, err, ST_INVALID, "%s: %s.reservation (%llu) is above %s.limit (%llu)", words, unit,
			      (unsigned long long)n->reservation, unit, (unsigned long long)n->limit);
	if (n->reservation > VM_DISK_RATE_MAX || (n->limit != RLS_UNLIMITED && n->limit > VM_DISK_RATE_MAX))
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: %s.reservation or %s.limit is above %llu", words, unit, unit,
			      (unsigned long long)VM_DISK_RATE_MAX);
	return ST_OK;
}

static enum status check_disk_interrupts(const struct vm_config *cfg, const struct vm_disk *d, const char *words,
					 struct error *err)
{
	struct error why = {""};
	enum status st = coalesce_check(&d->coalesce, &why);

	return st == ST_OK ? ST_OK : refuse(cfg, err, st, "%s: interrupts: %.100s", words, why.text);
}

static enum status check_disk(const struct vm_config *cfg, unsigned n, struct error *err)
{
	char words[DISK_WORDS_MAX];
	enum status st = check_disk_name(cfg, n, disk_words(cfg, n, words), err);

	if (st == ST_OK)
		st = check_disk_texts(cfg, &cfg->disks[n - 1], words, err);
	if (st == ST_OK)
		st = check_disk_numbers(cfg, &cfg->disks[n - 1], words, err);
	return st == ST_OK ? check_disk_interrupts(cfg, &cfg->disks[n - 1], words, err) : st;
}

static enum status check_disks(const struct vm_config *cfg, struct error *err)
{
	enum status st = ST_OK;

	if (cfg->disk_count > VM_DISKS_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "it has %u disks, at most %d are possible", cfg->disk_count,
			      VM_DISKS_MAX);
	for (unsigned n = 1; n <= cfg->disk_count && st == ST_OK; n++)
		st = check_disk(cfg, n, err);
	return st;
}

static enum status check_rest(const struct vm_config *cfg, struct error *err)
{
	if ((unsigned)cfg->on_reset > ON_RESET_STOP)
		return refuse(cfg, err, ST_INVALID, "on_reset action %u is unknown", (unsigned)cfg->on_reset);
	if ((unsigned)cfg->console > CONSOLE_VIRTIO)
		return refuse(cfg, err, ST_INVALID, "console %u is unknown", (unsigned)cfg->console);
	return ST_OK;
}

enum status vm_config_check(const struct vm_config *cfg, struct error *err)
{
	static enum status (*const checks[])(const struct vm_config *, struct error *) = {
		check_name, check_strings, check_boot, check_memory, check_cpu, check_disks, vm_nics_check, check_rest,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
		enum status st = checks[i](cfg, err);

		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}
