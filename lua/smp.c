/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte 0 of the header holds version and operation, byte 1 flags, of which none
 * is defined; then length and group, big-endian, sequence, command. Reserved
 * bits are ignored when read and zero when written.
 */
#include "lua/smp.h"

#include "lib/bits.h"

#define OP_MASK 7u
#define VERSION_SHIFT 3
#define VERSION_MASK 3u

bool smp_header_read(const uint8_t *body, size_t len, struct smp_header *out)
{
	if (len < SMP_HEADER_BYTES)
		return false;
	*out = (struct smp_header){
		.version = body[0] >> VERSION_SHIFT & VERSION_MASK,
		.op = body[0] & OP_MASK,
		.length = get_be16(body + 2),
		.group = get_be16(body + 4),
		.sequence = body[6],
		.command = body[7],
	};
	return true;
}

void smp_header_write(const struct smp_header *h, uint8_t out[SMP_HEADER_BYTES])
{
	out[0] = (uint8_t)((h->version & VERSION_MASK) << VERSION_SHIFT | (h->op & OP_MASK));
	out[1] = 0;
	put_be16(out + 2, h->length);
	put_be16(out + 4, h->group);
	out[6] = h->sequence;
	out[7] = h->command;
}

enum smp_rc smp_rc_of(enum status st)
{
	static const uint8_t codes[ST_COUNT] = {
		[ST_OK] = SMP_OK,
		[ST_NO_MEMORY] = SMP_NO_MEMORY,
		[ST_INVALID] = SMP_INVALID,
		[ST_NOT_FOUND] = SMP_NO_ENTRY,
		[ST_EXISTS] = SMP_BAD_STATE,
		[ST_BAD_STATE] = SMP_BAD_STATE,
		[ST_BAD_ADDRESS] = SMP_INVALID,
		[ST_OVER_LIMIT] = SMP_NO_MEMORY,
		[ST_NOT_ADMITTED] = SMP_NO_MEMORY,
		[ST_BUSY] = SMP_BUSY,
		[ST_AGAIN] = SMP_BUSY,
		[ST_TRUNCATED] = SMP_CORRUPT,
		[ST_CORRUPT] = SMP_CORRUPT,
		[ST_IO] = SMP_UNKNOWN,
		[ST_UNSUPPORTED] = SMP_NOT_SUPPORTED,
		[ST_DENIED] = SMP_DENIED,
	};

	return (unsigned)st < ST_COUNT ? (enum smp_rc)codes[st] : SMP_UNKNOWN;
}

static void put_err(struct cbor_writer *w, const struct smp_header *h, int group_rc)
{
	struct cbor_mark err;

	cbor_put_text(w, "err");
	err = cbor_open(w);
	cbor_put_text(w, "group");
	cbor_put_uint(w, h->group);
	cbor_put_text(w, "rc");
	cbor_put_int(w, group_rc);
	cbor_close_map(w, err);
}

void smp_put_error(struct cbor_writer *w, const struct smp_header *h, const struct smp_error *e)
{
	bool as_err = h->version > 0 && e->group_rc >= 0;
	struct cbor_mark map = cbor_open(w);

	if (as_err) {
		put_err(w, h, e->group_rc);
	} else {
		cbor_put_text(w, "rc");
		cbor_put_uint(w, e->rc);
	}
	if (e->why && (!as_err || h->group >= SMP_USER_GROUPS)) {
		cbor_put_text(w, "rsn");
		cbor_put_text(w, e->why);
	}
	cbor_close_map(w, map);
}
