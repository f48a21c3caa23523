/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's state in a few lines, as the crash report prints it.
 */
#include "vmx/dump.h"

#include "lib/format.h"

#include <stdarg.h>

#define AT(image, name) ((image)->value[VMCS_AT_##name])

void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (t->used + 1 >= t->size)
		return;
	va_start(ap, fmt);
	len = format_v(t->buf + t->used, t->size - t->used, fmt, ap);
	va_end(ap);
	t->used = MIN(t->used + len, t->size - 1);
}

static void dump_registers(const struct vmcs_image *i, struct text *t)
{
	text_add(t, "rip %lx rsp %lx rflags %lx\n", AT(i, GUEST_RIP), AT(i, GUEST_RSP), AT(i, GUEST_RFLAGS));
	text_add(t, "cr0 %lx (shadow %lx) cr3 %lx cr4 %lx (shadow %lx) efer %lx dr7 %lx\n", AT(i, GUEST_CR0),
		 AT(i, CR0_SHADOW), AT(i, GUEST_CR3), AT(i, GUEST_CR4), AT(i, CR4_SHADOW), AT(i, GUEST_EFER),
		 AT(i, GUEST_DR7));
}

#define SEGMENT(i, t, name)                                                                                 \
	text_add(t, "%-4s %04lx base %lx limit %lx access %lx\n", #name, AT(i, GUEST_##name##_SELECTOR),      \
		 AT(i, GUEST_##name##_BASE), AT(i, GUEST_##name##_LIMIT), AT(i, GUEST_##name##_ACCESS))

static void dump_segments(const struct vmcs_image *i, struct text *t)
{
	SEGMENT(i, t, CS);
	SEGMENT(i, t, SS);
	SEGMENT(i, t, DS);
	SEGMENT(i, t, ES);
	SEGMENT(i, t, FS);
	SEGMENT(i, t, GS);
	SEGMENT(i, t, TR);
	SEGMENT(i, t, LDTR);
	text_add(t, "gdtr %lx+%lx idtr %lx+%lx\n", AT(i, GUEST_GDTR_BASE), AT(i, GUEST_GDTR_LIMIT),
		 AT(i, GUEST_IDTR_BASE), AT(i, GUEST_IDTR_LIMIT));
}

static void dump_events(const struct vmcs_image *i, struct text *t)
{
	uint32_t reason = (uint32_t)AT(i, EXIT_REASON);

	text_add(t, "exit reason %lx (%s) qualification %lx gpa %lx linear %lx\n", AT(i, EXIT_REASON),
		 vmx_reason_name(reason & VMEXIT_BASIC_MASK), AT(i, EXIT_QUALIFICATION),
		 AT(i, GUEST_PHYSICAL_ADDRESS), AT(i, GUEST_LINEAR_ADDRESS));
	text_add(t, "exit event %lx/%lx vectoring %lx/%lx entry event %lx/%lx\n", AT(i, EXIT_INTR_INFO),
		 AT(i, EXIT_INTR_ERROR), AT(i, IDT_VECTORING_INFO), AT(i, IDT_VECTORING_ERROR),
		 AT(i, ENTRY_INTR_INFO), AT(i, ENTRY_EXCEPTION_ERROR));
	text_add(t, "interruptibility %lx activity %lx pending debug %lx interrupt status %lx\n",
		 AT(i, GUEST_INTERRUPTIBILITY), AT(i, GUEST_ACTIVITY_STATE), AT(i, GUEST_PENDING_DEBUG),
		 AT(i, GUEST_INTERRUPT_STATUS));
	text_add(t, "controls pin %lx proc %lx/%lx entry %lx exit %lx\n", AT(i, PINBASED_CTLS), AT(i, PROCBASED_CTLS),
		 AT(i, PROCBASED_CTLS2), AT(i, ENTRY_CTLS), AT(i, EXIT_CTLS));
}

size_t dump_vmcs(const struct vmcs_image *image, bool explain, const struct vmx_caps *caps, char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = size};
	unsigned broken = 0;

	if (size)
		buf[0] = '\0';
	if (explain) {
		text_add(&t, "VM entry failed: %s\n",
			 vmx_instruction_error_name((uint32_t)AT(image, INSTRUCTION_ERROR)));
		broken += dump_check_controls(image, caps, caps->phys_bits, &t);
		broken += dump_check_host(image, caps, caps->phys_bits, &t);
		broken += dump_check_guest(image, caps, caps->phys_bits, &t);
		if (!broken)
			text_add(&t, "no rule that can be checked from the fields alone is broken\n");
	}
	dump_registers(image, &t);
	dump_segments(image, &t);
	dump_events(image, &t);
	return t.used;
}
