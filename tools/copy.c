/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp: SMP's file group, a chunk a request. What was interrupted goes on where it
 * was: an upload where the machine says that it is, a download behind what is in
 * FILE.part, if a checksum says that it is the same file. A line that drops is
 * opened again. In the end checksums of both sides are compared.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bits.h"
#include "lib/crc32.h"
#include "tools/commands.h"
#include "tools/copy.h"
#include "tools/progress.h"
#include "tools/reply.h"
#include "tools/show.h"

#define PATH_SIZE 4096
#define NAME_SIZE 257
#define PART ".part"

struct copy {
	struct client *c;
	const char *remote;
	FILE *file;
	uint64_t size, at, resumed;
	uint32_t crc;  /* upload: of all of the local file */
	struct progress bar;
};

/* ---- checksums ---- */

/* Of the first @len bytes of @file, which stays behind them. False: it is shorter, or cannot be read. */
static bool local_crc(FILE *file, uint64_t len, uint32_t *crc)
{
	uint8_t data[16384];

	*crc = 0;
	rewind(file);
	while (len > 0) {
		size_t got = fread(data, 1, (size_t)MIN(len, sizeof data), file);

		if (got == 0)
			return false;
		*crc = crc32(*crc, data, got);
		len -= got;
	}
	return true;
}

/* Of the first @len bytes of the machine's file. */
static enum exit_status remote_crc(const struct copy *k, uint64_t len, uint32_t *crc)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_text(&r, "name", k->remote);
	request_text(&r, "type", "crc32");
	request_uint(&r, "len", len);
	st = client_request(k->c, CLIENT_READ, GROUP_FILE, FILE_HASH, &r, &reply);
	if (st == EXIT_OK)
		*crc = (uint32_t)reply_uint(reply, "output");
	return st;
}

/* Where an upload of this name and length stands on the machine; 0 when none is under way. */
static enum exit_status ask_place(const struct copy *k, uint64_t *at)
{
	struct cbor_value reply, up;
	char name[NAME_SIZE] = "";
	enum exit_status st;
	struct request r;

	*at = 0;
	request_begin(&r);
	st = client_request(k->c, CLIENT_READ, GROUP_STORE, STORE_INFO, &r, &reply);
	if (st != EXIT_OK || !cbor_find(reply, "upload", &up))
		return st;
	reply_text(up, "name", name, sizeof name);
	if (strcmp(name, k->remote) == 0 && reply_uint(up, "len") == k->size)
		*at = MIN(reply_uint(up, "off"), k->size);
	return st;
}

/* ---- upload ---- */

static enum exit_status send_chunk(struct copy *k)
{
	uint8_t data[COPY_CHUNK];
	struct cbor_value reply;
	enum exit_status st;
	struct request r;
	size_t len;

	if (fseeko(k->file, (off_t)k->at, SEEK_SET) != 0)
		return complain("cannot read the file: %s", strerror(errno)), EXIT_USAGE;
	len = fread(data, 1, (size_t)MIN(k->size - k->at, sizeof data), k->file);
	if (len == 0 && k->at < k->size)
		return complain("the file became shorter while it was read"), EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "name", k->remote);
	request_uint(&r, "off", k->at);
	if (k->at == 0)
		request_uint(&r, "len", k->size);
	request_bytes(&r, "data", data, len);
	k->c->repeatable = true;
	st = client_request(k->c, CLIENT_WRITE, GROUP_FILE, FILE_TRANSFER, &r, &reply);
	k->c->repeatable = false;
	if (st == EXIT_OK)
		k->at = reply_uint(reply, "off");
	return st;
}

/* The machine has the file as it is here: *same. */
static enum exit_status compare(const struct copy *k, bool *same)
{
	uint32_t crc = 0;
	enum exit_status st = remote_crc(k, k->size, &crc);

	*same = st == EXIT_OK && crc == k->crc;
	return st;
}

/* The line was gone: where to go on, or that all had arrived. */
static enum exit_status find_place(struct copy *k)
{
	bool same = false, quiet = k->c->quiet;
	enum exit_status st;

	if (!client_reconnect(k->c, k->c->timeout_ms))
		return EXIT_UNREACHABLE;
	st = ask_place(k, &k->at);
	if (st != EXIT_OK || k->at > 0)
		return st;
	k->c->quiet = true; /* that there is no such file yet is no news */
	if (compare(k, &same) == EXIT_OK && same)
		k->at = k->size;
	k->c->quiet = quiet;
	return EXIT_OK;
}

static enum exit_status send_all(struct copy *k)
{
	enum exit_status st;

	do {
		st = send_chunk(k);
		if (st == EXIT_UNREACHABLE)
			st = find_place(k);
		progress_show(&k->bar, k->at);
	} while (st == EXIT_OK && k->at < k->size);
	return st;
}

static enum exit_status upload(struct copy *k)
{
	enum exit_status st = ask_place(k, &k->at);
	bool same = false;

	if (st != EXIT_OK)
		return st;
	k->resumed = k->at;
	for (;;) {
		progress_begin(&k->bar, k->remote, k->at, k->size, !k->c->json);
		st = send_all(k);
		progress_end(&k->bar, k->at);
		if (st == EXIT_OK)
			st = compare(k, &same);
		if (st != EXIT_OK || same)
			return st;
		if (k->resumed == 0)
			break;
		/* What the machine had was the beginning of another file of that name and length. */
		k->resumed = k->at = 0;
	}
	complain("%s: the checksum there is not that of the file here", k->remote);
	return EXIT_REFUSED;
}

/* ---- download ---- */

static enum exit_status take_chunk(struct copy *k)
{
	const uint8_t *data = NULL;
	struct cbor_value reply, v;
	enum exit_status st;
	struct request r;
	size_t len = 0;

	request_begin(&r);
	request_text(&r, "name", k->remote);
	request_uint(&r, "off", k->at);
	st = client_request(k->c, CLIENT_READ, GROUP_FILE, FILE_TRANSFER, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (k->at == 0)
		k->size = reply_uint(reply, "len");
	if (!cbor_find(reply, "data", &v) || !cbor_get_bytes(v, &data, &len) || (len == 0 && k->at < k->size))
		return complain("%s sent a chunk without data", k->c->target), EXIT_UNREACHABLE;
	if (fwrite(data, 1, len, k->file) != len || fflush(k->file) != 0)
		return complain("cannot write the file: %s", strerror(errno)), EXIT_USAGE;
	k->at += len;
	return EXIT_OK;
}

/* How much of an interrupted download can stay: all of it, or nothing. */
static enum exit_status keep_part(struct copy *k)
{
	uint32_t here, there = 0;
	enum exit_status st;
	struct stat s;

	if (fstat(fileno(k->file), &s) == 0 && s.st_size > 0 && (uint64_t)s.st_size <= k->size &&
	    local_crc(k->file, (uint64_t)s.st_size, &here)) {
		st = remote_crc(k, (uint64_t)s.st_size, &there);
		if (st != EXIT_OK)
			return st;
		if (here == there)
			k->at = k->resumed = (uint64_t)s.st_size;
	}
	if (fseeko(k->file, (off_t)k->at, SEEK_SET) != 0 || ftruncate(fileno(k->file), (off_t)k->at) != 0)
		return complain("cannot write the file: %s", strerror(errno)), EXIT_USAGE;
	return EXIT_OK;
}

static enum exit_status ask_size(struct copy *k)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_text(&r, "name", k->remote);
	st = client_request(k->c, CLIENT_READ, GROUP_FILE, FILE_STATUS, &r, &reply);
	if (st == EXIT_OK)
		k->size = reply_uint(reply, "len");
	return st;
}

static enum exit_status download(struct copy *k)
{
	uint32_t here = 0, there = 0;
	enum exit_status st = ask_size(k);

	if (st == EXIT_OK)
		st = keep_part(k);
	progress_begin(&k->bar, k->remote, k->at, k->size, !k->c->json);
	while (st == EXIT_OK && k->at < k->size) {
		st = take_chunk(k);
		progress_show(&k->bar, k->at);
	}
	progress_end(&k->bar, k->at);
	if (st == EXIT_OK)
		st = remote_crc(k, k->size, &there);
	if (st != EXIT_OK)
		return st;
	if (!local_crc(k->file, k->size, &here) || here != there)
		return complain("%s: the checksum there is not that of the file here", k->remote), EXIT_REFUSED;
	k->crc = here;
	return EXIT_OK;
}

/* ---- which way ---- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void report(const struct copy *k)
{
	if (!k->c->json)
		return;
	fputs("{\"name\": ", stdout);
	show_json_string(stdout, k->remote, strlen(k->remote));
	printf(", \"size\": %llu, \"resumed\": %llu, \"crc32\": %lu}\n", (unsigned long long)k->size,
	       (unsigned long long)k->resumed, (unsigned long)k->crc);
}

static enum exit_status copy_up(struct client *c, const char *path, const char *name)
{
	bool folder = name[0] == '\0' || name[strlen(name) - 1] == '/';
	char remote[NAME_SIZE];
	struct copy k = {.c = c, .remote = remote, .file = fopen(path, "rb")};
	enum exit_status st;
	struct stat s;

	if (snprintf(remote, sizeof remote, "%s%s", name, folder ? base_name(path) : "") >= (int)sizeof remote) {
		complain("the name %s is too long", name);
		if (k.file)
			fclose(k.file);
		return EXIT_USAGE;
	}
	if (!k.file || fstat(fileno(k.file), &s) != 0 || !S_ISREG(s.st_mode)) {
		complain("cannot read %s: %s", path, k.file ? "it is no file" : strerror(errno));
		if (k.file)
			fclose(k.file);
		return EXIT_USAGE;
	}
	k.size = (uint64_t)s.st_size;
	c->patient = c->mends = true;
	st = local_crc(k.file, k.size, &k.crc) ? upload(&k) : EXIT_USAGE;
	c->patient = c->mends = false;
	fclose(k.file);
	if (st == EXIT_OK)
		report(&k);
	return st;
}

static enum exit_status copy_down(struct client *c, const char *remote, const char *path)
{
	char to[PATH_SIZE], part[PATH_SIZE + sizeof PART];
	struct copy k = {.c = c, .remote = remote};
	enum exit_status st;
	struct stat s;

	if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
		snprintf(to, sizeof to, "%s/%s", path, base_name(remote));
	else
		snprintf(to, sizeof to, "%s", path);
	snprintf(part, sizeof part, "%s" PART, to);
	k.file = fopen(part, "r+b");
	if (!k.file)
		k.file = fopen(part, "w+b");
	if (!k.file) {
		complain("cannot write %s: %s", part, strerror(errno));
		return EXIT_USAGE;
	}
	c->patient = c->mends = true;
	st = download(&k);
	c->patient = c->mends = false;
	if (fclose(k.file) != 0 && st == EXIT_OK)
		st = (complain("cannot write %s: %s", part, strerror(errno)), EXIT_USAGE);
	if (st == EXIT_OK && rename(part, to) != 0)
		st = (complain("cannot write %s: %s", to, strerror(errno)), EXIT_USAGE);
	if (st == EXIT_OK)
		report(&k);
	else if (k.at == 0)
		remove(part);
	return st;
}

enum exit_status files_copy(struct client *c, int argc, char **argv)
{
	bool up, down;

	up = argc == 2 && argv[0][0] != ':' && argv[1][0] == ':';
	down = argc == 2 && argv[0][0] == ':' && argv[1][0] != ':';
	if (up)
		return copy_up(c, argv[0], argv[1] + 1);
	if (down)
		return copy_down(c, argv[0] + 1, argv[1]);
	complain("usage: cp FILE :NAME, or cp :NAME FILE");
	return EXIT_USAGE;
}
