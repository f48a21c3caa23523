/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block device by its console's orders: "write FIRST COUNT VERSION STEP" and its like, sectors and sectors a
 * request. Each sector written says where it belongs and in which version, so that a check finds what is old,
 * lost, torn or another's. Two orders go on until the next line comes: "live", random requests against what they
 * must read, and "journal", which writes version after version and says when one is flushed.
 *
 * Options: noflush leaves the feature out; disk=N takes another than the first; errors: a failed request is told
 * and does not end the guest.
 */
#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/blk.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "disk";

#define VECTOR_UART 0x61
#define VECTOR_DISK 0x62
#define GSI_COM1 4
#define UART_IER (COM1 + 1)
#define UART_MCR (COM1 + 4)
#define IER_RECEIVED 0x01
#define MCR_DTR_RTS_OUT2 0x0b
#define LINE_MAX 128
#define WORDS (BLK_SECTOR / 8)
#define STEP_MAX 128u      /* sectors of a request */
#define CHUNKS_MAX 4096u   /* of "live" */
#define FLUSH_EVERY 32u
#define MARK 0x6b73696463726f63ull

static struct blk blk;
static uint8_t buffers[BLK_SLOTS][STEP_MAX * BLK_SECTOR] __attribute__((aligned(4096)));
static uint64_t versions[CHUNKS_MAX];
static volatile unsigned interrupts;
static bool errors_told;

/* What goes on at one time: pieces of [first, first + count), @step sectors each. */
struct job {
	enum blk_type type;
	uint64_t first, count, step;
	uint64_t version;          /* written, or expected; 0: zeroes */
	uint64_t from;             /* piece to begin with */
	uint64_t least, most;      /* versions seen */
	uint64_t failed, wrong;
	uint8_t status;            /* of what failed last */
};

static void on_disk(struct trap_frame *f)
{
	(void)f;
	interrupts++;
	apic_eoi();
}

static void on_uart(struct trap_frame *f)
{
	(void)f;
	apic_eoi();
}

/* ---- content ---- */

static uint64_t word_of(uint64_t sector, uint64_t version, unsigned i)
{
	return (sector * 0x9e3779b97f4a7c15ull ^ version << 17) + i * 0xd1342543de82ef95ull;
}

static void make(uint8_t *data, uint64_t sector, uint64_t count, uint64_t version)
{
	uint64_t *w = (uint64_t *)data;

	for (uint64_t end = sector + count; sector < end; sector++, w += WORDS) {
		if (version == 0) {
			memset(w, 0, BLK_SECTOR);
			continue;
		}
		w[0] = sector ^ MARK;
		w[1] = version;
		for (unsigned i = 2; i < WORDS; i++)
			w[i] = word_of(sector, version, i);
	}
}

/* False: it is no version of this sector. */
static bool version_of(const uint64_t *w, uint64_t sector, uint64_t *version)
{
	*version = w[1];
	if (w[1] == 0) {
		for (unsigned i = 0; i < WORDS; i++)
			if (w[i])
				return false;
		return true;
	}
	if (w[0] != (sector ^ MARK))
		return false;
	for (unsigned i = 2; i < WORDS; i++)
		if (w[i] != word_of(sector, w[1], i))
			return false;
	return true;
}

static void look(struct job *j, const uint8_t *data, uint64_t sector, uint64_t count)
{
	const uint64_t *w = (const uint64_t *)data;

	for (uint64_t end = sector + count; sector < end; sector++, w += WORDS) {
		uint64_t version;

		if (!version_of(w, sector, &version)) {
			if (j->wrong++ == 0)
				print("disk: sector %llu is garbled: 0x%llx 0x%llx\n", (unsigned long long)sector,
				      (unsigned long long)w[0], (unsigned long long)w[1]);
			continue;
		}
		if (version != j->version && j->version != UINT64_MAX && j->wrong++ == 0)
			print("disk: sector %llu has version %llu, not %llu\n", (unsigned long long)sector,
			      (unsigned long long)version, (unsigned long long)j->version);
		j->least = MIN(j->least, version);
		j->most = MAX(j->most, version);
	}
}

/* ---- requests ---- */

static uint64_t pieces(const struct job *j) { return (j->count + j->step - 1) / j->step; }

static void ask(struct job *j, unsigned slot, uint64_t piece)
{
	uint64_t sector = j->first + piece * j->step, count = MIN(j->step, j->first + j->count - sector);

	if (j->type == BLK_OUT)
		make(buffers[slot], sector, count, j->version);
	if (j->type == BLK_IN)
		memset(buffers[slot], 0xee, count * BLK_SECTOR);
	if (j->type == BLK_IN || j->type == BLK_OUT)
		blk_ask(&blk, slot, j->type, sector, buffers[slot], (uint32_t)(count * BLK_SECTOR));
	else
		blk_ask_range(&blk, slot, j->type, sector, (uint32_t)count);
}

static void ended(struct job *j, unsigned slot)
{
	const struct blk_slot *s = &blk.slots[slot];
	uint64_t sector = s->header.sector;

	if (s->status != BLK_OK) {
		CHECK(errors_told, "a request of type %u at sector %llu has status %u", s->header.type,
		      (unsigned long long)sector, s->status);
		j->failed++;
		j->status = s->status;
		return;
	}
	if (j->type == BLK_IN)
		look(j, buffers[slot], sector, MIN(j->step, j->first + j->count - sector));
}

/* As many at a time as there are slots. */
static void do_all(struct job *j)
{
	uint64_t n = pieces(j), asked = 0, back = 0;

	j->least = UINT64_MAX;
	while (back < n) {
		unsigned slot;

		while (asked < n && (slot = blk_free(&blk)) != BLK_SLOTS)
			ask(j, slot, (j->from + asked++) % n);
		blk_kick(&blk);
		ended(j, blk_wait(&blk));
		back++;
	}
}

static uint8_t flush(void)
{
	unsigned slot = blk_free(&blk);

	blk_ask(&blk, slot, BLK_FLUSH, 0, NULL, 0);
	blk_kick(&blk);
	CHECK(blk_wait(&blk) == slot, "something else than the flush has ended");
	CHECK(errors_told || blk.slots[slot].status == BLK_OK, "the flush has status %u", blk.slots[slot].status);
	return blk.slots[slot].status;
}

/* ---- orders ---- */

static char wait_char(void)
{
	int c;

	while ((c = get_char()) < 0)
		halt();
	return (char)c;
}

static void read_line(char *line)
{
	size_t len = 0;
	char c;

	while ((c = wait_char()) != '\n' && c != '\r')
		if (len < LINE_MAX - 1)
			line[len++] = c;
	line[len] = '\0';
}

/* The word of @line behind which @rest is; its length. */
static size_t word(const char **rest)
{
	const char *at = *rest;
	size_t len = 0;

	while (at[len] && at[len] != ' ')
		len++;
	*rest = at + len + (at[len] == ' ');
	return len;
}

static uint64_t number(const char **rest, uint64_t otherwise)
{
	const char *at = *rest;
	size_t len = word(rest);
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v = v * 10 + (uint64_t)(at[i] - '0');
	return len ? v : otherwise;
}

static void tell(const char *what, const struct job *j)
{
	if (j->failed)
		print("disk: %s failed %llu of %llu, status %u\n", what, (unsigned long long)j->failed,
		      (unsigned long long)pieces(j), j->status);
	else if (j->wrong)
		print("disk: %s wrong in %llu sectors\n", what, (unsigned long long)j->wrong);
	else if (j->type == BLK_IN)
		print("disk: %s done, versions %llu to %llu\n", what, (unsigned long long)j->least,
		      (unsigned long long)j->most);
	else
		print("disk: %s done\n", what);
}

/* One request on a piece whose content is known: writes the next version, or reads what was written last. */
static void live_once(const struct job *area, uint64_t *seed, uint64_t *next)
{
	uint64_t piece = random_next(seed) % pieces(area);
	struct job j = {.first = area->first + piece * area->step, .step = area->step};

	j.count = MIN(area->step, area->first + area->count - j.first);
	if (random_next(seed) % 2) {
		j.type = BLK_OUT;
		versions[piece] = ++*next;
	}
	j.version = versions[piece];
	do_all(&j);
	CHECK(j.wrong == 0, "%llu sectors are wrong", (unsigned long long)j.wrong);
}

/* The area reads as zeroes when it begins. */
static void live(const struct job *area)
{
	uint64_t seed = area->first + 1, next = 0, done = 0;

	CHECK(pieces(area) <= CHUNKS_MAX, "too many pieces");
	memset(versions, 0, sizeof versions);
	while (get_char() < 0) {
		live_once(area, &seed, &next);
		if (++done % FLUSH_EVERY)
			continue;
		(void)flush();
		print("disk: alive %llu\n", (unsigned long long)done);
	}
	for (uint64_t piece = 0; piece < pieces(area); piece++) {
		struct job j = {.type = BLK_IN, .first = area->first + piece * area->step, .step = area->step,
				.version = versions[piece]};

		j.count = MIN(area->step, area->first + area->count - j.first);
		do_all(&j);
		CHECK(j.wrong == 0, "%llu sectors are wrong in the end", (unsigned long long)j.wrong);
	}
	print("disk: lived %llu requests, %llu versions\n", (unsigned long long)done, (unsigned long long)next);
}

static void journal(const struct job *area)
{
	uint64_t seed = area->first + 1;

	for (uint64_t version = area->version; get_char() < 0; version++) {
		struct job j = *area;

		j.type = BLK_OUT;
		j.version = version;
		j.from = random_next(&seed) % pieces(area);
		do_all(&j);
		if (blk.function.features & BLK_F_FLUSH)
			(void)flush();
		print("disk: durable %llu\n", (unsigned long long)version);
	}
	print("disk: journal done\n");
}

static bool is(const char *line, size_t len, const char *what) { return strlen(what) == len && memcmp(line, what, len) == 0; }

static void obey(const char *line)
{
	const char *rest = line;
	size_t len = word(&rest);
	struct job j = {.type = BLK_IN};

	j.first = number(&rest, 0);
	j.count = number(&rest, blk.sectors);
	j.version = number(&rest, UINT64_MAX);
	j.step = number(&rest, 8);
	if (is(line, len, "flush")) {
		uint8_t status = flush();

		print(status ? "disk: flush failed, status %u\n" : "disk: flush done\n", status);
		return;
	}
	if (is(line, len, "live")) {
		live(&j);
		return;
	}
	if (is(line, len, "journal")) {
		journal(&j);
		return;
	}
	if (is(line, len, "write"))
		j.type = BLK_OUT;
	else if (is(line, len, "discard"))
		j.type = BLK_DISCARD;
	else if (is(line, len, "zero"))
		j.type = BLK_WRITE_ZEROES;
	else
		CHECK(is(line, len, "check"), "no such order: %s", line);
	CHECK(j.step && j.step <= STEP_MAX, "%llu sectors a request", (unsigned long long)j.step);
	do_all(&j);
	tell(line[0] == 'w' ? "write" : line[0] == 'd' ? "discard" : line[0] == 'z' ? "zero" : "check", &j);
}

void guest_main(void)
{
	uint64_t features = BLK_F_RO | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES | VIRTIO_F_INDIRECT;
	char line[LINE_MAX];

	errors_told = option_word("errors");
	if (option_word("noflush"))
		features &= ~BLK_F_FLUSH;
	apic_set_mode(APIC_XAPIC);
	set_handler(VECTOR_UART, on_uart);
	set_handler(VECTOR_DISK, on_disk);
	ioapic_route(GSI_COM1, VECTOR_UART, false);
	out8(UART_MCR, MCR_DTR_RTS_OUT2);
	out8(UART_IER, IER_RECEIVED);
	CHECK(blk_open(&blk, (unsigned)option("disk", 0), VECTOR_DISK, features), "there is no disk");
	print("disk: %llu sectors, features 0x%llx\n", (unsigned long long)blk.sectors, (unsigned long long)blk.function.features);
	for (;;) {
		read_line(line);
		if (memcmp(line, "quit", sizeof "quit") == 0)
			break;
		obey(line);
	}
	CHECK(interrupts > 0, "no interrupt came");
}
