/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks: a table of them, one of them with its ports, the machine's own interfaces, and what makes and changes them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "lib/measure.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define NAME_SIZE 72
#define PATH_SIZE 160

static bool is_true(struct cbor_value map, const char *key)
{
	struct cbor_value v;
	bool yes = false;

	return cbor_find(map, key, &v) && cbor_get_bool(v, &yes) && yes;
}

/* ---- list ---- */

static void print_network(struct cbor_value v, void *ctx)
{
	char name[NAME_SIZE], uplink[NAME_SIZE];

	(void)ctx;
	reply_text(v, "name", name, sizeof name);
	reply_text(v, "uplink", uplink, sizeof uplink);
	printf("%-24s %-12s %-5s %6llu %6llu\n", name, uplink[0] ? uplink : "-",
	       !uplink[0] ? "" : is_true(v, "up") ? "up" : "down", (unsigned long long)reply_uint(v, "mtu"),
	       (unsigned long long)reply_uint(v, "ports"));
}

enum exit_status net_list(struct client *c, int argc, char **argv)
{
	const struct page_list list = {.group = GROUP_NET, .command = NET_CMD_LIST, .key = "networks", .each = print_network};

	(void)argc;
	(void)argv;
	if (!c->json)
		printf("%-24s %-12s %-5s %6s %6s\n", "network", "uplink", "link", "mtu", "ports");
	return page_list_show(c, &list);
}

/* ---- show ---- */

static void fill_name(struct request *r, void *ctx)
{
	request_text(r, "name", ctx);
}

static uint64_t sum_of(struct cbor_value port, const char *key)
{
	struct cbor_value map, k, v;
	struct cbor_iter it;
	uint64_t n, sum = 0;

	if (!cbor_find(port, key, &map) || cbor_type_of(map) != CBOR_MAP || !cbor_iterate(map, &it))
		return 0;
	while (cbor_next_pair(&it, &k, &v))
		if (cbor_get_uint(v, &n))
			sum += n;
	return sum;
}

static void print_drops(struct cbor_value port, const char *key, const char *what)
{
	struct cbor_value map, k, v;
	const char *text;
	struct cbor_iter it;
	uint64_t n;
	size_t len;

	if (sum_of(port, key) == 0 || !cbor_find(port, key, &map) || !cbor_iterate(map, &it))
		return;
	printf("    %s:", what);
	while (cbor_next_pair(&it, &k, &v)) {
		if (!cbor_get_text(k, &text, &len) || !cbor_get_uint(v, &n))
			continue;
		putchar(' ');
		show_clean(stdout, text, len);
		printf(" %llu", (unsigned long long)n);
	}
	putchar('\n');
}

static void print_port(struct cbor_value v, void *ctx)
{
	char name[NAME_SIZE], mac[24], sent[24], received[24];

	(void)ctx;
	reply_text(v, "name", name, sizeof name);
	reply_text(v, "mac", mac, sizeof mac);
	printf("  %-24s %-4s %-17s %4llu %10llu %10s %10llu %10s %8llu\n", name, is_true(v, "up") ? "up" : "down", mac,
	       (unsigned long long)reply_uint(v, "vlan"), (unsigned long long)reply_uint(v, "sent_frames"),
	       show_bytes(reply_uint(v, "sent_bytes"), sent, sizeof sent),
	       (unsigned long long)reply_uint(v, "received_frames"),
	       show_bytes(reply_uint(v, "received_bytes"), received, sizeof received),
	       (unsigned long long)(sum_of(v, "sent_drops") + sum_of(v, "received_drops")));
	print_drops(v, "sent_drops", "not sent");
	print_drops(v, "received_drops", "not received");
}

static void print_address(struct cbor_value v, void *ctx)
{
	char mac[24], port[NAME_SIZE], age[24];

	(void)ctx;
	reply_text(v, "mac", mac, sizeof mac);
	reply_text(v, "port", port, sizeof port);
	printf("  %-17s %4llu %-24s %s\n", mac, (unsigned long long)reply_uint(v, "vlan"), port,
	       show_ns(reply_uint(v, "age_ns"), age, sizeof age));
}

/* Without the brackets of a list of its own. */
static void print_member(struct cbor_value v, void *ctx)
{
	bool *first = ctx;

	fputs(*first ? "" : ", ", stdout);
	show_json(stdout, v);
	*first = false;
}

struct part {
	const char *name; /* of the network */
	bool first;
};

static void fill_part(struct request *r, void *ctx)
{
	request_text(r, "name", ((struct part *)ctx)->name);
}

static void print_part(struct cbor_value v, void *ctx)
{
	print_member(v, &((struct part *)ctx)->first);
}

/* The network as it is, and its two lists as members of the same object. */
static enum exit_status show_as_json(struct client *c, const char *name, struct cbor_value reply)
{
	static const struct { unsigned command; const char *key; } lists[] = {
		{NET_CMD_PORTS, "ports"}, {NET_CMD_ADDRESSES, "addresses"},
	};
	enum exit_status st = EXIT_OK;

	fputs("{\"network\": ", stdout);
	show_json(stdout, reply);
	for (size_t i = 0; i < ARRAY_SIZE(lists) && st == EXIT_OK; i++) {
		struct part part = {.name = name, .first = true};
		struct page_list list = {
			.group = GROUP_NET, .command = lists[i].command, .key = lists[i].key, .fill = fill_part,
			.each = print_part, .ctx = &part,
		};

		printf(", \"%s\": [", lists[i].key);
		st = page_list_read(c, &list);
		fputs("]", stdout);
	}
	puts("}");
	return st;
}

enum exit_status net_show(struct client *c, int argc, char **argv)
{
	struct page_list ports = {
		.group = GROUP_NET, .command = NET_CMD_PORTS, .key = "ports", .fill = fill_name, .each = print_port,
		.ctx = argv[0],
	};
	struct page_list addresses = {
		.group = GROUP_NET, .command = NET_CMD_ADDRESSES, .key = "addresses", .fill = fill_name,
		.each = print_address, .ctx = argv[0],
	};
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	st = client_request(c, CLIENT_READ, GROUP_NET, NET_CMD_SHOW, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (c->json)
		return show_as_json(c, argv[0], reply);
	show_pairs(stdout, reply, 0);
	printf("\n  %-24s %-4s %-17s %4s %10s %10s %10s %10s %8s\n", "port", "link", "address", "vlan", "sent", "bytes",
	       "received", "bytes", "dropped");
	st = page_list_read(c, &ports);
	if (st != EXIT_OK)
		return st;
	printf("\n  %-17s %4s %-24s %s\n", "address", "vlan", "port", "heard");
	return page_list_read(c, &addresses);
}

/* ---- the machine's interfaces ---- */

static void print_nic(struct cbor_value v, void *ctx)
{
	char name[NAME_SIZE], what[NAME_SIZE], mac[24], network[NAME_SIZE], sent[24], received[24];

	(void)ctx;
	reply_text(v, "name", name, sizeof name);
	reply_text(v, "what", what, sizeof what);
	reply_text(v, "mac", mac, sizeof mac);
	reply_text(v, "network", network, sizeof network);
	printf("%-8s %-17s %-5s %6llu %-16s %10s %10s  %s\n", name, mac, is_true(v, "up") ? "up" : "down",
	       (unsigned long long)reply_uint(v, "mbps"), network[0] ? network : "-",
	       show_bytes(reply_uint(v, "sent_bytes"), sent, sizeof sent),
	       show_bytes(reply_uint(v, "received_bytes"), received, sizeof received), what);
}

enum exit_status net_nics(struct client *c, int argc, char **argv)
{
	const struct page_list list = {.group = GROUP_NET, .command = NET_CMD_NICS, .key = "nics", .each = print_nic};

	(void)argc;
	(void)argv;
	if (!c->json)
		printf("%-8s %-17s %-5s %6s %-16s %10s %10s  %s\n", "nic", "address", "link", "Mbit/s", "network", "sent",
		       "received", "what");
	return page_list_show(c, &list);
}

/* ---- define, set, remove ---- */

/* How an option's value is sent: as text, or as a number of its measure. */
struct option {
	const char *word, *key;
	bool text, of_uplink; /* inside the map uplink */
	enum measure measure;
};

static const struct option options[] = {
	{"--uplink", "nic", true, true, 0},
	{"--vlan", "vlan", false, true, MEASURE_COUNT},
	{"--rate", "rate", false, true, MEASURE_RATE},
	{"--depth", "depth", false, true, MEASURE_BYTES},
	{"--poll", "poll", false, true, MEASURE_COUNT},
	{"--mtu", "mtu", false, false, MEASURE_COUNT},
	{"--patience", "patience", false, false, MEASURE_NS},
	{"--age", "age", false, false, MEASURE_NS},
};

struct given {
	bool is;
	const char *text;
	uint64_t number;
};

static bool read_value(const struct option *o, const char *text, struct given *out)
{
	static const char *const examples[MEASURES] = {
		[MEASURE_COUNT] = "a number", [MEASURE_BYTES] = "a size such as 16KiB", [MEASURE_NS] = "a time such as 5ms",
		[MEASURE_RATE] = "a rate such as 50Mbit/s",
	};

	*out = (struct given){.is = true, .text = text};
	if (o->text || measure_parse(o->measure, text, strlen(text), &out->number))
		return true;
	complain("%s takes %s, not %s", o->word, examples[o->measure], text);
	return false;
}

/* Pairs of an option and its value; false after a sentence. */
static bool read_options(int argc, char **argv, struct given given[ARRAY_SIZE(options)])
{
	memset(given, 0, ARRAY_SIZE(options) * sizeof *given);
	for (int i = 0; i < argc; i += 2) {
		size_t j = 0;

		while (j < ARRAY_SIZE(options) && strcmp(argv[i], options[j].word) != 0)
			j++;
		if (j == ARRAY_SIZE(options) || i + 1 == argc) {
			complain(j < ARRAY_SIZE(options) ? "%s needs a value" : "there is no option %s here", argv[i]);
			return false;
		}
		if (!read_value(&options[j], argv[i + 1], &given[j]))
			return false;
	}
	return true;
}

/* Those inside the map uplink, or those outside; how many. */
static unsigned put_given(struct request *r, const struct given given[ARRAY_SIZE(options)], bool of_uplink, bool count_only)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!given[i].is || options[i].of_uplink != of_uplink)
			continue;
		n++;
		if (count_only)
			continue;
		if (options[i].text)
			request_text(r, options[i].key, given[i].text);
		else
			request_uint(r, options[i].key, given[i].number);
	}
	return n;
}

static enum exit_status send_config(struct client *c, unsigned command, int argc, char **argv)
{
	struct given given[ARRAY_SIZE(options)];
	struct cbor_mark map, uplink;
	struct request r;

	if (!read_options(argc - 1, argv + 1, given))
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	cbor_put_text(&r.w, "config");
	map = cbor_open(&r.w);
	if (put_given(&r, given, true, true)) {
		cbor_put_text(&r.w, "uplink");
		uplink = cbor_open(&r.w);
		put_given(&r, given, true, false);
		cbor_close_map(&r.w, uplink);
	}
	put_given(&r, given, false, false);
	cbor_close_map(&r.w, map);
	return request_do(c, GROUP_NET, command, &r);
}

enum exit_status net_define(struct client *c, int argc, char **argv)
{
	return send_config(c, NET_CMD_DEFINE, argc, argv);
}

enum exit_status net_set(struct client *c, int argc, char **argv)
{
	return send_config(c, NET_CMD_SET, argc, argv);
}

enum exit_status net_remove(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_NET, NET_CMD_REMOVE, argc, argv);
}

/* ---- links ---- */

/* The setting vm.VM.net.INTERFACE.connected of the port "VM/INTERFACE". */
enum exit_status net_link(struct client *c, int argc, char **argv)
{
	const char *slash = strchr(argv[0], '/');
	char path[PATH_SIZE];
	struct request r;
	bool up = strcmp(argv[1], "up") == 0;

	(void)argc;
	if (!slash || (!up && strcmp(argv[1], "down") != 0)) {
		complain(slash ? "link takes up or down, not %s" : "link takes a port such as web/lan0, not %s",
			 slash ? argv[1] : argv[0]);
		return EXIT_USAGE;
	}
	snprintf(path, sizeof path, "vm.%.*s.net.%s.connected", (int)(slash - argv[0]), argv[0], slash + 1);
	request_begin(&r);
	request_text(&r, "path", path);
	request_text(&r, "value", up ? "true" : "false");
	return request_do(c, GROUP_TREE, TREE_SET, &r);
}
