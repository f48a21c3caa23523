/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life of storage (tests/fakes/storage_life.h) whose choices are the input: what guests ask, what the operator does,
 * when the disk fails and when it loses its power. Behind the input's end every choice is the first.
 */
#include "tests/fakes/storage_life.h"
#include "tests/fuzz/input.h"

#define STEPS_MAX 600u

static uint64_t below(void *ctx, uint64_t n) { return take(ctx, n > 256 ? 3 : 1) % n; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct life_source source = {below, &in};
	struct life_figures figures;
	unsigned steps = size / 4 < STEPS_MAX ? (unsigned)(size / 4) : STEPS_MAX;

	storage_life(&source, steps, &figures);
	return 0;
}
