/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writable store writes for each byte that is put: files of one size, overwritten at
 * random, at several fillings, with housekeeping in between as the control task does it. One
 * half of the lines is for files that are all equally hot, the other for nine tenths that are
 * never touched again. Counted, not timed: the same on every machine.
 */
#include <stdio.h>
#include <stdlib.h>

#include "io/kvlog.h"
#include "tests/fakes/fault_disk.h"
#include "tests/model/random.h"

#define DISK_BYTES (8u << 20)
#define FILE_BYTES 8000u
#define FILE_UNITS 17u /* of 512 bytes: header, data */
#define LAPS 10u

static struct fault_disk disk;

static void must(enum status st, const struct error *err)
{
	if (st == ST_OK)
		return;
	fprintf(stderr, "kvlog: %s\n", err->text);
	exit(1);
}

static void put(struct kvlog *kv, unsigned n)
{
	static const char data[FILE_BYTES];
	struct error err;
	char name[32];

	snprintf(name, sizeof name, "files/%u", n);
	must(kvlog_put(kv, name, data, sizeof data, &err), &err);
	for (unsigned i = 0; i < 4; i++)
		if (kvlog_step(kv, &err) != ST_AGAIN)
			break;
}

/* @percent of the size in files, of which @hot percent are overwritten. */
static void measure(unsigned percent, unsigned hot)
{
	struct block_range range;
	struct kvlog_stats a, b;
	struct random_state r = random_seed(percent);
	struct error err;
	struct kvlog *kv;
	unsigned files;
	size_t bytes;
	void *memory;

	fault_disk_init(&disk, DISK_BYTES, 512);
	range = fault_disk_range(&disk);
	bytes = kvlog_memory_bytes(&range);
	memory = aligned_alloc(64, bytes);
	must(kvlog_format(&range, 1, memory, bytes, &err), &err);
	must(kvlog_open(&range, false, memory, bytes, &kv, &err), &err);
	kvlog_stats(kv, &a);
	files = (unsigned)(a.size_bytes / (FILE_UNITS * 512) * percent / 100);
	for (unsigned i = 0; i < files; i++)
		put(kv, i);
	kvlog_stats(kv, &a);
	do {
		put(kv, (unsigned)random_below(&r, files * hot / 100));
		kvlog_stats(kv, &b);
	} while (b.written_bytes - a.written_bytes < (uint64_t)LAPS * DISK_BYTES);
	printf("| %3llu %% | %3u %% | %.2f |\n", (unsigned long long)(b.used_bytes * 100 / b.size_bytes), hot,
	       (double)(b.written_bytes - a.written_bytes) / (double)(b.put_bytes - a.put_bytes));
	free(memory);
	fault_disk_fini(&disk);
}

int main(void)
{
	static const unsigned fillings[] = {10, 25, 50, 75, 95}, hot[] = {100, 10};

	printf("| full | overwritten | bytes written for each byte put |\n| --- | --- | --- |\n");
	for (unsigned h = 0; h < sizeof hot / sizeof hot[0]; h++)
		for (unsigned i = 0; i < sizeof fillings / sizeof fillings[0]; i++)
			measure(fillings[i], hot[h]);
	return 0;
}
