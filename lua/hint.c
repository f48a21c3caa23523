/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three sources of advice, in this order: a table of words that other products
 * and our own drafts use, the nearest known word by edit distance (Damerau's,
 * restricted to neighbours), and if both fail the list of the known words.
 */
#include "lua/hint.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"

#define WORD_MAX 24 /* longer words get no typing help */
#define NEAR 2      /* edits at most */

struct other_word {
	const char *word;
	const char *right; /* our word for it; NULL: the same */
	bool absent;       /* not everywhere in this version: only where it is among the known words */
};

static const struct other_word words[] = {
	{"memory", "mem", false}, {"ram", "mem", false}, {"mem_size", "mem.size", false},
	{"memsize", "mem.size", false}, {"reserve", "reservation", false}, {"reserved", "reservation", false},
	{"vcpu", "cpu", false}, {"vcpus", "cpu.count", false}, {"cpus", "cpu.count", false},
	{"cores", "cpu.count", false}, {"smp", "cpu.count", false}, {"kernel", "boot.image", false},
	{"initramfs", "boot.initrd", false}, {"ramdisk", "boot.initrd", false}, {"append", "boot.cmdline", false},
	{"extra", "boot.cmdline", false}, {"args", "boot.cmdline", false}, {"bootargs", "boot.cmdline", false},
	{"onreset", "on_reset", false}, {"on_reboot", "on_reset", false},
	{"max", "limit", true}, {"cap", "limit", true}, {"maximum", "limit", true}, {"quota", "limit", true},
	{"limit", NULL, true}, {"weight", "shares", true}, {"share", "shares", true}, {"priority", "shares", true},
	{"nice", "shares", true}, {"shares", NULL, true}, {"min", "reservation", true},
	{"minimum", "reservation", true}, {"guarantee", "reservation", true}, {"pin", "affinity", true},
	{"cpuset", "affinity", true}, {"affinity", NULL, true}, {"dedicated", "exclusive", true},
	{"isolated", "exclusive", true}, {"exclusive", NULL, true}, {"low_latency", "latency", true},
	{"realtime", "latency", true}, {"latency", NULL, true}, {"disks", "disk", true}, {"volume", "disk", true},
	{"disk", NULL, true}, {"throughput", "bandwidth", true}, {"bps", "bandwidth", true}, {"cosched", NULL, true},
	{"reclaim", NULL, true},
	{"order", NULL, true}, {"needs", NULL, true}, {"alive", NULL, true}, {"log", NULL, true},
	{"passthrough", NULL, true}, {"uefi", NULL, true},
};

/* Of networks; where there is no such key, they say nothing. */
static const struct {
	const char *word, *right;
} net_words[] = {
	{"network", "net"}, {"bridge", "net"},   {"nic", "net"},     {"nics", "net"},   {"interfaces", "net"}, {"tag", "vlan"},
	{"tags", "trunk"},  {"vlans", "trunk"}, {"macaddr", "mac"}, {"hwaddr", "mac"}, {"promiscuous", "any_mac"},
};

/* Edits from @a to @b: insert, delete, replace, swap of neighbours. Both at most WORD_MAX long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t j = 0; j <= lb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *next = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = MIN(last[j], now[j - 1]) + 1;

			best = MIN(best, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, before[j - 2] + 1);
			now[j] = best;
		}
		before = last;
		last = now;
		now = next;
	}
	return last[lb];
}

static const char *nearest(const char *word, const struct hint_keys *known)
{
	unsigned best = NEAR + 1;
	const char *found = NULL;

	if (strlen(word) > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < known->count; i++) {
		const char *key = known->key(known->rows, i);
		unsigned d = strlen(key) <= WORD_MAX ? distance(word, key) : best;

		/* Half of a short word changed makes another word. */
		if (d < best && d * 2 < strlen(word)) {
			best = d;
			found = key;
		}
	}
	return found;
}

static void list_known(const struct hint_keys *known, char *out, size_t size)
{
	size_t len = format(out, size, "; known here: ");

	for (size_t i = 0; i < known->count && len < size; i++)
		len += format(out + len, size - len, "%s%s", i ? ", " : "", known->key(known->rows, i));
}

/* The key that is @word, or ends in it behind a dot; NULL when there is none. */
static const char *key_that_ends(const char *word, const struct hint_keys *known)
{
	size_t len = strlen(word);

	for (size_t i = 0; known && i < known->count; i++) {
		const char *key = known->key(known->rows, i);
		size_t key_len = strlen(key);

		if (key_len >= len && strcmp(key + key_len - len, word) == 0 &&
		    (key_len == len || key[key_len - len - 1] == '.'))
			return key;
	}
	return NULL;
}

bool hint_other_word(const char *word, const struct hint_keys *known, char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(net_words); i++) {
		if (strcmp(net_words[i].word, word) != 0 || !key_that_ends(net_words[i].right, known))
			continue;
		format(out, size, "; it is called %s", key_that_ends(net_words[i].right, known));
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const struct other_word *w = &words[i];
		const char *there;

		if (strcmp(w->word, word) != 0)
			continue;
		there = w->absent ? key_that_ends(w->right ? w->right : word, known) : w->right;
		if (there)
			format(out, size, w->right ? "; it is called %s" : "; there is %s", there);
		else if (!w->right)
			format(out, size, ": this version does not have it");
		else
			format(out, size, "; it is called %s, and this version does not have it", w->right);
		return true;
	}
	return false;
}

void hint_nearest(const char *word, const char *path, const struct hint_keys *known, char *out, size_t size)
{
	const char *near = nearest(word, known);

	out[0] = '\0';
	if (near)
		format(out, size, "; did you mean %s%s?", path, near);
}

void hint_for(const char *word, const char *path, const struct hint_keys *known, char *out, size_t size)
{
	if (hint_other_word(word, known, out, size))
		return;
	hint_nearest(word, path, known, out, size);
	if (!out[0])
		list_known(known, out, size);
}

static const char *name_of(const void *rows, size_t i) { return ((const struct hint_names *)rows)->name[i]; }

struct hint_keys hint_keys_of(const struct hint_names *names)
{
	return (struct hint_keys){name_of, names, names->count};
}

void hint_nearest_name(const char *word, const char *path, const struct hint_names *known, char *out, size_t size)
{
	struct hint_keys keys = hint_keys_of(known);

	hint_nearest(word, path, &keys, out, size);
}
