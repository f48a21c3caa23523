/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corbelctl's end of the protocol (docs/protocol.md): one request at a time, its
 * reply found by group, command and sequence, pushed lines handed on as they
 * come. Every failure is one sentence on the error stream and one exit status.
 */
#ifndef CORBEL_TOOLS_CLIENT_H
#define CORBEL_TOOLS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lua/cbor.h"
#include "lua/numbers.h"
#include "lua/wire.h"

/* Exit statuses, documented in docs/corbelctl.md. */
enum exit_status { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3, EXIT_DENIED = 4 };

struct keyfile;

struct client {
	int fd;
	const char *target;
	int timeout_ms;  /* for each request */
	bool json;       /* machine-readable output, errors included */
	bool quiet;      /* no sentence on the error stream (completion) */
	bool patient;    /* who asks reconnects when the line drops: no sentence about that */
	bool mends;      /* a read whose line drops opens it again and is repeated, some times */
	bool repeatable; /* a write may be sent twice: it is sent again when no reply comes */
	bool damaged;    /* a frame came that was none */
	char why[256];   /* what was wrong with the line */
	struct keyfile *key; /* that we logged in with, or NULL */
	bool (*log_in)(struct client *c); /* again, after the line dropped; NULL: nobody was logged in */
	uint8_t sequence;
	struct wire_receiver rx;
	uint8_t body[WIRE_BODY_MAX];
	uint8_t in[4096]; /* read, not yet looked at: from in_at on */
	size_t in_at, in_len;
	/* Takes the body of a pushed line; may be NULL. */
	void (*pushed)(void *ctx, const uint8_t *body, size_t len);
	void *pushed_ctx;
};

/* A request under construction: its payload is a map. */
struct request {
	struct cbor_writer w;
	struct cbor_mark map;
	uint8_t payload[65000];
};

/* Opens the target. False after a sentence on the error stream. */
bool client_open(struct client *c, const char *target);
void client_close(struct client *c);

void request_begin(struct request *r);
void request_text(struct request *r, const char *key, const char *value);
void request_uint(struct request *r, const char *key, uint64_t value);
void request_bytes(struct request *r, const char *key, const void *data, size_t len);

enum client_op { CLIENT_READ = 0, CLIENT_WRITE = 2 };

/*
 * Sends @r and waits for its reply, whose map is in *out until the next request. Any other status than EXIT_OK has
 * been explained.
 */
enum exit_status client_request(struct client *c, enum client_op op, unsigned group, unsigned command,
				struct request *r, struct cbor_value *out);

/*
 * The line dropped: opens it again, waiting longer after each failure, until the machine answers. False when that took
 * longer than @limit_ms (0: no limit), which is explained, or the operator interrupted.
 */
bool client_reconnect(struct client *c, int limit_ms);

/* Takes what has arrived without waiting; false when the line is gone (explained). */
bool client_poll(struct client *c);

/* One sentence on the error stream, as "corbelctl: ...". */
__attribute__((format(printf, 1, 2))) void complain(const char *fmt, ...);

#endif
