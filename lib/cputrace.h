/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one CPU did, as records of a fixed size in a ring that its own CPU
 * overwrites from the oldest on. Whoever writes never waits and takes no lock; a
 * reader on another CPU copies first and asks afterwards what was overwritten
 * meanwhile, as in a sequence lock. The ring is there only while somebody
 * traces: without it a hook costs a load and a branch.
 */
#ifndef CORBEL_LIB_CPUTRACE_H
#define CORBEL_LIB_CPUTRACE_H

#include <stddef.h>
#include <stdint.h>

enum cputrace_kind {
	CPUTRACE_TURN, /* somebody had the CPU; code: enum cputrace_end */
	CPUTRACE_EXIT, /* a guest ran until it left by an exit; code: its kind, detail: what it was about */
	CPUTRACE_WAKE, /* somebody was woken by this CPU */
	CPUTRACE_KINDS
};

/* What ended a turn. */
enum cputrace_end { CPUTRACE_BLOCKED, CPUTRACE_YIELDED };

struct cputrace_record {
	uint64_t begin, end; /* host TSC; of a wake they are equal */
	uint16_t vm;         /* id; 0: a task of the host */
	uint8_t vcpu;
	uint8_t kind;        /* enum cputrace_kind */
	uint32_t code;
	uint64_t detail;
};
_Static_assert(sizeof(struct cputrace_record) == 32, "written and read as four words");

#define CPUTRACE_WORDS (sizeof(struct cputrace_record) / sizeof(uint64_t))

struct cputrace {
	uint64_t (*slots)[CPUTRACE_WORDS];
	uint64_t size; /* records, a power of two */
	uint64_t head; /* number of the record to come, from 0 on; atomic */
} __attribute__((aligned(64)));

/* @storage holds @size records, a power of two from 2 on, and outlives the ring. */
void cputrace_init(struct cputrace *t, void *storage, uint64_t size);

/* By the ring's own CPU, interrupts masked. */
void cputrace_add(struct cputrace *t, const struct cputrace_record *r);

/* The number of the record to come. Any CPU. */
static inline uint64_t cputrace_head(const struct cputrace *t)
{
	return __atomic_load_n(&t->head, __ATOMIC_ACQUIRE);
}

/*
 * Copies up to @max records from number *from on, the oldest that are left if that is gone, and moves *from to the
 * first that was copied. Any CPU, while the ring is written. A *from beyond the end becomes the end.
 */
size_t cputrace_read(const struct cputrace *t, uint64_t *from, struct cputrace_record *out, size_t max);

#endif
