/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sectors come one at a time into the caller's buffer. What a header says about
 * the entries is copied out of it before the buffer is used for them, and an entry
 * is believed only once the checksum over all of them has held.
 */
#include "io/partition.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"

/* Master boot record. */
#define MBR_SIGNATURE_AT 510u
#define MBR_SIGNATURE 0xaa55u
#define MBR_ENTRIES_AT 446u
#define MBR_ENTRY_BYTES 16u
#define MBR_ENTRIES 4u
#define MBR_TYPE 4u
#define MBR_FIRST 8u
#define MBR_COUNT 12u
#define MBR_TYPE_PROTECTIVE 0xeeu /* the disk has a GUID partition table */

/* GUID partition table header (UEFI 2.10, table 5.5). */
#define GPT_SIGNATURE 0x5452415020494645ull /* "EFI PART" */
#define GPT_REVISION_MAJOR 1u
#define GPT_HEADER_MIN 92u
enum {
	G_SIGNATURE = 0, G_REVISION = 8, G_SIZE = 12, G_CRC = 16, G_MY_LBA = 24, G_FIRST_USABLE = 40, G_LAST_USABLE = 48,
	G_ENTRIES = 72, G_COUNT = 80, G_ENTRY_SIZE = 84, G_ENTRIES_CRC = 88
};
/* An entry (table 5.6). */
enum { E_TYPE = 0, E_FIRST = 32, E_LAST = 40, E_NAME = 56, E_TYPE_BYTES = 16 };
#define GPT_ENTRY_MIN 128u
#define GPT_ENTRIES_MAX 1024u

/* CRC-32 of IEEE 802.3, as the table uses it, four bits at a time. */
static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t len)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return ~crc;
}

static enum status read_sector(struct block_device *d, uint64_t lba, uint8_t *buffer, struct error *err)
{
	struct block_range all = {d, 0, d->sectors};

	return block_run(&all, BLOCK_READ, lba, 1, buffer, err);
}

/* What is looked for in a table: the store's type, or any from a place on. */
struct wanted {
	bool store;
	unsigned from;
};

/* @p, which lies at @first and has @count sectors, when that is behind the table and inside the disk. */
static enum status take(struct block_device *d, const struct partition *p, uint64_t first, uint64_t count,
			struct partition *out, struct error *err)
{
	if (first == 0 || count == 0 || !range_fits(first, count, d->sectors))
		return fail(err, ST_CORRUPT, "%s: partition %u, %llu sectors from %llu, is not inside its %llu", d->name,
			    p->number, (unsigned long long)count, (unsigned long long)first, (unsigned long long)d->sectors);
	*out = *p;
	out->range = (struct block_range){d, first, count};
	return ST_OK;
}

static enum status none(const struct block_device *d, const struct wanted *w, struct error *err)
{
	return fail(err, ST_NOT_FOUND, w->store ? "%s has no partition for a store" : "%s has no more partitions", d->name);
}

/* ---- GUID partition table ---- */

struct gpt {
	uint64_t entries, first_usable, last_usable;
	uint32_t count, entry_bytes, crc;
};

/* What is wrong with the header at @lba, NULL: nothing. */
static const char *header_fault(const struct block_device *d, uint8_t *p, uint64_t lba, struct gpt *out)
{
	uint32_t size = get_le32(p + G_SIZE), crc = get_le32(p + G_CRC);
	struct gpt g = {
		.entries = get_le64(p + G_ENTRIES), .first_usable = get_le64(p + G_FIRST_USABLE),
		.last_usable = get_le64(p + G_LAST_USABLE), .count = get_le32(p + G_COUNT),
		.entry_bytes = get_le32(p + G_ENTRY_SIZE), .crc = get_le32(p + G_ENTRIES_CRC),
	};

	if (get_le64(p + G_SIGNATURE) != GPT_SIGNATURE || get_le32(p + G_REVISION) >> 16 != GPT_REVISION_MAJOR)
		return "there is no header";
	if (size < GPT_HEADER_MIN || size > d->sector_bytes)
		return "the header's size is wrong";
	put_le32(p + G_CRC, 0);
	if (crc32(0, p, size) != crc)
		return "the header's checksum is wrong";
	if (get_le64(p + G_MY_LBA) != lba)
		return "the header is another sector's";
	if (g.entry_bytes < GPT_ENTRY_MIN || g.entry_bytes > d->sector_bytes || g.entry_bytes & (g.entry_bytes - 1))
		return "the size of an entry is wrong";
	if (g.count == 0 || g.count > GPT_ENTRIES_MAX ||
	    !range_fits(g.entries, ((uint64_t)g.count * g.entry_bytes + d->sector_bytes - 1) / d->sector_bytes, d->sectors))
		return "the entries are not inside the disk";
	if (g.first_usable > g.last_usable || g.last_usable >= d->sectors)
		return "the usable sectors are not inside the disk";
	*out = g;
	return NULL;
}

static bool is_wanted(const struct wanted *w, const uint8_t *e, unsigned number)
{
	static const uint8_t ours[E_TYPE_BYTES] = PARTITION_GPT_TYPE, unused[E_TYPE_BYTES];

	/* Nowhere: as good as unused. */
	if (get_le64(e + E_FIRST) == 0 && get_le64(e + E_LAST) == 0)
		return false;
	if (w->store)
		return memcmp(e + E_TYPE, ours, sizeof ours) == 0;
	return number >= w->from && memcmp(e + E_TYPE, unused, sizeof unused) != 0;
}

/* An entry's fields as they are, the range not checked yet. Names are UTF-16. */
static void copy_entry(const uint8_t *e, unsigned number, struct partition *out)
{
	*out = (struct partition){.number = number, .range = {NULL, get_le64(e + E_FIRST), get_le64(e + E_LAST)}};
	memcpy(out->gpt_type, e + E_TYPE, sizeof out->gpt_type);
	for (unsigned i = 0; i < PARTITION_NAME_MAX - 1 && get_le16(e + E_NAME + 2 * i); i++) {
		uint16_t c = get_le16(e + E_NAME + 2 * i);

		out->name[i] = c >= ' ' && c <= '~' ? (char)c : '?';
	}
}

/* Looks through the entries; the first that is wanted goes to @out, whose number is 0 when none is. */
static enum status walk_entries(struct block_device *d, const struct gpt *g, const struct wanted *w, uint8_t *buffer,
				struct partition *out, struct error *err)
{
	uint32_t per_sector = d->sector_bytes / g->entry_bytes, crc = 0;

	out->number = 0;
	for (uint32_t i = 0; i < g->count; i++) {
		const uint8_t *e = buffer + i % per_sector * g->entry_bytes;

		if (i % per_sector == 0) {
			enum status st = read_sector(d, g->entries + i / per_sector, buffer, err);

			if (st != ST_OK)
				return st;
		}
		crc = crc32(crc, e, g->entry_bytes);
		if (out->number == 0 && is_wanted(w, e, i + 1))
			copy_entry(e, i + 1, out);
	}
	if (crc == g->crc)
		return ST_OK;
	return fail(err, ST_CORRUPT, "%s: the checksum of the partition table's entries is wrong", d->name);
}

static enum status find_by_header(struct block_device *d, uint64_t lba, const struct wanted *w, uint8_t *buffer,
				  struct partition *out, struct error *err)
{
	enum status st = read_sector(d, lba, buffer, err);
	struct partition p = {.number = 0};
	uint64_t first, last;
	const char *fault;
	struct gpt g;

	if (st != ST_OK)
		return st;
	fault = header_fault(d, buffer, lba, &g);
	if (fault)
		return fail(err, ST_CORRUPT, "%s: GUID partition table at sector %llu: %s", d->name,
			    (unsigned long long)lba, fault);
	st = walk_entries(d, &g, w, buffer, &p, err);
	if (st != ST_OK)
		return st;
	if (p.number == 0)
		return none(d, w, err);
	first = p.range.first;
	last = p.range.count;
	if (first < g.first_usable || last > g.last_usable || last < first)
		return fail(err, ST_CORRUPT, "%s: partition %u, sectors %llu to %llu, is not among the usable ones", d->name,
			    p.number, (unsigned long long)first, (unsigned long long)last);
	return take(d, &p, first, last - first + 1, out, err);
}

/* By the header at sector 1, or when it is damaged by the one in the last sector. */
static enum status find_gpt(struct block_device *d, const struct wanted *w, uint8_t *buffer, struct partition *out,
			    struct error *err)
{
	enum status st = find_by_header(d, 1, w, buffer, out, err), second;

	if (st == ST_OK || st == ST_NOT_FOUND)
		return st;
	second = find_by_header(d, d->sectors - 1, w, buffer, out, NULL);
	/* The sentence is on the first: that is what wants repair. */
	return second == ST_OK ? ST_OK : st;
}

/* ---- master boot record ---- */

static enum status find(struct block_device *d, const struct wanted *w, uint8_t *buffer, struct partition *out,
			struct error *err)
{
	enum status st = read_sector(d, 0, buffer, err);
	const uint8_t *entries = buffer + MBR_ENTRIES_AT;

	if (st != ST_OK)
		return st;
	if (get_le16(buffer + MBR_SIGNATURE_AT) != MBR_SIGNATURE)
		return none(d, w, err);
	for (unsigned i = 0; i < MBR_ENTRIES; i++)
		if (entries[i * MBR_ENTRY_BYTES + MBR_TYPE] == MBR_TYPE_PROTECTIVE)
			return find_gpt(d, w, buffer, out, err);
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		const uint8_t *e = entries + i * MBR_ENTRY_BYTES;
		struct partition p = {.number = i + 1, .mbr_type = e[MBR_TYPE]};

		if (w->store ? p.mbr_type == PARTITION_MBR_TYPE : p.number >= w->from && p.mbr_type != 0)
			return take(d, &p, get_le32(e + MBR_FIRST), get_le32(e + MBR_COUNT), out, err);
	}
	return none(d, w, err);
}

enum status partition_next(struct block_device *d, uint8_t *buffer, unsigned from, struct partition *out, struct error *err)
{
	struct wanted w = {.from = from};

	return find(d, &w, buffer, out, err);
}

enum status partition_find(struct block_device *d, uint8_t *buffer, struct block_range *out, struct error *err)
{
	struct wanted w = {.store = true};
	struct partition p;
	enum status st = find(d, &w, buffer, &p, err);

	if (st == ST_OK)
		*out = p.range;
	return st;
}
