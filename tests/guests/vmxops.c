/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes each VMX, SVM and SMX instruction. There is none of these for this
 * guest (CPUID and CR4 say so), therefore each must raise #UD and nothing else.
 */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "vmxops";

static _Alignas(4096) uint64_t region[512];
static unsigned wrong;

static void expect(const char *name, bool ran, unsigned vector)
{
	bool right = !ran && last_trap.vector == vector;

	if (ran)
		print("vmxops: %s executed WRONG\n", name);
	else
		print("vmxops: %s exception %u%s\n", name, (unsigned)last_trap.vector, right ? "" : " WRONG");
	wrong += !right;
}

#define EXPECT_UD(insn, operands) \
	expect(insn, TRY(insn " " operands, "a"(0), "b"(0), "c"(0), "d"(region) : "cc", "memory"), VEC_UD)

void guest_main(void)
{
	/* CR4.VMXE is a reserved bit where CPUID shows no VMX. */
	expect("cr4.vmxe", TRY("movq %[v], %%cr4", [v] "r"(read_cr4() | CR4_VMXE) : "memory"), VEC_GP);
	EXPECT_UD("vmxon", "(%%rdx)");
	EXPECT_UD("vmclear", "(%%rdx)");
	EXPECT_UD("vmptrld", "(%%rdx)");
	EXPECT_UD("vmptrst", "(%%rdx)");
	EXPECT_UD("vmread", "%%rax, (%%rdx)");
	EXPECT_UD("vmwrite", "(%%rdx), %%rax");
	EXPECT_UD("vmlaunch", "");
	EXPECT_UD("vmresume", "");
	EXPECT_UD("vmxoff", "");
	EXPECT_UD("vmfunc", "");
	EXPECT_UD("invept", "(%%rdx), %%rax");
	EXPECT_UD("invvpid", "(%%rdx), %%rax");
	EXPECT_UD("getsec", "");
	EXPECT_UD("vmrun", "");
	EXPECT_UD("vmload", "");
	EXPECT_UD("vmsave", "");
	EXPECT_UD("clgi", "");
	CHECK(wrong == 0, "%u instructions did what they should not", wrong);
	print("vmxops: done\n");
}
