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
#include "tools/complete.h"
#include "tools/reply.h"
#include "tools/session.h"
#include "tools/show.h"
#include "tools/terminal.h"

#define HISTORY_FILE "/.corbelctl_history"
#define HISTORY_LINES 500

static struct client *completing; /* the client, for libedit's callbacks */
static struct candidates found;      /* for the word that is being completed */

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

static char *copy(const char *text, size_t len)
{
	char *s = malloc(len + 1);

	if (s) {
		memcpy(s, text, len);
		s[len] = '\0';
	}
	return s;
}

static char *next_candidate(const char *text, int state)
{
	static unsigned at;

	(void)text;
	if (state == 0)
		at = 0;
	if (at == found.count)
		return NULL;
	at++;
	return copy(found.word[at - 1], strlen(found.word[at - 1]));
}

static char **complete(const char *text, int start, int end)
{
	char *words = copy(rl_line_buffer, (size_t)start), *argv[WORDS_MAX];
	char **matches = NULL;
	int argc = words ? split(words, argv) : -1;

	(void)end;
	rl_attempted_completion_over = 1;
	if (argc >= 0) {
		complete_word(completing, argc, argv, text, &found);
		/* A path that ends in a dot goes on. */
		rl_completion_append_character =
			found.count == 1 && strchr(found.word[0], '\0')[-1] == '.' ? '\0' : ' ';
		matches = rl_completion_matches(text, next_candidate);
	}
	free(words);
	return matches;
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
	printf(" at %s.\n", c->target);
	session_greet(c);
	puts("Try:");
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

/* The line dropped under a command: the prompt goes on when it is back; Ctrl-C ends the waiting. */
static bool find_again(struct client *c)
{
	bool again;

	terminal_catch();
	again = client_reconnect(c, c->timeout_ms);
	terminal_release();
	return again;
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
		if (st == EXIT_UNREACHABLE && !find_again(c))
			break;
		st = EXIT_OK;
	}
	if (!leave)
		putchar('\n');
	if (path[0])
		write_history(path);
	return st == EXIT_UNREACHABLE ? st : EXIT_OK;
}
