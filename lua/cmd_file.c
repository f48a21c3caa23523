/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's file group (8) over the one view of the store: download, upload, status,
 * hash. Replies carry exactly the documented keys and its group's own codes,
 * because stock clients refuse others. An upload is not in place: the old
 * content is what is read until the last byte has come.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/filename.h"

#define CHUNK_BYTES 4096u /* of a download: half a second on a line of 115200 baud */

/* The group's own codes (Zephyr's fs_mgmt.h). */
enum file_rc {
	FILE_RC_INVALID_NAME = 2,
	FILE_RC_NOT_FOUND = 3,
	FILE_RC_IS_DIRECTORY = 4,
	FILE_RC_READ_FAILED = 7,
	FILE_RC_WRITE_FAILED = 10,
	FILE_RC_OFFSET_NOT_VALID = 11,
	FILE_RC_OFFSET_TOO_LARGE = 12,
	FILE_RC_NO_SUCH_HASH = 13,
	FILE_RC_READ_ONLY = 15,
};

/* ---- names ---- */

static enum status take_name(const struct command_args *a, enum file_use use, char out[FILE_NAME_MAX],
			     struct failure *f)
{
	enum status st = filename_take(&a->name, use, out, &f->error);

	if (st == ST_INVALID)
		f->group_rc = FILE_RC_INVALID_NAME;
	return st;
}

/* The file that name says. A name that others lie below is what other servers call a directory. */
static enum status find(struct control *c, const struct command_args *a, struct file *out, struct failure *f)
{
	const struct files *files = c->cfg.machine->files;
	char name[FILE_NAME_MAX], folder[FILE_NAME_MAX + 1];
	enum status st = take_name(a, FILE_USE_READ, name, f);
	struct file below;

	if (st != ST_OK)
		return st;
	st = files_find(files, name, out, &f->error);
	if (st != ST_NOT_FOUND)
		return st;
	f->group_rc = FILE_RC_NOT_FOUND;
	format(folder, sizeof folder, "%s/", name);
	if (files_next(files, folder, "", &below) == ST_OK)
		f->group_rc = FILE_RC_IS_DIRECTORY;
	return st;
}

static enum status read_failed(struct control *c, const char *name, enum status st, struct failure *f)
{
	f->group_rc = FILE_RC_READ_FAILED;
	if (st == ST_IO || st == ST_CORRUPT)
		events_post(&c->events, EVENT_STORE, NULL, "reading %s: %s", name, f->error.text);
	return st;
}

/* ---- download ---- */

/* What a download began with must still be there. */
static enum status check_same(struct control *c, const struct file *file, uint64_t off, struct failure *f)
{
	struct download *d = &c->download;
	bool known = strcmp(d->name, file->name) == 0;

	if (off == 0 || !known) {
		format(d->name, sizeof d->name, "%s", file->name);
		d->version = file->version;
		return ST_OK;
	}
	if (d->version == file->version)
		return ST_OK;
	f->group_rc = FILE_RC_OFFSET_NOT_VALID;
	return fail(&f->error, ST_BAD_STATE, "%s was replaced while it was downloaded: begin again", file->name);
}

static enum status check_offset(const struct command_args *a, const struct file *file, struct failure *f)
{
	if (a->off.value <= file->size)
		return ST_OK;
	f->group_rc = FILE_RC_OFFSET_TOO_LARGE;
	return fail(&f->error, ST_INVALID, "%s has %llu bytes, off is %llu", file->name, (unsigned long long)file->size,
		    (unsigned long long)a->off.value);
}

static enum status download(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint8_t data[CHUNK_BYTES];
	struct file file;
	size_t got = 0;
	enum status st = find(c, a, &file, f);

	if (st != ST_OK)
		return st;
	st = check_offset(a, &file, f);
	if (st == ST_OK)
		st = check_same(c, &file, a->off.value, f);
	if (st != ST_OK)
		return st;
	st = files_read(c->cfg.machine->files, &file, a->off.value, data, sizeof data, &got, &f->error);
	if (st != ST_OK)
		return read_failed(c, file.name, st, f);
	command_put_uint(w, "off", a->off.value);
	cbor_put_text(w, "data");
	cbor_put_bytes(w, data, got);
	if (a->off.value == 0)
		command_put_uint(w, "len", file.size);
	return ST_OK;
}

/* ---- upload ---- */

static int rc_of_fault(enum upload_fault fault)
{
	switch (fault) {
	case UPLOAD_NONE:
	case UPLOAD_OFFSET:
		return FILE_RC_OFFSET_NOT_VALID;
	case UPLOAD_OVERRUN:
		return FILE_RC_OFFSET_TOO_LARGE;
	case UPLOAD_TOO_LARGE:
	case UPLOAD_STORE:
		return FILE_RC_WRITE_FAILED;
	case UPLOAD_READ_ONLY:
		return FILE_RC_READ_ONLY;
	default:
		return -1; /* arguments: the common code, with a sentence */
	}
}

static enum status upload(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum upload_fault fault = UPLOAD_GOOD;
	char name[FILE_NAME_MAX];
	struct upload_chunk chunk = {
		.name = name, .off = a->off.value, .size = a->len.value, .size_given = a->len.given,
		.data = a->data.text, .len = a->data.len,
	};
	enum status st = take_name(a, FILE_USE_WRITE, name, f);
	bool complete;

	if (st == ST_OK && !session_may_write(c, name))
		st = fail(&f->error, ST_DENIED, "%.100s is or holds a script: only the owner writes it", name);
	if (st != ST_OK)
		return st;
	st = upload_take(c, &c->upload, &chunk, &complete, &fault, &f->error);
	if (st == ST_OK && complete)
		st = upload_commit(c, &c->upload, &fault, &f->error);
	if (st != ST_OK) {
		f->group_rc = rc_of_fault(fault);
		return st;
	}
	if (complete)
		log_info("store: %s was uploaded, %llu bytes", name, (unsigned long long)c->upload.size);
	command_put_uint(w, "off", c->upload.at);
	return ST_OK;
}

static enum status transfer_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->op == SMP_WRITE && !a->data.given)
		return fail(&f->error, ST_INVALID, "an upload needs the argument data");
	return ST_OK;
}

static enum status transfer_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	return a->op == SMP_WRITE ? upload(c, a, w, f) : download(c, a, w, f);
}

/* ---- status ---- */

/* Of a file on its way in: what has arrived, where the upload goes on. */
static enum status status_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char name[FILE_NAME_MAX];
	struct file file;
	enum status st = take_name(a, FILE_USE_READ, name, f);

	if (st != ST_OK)
		return st;
	if (c->upload.put && strcmp(c->upload.name, name) == 0) {
		command_put_uint(w, "len", c->upload.at);
		return ST_OK;
	}
	st = find(c, a, &file, f);
	if (st == ST_OK)
		command_put_uint(w, "len", file.size);
	return st;
}

/* ---- hash ---- */

static bool find_kind(const struct arg_text *type, enum digest_kind *out)
{
	*out = DIGEST_SHA256;
	for (unsigned k = 0; k < DIGEST_KINDS; k++) {
		const char *name = digest_name((enum digest_kind)k);

		*out = (enum digest_kind)k;
		if (strlen(name) == type->len && memcmp(name, type->text, type->len) == 0)
			return true;
	}
	*out = DIGEST_SHA256;
	return !type->given;
}

static enum status hash_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum digest_kind kind;
	struct file file;
	uint64_t len;
	enum status st;

	(void)w;
	if (a->from_script)
		return fail(&f->error, ST_UNSUPPORTED, "a script cannot wait for a hash");
	if (!find_kind(&a->type, &kind)) {
		f->group_rc = FILE_RC_NO_SUCH_HASH;
		return fail(&f->error, ST_INVALID, "type is sha256 or crc32");
	}
	st = find(c, a, &file, f);
	if (st == ST_OK)
		st = check_offset(a, &file, f);
	if (st != ST_OK)
		return st;
	len = file.size - a->off.value;
	if (a->len.given)
		len = MIN(len, a->len.value);
	digest_job_begin(&c->hash_asked, kind, &file, a->off.value, a->off.value + len);
	return later_reply(f, LATER_DIGEST);
}

static void hash_begin(struct control *c)
{
	c->hash = c->hash_asked;
}

static void put_output(const struct digest *d, struct cbor_writer *w)
{
	uint8_t sha[SHA256_BYTES];

	cbor_put_text(w, "output");
	if (d->kind == DIGEST_CRC32) {
		cbor_put_uint(w, d->crc);
		return;
	}
	digest_sha256(d, sha);
	cbor_put_bytes(w, sha, sizeof sha);
}

static enum status hash_step(struct control *c, bool last, bool *busy, struct cbor_writer *w, struct failure *f)
{
	struct digest_job *j = &c->hash;
	enum status st;

	if (last)
		return fail(&f->error, ST_BUSY, "another hash was asked for meanwhile");
	st = digest_job_step(j, c->cfg.machine->files, &f->error);
	*busy |= st == ST_AGAIN;
	if (st == ST_AGAIN)
		return st;
	if (st != ST_OK)
		return read_failed(c, j->file.name, st, f);
	command_put_text(w, "type", digest_name(j->digest.kind));
	if (j->from)
		command_put_uint(w, "off", j->from);
	command_put_uint(w, "len", j->end - j->from);
	put_output(&j->digest, w);
	return ST_OK;
}

const struct later_ops digest_later = {.begin = hash_begin, .step = hash_step};

static void put_type(struct cbor_writer *w, enum digest_kind kind, unsigned format, unsigned size)
{
	struct cbor_mark map;

	cbor_put_text(w, digest_name(kind));
	map = cbor_open(w);
	command_put_uint(w, "format", format);
	command_put_uint(w, "size", size);
	cbor_close_map(w, map);
}

static enum status types_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark map;

	(void)c;
	(void)a;
	(void)f;
	cbor_put_text(w, "types");
	map = cbor_open(w);
	put_type(w, DIGEST_CRC32, 0, sizeof(uint32_t)); /* 0: a number */
	put_type(w, DIGEST_SHA256, 1, SHA256_BYTES);    /* 1: bytes */
	cbor_close_map(w, map);
	return ST_OK;
}

static enum status close_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)a;
	(void)w;
	(void)f;
	upload_end(&c->upload);
	c->download = (struct download){.version = 0};
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg transfer_args[] = {
	{"off", ARG_NUMBER, ARG_OF(off), true},
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"data", ARG_DATA, ARG_OF(data), false},
	{"len", ARG_NUMBER, ARG_OF(len), false},
};
static const struct arg name_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};
static const struct arg hash_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"type", ARG_TEXT, ARG_OF(type), false},
	{"off", ARG_NUMBER, ARG_OF(off), false},
	{"len", ARG_NUMBER, ARG_OF(len), false},
};

static const struct command file_commands[] = {
	{
		.id = FILE_TRANSFER, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OBSERVER, .write_role = ROLE_OPERATOR,
		.name = "transfer", .help = "downloads a file, or uploads one", .args = transfer_args,
		.arg_count = ARRAY_SIZE(transfer_args), .decode = transfer_decode, .apply = transfer_apply,
	},
	{
		.id = FILE_STATUS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "status",
		.help = "says how long a file is, or how much of it has arrived", .args = name_args,
		.arg_count = ARRAY_SIZE(name_args), .apply = status_apply,
	},
	{
		.id = FILE_HASH, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "hash", .help = "computes a file's hash",
		.args = hash_args, .arg_count = ARRAY_SIZE(hash_args), .apply = hash_apply,
	},
	{
		.id = FILE_TYPES, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "types",
		.help = "lists the kinds of hashes", .apply = types_apply,
	},
	{
		.id = FILE_CLOSE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "close",
		.help = "gives up an upload that is under way", .apply = close_apply,
	},
};

const struct command_group file_group = {
	.id = GROUP_FILE, .name = "files", .commands = file_commands, .count = ARRAY_SIZE(file_commands),
};
