/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crash report of a VM: first the sentence that says why, then what a
 * person needs to see for themselves: the exit, registers, segments, the last
 * exits before it, and the engine's own view. Bounded by the buffer in struct
 * vm; numbers only, so that a guest cannot put text of its own into it. Of the
 * other vcpus it has a line each, added when they have left their CPUs.
 */
#include "guest/vcpu_internal.h"

#include "guest/vm_internal.h"
#include "lib/format.h"

#define TRACE_LINES 24

struct text {
	char *buf;
	size_t size, used;
};

__attribute__((format(printf, 2, 0))) static void say_v(struct text *t, const char *fmt, va_list ap)
{
	size_t length = format_v(t->buf + t->used, t->size - t->used, fmt, ap);

	t->used = MIN(t->used + length, t->size - 1);
}

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say_v(t, fmt, ap);
	va_end(ap);
}

static unsigned long long reg(struct vcpu *v, enum engine_reg r) { return v->engine->get_reg(v, r); }

static void say_exit(struct text *t, const struct vcpu *v)
{
	uint64_t words[3];

	_Static_assert(sizeof v->exit.u >= sizeof words, "the raw words of an exit lie inside it");
	memcpy(words, &v->exit.u, sizeof words);
	say(t, "exit: %s at rip %016llx, length %u, detail %016llx %016llx %016llx\n", exit_kind_name(v->exit.kind),
	    (unsigned long long)v->exit.rip, v->exit.length, (unsigned long long)words[0],
	    (unsigned long long)words[1], (unsigned long long)words[2]);
}

static void say_registers(struct text *t, struct vcpu *v)
{
	static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
						     "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};

	for (unsigned i = 0; i < GPR_COUNT; i++)
		say(t, "%s %016llx%c", names[i], (unsigned long long)vcpu_get_gpr(v, i), i % 4 == 3 ? '\n' : ' ');
	say(t, "rip %016llx rflags %08llx cr0 %08llx cr2 %016llx\n", reg(v, REG_RIP), reg(v, REG_RFLAGS),
	    reg(v, REG_CR0), reg(v, REG_CR2));
	say(t, "cr3 %016llx cr4 %08llx efer %04llx xcr0 %llx dr7 %llx\n", reg(v, REG_CR3), reg(v, REG_CR4),
	    reg(v, REG_EFER), reg(v, REG_XCR0), reg(v, REG_DR7));
}

static void say_segments(struct text *t, struct vcpu *v)
{
	static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr", "gdtr", "idtr"};

	for (unsigned i = 0; i < SEG_COUNT; i++) {
		struct segment s = {0};

		v->engine->get_segment(v, (enum segment_reg)i, &s);
		say(t, "%-4s %04x base %016llx limit %08x access %04x\n", names[i], s.selector,
		    (unsigned long long)s.base, s.limit, s.access);
	}
}

static void say_pending(struct text *t, const struct vcpu *v)
{
	say(t, "pending: exception %d nmi %d irr %d isr %d, windows %d %d, halted %d, requests %llx\n",
	    v->exception_pending ? v->exception.vector : -1, v->nmi_pending, vlapic_highest_irr(&v->lapic),
	    vlapic_highest_isr(&v->lapic), v->irq_window, v->nmi_window, v->halted, (unsigned long long)v->requests);
}

static uint64_t exits_so_far(const struct vcpu *v)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < EXIT_KINDS; k++)
		sum += v->exits[k];
	return sum;
}

static void say_trace(struct text *t, const struct vcpu *v)
{
	unsigned next = v->trace.next / sizeof(struct trace_entry);
	uint64_t count = exits_so_far(v);
	unsigned lines = (unsigned)MIN(count, TRACE_LINES);

	say(t, "last exits of %llu (entered so many ticks before the last, rip, kind, detail):\n",
	    (unsigned long long)count);
	for (unsigned i = lines; i > 0; i--) {
		const struct trace_entry *e = &v->trace.entries[(next - i) % VCPU_TRACE_SIZE];

		say(t, "  -%llu %016llx %s %llx\n", (unsigned long long)(v->entered - e->entered),
		    (unsigned long long)e->rip, exit_kind_name((enum exit_kind)e->kind), (unsigned long long)e->detail);
	}
}

void vcpu_report(struct vcpu *v, const char *fmt, va_list ap)
{
	struct vm *vm = v->vm;
	struct text t = {.buf = vm->report, .size = sizeof vm->report};

	say_v(&t, fmt, ap);
	say(&t, "\nvcpu %u of VM %s\n", v->id, vm->config.name);
	say_exit(&t, v);
	say_registers(&t, v);
	say_segments(&t, v);
	say_pending(&t, v);
	say_trace(&t, v);
	t.used += MIN(v->engine->describe(v, t.buf + t.used, t.size - t.used), t.size - t.used - 1);
	t.buf[t.used] = 0;
	vm->crashed_vcpu = v->id;
	__atomic_store_n(&vm->report_whole, true, __ATOMIC_RELEASE);
}

static const char *doing(const struct vcpu *v)
{
	if (v->waiting)
		return "waiting for start-up";
	return v->halted ? "halted" : "running";
}

/* At the end of what the one that crashed left room for. */
void vm_report_siblings(struct vm *vm)
{
	struct text t = {.buf = vm->report, .size = sizeof vm->report, .used = strlen(vm->report)};

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (i == vm->crashed_vcpu)
			continue;
		v->engine->load(v);
		say(&t, "vcpu %u: %s, rip %016llx rflags %08llx cr3 %016llx rsp %016llx, last exit %s of %llu\n", i,
		    doing(v), reg(v, REG_RIP), reg(v, REG_RFLAGS), reg(v, REG_CR3), reg(v, REG_RSP),
		    exit_kind_name(v->exit.kind), (unsigned long long)exits_so_far(v));
		v->engine->put(v);
	}
}

enum disposition vcpu_crash(struct vcpu *v, const char *fmt, ...)
{
	struct vm *vm = v->vm;
	va_list ap;
	bool ended;

	/* The siblings leave while the report is written; of several that crash at once the first is reported. */
	lock_acquire(&vm->lock);
	ended = vm_end(vm, REASON_CRASH, 0);
	lock_release(&vm->lock);
	if (!ended)
		return STOP;
	va_start(ap, fmt);
	vcpu_report(v, fmt, ap);
	va_end(ap);
	vm_post_teardown(vm);
	return STOP;
}
