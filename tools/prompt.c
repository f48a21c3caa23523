/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prompt: the command line's commands a line at a time, with history and
 * completion by libedit. A line that starts with = is Lua. When the input is no
 * terminal, lines are read without any of this, and the first that fails gives
 * the exit status.
 */
#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define HISTORY_FILE "/.corbelctl_history"
#define HISTORY_LINES 500
#define NAMES_MAX 256
#define NAME_BYTES 97

static struct client *completing; /* the client, for libedit's callbacks */
static char names[NAMES_MAX][NAME_BYTES];
static unsigned name_count;

/* ---- words ---- */

/*
 * Splits @line in place at blanks; quotes keep blanks together. Returns the
 * count, or -1 for an open quote or too many words.
 */
static int split(char *line, char **argv)
{
	char *out = line;
	int argc = 0;

	for (;;) {
		char quote = 0;

		line += strspn(line, " \t\n");
		if (!*line)
			return argc;
		if (argc == WORDS_MAX)
			return -1;
		argv[argc++] = out;
		for (; *line && (quote || !strchr(" \t\n", *line)); line++) {
			if (quote ? *line == quote : (*line == '"' || *line == '\''))
				quote = quote ? 0 : *line;
			else
				*out++ = *line;
		}
		if (quote)
			return -1;
		if (*line)
			line++;
		*out++ = '\0';
	}
}

/* Runs one line; *leave when it says so. */
static enum exit_status run_line(struct client *c, char *line, bool *leave)
{
	char *argv[WORDS_MAX], *lua[2] = {"lua", NULL};
	int argc;

	line += strspn(line, " \t");
	if (*line == '=') {
		lua[1] = line + 1;
		return command_run_words(c, 2, lua);
	}
	/* Lua's own quotes are its own: lua start "alpha" */
	if (strncmp(line, "lua ", 4) == 0) {
		lua[1] = line + 4;
		return command_run_words(c, 2, lua);
	}
	argc = split(line, argv);
	if (argc < 0) {
		complain("a quote is left open, or there are too many words");
		return EXIT_USAGE;
	}
	if (argc == 0)
		return EXIT_OK;
	*leave = strcmp(argv[0], "quit") == 0 || strcmp(argv[0], "exit") == 0;
	return *leave ? EXIT_OK : command_run_words(c, argc, argv);
}

/* ---- completion ---- */

/* Asks the machine for the names of its VMs, quietly. */
static void fetch_names(struct client *c)
{
	struct cbor_value reply, list, vm, v;
	const char *text;
	struct cbor_iter it;
	struct request r;
	size_t len;

	name_count = 0;
	c->quiet = true;
	request_begin(&r);
	if (client_request(c, CLIENT_READ, GROUP_VM, VM_LIST, &r, &reply) == EXIT_OK &&
	    cbor_find(reply, "vms", &list) && cbor_iterate(list, &it)) {
		while (name_count < NAMES_MAX && cbor_next(&it, &vm)) {
			if (cbor_find(vm, "name", &v) && cbor_get_text(v, &text, &len) && len < NAME_BYTES)
				snprintf(names[name_count++], NAME_BYTES, "%.*s", (int)len, text);
		}
	}
	c->quiet = false;
}

/* ---- completion of paths ---- */

struct path_run {
	const char *text; /* what is typed */
	bool settings;
};

/* Asks below the last whole part of what is typed: "vm.a" may become vm.alpha or vm.another. */
static void fill_path(struct request *r, void *ctx)
{
	const struct path_run *run = ctx;
	const char *dot = strrchr(run->text, '.');

	if (dot) {
		cbor_put_text(&r->w, "prefix");
		cbor_put_text_n(&r->w, run->text, (size_t)(dot - run->text));
	}
	if (run->settings) {
		cbor_put_text(&r->w, "settings");
		cbor_put_bool(&r->w, true);
	}
}

/* Keeps the name up to the end of the part that is being typed, once. */
static void take_path(struct cbor_value item, void *ctx)
{
	const struct path_run *run = ctx;
	size_t typed = strlen(run->text);
	char path[NAME_BYTES], *dot;

	reply_text(item, "path", path, sizeof path);
	if (name_count == NAMES_MAX || strncmp(path, run->text, typed) != 0)
		return;
	dot = strchr(path + typed, '.');
	if (dot)
		dot[1] = '\0';
	for (unsigned i = 0; i < name_count; i++)
		if (strcmp(names[i], path) == 0)
			return;
	memcpy(names[name_count++], path, sizeof path);
}

/* The parts that may come next in a path, quietly. What ends in a dot goes on. */
static void fetch_paths(struct client *c, const char *text, bool settings)
{
	struct path_run run = {.text = text, .settings = settings};
	struct page_list list = {
		.group = GROUP_TREE, .command = TREE_LIST, .key = "items", .fill = fill_path, .each = take_path, .ctx = &run,
	};

	name_count = 0;
	c->quiet = true;
	if (page_list_read(c, &list) != EXIT_OK)
		name_count = 0;
	c->quiet = false;
	rl_completion_append_character = name_count == 1 && strchr(names[0], '\0')[-1] == '.' ? '\0' : ' ';
}

static char *copy(const char *text, size_t len)
{
	char *s = malloc(len + 1);

	if (s) {
		memcpy(s, text, len);
		s[len] = '\0';
	}
	return s;
}

static char *next_name(const char *text, int state)
{
	static unsigned at;

	if (state == 0)
		at = 0;
	while (at < name_count) {
		const char *name = names[at++];

		if (strncmp(name, text, strlen(text)) == 0)
			return copy(name, strlen(name));
	}
	return NULL;
}

/* The next word of a command whose earlier words stand in the line. */
static const char *line_start; /* what is before the word that is completed */

static char *next_word(const char *text, int state)
{
	static const struct ctl_command *at;

	if (state == 0)
		at = ctl_commands;
	for (; at->words; at++) {
		size_t before = strlen(line_start), len;
		const char *word;

		if (strncmp(at->words, line_start, before) != 0)
			continue;
		word = at->words + before;
		len = strcspn(word, " ");
		if (len == 0 || strncmp(word, text, strlen(text)) != 0)
			continue;
		/* "vm" comes once, not for each of its commands. */
		if (at > ctl_commands && strncmp(at[-1].words, at->words, before + len) == 0 &&
		    strcspn(at[-1].words + before, " ") == len)
			continue;
		at++;
		return copy(word, len);
	}
	return NULL;
}

/* What the words before the one that is completed want it to be. */
static enum ctl_names wanted_names(char *start)
{
	char *argv[WORDS_MAX];
	int used, argc = split(start, argv);
	const struct ctl_command *cmd = argc > 0 ? command_match(argc, argv, &used) : NULL;

	return cmd ? cmd->names : NAMES_NONE;
}

static char **complete(const char *text, int start, int end)
{
	char *before = copy(rl_line_buffer, (size_t)start), *words = copy(rl_line_buffer, (size_t)start);
	char **found = NULL;
	enum ctl_names wanted;

	(void)end;
	rl_attempted_completion_over = 1;
	rl_completion_append_character = ' ';
	if (before && words) {
		wanted = wanted_names(words);
		if (wanted == NAMES_VMS)
			fetch_names(completing);
		else if (wanted == NAMES_PATHS || wanted == NAMES_SETTINGS)
			fetch_paths(completing, text, wanted == NAMES_SETTINGS);
		line_start = before;
		found = rl_completion_matches(text, wanted == NAMES_NONE || wanted == NAMES_FILES ? next_word : next_name);
	}
	free(before);
	free(words);
	return found;
}

/* ---- the loop ---- */

static enum exit_status greet(struct client *c)
{
	struct cbor_value reply, v;
	enum exit_status st;
	const char *text = "";
	struct request r;
	size_t len = 0;

	request_begin(&r);
	request_text(&r, "format", "sr");
	st = client_request(c, CLIENT_READ, GROUP_OS, OS_INFO, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (cbor_find(reply, "output", &v))
		cbor_get_text(v, &text, &len);
	show_clean(stdout, text, len);
	printf(" at %s. Try:\n", c->target);
	printf("  vm list                what runs\n"
	       "  console alpha          a guest's console; Ctrl-] leaves it\n"
	       "  vm stop alpha          and vm start alpha\n"
	       "  lua vm_list()          Lua on the machine; = does the same: =1+1\n"
	       "  help                   everything else; quit leaves\n");
	return EXIT_OK;
}

static void history_path(char *out, size_t size)
{
	const char *home = getenv("HOME");

	snprintf(out, size, "%s%s", home ? home : "", home ? HISTORY_FILE : "");
}

static enum exit_status read_plain(struct client *c)
{
	enum exit_status first = EXIT_OK;
	bool leave = false;
	char *line = NULL;
	size_t size = 0;

	while (!leave && getline(&line, &size, stdin) >= 0) {
		enum exit_status st;

		line[strcspn(line, "\n")] = '\0';
		st = run_line(c, line, &leave);
		if (first == EXIT_OK)
			first = st;
		if (st == EXIT_UNREACHABLE)
			break;
	}
	free(line);
	return first;
}

enum exit_status prompt_run(struct client *c)
{
	enum exit_status st;
	char path[512], *line;
	bool leave = false;

	if (!isatty(STDIN_FILENO))
		return read_plain(c);
	st = greet(c);
	if (st != EXIT_OK)
		return st;
	completing = c;
	rl_readline_name = "corbelctl";
	rl_attempted_completion_function = complete;
	using_history();
	stifle_history(HISTORY_LINES);
	history_path(path, sizeof path);
	if (path[0])
		read_history(path);
	while (!leave && (line = readline("corbel> "))) {
		if (*line)
			add_history(line);
		st = run_line(c, line, &leave);
		free(line);
		if (st == EXIT_UNREACHABLE)
			break;
	}
	if (!leave)
		putchar('\n');
	if (path[0])
		write_history(path);
	return st == EXIT_UNREACHABLE ? st : EXIT_OK;
}
