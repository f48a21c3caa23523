/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corbelctl, the operator's command: one request and out, or a prompt. It speaks
 * docs/protocol.md and shares only the codec and the framing with the machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/complete.h"
#include "tools/session.h"

#define TIMEOUT_DEFAULT_MS 30000
#define COMPLETE_MS 1000 /* nobody waits longer behind a Tab */
#define TIMEOUT_MAX_S 3600.0

static void usage(FILE *out)
{
	fputs("usage: corbelctl [-t TARGET] [--key FILE] [--json] [--timeout SECONDS] [COMMAND ...]\n"
	      "TARGET is a serial device or HOST:PORT; without -t it is taken from CORBEL_TARGET.\n"
	      "FILE is the private key to log in with; without --key it is taken from CORBEL_KEY, if that is set.\n"
	      "Without a command there is a prompt.\n",
	      out);
}

struct options {
	const char *target, *key;
	int timeout_ms;
	bool json, help, complete;
	int first; /* index of the command's first word */
};

static bool parse_timeout(const char *text, int *out_ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || end == text || !(seconds > 0 && seconds <= TIMEOUT_MAX_S)) {
		complain("--timeout takes seconds, more than 0 and at most 3600, not %s", text);
		return false;
	}
	*out_ms = seconds < 0.001 ? 1 : (int)(seconds * 1000);
	return true;
}

/* Options come before the command. False after a sentence. */
static bool parse(int argc, char **argv, struct options *o)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *word = argv[i];
		bool target = strcmp(word, "-t") == 0 || strcmp(word, "--target") == 0;
		bool timeout = strcmp(word, "--timeout") == 0, key = strcmp(word, "--key") == 0;

		if ((target || timeout || key) && i + 1 >= argc) {
			complain("%s needs a value", word);
			return false;
		}
		if (strcmp(word, "--json") == 0)
			o->json = true;
		else if (strcmp(word, "--complete") == 0) {
			o->complete = true;
			i++;
			break;
		} else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
			o->help = true;
		else if (timeout) {
			if (!parse_timeout(argv[++i], &o->timeout_ms))
				return false;
		} else if (target) {
			o->target = argv[++i];
		} else if (key) {
			o->key = argv[++i];
		} else {
			complain("there is no option %s; try --help", word);
			return false;
		}
	}
	o->first = i;
	return true;
}

/* What can be said without a machine: help, and words that are no command. True when *st is the answer. */
static bool answer_alone(const struct options *o, int argc, char **argv, enum exit_status *st)
{
	*st = EXIT_OK;
	if (o->help || (argc > 0 && strcmp(argv[0], "help") == 0)) {
		const char *word = argc > 1 && !o->help ? argv[1] : "";

		if (!o->json && !word[0])
			usage(stdout);
		command_help(o->json, word);
		return true;
	}
	if (argc > 0 && !command_words_good(argc, argv)) {
		*st = EXIT_USAGE;
		return true;
	}
	if (argc > 0 && strcmp(argv[0], "keygen") == 0) {
		*st = session_keygen(&(struct client){.json = o->json}, argc - 1, argv + 1);
		return true;
	}
	if (o->target)
		return false;
	complain("no target: give -t TARGET or set CORBEL_TARGET");
	*st = EXIT_USAGE;
	return true;
}

/* For the completion files of shells: the words behind --complete, of which the last is being typed. */
static enum exit_status complete(const struct options *o, int argc, char **argv)
{
	static struct client client = {.fd = -1, .timeout_ms = COMPLETE_MS, .quiet = true};
	static struct candidates found;
	bool open = o->target && client_open(&client, o->target);

	complete_word(open ? &client : NULL, argc - 1, argv, argv[argc - 1], &found);
	for (unsigned i = 0; i < found.count; i++)
		puts(found.word[i]);
	if (open)
		client_close(&client);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	static struct client client;
	struct options o = {.target = getenv("CORBEL_TARGET"), .key = getenv("CORBEL_KEY"), .timeout_ms = TIMEOUT_DEFAULT_MS};
	enum exit_status st;

	if (!parse(argc, argv, &o))
		return EXIT_USAGE;
	argc -= o.first;
	argv += o.first;
	if (o.complete && argc > 0)
		return complete(&o, argc, argv);
	if (answer_alone(&o, argc, argv, &st))
		return st;
	client.timeout_ms = o.timeout_ms;
	client.json = o.json;
	if (!client_open(&client, o.target))
		return EXIT_UNREACHABLE;
	st = o.key ? session_log_in(&client, o.key) : EXIT_OK;
	if (st == EXIT_OK) {
		st = argc > 0 ? command_run_words(&client, argc, argv) : prompt_run(&client);
		if (o.key && st != EXIT_UNREACHABLE)
			session_log_out(&client);
	}
	client_close(&client);
	if (fflush(stdout) != 0 && st == EXIT_OK)
		st = EXIT_REFUSED;
	return st;
}
