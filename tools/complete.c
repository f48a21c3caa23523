/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words before the partial one either are a command, whose arguments are
 * names of some kind, or the beginning of commands, whose next words are offered.
 */
#include "tools/complete.h"

#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "tools/commands.h"
#include "tools/reply.h"

struct search {
	struct candidates *out;
	const char *partial;
	const char *before; /* put in front of each name */
	char prefix[CANDIDATE_BYTES];
	bool settings; /* no counters */
};

static void offer(struct search *s, const char *word, size_t len)
{
	struct candidates *out = s->out;
	char *to = out->word[out->count < CANDIDATES_MAX ? out->count : 0];

	if (out->count == CANDIDATES_MAX || len + strlen(s->before) >= CANDIDATE_BYTES)
		return;
	snprintf(to, CANDIDATE_BYTES, "%s%.*s", s->before, (int)len, word);
	if (strncmp(to, s->partial, strlen(s->partial)) != 0)
		return;
	for (unsigned i = 0; i < out->count; i++)
		if (strcmp(out->word[i], to) == 0)
			return;
	out->count++;
}

/* ---- names from the machine ---- */

/* A VM, a pool, a file. */
static void offer_named(struct cbor_value entry, void *ctx)
{
	struct cbor_value v;
	const char *text;
	size_t len;

	if (cbor_find(entry, "name", &v) && cbor_get_text(v, &text, &len) && !memchr(text, '\0', len))
		offer(ctx, text, len);
}

/* A path up to the end of the part that is being typed: what ends in a dot goes on. */
static void offer_item(struct cbor_value item, void *ctx)
{
	struct search *s = ctx;
	char path[CANDIDATE_BYTES];
	size_t typed = strlen(s->partial), len;

	reply_text(item, "path", path, sizeof path);
	len = strlen(path);
	if (len > typed)
		len = typed + strcspn(path + typed, ".");
	offer(s, path, len + (path[len] == '.'));
}

static void fill_prefix(struct request *r, void *ctx)
{
	const struct search *s = ctx;

	if (s->prefix[0])
		request_text(r, "prefix", s->prefix);
	if (s->settings) {
		cbor_put_text(&r->w, "settings");
		cbor_put_bool(&r->w, true);
	}
}

static void offer_vms(struct client *c, struct search *s)
{
	struct page_list list = {
		.group = GROUP_VM, .command = VM_LIST, .key = "vms", .each = offer_named, .ctx = s,
	};

	(void)page_list_read(c, &list);
}

static void offer_pools(struct client *c, struct search *s)
{
	struct page_list list = {
		.group = GROUP_CPU, .command = CPU_POOL_LIST, .key = "pools", .each = offer_named, .ctx = s,
	};

	(void)page_list_read(c, &list);
}

/* The tree is asked for what is below the last whole component: vm.al -> vm. */
static void offer_paths(struct client *c, struct search *s)
{
	struct page_list list = {
		.group = GROUP_TREE, .command = TREE_LIST, .key = "items", .fill = fill_prefix, .each = offer_item,
		.ctx = s,
	};
	const char *dot = strrchr(s->partial, '.');

	if (dot)
		snprintf(s->prefix, sizeof s->prefix, "%.*s", (int)(dot - s->partial), s->partial);
	(void)page_list_read(c, &list);
}

static void offer_volumes(struct client *c, struct search *s)
{
	struct page_list list = {
		.group = GROUP_VOLUME, .command = VOLUME_CMD_LIST, .key = "volumes", .each = offer_named, .ctx = s,
	};

	(void)page_list_read(c, &list);
}

static void offer_networks(struct client *c, struct search *s)
{
	struct page_list list = {
		.group = GROUP_NET, .command = NET_CMD_LIST, .key = "networks", .each = offer_named, .ctx = s,
	};

	(void)page_list_read(c, &list);
}

#define NETWORKS_MAX 64

/* The names of networks, which are asked for their ports one after the other. */
struct found {
	char name[NETWORKS_MAX][CANDIDATE_BYTES];
	unsigned count;
	const char *now;
	struct search *s;
};

static void note_network(struct cbor_value entry, void *ctx)
{
	struct found *found = ctx;

	if (found->count < NETWORKS_MAX)
		reply_text(entry, "name", found->name[found->count++], CANDIDATE_BYTES);
}

static void fill_network(struct request *r, void *ctx)
{
	request_text(r, "name", ((struct found *)ctx)->now);
}

/* The uplink's port has its network's name before it. */
static void offer_port(struct cbor_value entry, void *ctx)
{
	char name[CANDIDATE_BYTES], full[2 * CANDIDATE_BYTES];
	struct found *found = ctx;

	reply_text(entry, "name", name, sizeof name);
	snprintf(full, sizeof full, "%s%s%s", strchr(name, '/') ? "" : found->now, strchr(name, '/') ? "" : "/", name);
	offer(found->s, full, strlen(full));
}

static void offer_ports(struct client *c, struct search *s)
{
	static struct found found; /* large */
	struct page_list networks = {
		.group = GROUP_NET, .command = NET_CMD_LIST, .key = "networks", .each = note_network, .ctx = &found,
	};
	struct page_list ports = {
		.group = GROUP_NET, .command = NET_CMD_PORTS, .key = "ports", .fill = fill_network, .each = offer_port,
		.ctx = &found,
	};

	found = (struct found){.s = s};
	(void)page_list_read(c, &networks);
	for (unsigned i = 0; i < found.count; i++) {
		found.now = found.name[i];
		(void)page_list_read(c, &ports);
	}
}

static void offer_files(struct client *c, struct search *s)
{
	const struct page_list list = {
		.group = GROUP_STORE, .command = STORE_LIST, .key = "files", .fill = fill_prefix, .each = offer_named, .ctx = s,
	};

	snprintf(s->prefix, sizeof s->prefix, "%s", s->partial + (s->partial[0] == ':'));
	(void)page_list_read(c, &list);
}

static void offer_names(struct client *c, enum ctl_names names, struct search *s)
{
	bool quiet = c->quiet;

	c->quiet = true;
	s->settings = names == NAMES_SETTINGS;
	s->before = names == NAMES_FILES && s->partial[0] == ':' ? ":" : "";
	if (names == NAMES_VMS)
		offer_vms(c, s);
	else if (names == NAMES_POOLS)
		offer_pools(c, s);
	else if (names == NAMES_VOLUMES)
		offer_volumes(c, s);
	else if (names == NAMES_NETWORKS)
		offer_networks(c, s);
	else if (names == NAMES_PORTS)
		offer_ports(c, s);
	else if (names == NAMES_FILES)
		offer_files(c, s);
	else
		offer_paths(c, s);
	c->quiet = quiet;
}

/* ---- words of commands ---- */

/* Behind the words that are there already, NULL when @cmd does not begin with them. */
static const char *rest_of(const char *words, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		size_t len = strcspn(words, " ");

		if (strlen(argv[i]) != len || strncmp(argv[i], words, len) != 0)
			return NULL;
		words += len;
		words += strspn(words, " ");
	}
	return words;
}

static void offer_words(int argc, char **argv, struct search *s)
{
	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++) {
		const char *rest = rest_of(cmd->words, argc, argv);

		if (rest && *rest)
			offer(s, rest, strcspn(rest, " "));
	}
}

void complete_word(struct client *c, int argc, char **argv, const char *partial, struct candidates *out)
{
	struct search s = {.out = out, .partial = partial, .before = ""};
	int used = 0;
	const struct ctl_command *cmd = argc > 0 ? command_match(argc, argv, &used) : NULL;

	out->count = 0;
	if (!cmd)
		offer_words(argc, argv, &s);
	else if (c && cmd->names == NAMES_VM_AND_POOL)
		offer_names(c, argc - used == 0 ? NAMES_VMS : NAMES_POOLS, &s);
	else if (c && cmd->names != NAMES_NONE)
		offer_names(c, cmd->names, &s);
}
