/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of Corbel: list, upload, test, confirm, erase (SMP's image group). An
 * image is named by its hash, of which the first digits do, or by its slot.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/bits.h"
#include "tools/commands.h"
#include "tools/copy.h"
#include "tools/progress.h"
#include "tools/reply.h"
#include "tools/show.h"

#define HASH_BYTES 32
#define HASH_DIGITS (2 * HASH_BYTES)
#define SLOTS 2

struct slot {
	uint64_t slot;
	char version[40], hash[HASH_DIGITS + 1];
	uint8_t raw[HASH_BYTES];
	bool has_hash, bootable, pending, confirmed, active, permanent;
};

static bool get_flag(struct cbor_value map, const char *key)
{
	struct cbor_value v;
	bool on = false;

	return cbor_find(map, key, &v) && cbor_get_bool(v, &on) && on;
}

static void take_slot(struct cbor_value entry, struct slot *s)
{
	const uint8_t *hash;
	struct cbor_value v;
	size_t len;

	*s = (struct slot){
		.slot = reply_uint(entry, "slot"), .bootable = get_flag(entry, "bootable"),
		.pending = get_flag(entry, "pending"), .confirmed = get_flag(entry, "confirmed"),
		.active = get_flag(entry, "active"), .permanent = get_flag(entry, "permanent"),
	};
	reply_text(entry, "version", s->version, sizeof s->version);
	if (!cbor_find(entry, "hash", &v) || !cbor_get_bytes(v, &hash, &len) || len != HASH_BYTES)
		return;
	s->has_hash = true;
	memcpy(s->raw, hash, len);
	for (size_t i = 0; i < len; i++)
		snprintf(s->hash + 2 * i, 3, "%02x", hash[i]);
}

static int take_slots(struct cbor_value reply, struct slot out[SLOTS])
{
	struct cbor_value entry;
	struct cbor_iter it;
	int n = 0;

	if (reply_list(reply, "images", &it))
		while (n < SLOTS && cbor_next(&it, &entry))
			take_slot(entry, &out[n++]);
	return n;
}

static enum exit_status read_slots(struct client *c, struct slot out[SLOTS], int *count)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	st = client_request(c, CLIENT_READ, GROUP_IMAGE, IMAGE_STATE, &r, &reply);
	*count = st == EXIT_OK ? take_slots(reply, out) : 0;
	return st;
}

/* ---- showing ---- */

static const char *flag(bool on, const char *word)
{
	return on ? word : "";
}

static void show_slot(struct client *c, const struct slot *s)
{
	if (c->json) {
		printf("%s{\"slot\": %u, \"version\": ", s->slot ? ", " : "", (unsigned)s->slot);
		show_json_string(stdout, s->version, strlen(s->version));
		if (s->has_hash)
			printf(", \"hash\": \"%s\"", s->hash);
		printf(", \"bootable\": %s, \"pending\": %s, \"confirmed\": %s, \"active\": %s, \"permanent\": %s}",
		       s->bootable ? "true" : "false", s->pending ? "true" : "false", s->confirmed ? "true" : "false",
		       s->active ? "true" : "false", s->permanent ? "true" : "false");
		return;
	}
	printf("%u  ", (unsigned)s->slot);
	show_clean(stdout, s->version, strlen(s->version));
	printf("  %s%s%s%s%s%s\n", s->has_hash ? s->hash : "no hash", flag(s->active, "  active"),
	       flag(s->confirmed, "  confirmed"), flag(s->pending, "  pending"), flag(s->permanent, "  permanent"),
	       flag(!s->bootable, "  not bootable"));
}

/* The sizes of the slots, the first element of the reply to slot info. */
static void show_sizes(struct client *c, struct cbor_value sizes)
{
	struct cbor_value list;
	char text[24];

	if (c->json && cbor_find(sizes, "slots", &list)) {
		fputs(", \"slots\": ", stdout);
		show_json(stdout, list);
		printf(", \"max_image_size\": %llu", (unsigned long long)reply_uint(sizes, "max_image_size"));
	} else if (!c->json) {
		printf("room in slot 1 for an image of %s\n",
		       show_bytes(reply_uint(sizes, "max_image_size"), text, sizeof text));
	}
}

/* @sizes may be NULL: not to be shown. */
static void show_slots(struct client *c, const struct slot *slots, int count, const struct cbor_value *sizes)
{
	if (c->json)
		fputs("{\"images\": [", stdout);
	for (int i = 0; i < count; i++)
		show_slot(c, &slots[i]);
	if (c->json)
		putchar(']');
	if (sizes)
		show_sizes(c, *sizes);
	if (c->json)
		puts("}");
}

enum exit_status image_list(struct client *c, int argc, char **argv)
{
	struct slot slots[SLOTS];
	struct cbor_value reply, sizes;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;
	int count;

	(void)argc;
	(void)argv;
	st = read_slots(c, slots, &count);
	if (st != EXIT_OK)
		return st;
	request_begin(&r);
	st = client_request(c, CLIENT_READ, GROUP_IMAGE, IMAGE_SLOTS, &r, &reply);
	if (st == EXIT_OK)
		show_slots(c, slots, count, reply_list(reply, "images", &it) && cbor_next(&it, &sizes) ? &sizes : NULL);
	return st;
}

/* ---- test, confirm, erase ---- */

/* The slot whose hash begins with @word, or whose number it is. NULL after a sentence. */
static const struct slot *find_slot(const struct slot *slots, int count, const char *word)
{
	const struct slot *found = NULL;

	for (int i = 0; i < count; i++) {
		char number[8];

		snprintf(number, sizeof number, "%u", (unsigned)slots[i].slot);
		if (!slots[i].has_hash)
			continue;
		if (strcmp(word, number) == 0)
			return &slots[i];
		if (strlen(word) >= 4 && strncmp(word, slots[i].hash, strlen(word)) == 0)
			found = &slots[i];
	}
	if (!found)
		complain("no slot holds an image %s: give its slot, or four digits of its hash", word);
	return found;
}

static enum exit_status plan(struct client *c, const char *word, bool confirm)
{
	struct slot slots[SLOTS];
	const struct slot *slot = NULL;
	struct cbor_value reply;
	enum exit_status st;
	struct request r;
	int count;

	if (word) {
		st = read_slots(c, slots, &count);
		if (st != EXIT_OK)
			return st;
		slot = find_slot(slots, count, word);
		if (!slot)
			return EXIT_REFUSED;
	}
	request_begin(&r);
	if (slot)
		request_bytes(&r, "hash", slot->raw, HASH_BYTES);
	cbor_put_text(&r.w, "confirm");
	cbor_put_bool(&r.w, confirm);
	st = client_request(c, CLIENT_WRITE, GROUP_IMAGE, IMAGE_STATE, &r, &reply);
	if (st == EXIT_OK)
		show_slots(c, slots, take_slots(reply, slots), NULL);
	return st;
}

enum exit_status image_test(struct client *c, int argc, char **argv)
{
	(void)argc;
	return plan(c, argv[0], false);
}

enum exit_status image_confirm(struct client *c, int argc, char **argv)
{
	return plan(c, argc > 0 ? argv[0] : NULL, true);
}

enum exit_status image_erase(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return request_do(c, GROUP_IMAGE, IMAGE_ERASE, &r);
}

/* ---- upload ---- */

/* Sends the chunk at *at and takes from the answer where it goes on. */
static enum exit_status send_chunk(struct client *c, FILE *file, uint64_t size, bool upgrade, uint64_t *at)
{
	uint8_t data[COPY_CHUNK];
	struct cbor_value reply;
	enum exit_status st;
	struct request r;
	size_t len;

	if (fseeko(file, (off_t)*at, SEEK_SET) != 0 ||
	    (len = fread(data, 1, (size_t)MIN(size - *at, sizeof data), file)) == 0) {
		complain("cannot read the file: %s", strerror(errno));
		return EXIT_USAGE;
	}
	request_begin(&r);
	request_uint(&r, "off", *at);
	request_bytes(&r, "data", data, len);
	if (*at == 0) {
		request_uint(&r, "len", size);
		cbor_put_text(&r.w, "upgrade");
		cbor_put_bool(&r.w, upgrade);
	}
	c->repeatable = true;
	st = client_request(c, CLIENT_WRITE, GROUP_IMAGE, IMAGE_UPLOAD, &r, &reply);
	c->repeatable = false;
	if (st == EXIT_OK)
		*at = MIN(reply_uint(reply, "off"), size);
	return st;
}

static enum exit_status send_image(struct client *c, const char *path, FILE *file, uint64_t size, bool upgrade)
{
	enum exit_status st = EXIT_OK;
	struct progress bar;
	uint64_t at = 0;

	progress_begin(&bar, path, 0, size, !c->json);
	while (st == EXIT_OK && at < size) {
		st = send_chunk(c, file, size, upgrade, &at);
		/* The machine says where it goes on, whatever place the next chunk is for. */
		if (st == EXIT_UNREACHABLE && client_reconnect(c, c->timeout_ms))
			st = EXIT_OK;
		progress_show(&bar, at);
	}
	progress_end(&bar, at);
	return st;
}

enum exit_status image_upload(struct client *c, int argc, char **argv)
{
	bool upgrade = argc == 2 && strcmp(argv[0], "--upgrade") == 0;
	const char *path = argv[argc - 1];
	enum exit_status st;
	struct stat s;
	FILE *file;

	if (argc != 1 + upgrade) {
		complain("usage: image upload [--upgrade] FILE");
		return EXIT_USAGE;
	}
	file = fopen(path, "rb");
	if (!file || fstat(fileno(file), &s) != 0 || !S_ISREG(s.st_mode) || s.st_size == 0) {
		complain("cannot read %s: %s", path, file ? "it is no file, or empty" : strerror(errno));
		if (file)
			fclose(file);
		return EXIT_USAGE;
	}
	c->patient = true;
	st = send_image(c, path, file, (uint64_t)s.st_size, upgrade);
	c->patient = false;
	fclose(file);
	return st == EXIT_OK ? image_list(c, 0, NULL) : st;
}
