/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of 100 pairs on which CBOR is measured, ours (host_control.c) and
 * libcbor (host_libcbor.c): both encode it to the same bytes, which bench/host.py
 * compares, and both take every key and value out again. The two libraries have
 * names in common, so they are two programs.
 */
#ifndef CORBEL_BENCH_CBOR_MAP_H
#define CORBEL_BENCH_CBOR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cases.h"

#define CASE __attribute__((noinline, noclone)) static void
#define ROUNDS 100u
#define PAIRS 100u
#define TEXT "a dozen chars"

/* What a pair holds, by turns: numbers of all sizes, negative ones, texts, truth values. */
enum content { NUMBER, NEGATIVE, WORDS, TRUTH, CONTENTS };

struct taken {
	const void *key;
	size_t key_len;
	const void *text;
	size_t text_len;
	uint64_t number; /* of a negative one: -1 - it, as CBOR has it */
	bool truth;
};

static char keys[PAIRS][8];
static size_t key_len[PAIRS];
static uint8_t encoded[8192];
static size_t encoded_len;
static struct taken taken[PAIRS];
static unsigned taken_count;

static inline void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

static inline uint64_t number_of(unsigned i)
{
	return 1ull << (i * 61 % 60);
}

static inline void make_keys(void)
{
	for (unsigned i = 0; i < PAIRS; i++)
		key_len[i] = (size_t)snprintf(keys[i], sizeof keys[i], "key%02u", i);
}

static inline void print_encoded(void)
{
	printf("encoded ");
	for (size_t i = 0; i < encoded_len; i++)
		printf("%02x", encoded[i]);
	printf("\n");
}

static inline void check_taken(bool pointers)
{
	must(taken_count == PAIRS, "not every pair was taken");
	for (unsigned i = 0; i < PAIRS; i++) {
		must(taken[i].key_len == key_len[i], "a key is wrong");
		must(!pointers || memcmp(taken[i].key, keys[i], key_len[i]) == 0, "a key is wrong");
		must(i % CONTENTS > NEGATIVE || taken[i].number == number_of(i), "a number is wrong");
		must(i % CONTENTS != WORDS || taken[i].text_len == sizeof TEXT - 1, "a text is wrong");
		must(i % CONTENTS != TRUTH || taken[i].truth, "a truth value is wrong");
	}
}

#endif
