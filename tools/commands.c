/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function a command: it makes the request, and shows the reply as a table,
 * as lines, or, with --json, as one JSON value on one line.
 */
#include "tools/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tools/reply.h"
#include "tools/session.h"
#include "tools/show.h"

#define FILE_MAX 60000u

/* ---- vm ---- */

static void list_row(struct cbor_value vm, void *ctx)
{
	char name[40], state[16], reason[24], size[24], present[24], cpu[24], uptime[24];

	(void)ctx;
	reply_text(vm, "name", name, sizeof name);
	reply_text(vm, "state", state, sizeof state);
	reply_text(vm, "reason", reason, sizeof reason);
	printf("%3llu  %-16s %-8s %10s %10s %10s %10s  %s\n", (unsigned long long)reply_uint(vm, "id"), name, state,
	       show_bytes(reply_uint(vm, "size"), size, sizeof size),
	       show_bytes(reply_uint(vm, "present"), present, sizeof present),
	       show_ns(reply_uint(vm, "cpu_ns"), cpu, sizeof cpu),
	       show_ns(reply_uint(vm, "uptime_ns"), uptime, sizeof uptime), reason);
}

static enum exit_status vm_list(struct client *c, int argc, char **argv)
{
	const struct page_list list = {.group = GROUP_VM, .command = VM_LIST, .key = "vms", .each = list_row};

	(void)argc;
	(void)argv;
	if (!c->json)
		printf("%3s  %-16s %-8s %10s %10s %10s %10s  %s\n", "id", "name", "state", "memory", "present", "cpu",
		       "uptime", "reason");
	return page_list_show(c, &list);
}

static enum exit_status vm_start(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_START, argc, argv);
}

static enum exit_status vm_stop(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_STOP, argc, argv);
}

static enum exit_status vm_pause(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_PAUSE, argc, argv);
}

static enum exit_status vm_resume(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_RESUME, argc, argv);
}

static enum exit_status vm_destroy(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_DESTROY, argc, argv);
}

static enum exit_status vm_power(struct client *c, int argc, char **argv)
{
	return request_each(c, GROUP_VM, VM_POWER, argc, argv);
}

static enum exit_status vm_info(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	return request_show(c, CLIENT_READ, GROUP_VM, VM_INFO, &r);
}

static enum exit_status vm_report(struct client *c, int argc, char **argv)
{
	uint64_t offset = 0;

	(void)argc;
	do {
		struct cbor_value reply, text;
		enum exit_status st;
		const char *s = "";
		struct request r;
		size_t len = 0;

		request_begin(&r);
		request_text(&r, "name", argv[0]);
		request_uint(&r, "offset", offset);
		st = client_request(c, CLIENT_READ, GROUP_VM, VM_REPORT, &r, &reply);
		if (st != EXIT_OK)
			return st;
		offset = reply_uint(reply, "next");
		if (cbor_find(reply, "text", &text))
			cbor_get_text(text, &s, &len);
		if (!reply_as_json(c, reply))
			show_clean(stdout, s, len);
	} while (offset != 0);
	return EXIT_OK;
}

/* The file's text, NUL-terminated; "-" is the standard input. NULL after a sentence. */
static char *read_text(const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
	char *text = malloc(FILE_MAX + 1);
	size_t len = 0;

	if (!f || !text) {
		complain("cannot read %s", path);
		free(text);
		return NULL;
	}
	len = fread(text, 1, FILE_MAX + 1, f);
	if (f != stdin)
		fclose(f);
	if (len > FILE_MAX) {
		complain("%s is longer than %u bytes", path, FILE_MAX);
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

bool request_lua_text(struct request *r, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *text = read_text(path);

	if (!text)
		return false;
	request_text(r, "text", text);
	request_text(r, "origin", slash ? slash + 1 : path);
	free(text);
	return true;
}

static enum exit_status vm_define(struct client *c, int argc, char **argv)
{
	struct cbor_value reply, vm;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;
	char name[40];

	(void)argc;
	request_begin(&r);
	if (!request_lua_text(&r, argv[0]))
		return EXIT_USAGE;
	st = client_request(c, CLIENT_WRITE, GROUP_VM, VM_DEFINE, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (reply_as_json(c, reply))
		return EXIT_OK;
	if (!reply_list(reply, "vms", &it))
		return EXIT_OK;
	while (cbor_next(&it, &vm)) {
		reply_text(vm, "name", name, sizeof name);
		printf("defined %s\n", name);
	}
	return EXIT_OK;
}

/* ---- the machine ---- */

static enum exit_status info(struct client *c, int argc, char **argv)
{
	struct request r;

	if (argc > 0)
		return vm_info(c, argc, argv);
	request_begin(&r);
	return request_show(c, CLIENT_READ, GROUP_INSPECT, INSPECT_HOST, &r);
}

static enum exit_status check(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return request_show(c, CLIENT_READ, GROUP_INSPECT, INSPECT_CHECK, &r);
}

static enum exit_status echo(struct client *c, int argc, char **argv)
{
	struct cbor_value reply, text;
	enum exit_status st;
	const char *s = "";
	struct request r;
	size_t len = 0;

	request_begin(&r);
	request_text(&r, "d", argc > 0 ? argv[0] : "hello");
	st = client_request(c, CLIENT_WRITE, GROUP_OS, OS_ECHO, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (reply_as_json(c, reply))
		return EXIT_OK;
	if (cbor_find(reply, "r", &text) && cbor_get_text(text, &s, &len))
		show_clean(stdout, s, len);
	putchar('\n');
	return EXIT_OK;
}

static enum exit_status reset(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return request_do(c, GROUP_OS, OS_RESET, &r);
}

/* ---- Lua ---- */

/* A failed line ends in its error: that goes to the error stream, what it printed before does not. */
static enum exit_status show_shell(const char *text, size_t len, bool failed)
{
	size_t from = 0;

	if (!failed) {
		show_clean(stdout, text, len);
		return EXIT_OK;
	}
	while (len > 0 && text[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n')
			from = i + 1;
	show_clean(stdout, text, from);
	fflush(stdout);
	fputs("corbelctl: ", stderr);
	show_clean(stderr, text + from, len - from);
	fputc('\n', stderr);
	return EXIT_REFUSED;
}

static enum exit_status lua(struct client *c, int argc, char **argv)
{
	struct cbor_value reply, v;
	enum exit_status st;
	struct cbor_mark list;
	int64_t ret = 0;
	const char *text = "";
	struct request r;
	size_t len = 0;

	request_begin(&r);
	cbor_put_text(&r.w, "argv");
	list = cbor_open(&r.w);
	for (int i = 0; i < argc; i++)
		cbor_put_text(&r.w, argv[i]);
	cbor_close_array(&r.w, list);
	st = client_request(c, CLIENT_WRITE, GROUP_SHELL, SHELL_EXECUTE, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (cbor_find(reply, "ret", &v))
		cbor_get_int(v, &ret);
	if (cbor_find(reply, "o", &v))
		cbor_get_text(v, &text, &len);
	if (!reply_as_json(c, reply))
		return show_shell(text, len, ret != 0);
	return ret == 0 ? EXIT_OK : EXIT_REFUSED;
}

static enum exit_status help(struct client *c, int argc, char **argv)
{
	command_help(c->json, argc > 0 ? argv[0] : "");
	return EXIT_OK;
}

/* ---- the table ---- */

const struct ctl_command ctl_commands[] = {
	{"vm list", "", "the VMs and what they are doing", 0, NAMES_NONE, vm_list},
	{"vm start", "NAME...", "starts VMs", 1, NAMES_VMS, vm_start},
	{"vm stop", "NAME...", "stops VMs at once, like pulling the plug", 1, NAMES_VMS, vm_stop},
	{"vm power", "NAME...", "presses power buttons: an orderly stop, if the guest listens", 1, NAMES_VMS, vm_power},
	{"vm pause", "NAME...", "takes VMs off the CPU; their time stands still", 1, NAMES_VMS, vm_pause},
	{"vm resume", "NAME...", "lets paused VMs go on", 1, NAMES_VMS, vm_resume},
	{"vm destroy", "NAME...", "forgets VMs that do not run", 1, NAMES_VMS, vm_destroy},
	{"vm define", "FILE", "defines the VMs of a Lua text, all or none; - reads stdin", 1, NAMES_NONE, vm_define},
	{"vm info", "NAME", "all about a VM", 1, NAMES_VMS, vm_info},
	{"vm report", "NAME", "why a VM crashed", 1, NAMES_VMS, vm_report},
	{"console", "NAME [BYTES]", "a VM's console, its last BYTES (4096) first; Ctrl-] leaves", 1, NAMES_VMS,
	 live_console},
	{"lua", "TEXT...", "evaluates Lua on the machine, as in: lua 'vm_list()'", 1, NAMES_NONE, lua},
	{"info", "[NAME]", "all about the machine, or a VM", 0, NAMES_VMS, info},
	{"log", "[-f]", "the hypervisor's log; -f stays and follows it", 0, NAMES_NONE, live_log},
	{"events", "[-f] [KIND...]", "what happened; -f stays and follows", 0, NAMES_NONE, events_show},
	{"ls", "[PREFIX]", "the files of the store", 0, NAMES_FILES, files_list},
	{"cp", "FROM TO", "copies a file to the store or from it; names in the store begin with a colon", 2, NAMES_FILES,
	 files_copy},
	{"rm", "NAME...", "removes files from the writable store", 1, NAMES_FILES, files_remove},
	{"store info", "", "how the writable store is", 0, NAMES_NONE, files_store_info},
	{"store format", "[ID]", "makes the writable store anew, empty; one that can be read only with its id", 0, NAMES_NONE,
	 files_store_format},
	{"image list", "", "the image that runs, and the one in the spare slot", 0, NAMES_NONE, image_list},
	{"image upload", "[--upgrade] FILE", "uploads an image of Corbel into the spare slot", 1, NAMES_NONE, image_upload},
	{"image test", "HASH", "has an image booted next, on trial", 1, NAMES_NONE, image_test},
	{"image confirm", "[HASH]", "keeps the image that runs, or has one booted next for good", 0, NAMES_NONE,
	 image_confirm},
	{"image erase", "", "empties the spare slot", 0, NAMES_NONE, image_erase},
	{"get", "[--changed] [PATH]", "counters and settings, all or what is below PATH", 0, NAMES_PATHS, tree_get},
	{"set", "PATH VALUE [--for TIME] [--why TEXT]", "changes a setting, for good or for a time", 2,
	 NAMES_SETTINGS, tree_set},
	{"unset", "PATH", "takes all changes of a setting back", 1, NAMES_SETTINGS, tree_unset},
	{"save", "[PATH]", "keeps what operators set, all or below PATH, over a reset", 0, NAMES_SETTINGS, tree_save},
	{"why", "PATH", "where a setting's value comes from", 1, NAMES_SETTINGS, tree_why},
	{"stats", "[PLACE]", "the places that have counters, or one place's counters", 0, NAMES_NONE, tree_stats},
	{"top", "[SECONDS]", "the VMs by what they use, again and again", 0, NAMES_NONE, top_run},
	{"cpu list", "", "the processors: what they did, and where they are", 0, NAMES_NONE, cpu_list},
	{"pool list", "", "the pools, and what they get of the processors", 0, NAMES_NONE, pool_list},
	{"pool show", "NAME", "all about a pool", 1, NAMES_POOLS, pool_show},
	{"pool create", "NAME [OPTION VALUE]...", "makes a pool: --parent, --shares, --reservation, --limit", 1, NAMES_POOLS,
	 pool_create},
	{"pool set", "NAME OPTION VALUE...", "gives a pool another place or other numbers, all at once", 1, NAMES_POOLS,
	 pool_set},
	{"pool delete", "NAME...", "removes pools that nothing is in", 1, NAMES_POOLS, pool_delete},
	{"pool move", "VM POOL", "moves a VM into another pool, also while it runs", 2, NAMES_VM_AND_POOL, pool_move},
	{"volume list", "", "the volumes: what they are, and who uses them", 0, NAMES_NONE, volume_list},
	{"volume show", "NAME", "all about a volume", 1, NAMES_VOLUMES, volume_show},
	{"volume create", "NAME OPTION VALUE...",
	 "makes one: --ram, --blob, --qcow2 [--beside], --size [--layer --base], --model with its numbers", 3, NAMES_NONE,
	 volume_create},
	{"volume clone", "SNAPSHOT NAME", "makes a volume with the content of a snapshot, at once", 2, NAMES_VOLUMES,
	 volume_clone},
	{"volume snapshot", "VOLUME NAME", "keeps what a volume is now as NAME", 2, NAMES_VOLUMES, volume_snapshot},
	{"volume merge", "SNAPSHOT", "gives what a snapshot has to what stands on it, and removes it", 1, NAMES_VOLUMES,
	 volume_merge},
	{"volume delete", "NAME...", "deletes volumes with what is on them", 1, NAMES_VOLUMES, volume_delete},
	{"volume import", "VOLUME NAME [POOL]", "copies a volume into a new layer", 2, NAMES_VOLUMES, volume_import},
	{"volume resize", "VOLUME SIZE", "makes a layer larger", 2, NAMES_VOLUMES, volume_resize},
	{"volume format", "VOLUME [VOLUME]", "makes a volume a pool of layers, empty; only when it is named twice", 1,
	 NAMES_VOLUMES, volume_format},
	{"volume set", "VOLUME OPTION VALUE...", "how its device is used: --depth, --latency, --burst", 3, NAMES_VOLUMES,
	 volume_set},
	{"volume jobs", "", "operations that are under way, and the last that ended", 0, NAMES_NONE, volume_jobs},
	{"volume cancel", "JOB", "ends an import and deletes what it has copied", 1, NAMES_NONE, volume_cancel},
	{"net list", "", "the networks: their uplinks, and how many are on them", 0, NAMES_NONE, net_list},
	{"net show", "NAME", "all about a network: its ports, what passed them, the addresses that it knows", 1, NAMES_NETWORKS,
	 net_show},
	{"net nics", "", "the machine's network interfaces", 0, NAMES_NONE, net_nics},
	{"net define", "NAME [OPTION VALUE]...",
	 "makes a network, or gives it another definition: --uplink with --vlan, --rate, --depth, --poll; --mtu, "
	 "--patience, --age",
	 1, NAMES_NETWORKS, net_define},
	{"net set", "NAME OPTION VALUE...", "changes settings of a network, all at once; the options of define", 3,
	 NAMES_NETWORKS, net_set},
	{"net remove", "NAME...", "removes networks that nobody is on", 1, NAMES_NETWORKS, net_remove},
	{"net link", "PORT up|down", "plugs the cable of a VM's interface in, or pulls it; PORT is VM/INTERFACE", 2, NAMES_PORTS,
	 net_link},
	{"capture", "PORT [-w FILE] [--snap BYTES] [--count N]",
	 "what passes a port, VM/INTERFACE or NETWORK/uplink, as a pcap file; - is the standard output", 1, NAMES_PORTS,
	 capture_run},
	{"sched trace", "FILE [SECONDS]", "records who has which processor, for trace viewers; - is the standard output", 1,
	 NAMES_NONE, trace_record},
	{"metrics", "", "all counters as Prometheus reads them", 0, NAMES_NONE, metrics_print},
	{"exporter", "[PORT [SECONDS]]", "serves them on a port of this machine, 9532 without PORT", 0, NAMES_NONE,
	 metrics_serve},
	{"plan", "FILE", "says what apply would change; FILE is here, or :NAME in the store", 1, NAMES_NONE, policy_plan},
	{"apply", "FILE", "makes a Lua text the site's next generation, all or nothing", 1, NAMES_NONE, policy_apply},
	{"generations", "", "the generations that are kept", 0, NAMES_NONE, policy_generations},
	{"rollback", "NUMBER", "applies a generation that is kept", 1, NAMES_NONE, policy_rollback},
	{"run", "FILE", "runs a script; one with hooks stays", 1, NAMES_NONE, policy_run},
	{"script list", "[NAME]", "the scripts that stay, or the hooks of one", 0, NAMES_NONE, policy_scripts},
	{"script stop", "NAME", "ends a script that stays", 1, NAMES_NONE, policy_stop},
	{"login", "FILE", "logs in with the private key in a PEM file, until the line drops", 1, NAMES_NONE, session_login},
	{"logout", "", "ends the login", 0, NAMES_NONE, session_logout},
	{"whoami", "", "who is logged in, and whether the line is trusted", 0, NAMES_NONE, session_whoami},
	{"keygen", "FILE", "makes a key to log in with; needs no machine", 1, NAMES_NONE, session_keygen},
	{"key list", "", "the keys that may log in", 0, NAMES_NONE, session_key_list},
	{"key add", "NAME ROLE FILE [VM...]", "lets a key log in: observer, operator or owner", 3, NAMES_NONE, session_key_add},
	{"key remove", "NAME", "takes that back", 1, NAMES_NONE, session_key_remove},
	{"trust", "[on|off]", "whether the serial line needs no login", 0, NAMES_NONE, session_trust},
	{"audit", "[FROM]", "who did what, all or from a number on", 0, NAMES_NONE, session_audit},
	{"check", "", "walks the machine's memory and queues, and says whether all is in order", 0, NAMES_NONE, check},
	{"echo", "[TEXT]", "has a text sent back: is anybody there?", 0, NAMES_NONE, echo},
	{"reset", "", "resets the machine, with every VM on it", 0, NAMES_NONE, reset},
	{"help", "[WORD]", "this list, or what begins with WORD", 0, NAMES_NONE, help},
	{NULL, NULL, NULL, 0, NAMES_NONE, NULL},
};

static void help_member(const char *key, const char *text)
{
	printf("\"%s\": ", key);
	show_json_string(stdout, text, strlen(text));
}

/* The first word of @words is @word, or there is none. */
static bool begins_with(const char *words, const char *word)
{
	size_t len = strlen(word);

	return len == 0 || (strncmp(words, word, len) == 0 && (words[len] == ' ' || words[len] == '\0'));
}

static void help_json(const char *word)
{
	bool first = true;

	fputs("{\"commands\": [", stdout);
	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++) {
		if (!begins_with(cmd->words, word))
			continue;
		fputs(first ? "{" : ", {", stdout);
		first = false;
		help_member("words", cmd->words);
		fputs(", ", stdout);
		help_member("arguments", cmd->arguments);
		fputs(", ", stdout);
		help_member("help", cmd->help);
		putchar('}');
	}
	puts("]}");
}

void command_help(bool json, const char *word)
{
	if (json) {
		help_json(word);
		return;
	}
	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++) {
		char usage[64];

		if (!begins_with(cmd->words, word))
			continue;
		snprintf(usage, sizeof usage, "%s %s", cmd->words, cmd->arguments);
		printf("  %-22s %s\n", usage, cmd->help);
	}
}

/* Words of @words that @argv starts with: all of them, or 0. */
static int matches(const char *words, int argc, char **argv)
{
	int used = 0;

	while (*words) {
		size_t len = strcspn(words, " ");

		if (used >= argc || strlen(argv[used]) != len || strncmp(argv[used], words, len) != 0)
			return 0;
		used++;
		words += len;
		words += strspn(words, " ");
	}
	return used;
}

const struct ctl_command *command_match(int argc, char **argv, int *used)
{
	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++) {
		*used = matches(cmd->words, argc, argv);
		if (*used > 0)
			return cmd;
	}
	/* A verb on VMs needs no "vm": start alpha. */
	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++) {
		*used = strncmp(cmd->words, "vm ", 3) == 0 ? matches(cmd->words + 3, argc, argv) : 0;
		if (*used > 0)
			return cmd;
	}
	return NULL;
}

/* There are commands whose first word is @word. */
static bool is_first_word(const char *word)
{
	bool any = false;

	for (const struct ctl_command *cmd = ctl_commands; cmd->words; cmd++)
		any |= begins_with(cmd->words, word);
	return any;
}

/* Finds the command and says what is wrong with the words; NULL then. */
static const struct ctl_command *check_words(int argc, char **argv, int *used)
{
	const struct ctl_command *cmd = command_match(argc, argv, used);

	if (!cmd) {
		complain("there is no command %s%s%s; try help%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "",
			 is_first_word(argv[0]) ? " " : "", is_first_word(argv[0]) ? argv[0] : "");
		return NULL;
	}
	if ((unsigned)(argc - *used) >= cmd->least)
		return cmd;
	complain("usage: %s %s", cmd->words, cmd->arguments);
	return NULL;
}

bool command_words_good(int argc, char **argv)
{
	int used;

	return check_words(argc, argv, &used) != NULL;
}

enum exit_status command_run_words(struct client *c, int argc, char **argv)
{
	int used = 0;
	const struct ctl_command *cmd = check_words(argc, argv, &used);

	return cmd ? cmd->run(c, argc - used, argv + used) : EXIT_USAGE;
}
