/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes each VMX and SMX instruction. There is no VMX for this guest (CPUID
 * and CR4 say so), therefore each must raise #UD and nothing else; VMCALL may
 * also answer like a hypercall. Ends with the number of those that did not.
 */
#include "tests/guests/lib/guest.h"

#define UD 6
#define CR4_VMXE (1u << 13)

static uint64_t region[512] __attribute__((aligned(4096)));

static void do_vmxon(void *p) { __asm__ volatile("vmxon %0" : : "m"(*(uint64_t *)p) : "cc"); }
static void do_vmclear(void *p) { __asm__ volatile("vmclear %0" : : "m"(*(uint64_t *)p) : "cc"); }
static void do_vmptrld(void *p) { __asm__ volatile("vmptrld %0" : : "m"(*(uint64_t *)p) : "cc"); }
static void do_vmptrst(void *p) { __asm__ volatile("vmptrst %0" : "=m"(*(uint64_t *)p) : : "cc"); }
static void do_vmread(void *p) { __asm__ volatile("vmread %1, %0" : "=r"(*(uint32_t *)p) : "r"(0) : "cc"); }
static void do_vmwrite(void *p) { __asm__ volatile("vmwrite %0, %1" : : "r"(*(uint32_t *)p), "r"(0) : "cc"); }
static void do_vmlaunch(void *p) { (void)p; __asm__ volatile("vmlaunch" : : : "cc"); }
static void do_vmresume(void *p) { (void)p; __asm__ volatile("vmresume" : : : "cc"); }
static void do_vmxoff(void *p) { (void)p; __asm__ volatile("vmxoff" : : : "cc"); }
static void do_vmfunc(void *p) { (void)p; __asm__ volatile("vmfunc" : : "a"(0), "c"(0) : "cc"); }
static void do_getsec(void *p) { (void)p; __asm__ volatile("getsec" : : "a"(0), "b"(0) : "cc"); }
static void do_invept(void *p) { __asm__ volatile("invept %0, %1" : : "m"(*(uint64_t *)p), "r"(2) : "cc"); }
static void do_invvpid(void *p) { __asm__ volatile("invvpid %0, %1" : : "m"(*(uint64_t *)p), "r"(2) : "cc"); }

static const struct {
	const char *name;
	void (*run)(void *);
} operations[] = {
	{"vmxon", do_vmxon},       {"vmclear", do_vmclear},   {"vmptrld", do_vmptrld}, {"vmptrst", do_vmptrst},
	{"vmread", do_vmread},     {"vmwrite", do_vmwrite},   {"vmlaunch", do_vmlaunch}, {"vmresume", do_vmresume},
	{"vmxoff", do_vmxoff},     {"vmfunc", do_vmfunc},     {"getsec", do_getsec},   {"invept", do_invept},
	{"invvpid", do_invvpid},
};

static void set_vmxe(void *unused)
{
	uint32_t cr4;

	(void)unused;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_VMXE) : "memory");
}

static uint32_t expect(const char *name, int got, int want)
{
	put("vmxops: ");
	put(name);
	put(got < 0 ? " executed" : " exception ");
	if (got >= 0)
		put_dec((uint32_t)got);
	put(got == want ? "\n" : " WRONG\n");
	return got != want;
}

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	uint32_t wrong = 0;

	(void)magic;
	(void)info;
	/* CR4.VMXE is a reserved bit where CPUID shows no VMX: #GP */
	wrong += expect("cr4.vmxe", attempt(set_vmxe, NULL), 13);
	for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		wrong += expect(operations[i].name, attempt(operations[i].run, region), UD);
	put("vmxops: done\n");
	finish(wrong);
}
