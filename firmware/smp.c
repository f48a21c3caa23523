/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INIT goes to all at once, because each needs 10 ms afterwards; the start-up IPIs
 * then go to one CPU at a time, so that what it says is about that one and there is one
 * page, one set of parameters, and no race for indices. A start takes well under a
 * millisecond; CPUs that never answer cost 100 ms each.
 *
 * The first steps need this page mapped one to one and executable: that is in
 * tables of their own, made where start.S had its first ones, which map nothing
 * else but the image. They are cleared at the end; the host's tables never have it. The
 * page stays ours, with code that halts whoever comes late.
 * Source: SDM 3A:8.4.4.1 (INIT, 10 ms, SIPI, 200 us, SIPI).
 */
#include "firmware/smp.h"

#include <string.h>

#include "firmware/ap_start.h"
#include "firmware/apic.h"
#include "firmware/cmdline.h"
#include "firmware/cpu.h"
#include "firmware/hardware.h"
#include "firmware/ipi.h"
#include "firmware/paging.h"
#include "firmware/stack.h"
#include "firmware/tsc.h"
#include "firmware/tscsync.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define INIT_US 10000u
#define SECOND_SIPI_US 200u
#define ANSWER_MS 100u
#define SKEW_MAX_US 1u /* a vcpu that moves must not see time go back */
#define LOOP_STACK_PAGES 8u
#define STACKS_PER_CPU IST_COUNT /* for faults, and the loop's */
#define IMAGE_PML4_SLOT 511u
#define GDT_BYTES (ap_page_gdt_end - ap_page_gdt)

_Static_assert(sizeof(struct percpu) <= PAGE_SIZE, "a page each");
_Static_assert(STACKS_FIRST + STACKS_PER_CPU * CPUS_MAX <= STACKS_MAX, "stacks for all");

/* start.S: the loader's tables, physical addresses. */
extern uint64_t boot_pml4[], boot_pdpt_low[], boot_pd[];

struct smp smp;

static uint32_t targets[CPUS_MAX]; /* APIC ids */
static unsigned target_count;
static unsigned listed;      /* enabled CPUs, the boot CPU included */
static char description[240];
static uint16_t core_of[CPUS_MAX], llc_of[CPUS_MAX];

bool smp_change_state(struct percpu *p, enum cpu_start from, enum cpu_start to)
{
	uint32_t was = (uint32_t)from;

	return __atomic_compare_exchange_n(&p->start, &was, (uint32_t)to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Waits until @p has left state @from; false after @us. */
static bool wait_past(const struct percpu *p, enum cpu_start from, uint64_t us)
{
	uint64_t start = rdtsc(), limit = ns_to_ticks(us * 1000, host_clock.hz);

	while (smp_state(p) == from) {
		if (rdtsc() - start > limit)
			return false;
		cpu_pause();
	}
	return true;
}

/* ---- the page and its tables ---- */

static uint64_t *boot_table(const uint64_t *physical) { return direct_map(hpa((uint64_t)physical)); }

static void clear_tables(void)
{
	memset(boot_table(boot_pml4), 0, PAGE_SIZE);
	memset(boot_table(boot_pdpt_low), 0, PAGE_SIZE);
	memset(boot_table(boot_pd), 0, 2 * PAGE_SIZE);
}

/* The page, not writable, and what the host's tables map at -2 GiB. */
static void build_tables(uint64_t root)
{
	uint64_t *pd = boot_table(boot_pd), *pt = pd + PAGE_SIZE / sizeof(*pd);
	const uint64_t *host = direct_map(hpa(root & PTE_ADDR_MASK));

	clear_tables();
	pt[smp.cfg.page.v >> PAGE_SHIFT] = smp.cfg.page.v | PTE_P;
	pd[0] = ((uint64_t)boot_pd + PAGE_SIZE) | PTE_P | PTE_W;
	boot_table(boot_pdpt_low)[0] = (uint64_t)boot_pd | PTE_P | PTE_W;
	boot_table(boot_pml4)[0] = (uint64_t)boot_pdpt_low | PTE_P | PTE_W;
	boot_table(boot_pml4)[IMAGE_PML4_SLOT] = host[IMAGE_PML4_SLOT];
}

static struct ap_params *params(void) { return (void *)((uint8_t *)direct_map(smp.cfg.page) + AP_PARAMS); }

static uint32_t in_page(const uint8_t *at) { return (uint32_t)(smp.cfg.page.v + (uint64_t)(at - ap_page_start)); }

static void fill_page(void)
{
	ASSERT(ap_page_end - ap_page_start <= AP_PARAMS);
	build_tables(read_cr3());
	memcpy(direct_map(smp.cfg.page), ap_page_start, (size_t)(ap_page_end - ap_page_start));
	*params() = (struct ap_params){
		.gdt_limit = (uint16_t)(GDT_BYTES - 1),
		.gdt_base = in_page(ap_page_gdt),
		.far32 = {in_page(ap_page_protected), AP_CODE32, 0},
		.far64 = {in_page(ap_page_long), AP_CODE64, 0},
		.tables = (uint32_t)(uint64_t)boot_pml4,
		.root = read_cr3(),
		.entry = (uint64_t)ap_entry,
	};
}

static void park_page(void)
{
	memset(direct_map(smp.cfg.page), 0, PAGE_SIZE);
	memcpy(direct_map(smp.cfg.page), ap_parked_start, (size_t)(ap_parked_end - ap_parked_start));
	clear_tables();
}

/* ---- one CPU ---- */

/* The block and stacks for the next CPU; a CPU that did not come leaves them for the one after it. */
static struct percpu *prepare(struct percpu *p)
{
	char name[STACK_NAME_MAX];
	uint64_t top;

	if (p)
		return p;
	p = smp.cfg.alloc(sizeof(*p));
	if (!p)
		return NULL;
	p->id = cpu_count;
	p->locks.seed = lock_seed(smp.cfg.args, p->id);
	if (cpu_create_ist_stacks(p) != ST_OK)
		return NULL;
	if (stack_create(stack_name(name, p->id, "loop"), LOOP_STACK_PAGES, &top) != ST_OK) {
		cpu_destroy_ist_stacks(p);
		return NULL;
	}
	p->loop_rsp = top;
	return p;
}

static bool arrives(struct percpu *p)
{
	apic_send_startup(p->apic_id, smp.cfg.page);
	if (wait_past(p, START_SENT, SECOND_SIPI_US))
		return true;
	apic_send_startup(p->apic_id, smp.cfg.page);
	if (wait_past(p, START_SENT, ANSWER_MS * 1000))
		return true;
	return !smp_change_state(p, START_SENT, START_GIVEN_UP);
}

/* In the words of one who reads what is wrong with that CPU. */
static enum status judge_time(const struct tscsync_round *rounds, struct error *err)
{
	int64_t skew = tscsync_skew(rounds, TSCSYNC_ROUNDS);
	uint64_t apart = (uint64_t)(skew < 0 ? -skew : skew);

	if (apart == 0)
		return ST_OK;
	(void)fail(err, ST_UNSUPPORTED, "its TSC is %s by %llu ticks or more", skew < 0 ? "behind" : "ahead",
		   (unsigned long long)apart);
	return apart > ns_to_ticks(SKEW_MAX_US * 1000, host_clock.hz) ? ST_UNSUPPORTED : ST_AGAIN;
}

/* False with the reason in smp.verdict. */
static bool agrees_on_time(const struct percpu *p)
{
	struct tscsync_round rounds[TSCSYNC_ROUNDS];
	enum status st;

	if (!tscsync_ask(rounds, ns_to_ticks(ANSWER_MS * 1000000ull, host_clock.hz))) {
		(void)fail(&smp.verdict, ST_IO, "it stopped answering while TSCs were compared");
		return false;
	}
	st = judge_time(rounds, &smp.verdict);
	if (st == ST_AGAIN)
		log_warn("cpu %u (APIC id %u): %s", p->id, p->apic_id, smp.verdict.text);
	return st != ST_UNSUPPORTED;
}

/* From its arrival on; false with the reason in smp.verdict. */
static bool gets_ready(struct percpu *p)
{
	bool moved = wait_past(p, START_ARRIVED, SMP_CHECKS_MS * 1000);

	if (moved && smp_state(p) == START_MEASURE) {
		bool agreed = agrees_on_time(p);

		smp_set_state(p, agreed ? START_MEASURED : START_REFUSED);
		moved = !agreed || wait_past(p, START_MEASURED, SMP_CHECKS_MS * 1000);
	}
	if (!moved)
		(void)fail(&smp.verdict, ST_IO, "it did not become ready within %u ms", SMP_CHECKS_MS);
	return moved && smp_state(p) == START_READY;
}

/* Returns @p, or what was made for it, when the CPU did not come. */
static struct percpu *start_one(uint32_t apic_id, struct percpu *p)
{
	p = prepare(p);
	if (!p) {
		log_error("CPU with APIC id %u: no memory for it: it is left out", apic_id);
		return NULL;
	}
	p->apic_id = apic_id;
	params()->apic_id = apic_id;
	params()->stack = p->loop_rsp;
	params()->percpu = (uint64_t)p;
	smp_set_state(p, START_SENT);
	if (!arrives(p)) {
		apic_send_init(apic_id); /* should it come yet: back to waiting */
		log_warn("CPU with APIC id %u: no answer within %u ms: it is left out", apic_id, ANSWER_MS);
		return p;
	}
	if (!gets_ready(p)) {
		apic_send_init(apic_id);
		log_warn("CPU with APIC id %u: %s: it is left out", apic_id, smp.verdict.text);
		/* Its stacks stay its own: who knows what it does. */
		return NULL;
	}
	log_debug("cpu %u: APIC id %u, core %u, cache %u, package %u", p->id, p->apic_id, p->place.core, p->place.llc,
		  p->place.package);
	cpu_add(p);
	return NULL;
}

/* ---- all of them ---- */

static void add_target(uint32_t apic_id)
{
	listed++;
	if (!apic_can_reach(apic_id))
		log_warn("CPU with APIC id %u: it needs x2APIC mode: it is left out", apic_id);
	else if (target_count < CPUS_MAX - 1)
		targets[target_count++] = apic_id;
}

static void find_targets(void)
{
	const struct acpi_info *acpi = smp.cfg.acpi;
	uint64_t ghost;

	listed = 1;
	for (unsigned i = 0; i < acpi->cpu_count; i++)
		if (acpi->cpu[i].enabled && acpi->cpu[i].apic_id != this_cpu()->apic_id)
			add_target(acpi->cpu[i].apic_id);
	if (cmdline_number(smp.cfg.args, "ghost", &ghost))
		add_target((uint32_t)ghost);
}

static bool give_stack_table(void)
{
	unsigned count = STACKS_FIRST + (unsigned)STACKS_PER_CPU * (target_count + 1);
	struct stack *table = smp.cfg.alloc(count * sizeof(*table));

	if (table)
		stack_use_table(table, count);
	return table;
}

static void start_all(void)
{
	struct percpu *spare = NULL;
	uint64_t limit = CPUS_MAX;

	(void)cmdline_number(smp.cfg.args, "cpus", &limit);
	fill_page();
	for (unsigned i = 0; i < target_count; i++)
		apic_send_init(targets[i]);
	host_delay_us(INIT_US);
	for (unsigned i = 0; i < target_count && cpu_count < limit; i++)
		spare = start_one(targets[i], spare);
	park_page();
}

static void describe(void)
{
	static struct cpu_place places[CPUS_MAX];
	size_t len = format(description, sizeof(description), "%u of %u in use; ", cpu_count, listed);

	for (unsigned i = 0; i < cpu_count; i++)
		places[i] = percpu_of(i)->place;
	len += topology_describe(places, cpu_count, description + len, sizeof(description) - len);
	len += format(description + len, sizeof(description) - len, "; APIC ids ");
	topology_ids(places, cpu_count, description + len, sizeof(description) - len);
	topology_number(places, cpu_count, core_of, llc_of);
}

void smp_start(const struct smp_config *cfg)
{
	struct topology_source s;

	smp.cfg = *cfg;
	topology_read(&s);
	topology_place(&s, &this_cpu()->place);
	find_targets();
	ipi_init();
	if (target_count && smp.cfg.page.v == 0)
		log_warn("CPUs: there is no page below 1 MiB for the others to start in");
	else if (target_count && !give_stack_table())
		log_warn("CPUs: no memory for the others' stacks");
	else if (target_count)
		start_all();
	describe();
	log_info("CPUs: %s", description);
}

void smp_release(void (*loop)(void))
{
	smp.loop = loop;
	for (unsigned i = 1; i < cpu_count; i++) {
		smp_set_state(percpu_of(i), START_GO);
		cpu_kick(i);
	}
}

const char *smp_describe(void) { return description; }

const uint16_t *smp_core_of(void) { return core_of; }

const uint16_t *smp_llc_of(void) { return llc_of; }
