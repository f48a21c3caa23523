/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMX instructions, one inline function each (SDM volume 3, chapter 30).
 * Outcomes come back in RFLAGS: CF is VMfailInvalid (no current VMCS), ZF is
 * VMfailValid (the error number is in the VMCS). Reads and writes of fields are
 * unchecked in release builds, because the fields are constants that set-up has
 * already written once; CORBEL_DEBUG builds check each.
 */
#ifndef CORBEL_VMX_VMX_ASM_H
#define CORBEL_VMX_VMX_ASM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/assert.h"
#include "lib/status.h"
#include "vmx/vmcs.h"

/* Operand of INVEPT (30.3, 16 bytes). */
struct invept_descriptor {
	uint64_t eptp;
	uint64_t reserved;
};
_Static_assert(sizeof(struct invept_descriptor) == 16, "SDM 3:30.3 INVEPT");

/* Operand of INVVPID. */
struct invvpid_descriptor {
	uint16_t vpid;
	uint16_t reserved[3];
	uint64_t linear;
};
_Static_assert(sizeof(struct invvpid_descriptor) == 16, "SDM 3:30.3 INVVPID");

#define INVEPT_SINGLE 1ull
#define INVEPT_ALL 2ull
#define INVVPID_ADDRESS 0ull
#define INVVPID_SINGLE 1ull
#define INVVPID_ALL 2ull
#define INVVPID_SINGLE_RETAIN_GLOBALS 3ull

/* VMXON, VMCLEAR, VMPTRLD take the physical address of a 4 KiB region; false on VMfail. */
#define VMX_ASM_REGION(name)                                                                \
	MUST_CHECK static inline bool name(uint64_t region)                                 \
	{                                                                                   \
		bool failed;                                                                \
		__asm__ volatile(#name " %1" : "=@ccbe"(failed) : "m"(region) : "memory");  \
		return !failed;                                                             \
	}
VMX_ASM_REGION(vmxon)
VMX_ASM_REGION(vmclear)
VMX_ASM_REGION(vmptrld)
#undef VMX_ASM_REGION

static inline void vmxoff(void) { __asm__ volatile("vmxoff" : : : "cc", "memory"); }

/* False when the field does not exist or no VMCS is current. */
MUST_CHECK static inline bool vmread_checked(uint64_t encoding, uint64_t *out)
{
	uint64_t v;
	bool failed;

	__asm__ volatile("vmread %2, %1" : "=@ccbe"(failed), "=r"(v) : "r"(encoding) : "memory");
	if (failed)
		return false;
	*out = v;
	return true;
}

MUST_CHECK static inline bool vmwrite_checked(uint64_t encoding, uint64_t value)
{
	bool failed;

	__asm__ volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"(encoding), "r"(value) : "memory");
	return !failed;
}

static inline uint64_t vmread(uint64_t encoding)
{
	uint64_t v = 0;
#ifdef CORBEL_DEBUG
	if (!vmread_checked(encoding, &v))
		panic("VMREAD of %s (0x%lx) failed", vmcs_name_of((uint32_t)encoding), encoding);
#else
	__asm__ volatile("vmread %1, %0" : "=r"(v) : "r"(encoding) : "cc", "memory");
#endif
	return v;
}

static inline void vmwrite(uint64_t encoding, uint64_t value)
{
#ifdef CORBEL_DEBUG
	if (!vmwrite_checked(encoding, value))
		panic("VMWRITE of %s (0x%lx) failed", vmcs_name_of((uint32_t)encoding), encoding);
#else
	__asm__ volatile("vmwrite %1, %0" : : "r"(encoding), "r"(value) : "cc", "memory");
#endif
}

/* Typed by width: a field of another width is a diagnostic (-Wenum-conversion). */
static inline uint16_t vmcs_read16(enum vmcs_field16 f) { return (uint16_t)vmread(f); }
static inline uint32_t vmcs_read32(enum vmcs_field32 f) { return (uint32_t)vmread(f); }
static inline uint64_t vmcs_read64(enum vmcs_field64 f) { return vmread(f); }
static inline uint64_t vmcs_readn(enum vmcs_fieldn f) { return vmread(f); }
static inline void vmcs_write16(enum vmcs_field16 f, uint16_t v) { vmwrite(f, v); }
static inline void vmcs_write32(enum vmcs_field32 f, uint32_t v) { vmwrite(f, v); }
static inline void vmcs_write64(enum vmcs_field64 f, uint64_t v) { vmwrite(f, v); }
static inline void vmcs_writen(enum vmcs_fieldn f, uint64_t v) { vmwrite(f, v); }

/* False on VMfail (unsupported type or malformed operand). */
MUST_CHECK static inline bool invept(uint64_t type, uint64_t eptp)
{
	struct invept_descriptor d = {.eptp = eptp};
	bool failed;

	__asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(d), "r"(type) : "memory");
	return !failed;
}

MUST_CHECK static inline bool invvpid(uint64_t type, uint16_t vpid, uint64_t linear)
{
	struct invvpid_descriptor d = {.vpid = vpid, .linear = linear};
	bool failed;

	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(d), "r"(type) : "memory");
	return !failed;
}

#endif
