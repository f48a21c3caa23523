/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory and the guest's page walk. The walk is proved against tables that
 * a literal builder wrote, in every format and page size, for every combination
 * of rights, mode and access, and for each reserved bit.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/cpuid.h"
#include "guest/gmem.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/guest_tables.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (8ull << 20)
#define TABLES 0x100000ull
#define ACCESS_SS(dpl) (uint16_t)(0xc093 | (dpl) << 5)

static struct vm *vm;
static struct vcpu *v;
static struct guest_tables tables;

static void set_paging(uint64_t cr0, uint64_t cr4, uint64_t efer, unsigned cpl)
{
	struct fake_vcpu *f = fake(v);

	f->regs[REG_CR0] = CR0_PE | cr0;
	f->regs[REG_CR4] = cr4;
	f->regs[REG_EFER] = efer;
	f->regs[REG_CR3] = tables.root;
	f->regs[REG_RFLAGS] = RFLAGS_FIXED1;
	f->segments[SEG_SS].access = ACCESS_SS(cpl);
}

static void set_4level(unsigned cpl) { set_paging(CR0_PG | CR0_WP, CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE, cpl); }

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	v->engine->load(v);
	tables_init(&tables, vm, TABLES);
	set_4level(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

/* ---- by guest-physical address ---- */

static void copies_across_pages(void **state)
{
	uint8_t in[3 * PAGE_SIZE], out[sizeof in];

	(void)state;
	for (unsigned i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(gmem_write(vm, gpa(0x1fff), in, sizeof in), ST_OK);
	assert_int_equal(gmem_read(vm, gpa(0x1fff), out, sizeof out), ST_OK);
	assert_memory_equal(in, out, sizeof in);
	assert_int_equal(gmem_fill(vm, gpa(0x2800), 0x5a, PAGE_SIZE), ST_OK);
	assert_int_equal(gmem_read(vm, gpa(0x27ff), out, PAGE_SIZE + 2), ST_OK);
	assert_int_equal(out[0], in[0x800]);
	assert_int_equal(out[1], 0x5a);
	assert_int_equal(out[PAGE_SIZE], 0x5a);
	assert_int_equal(out[PAGE_SIZE + 1], in[0x1801]);
}

static void untouched_memory_reads_zero(void **state)
{
	uint64_t word = 1;

	(void)state;
	assert_int_equal(gmem_read(vm, gpa(0x300000), &word, 8), ST_OK);
	assert_int_equal(word, 0);
}

static void what_is_not_ram_is_an_error(void **state)
{
	uint8_t bytes[16] = {0};

	(void)state;
	assert_int_equal(gmem_read(vm, gpa(GUEST_BYTES - 8), bytes, 16), ST_BAD_ADDRESS);
	assert_int_equal(gmem_write(vm, gpa(FAKE_PC_MMIO), bytes, 1), ST_BAD_ADDRESS);
	assert_int_equal(gmem_write(vm, gpa(UINT64_MAX - 3), bytes, 16), ST_BAD_ADDRESS);
	assert_int_equal(gmem_fill(vm, gpa(GUEST_BYTES), 0, 1), ST_BAD_ADDRESS);
	assert_int_equal(gmem_read(vm, gpa(GUEST_BYTES), bytes, 0), ST_OK);
}

static void masks_page_by_page(void **state)
{
	uint8_t bytes[3 * PAGE_SIZE] = {0};
	unsigned before = fake_host.unmasks;

	(void)state;
	assert_int_equal(gmem_write(vm, gpa(0x10000), bytes, sizeof bytes), ST_OK);
	assert_int_equal(fake_host.unmasks - before, 3);
}

/* ---- translation ---- */

static enum status walk(uint64_t linear, unsigned access, uint64_t *out, uint32_t *pf)
{
	gpa_t at = gpa(0);
	enum status st = gmem_translate(v, gva(linear), access, &at, pf);

	*out = at.v;
	return st;
}

static void reaches(uint64_t linear, uint64_t want)
{
	uint64_t at;
	uint32_t pf = 0;

	if (walk(linear, S2_READ, &at, &pf) != ST_OK)
		fail_msg("%llx faults with %x", (unsigned long long)linear, pf);
	assert_true(at == want);
}

static void faults(uint64_t linear, unsigned access, uint32_t want)
{
	uint64_t at;
	uint32_t pf = 0;

	assert_int_equal(walk(linear, access, &at, &pf), ST_BAD_ADDRESS);
	if (pf != want)
		fail_msg("%llx: error %x, not %x", (unsigned long long)linear, pf, want);
}

static void without_paging_linear_is_physical(void **state)
{
	(void)state;
	set_paging(0, 0, 0, 0);
	reaches(0x12345678, 0x12345678);
	reaches(0x1ffffffff, 0xffffffff);
}

static void four_level_tables(void **state)
{
	(void)state;
	tables_map_4level(&tables, 0xffff800012345000, 0x5000, 12, PTE_P);
	tables_map_4level(&tables, 0x7fffffe00000, 0x600000, 21, PTE_P);
	tables_map_4level(&tables, 0x40000000, 0x80000000, 30, PTE_P);
	reaches(0xffff800012345678, 0x5678);
	reaches(0x7fffffe12345, 0x612345);
	reaches(0x7fffffff, 0xbfffffff);
	faults(0xffff800012346000, S2_READ, 0);
	faults(0, S2_READ, 0);
}

static void pae_tables(void **state)
{
	(void)state;
	set_paging(CR0_PG | CR0_WP, CR4_PAE, EFER_NXE, 0);
	tables_map_pae(&tables, 0xc0345000, 0x7000, 12, PTE_P | PTE_W);
	tables_map_pae(&tables, 0x00400000, 0x200000, 21, PTE_P);
	reaches(0xc0345fff, 0x7fff);
	reaches(0x0055aaaa, 0x35aaaa);
	faults(0x80000000, S2_READ, 0);
	faults(0x00400000, S2_WRITE, PF_P | PF_W);
}

static void tables_of_32_bits(void **state)
{
	(void)state;
	set_paging(CR0_PG | CR0_WP, CR4_PSE, 0, 0);
	tables_map_32(&tables, 0xc0345000, 0x7000, 12, PTE_P);
	tables_map_32(&tables, 0x00800000, 0x00400000, 22, PTE_P);
	tables_map_32(&tables, 0x00c00000, 0x00400000 | 3 << 13, 22, PTE_P); /* PSE-36: bits 33..32 */
	reaches(0xc0345abc, 0x7abc);
	reaches(0x00812345, 0x00412345);
	reaches(0x00c12345, 0x300412345);
	tables_map_32(&tables, 0x01000000, 0x00400000 | 1 << 21, 22, PTE_P);
	faults(0x01000000, S2_READ, PF_P | PF_RSVD);
	/* Without CR4.PSE the same entry points at a table. */
	set_paging(CR0_PG, 0, 0, 0);
	faults(0x00812345, S2_READ, 0);
}

/* ---- rights: SDM 3A 4.6.1 as a plain predicate ---- */

struct rights {
	bool user_mode, wp, nxe, smep, smap, ac;
	bool present, write, user, nx;
	unsigned access;
};

static bool allowed(const struct rights *r)
{
	bool write = r->access & S2_WRITE, fetch = r->access & S2_EXEC;

	if (!r->present)
		return false;
	if (r->user_mode) {
		if (!r->user)
			return false;
		if (fetch)
			return !r->nx;
		return !write || r->write;
	}
	if (fetch) {
		if (r->nx)
			return false;
		return !(r->user && r->smep);
	}
	if (r->user && r->smap && !r->ac)
		return false;
	return !write || r->write || !r->wp;
}

static uint32_t error_of(const struct rights *r)
{
	return (r->present ? PF_P : 0) | (r->access & S2_WRITE ? PF_W : 0) | (r->user_mode ? PF_U : 0) |
	       (r->access & S2_EXEC && (r->nxe || r->smep) ? PF_I : 0);
}

static void check_rights(const struct rights *r)
{
	uint64_t at;
	uint32_t pf = 0;
	uint64_t flags = (r->present ? PTE_P : 0) | (r->write ? PTE_W : 0) | (r->user ? PTE_U : 0) | (r->nx ? PTE_NX : 0);

	set_paging(CR0_PG | (r->wp ? CR0_WP : 0),
		   CR4_PAE | (r->smep ? CR4_SMEP : 0) | (r->smap ? CR4_SMAP : 0),
		   EFER_LME | EFER_LMA | (r->nxe ? EFER_NXE : 0), r->user_mode ? 3 : 0);
	if (r->ac)
		fake(v)->regs[REG_RFLAGS] |= RFLAGS_AC;
	tables_map_4level(&tables, 0x400000, 0x5000, 12, flags);
	if ((walk(0x400000, r->access, &at, &pf) == ST_OK) != allowed(r))
		fail_msg("rights: user_mode %d wp %d nxe %d smep %d smap %d ac %d P %d W %d U %d NX %d access %u",
			 r->user_mode, r->wp, r->nxe, r->smep, r->smap, r->ac, r->present, r->write, r->user, r->nx,
			 r->access);
	if (!allowed(r))
		assert_int_equal(pf, error_of(r));
}

static void every_combination_of_rights(void **state)
{
	static const unsigned accesses[] = {S2_READ, S2_WRITE, S2_EXEC};

	(void)state;
	for (unsigned bits = 0; bits < 1024; bits++) {
		struct rights r = {
			.user_mode = bits & 1, .wp = bits & 2, .nxe = bits & 4, .smep = bits & 8, .smap = bits & 16,
			.ac = bits & 32, .present = bits & 64, .write = bits & 128, .user = bits & 256, .nx = bits & 512};

		if (r.nx && !r.nxe)
			continue; /* a reserved bit */
		for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
			r.access = accesses[i];
			check_rights(&r);
		}
	}
}

static void rights_come_from_every_level(void **state)
{
	static const struct { unsigned shift; uint64_t clear, set; unsigned access; unsigned cpl; uint32_t error; } cases[] = {
		{39, PTE_W, 0, S2_WRITE, 0, PF_P | PF_W}, {30, PTE_W, 0, S2_WRITE, 0, PF_P | PF_W},
		{21, PTE_W, 0, S2_WRITE, 0, PF_P | PF_W}, {39, PTE_U, 0, S2_READ, 3, PF_P | PF_U},
		{30, PTE_U, 0, S2_READ, 3, PF_P | PF_U},  {21, PTE_U, 0, S2_READ, 3, PF_P | PF_U},
		{39, 0, PTE_NX, S2_EXEC, 0, PF_P | PF_I}, {30, 0, PTE_NX, S2_EXEC, 0, PF_P | PF_I},
		{21, 0, PTE_NX, S2_EXEC, 0, PF_P | PF_I}, {39, PTE_P, 0, S2_READ, 0, 0},
		{30, PTE_P, 0, S2_READ, 0, 0},            {21, PTE_P, 0, S2_READ, 0, 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t at, entry, changed;

		tables_map_4level(&tables, 0x400000, 0x5000, 12, PTE_P | PTE_W | PTE_U);
		set_4level(cases[i].cpl);
		at = tables_entry_4level(&tables, 0x400000, cases[i].shift);
		assert_int_equal(gmem_read(vm, gpa(at), &entry, 8), ST_OK);
		changed = (entry & ~cases[i].clear) | cases[i].set;
		assert_int_equal(gmem_write(vm, gpa(at), &changed, 8), ST_OK);
		faults(0x400000, cases[i].access, cases[i].error);
		assert_int_equal(gmem_write(vm, gpa(at), &entry, 8), ST_OK);
	}
}

/* ---- reserved bits ---- */

static void reserved(unsigned shift, unsigned leaf, uint64_t bit, bool want)
{
	uint64_t at, entry, changed, to;
	uint32_t pf = 0;
	uint64_t linear = 0x400000;

	tables_init(&tables, vm, TABLES);
	set_4level(0);
	tables_map_4level(&tables, linear, 0, leaf, PTE_P);
	at = tables_entry_4level(&tables, linear, shift);
	assert_int_equal(gmem_read(vm, gpa(at), &entry, 8), ST_OK);
	changed = entry | bit;
	assert_int_equal(gmem_write(vm, gpa(at), &changed, 8), ST_OK);
	if ((walk(linear, S2_READ, &to, &pf) != ST_OK && pf == (PF_P | PF_RSVD)) != want)
		fail_msg("bit %llx at level %u under a leaf of %u: error %x", (unsigned long long)bit, shift, leaf, pf);
	assert_int_equal(gmem_write(vm, gpa(at), &entry, 8), ST_OK);
}

static void every_reserved_bit(void **state)
{
	unsigned width = 40; /* of the fake host's physical addresses */

	(void)state;
	for (unsigned bit = width; bit < 52; bit++) {
		for (unsigned shift = 12; shift <= 39; shift += 9)
			reserved(shift, 12, BIT(bit), true);
	}
	for (unsigned bit = 52; bit < 63; bit++)
		reserved(12, 12, BIT(bit), false);
	reserved(39, 12, PTE_PS, true);
	for (unsigned bit = 13; bit < 21; bit++)
		reserved(21, 21, BIT(bit), true);
	for (unsigned bit = 13; bit < 30; bit++)
		reserved(30, 30, BIT(bit), true);
	reserved(21, 21, BIT(12), false); /* PAT */
	vm->cpuid->extended[1].edx &= (uint32_t)~CPUID_E1D_PAGE1GB;
	reserved(30, 30, 0, true);
}

static void a_table_outside_memory_is_a_fault(void **state)
{
	(void)state;
	tables.root = FAKE_PC_MMIO;
	set_4level(0);
	faults(0x1000, S2_READ, PF_P | PF_RSVD);
	tables.root = 0x3ff000000000; /* beyond every map */
	set_4level(0);
	faults(0x1000, S2_WRITE, PF_P | PF_RSVD | PF_W);
}

static void walking_sets_no_bits(void **state)
{
	uint64_t at, entry;

	(void)state;
	tables_map_4level(&tables, 0x400000, 0x5000, 12, PTE_P | PTE_W);
	reaches(0x400000, 0x5000);
	at = tables_entry_4level(&tables, 0x400000, 12);
	assert_int_equal(gmem_read(vm, gpa(at), &entry, 8), ST_OK);
	assert_false(entry & (PTE_A | PTE_D));
}

/* ---- by linear address ---- */

static void linear_copies_follow_the_tables(void **state)
{
	uint8_t in[64], out[64];
	uint32_t pf;
	gva_t fault;

	(void)state;
	for (unsigned i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)i;
	tables_map_4level(&tables, 0x400000, 0x200000, 12, PTE_P | PTE_W);
	tables_map_4level(&tables, 0x401000, 0x300000, 12, PTE_P);
	assert_int_equal(gmem_write(vm, gpa(0x200fe0), in, 32), ST_OK);
	assert_int_equal(gmem_write(vm, gpa(0x300000), in + 32, 32), ST_OK);
	assert_int_equal(gmem_read_linear(v, gva(0x400fe0), out, 64, &pf, &fault), ST_OK);
	assert_memory_equal(in, out, 64);
	assert_int_equal(gmem_write_linear(v, gva(0x400fe0), in, 64, &pf, &fault), ST_BAD_ADDRESS);
	assert_int_equal(fault.v, 0x401000);
	assert_int_equal(pf, PF_P | PF_W);
	assert_int_equal(gmem_read_linear(v, gva(0x401fff), out, 2, &pf, &fault), ST_BAD_ADDRESS);
	assert_int_equal(fault.v, 0x402000);
	assert_int_equal(pf, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(copies_across_pages),
		T(untouched_memory_reads_zero),
		T(what_is_not_ram_is_an_error),
		T(masks_page_by_page),
		T(without_paging_linear_is_physical),
		T(four_level_tables),
		T(pae_tables),
		T(tables_of_32_bits),
		T(every_combination_of_rights),
		T(rights_come_from_every_level),
		T(every_reserved_bit),
		T(a_table_outside_memory_is_a_fault),
		T(walking_sets_no_bits),
		T(linear_copies_follow_the_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
