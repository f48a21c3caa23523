/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What passes a port of a network, live: as a pcap file that tcpdump and Wireshark read (draft-ietf-opsawg-pcap, with
 * nanoseconds), into a file or a pipe, or as a line a frame for a person. It goes on until it is interrupted, its
 * reader goes, or it has as many frames as were wanted; the machine ends it by itself when nobody reads for a minute.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/bits.h"
#include "lib/measure.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"
#include "tools/terminal.h"

#define PCAP_MAGIC_NS 0xa1b23c4du /* in the writer's byte order: a reader sees from it which that is */
#define PCAP_MAJOR 2u
#define PCAP_MINOR 4u
#define LINKTYPE_ETHERNET 1u
#define SNAP_ALL 65553u
#define LOOK_US 50000u /* between two looks when nothing comes */
#define NS_PER_S 1000000000ull
#define MAC_BYTES 6u
#define TYPE_VLAN 0x8100u

struct pcap_head {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zero[2];
	uint32_t snap, link;
};

struct pcap_record {
	uint32_t seconds, ns, kept, bytes;
};

struct capture {
	struct client *c;
	FILE *out;
	bool pcap;
	uint64_t id, zero_ns; /* the calendar's time when the machine's clock was 0 */
	uint64_t want, count; /* frames; 0: any number */
	uint64_t replies;     /* so far: one that did not come is asked for again by its number */
	bool gone;            /* the reader of the output is */
	/* The frame that is coming in, in pieces. */
	uint64_t at_ns, bytes, kept, have;
	bool sent;
	uint8_t data[SNAP_ALL];
};

static struct capture cap; /* too large for a stack */

/* ---- writing ---- */

static void write_all(const void *data, size_t len)
{
	if (!cap.gone && fwrite(data, 1, len, cap.out) != len)
		cap.gone = true;
}

static void write_head(uint64_t snap)
{
	struct pcap_head head = {
		.magic = PCAP_MAGIC_NS, .major = PCAP_MAJOR, .minor = PCAP_MINOR, .snap = (uint32_t)snap,
		.link = LINKTYPE_ETHERNET,
	};

	write_all(&head, sizeof head);
	fflush(cap.out);
}

static void write_pcap(uint64_t ns)
{
	struct pcap_record r = {
		.seconds = (uint32_t)(ns / NS_PER_S), .ns = (uint32_t)(ns % NS_PER_S), .kept = (uint32_t)cap.kept,
		.bytes = (uint32_t)cap.bytes,
	};

	write_all(&r, sizeof r);
	write_all(cap.data, cap.kept);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static const char *mac_text(const uint8_t *mac, char out[18])
{
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return out;
}

/* 12:01:02.345678 out 52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff 0806 42 bytes */
static void print_line(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	char when[16] = "-", from[18], to[18];
	struct tm utc;

	if (gmtime_r(&seconds, &utc))
		strftime(when, sizeof when, "%H:%M:%S", &utc);
	fprintf(cap.out, "%s.%06u %-3s ", when, (unsigned)(ns % NS_PER_S / 1000), cap.sent ? "out" : "in");
	if (cap.kept >= 2 * MAC_BYTES + 2) {
		unsigned type = get16(cap.data + 2 * MAC_BYTES);

		fprintf(cap.out, "%s > %s ", mac_text(cap.data + MAC_BYTES, from), mac_text(cap.data, to));
		if (type == TYPE_VLAN && cap.kept >= 2 * MAC_BYTES + 6)
			fprintf(cap.out, "vlan %u %04x ", get16(cap.data + 2 * MAC_BYTES + 2) & 0xfff,
				get16(cap.data + 2 * MAC_BYTES + 4));
		else
			fprintf(cap.out, "%04x ", type);
	}
	fprintf(cap.out, "%llu bytes\n", (unsigned long long)cap.bytes);
}

static void print_json(uint64_t ns)
{
	fprintf(cap.out, "{\"time_ns\": %llu, \"sent\": %s, \"bytes\": %llu, \"data\": \"", (unsigned long long)ns,
		cap.sent ? "true" : "false", (unsigned long long)cap.bytes);
	for (uint64_t i = 0; i < cap.kept; i++)
		fprintf(cap.out, "%02x", cap.data[i]);
	fputs("\"}\n", cap.out);
}

static void frame_complete(void)
{
	uint64_t ns = cap.zero_ns + cap.at_ns;

	cap.count++;
	if (cap.pcap)
		write_pcap(ns);
	else if (cap.c->json)
		print_json(ns);
	else
		print_line(ns);
}

/* ---- reading ---- */

static uint64_t take_uint(struct cbor_iter *it)
{
	struct cbor_value v;
	uint64_t n = 0;

	if (cbor_next(it, &v))
		cbor_get_uint(v, &n);
	return n;
}

/* [ns, bytes, kept, sent, where this piece begins, piece] */
static void take_piece(struct cbor_value record)
{
	const uint8_t *data = NULL;
	uint64_t offset;
	struct cbor_value v;
	struct cbor_iter it;
	size_t len = 0;

	if (cbor_type_of(record) != CBOR_ARRAY || !cbor_iterate(record, &it))
		return;
	cap.at_ns = take_uint(&it);
	cap.bytes = take_uint(&it);
	cap.kept = take_uint(&it);
	cap.sent = cbor_next(&it, &v) && cbor_get_bool(v, &cap.sent) && cap.sent;
	offset = take_uint(&it);
	if (!cbor_next(&it, &v) || !cbor_get_bytes(v, &data, &len))
		return;
	if (offset == 0)
		cap.have = 0;
	/* A piece got lost with the line: the rest of its frame is of no use. */
	if (cap.kept > sizeof cap.data || offset != cap.have || len > cap.kept - cap.have)
		return;
	memcpy(cap.data + cap.have, data, len);
	cap.have += len;
	if (cap.have == cap.kept)
		frame_complete();
}

static bool enough(void)
{
	return cap.gone || terminal_interrupted() || (cap.want && cap.count >= cap.want);
}

/* One reply; *more: there is more already. */
static enum exit_status read_some(bool *more)
{
	struct cbor_value reply, record, v;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	request_uint(&r, "capture", cap.id);
	request_uint(&r, "number", cap.replies);
	st = client_request(cap.c, CLIENT_READ, GROUP_NET, NET_CMD_RECORDS, &r, &reply);
	if (st != EXIT_OK)
		return st;
	cap.replies++;
	if (reply_list(reply, "records", &it))
		while (!enough() && cbor_next(&it, &record))
			take_piece(record);
	*more = cbor_find(reply, "more", &v) && cbor_get_bool(v, more) && *more;
	if (fflush(cap.out) != 0)
		cap.gone = true;
	return EXIT_OK;
}

static enum exit_status read_all(void)
{
	enum exit_status st = EXIT_OK;

	while (st == EXIT_OK && !enough()) {
		uint64_t before = cap.count;
		bool more = false;

		st = read_some(&more);
		if (st == EXIT_OK && !more && cap.count == before && !enough())
			usleep(LOOK_US);
	}
	return st;
}

/* ---- beginning and end ---- */

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static enum exit_status begin(const char *port, uint64_t snap)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_text(&r, "port", port);
	if (snap)
		request_uint(&r, "snap", snap);
	st = client_request(cap.c, CLIENT_WRITE, GROUP_NET, NET_CMD_CAPTURE, &r, &reply);
	if (st != EXIT_OK)
		return st;
	cap.id = reply_uint(reply, "capture");
	/* The machine's calendar; else this computer's. */
	cap.zero_ns = (reply_has(reply, "time") ? reply_uint(reply, "time") * NS_PER_S : clock_ns()) -
		      reply_uint(reply, "now_ns");
	return EXIT_OK;
}

static enum exit_status end(void)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_uint(&r, "capture", cap.id);
	st = client_request(cap.c, CLIENT_WRITE, GROUP_NET, NET_CMD_CAPTURE_END, &r, &reply);
	if (st == EXIT_OK && !cap.c->quiet)
		fprintf(stderr, "%llu frames captured, %llu lost for want of room\n", (unsigned long long)cap.count,
			(unsigned long long)reply_uint(reply, "lost"));
	return st;
}

struct options {
	const char *file; /* NULL: none was said */
	uint64_t snap, count;
};

static bool read_options(int argc, char **argv, struct options *o)
{
	*o = (struct options){.file = NULL};
	for (int i = 0; i < argc; i += 2) {
		uint64_t *number = strcmp(argv[i], "--snap") == 0 ? &o->snap : strcmp(argv[i], "--count") == 0 ? &o->count : NULL;

		if (!number && strcmp(argv[i], "-w") != 0) {
			complain("there is no option %s here", argv[i]);
			return false;
		}
		if (i + 1 == argc) {
			complain("%s needs a value", argv[i]);
			return false;
		}
		if (!number)
			o->file = argv[i + 1];
		else if (!measure_parse(MEASURE_COUNT, argv[i + 1], strlen(argv[i + 1]), number) || *number == 0) {
			complain("%s takes a number from 1 on, not %s", argv[i], argv[i + 1]);
			return false;
		}
	}
	return true;
}

static bool open_output(const struct options *o)
{
	bool file = o->file && strcmp(o->file, "-") != 0;

	cap.out = file ? fopen(o->file, "wb") : stdout;
	cap.pcap = o->file || (!cap.c->json && !isatty(STDOUT_FILENO));
	if (!cap.out)
		complain("cannot write %s: %s", o->file, strerror(errno));
	return cap.out != NULL;
}

/* A reader that has gone is an end like any other; a full disk is not. */
static bool close_output(const char *file)
{
	bool good = !cap.gone || errno == EPIPE;

	if (cap.out != stdout && fclose(cap.out) != 0)
		good = false;
	if (!good)
		complain("cannot write %s: %s", file ? file : "the output", strerror(errno));
	return good;
}

enum exit_status capture_run(struct client *c, int argc, char **argv)
{
	struct options o;
	enum exit_status st, ended;

	if (!read_options(argc - 1, argv + 1, &o))
		return EXIT_USAGE;
	cap.c = c;
	cap.want = o.count;
	cap.count = cap.have = cap.replies = 0;
	cap.gone = false;
	st = begin(argv[0], o.snap);
	if (st != EXIT_OK)
		return st;
	if (!open_output(&o)) {
		(void)end();
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	terminal_catch();
	if (cap.pcap)
		write_head(o.snap ? o.snap : SNAP_ALL);
	st = read_all();
	terminal_release();
	if (st != EXIT_OK) { /* the line or the capture is gone: nothing is left to be ended */
		(void)close_output(o.file);
		return st;
	}
	ended = close_output(o.file) ? EXIT_OK : EXIT_USAGE;
	st = end();
	return st == EXIT_OK ? ended : st;
}
