/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what a loader planned: finds the files, asks the protocol's loader
 * for a plan, copies each piece once into guest memory and sets vcpu 0's
 * registers. Nothing of the guest is touched before the whole plan stands.
 */
#include "guest/boot.h"

#include <string.h>

#include "guest/boot_plan.h"
#include "guest/gmem.h"
#include "guest/loadfile.h"
#include "guest/machine.h"
#include "lib/assert.h"
#include "lib/x86_regs.h"

/* Descriptor bits 40-55 of the entry segments: type, S, P | G, D or L. */
#define ACCESS_CODE32 0xc09bu
#define ACCESS_CODE64 0xa09bu
#define ACCESS_DATA 0xc093u
#define ACCESS_TSS 0x008bu
#define LIMIT_FLAT 0xffffffffu
#define LIMIT_TSS 0x67u

/* The files of one start, image, initrd and modules, until it is over. */
struct boot_files {
	struct loaded_file file[2 + VM_MODULES_MAX];
	unsigned count;
};

static enum status find_file(const struct vm *vm, const char *name, struct boot_files *files, struct boot_file *out,
			     struct error *err)
{
	struct loaded_file *f = &files->file[files->count];
	enum status st = loadfile_get(vm->machine, name, f, err);

	if (st != ST_OK)
		return st;
	files->count++;
	*out = (struct boot_file){.name = name, .data = f->data, .size = f->size};
	return ST_OK;
}

static enum status find_files(const struct vm *vm, struct boot_files *files, struct boot_input *in, struct error *err)
{
	const struct vm_config *cfg = &vm->config;
	enum status st = find_file(vm, cfg->boot.image, files, &in->image, err);

	if (st == ST_OK && cfg->boot.initrd[0])
		st = find_file(vm, cfg->boot.initrd, files, &in->initrd, err);
	for (unsigned i = 0; st == ST_OK && i < cfg->boot.module_count; i++)
		st = find_file(vm, cfg->boot.modules[i].image, files, &in->modules[i], err);
	return st;
}

static void drop_files(const struct vm *vm, struct boot_files *files)
{
	for (unsigned i = 0; i < files->count; i++)
		loadfile_drop(vm->machine, &files->file[i]);
}

static enum status ask_loader(const struct boot_input *in, struct boot_plan *plan, struct error *err)
{
	switch (in->cfg->boot.protocol) {
	case BOOT_LINUX:
		return boot_linux_plan(in, plan, err);
	case BOOT_PVH:
		return boot_pvh_plan(in, plan, err);
	case BOOT_MULTIBOOT:
		return boot_multiboot_plan(in, plan, err);
	}
	return fail(err, ST_UNSUPPORTED, "VM '%s': unknown boot protocol %d", in->cfg->name,
		    (int)in->cfg->boot.protocol);
}

enum status boot_make_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err)
{
	enum status st;

	plan_init(plan, in->cfg->boot.image, in->layout);
	st = ask_loader(in, plan, err);
	if (st == ST_OK)
		plan_add_bios_data(plan);
	return st;
}

static enum status write_regions(struct vm *vm, const struct boot_plan *plan, struct error *err)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct boot_region *r = &plan->regions[i];
		enum status st = gmem_write(vm, gpa(r->start), r->data, r->data_size);

		if (st != ST_OK)
			return fail(err, st, "image '%s': writing %s %u at 0x%llx failed: %s", plan->image, r->what,
				    r->number, (unsigned long long)r->start, status_name(st));
	}
	return ST_OK;
}

static void set_segments(struct vcpu *vcpu, const struct boot_entry *e)
{
	static const enum segment_reg data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
	static const struct segment flat = {.limit = LIMIT_FLAT, .selector = BOOT_DS, .access = ACCESS_DATA};
	static const struct segment task = {.limit = LIMIT_TSS, .access = ACCESS_TSS};
	static const struct segment none = {.access = SEGMENT_UNUSABLE};
	const struct engine *engine = vcpu->vm->machine->engine;
	struct segment code = {.limit = LIMIT_FLAT, .selector = BOOT_CS, .access = ACCESS_CODE32};
	struct segment table = {0};

	if (e->mode == BOOT_MODE_LONG) {
		code.access = ACCESS_CODE64;
		table.base = e->gdt;
		table.limit = e->gdt_size - 1u;
	}
	engine->set_segment(vcpu, SEG_CS, &code);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		engine->set_segment(vcpu, data[i], &flat);
	engine->set_segment(vcpu, SEG_TR, &task);
	engine->set_segment(vcpu, SEG_LDTR, &none);
	engine->set_segment(vcpu, SEG_GDTR, &table);
	table.base = table.limit = 0;
	engine->set_segment(vcpu, SEG_IDTR, &table);
}

static void set_control(struct vcpu *vcpu, const struct boot_entry *e)
{
	const struct engine *engine = vcpu->vm->machine->engine;
	bool paging = e->mode == BOOT_MODE_LONG;

	engine->set_reg(vcpu, REG_CR4, paging ? CR4_PAE : 0);
	engine->set_reg(vcpu, REG_CR3, e->cr3);
	engine->set_reg(vcpu, REG_EFER, paging ? EFER_LME | EFER_LMA : 0);
	engine->set_reg(vcpu, REG_CR0, CR0_PE | CR0_ET | (paging ? CR0_PG : 0));
	engine->set_reg(vcpu, REG_RFLAGS, RFLAGS_FIXED1);
	engine->set_reg(vcpu, REG_RSP, 0);
	engine->set_reg(vcpu, REG_RIP, e->rip);
}

static void set_entry(struct vcpu *vcpu, const struct boot_entry *e)
{
	const struct host_ops *host = vcpu->vm->machine->host;
	unsigned long masked = host->mask();

	vcpu->vm->machine->engine->load(vcpu);
	memset(vcpu->gpr, 0, sizeof vcpu->gpr);
	vcpu->gpr[GPR_RAX] = e->rax;
	vcpu->gpr[GPR_RBX] = e->rbx;
	vcpu->gpr[GPR_RSI] = e->rsi;
	set_control(vcpu, e);
	set_segments(vcpu, e);
	host->unmask(masked);
}

enum status boot_load(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	/* Too large for the stack; there is one control task, so one load at a time. */
	static struct boot_plan plan;
	struct boot_input in = {.cfg = &vm->config, .layout = layout};
	struct boot_files files = {.count = 0};
	enum status st = find_files(vm, &files, &in, err);

	ASSERT(vm->vcpu_count > 0);
	if (st == ST_OK)
		st = boot_make_plan(&in, &plan, err);
	if (st == ST_OK)
		st = write_regions(vm, &plan, err);
	drop_files(vm, &files);
	if (st != ST_OK)
		return st;
	set_entry(vm->vcpus[0], &plan.entry);
	return ST_OK;
}
