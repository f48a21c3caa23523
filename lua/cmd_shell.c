/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's shell group (9): the Lua prompt. The words of argv are one line of Lua,
 * joined by spaces; what it prints and what it evaluates to come back as text,
 * cut to what a reply can hold. An error of the script is not one of the
 * protocol: it is text with a return value of 1.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lua/control_internal.h"

/* The words of @argv in one line. */
static size_t join(struct cbor_value argv, char *line)
{
	struct cbor_iter it;
	struct cbor_value e;
	const char *text;
	size_t len, at = 0;

	if (!cbor_iterate(argv, &it))
		return 0;
	while (cbor_next(&it, &e) && cbor_get_text(e, &text, &len)) {
		if (at)
			line[at++] = ' ';
		memcpy(line + at, text, len);
		at += len;
	}
	return at;
}

static enum status execute_decode(struct control *c, struct command_args *a, struct failure *f)
{
	size_t len, total = 0;
	struct cbor_iter it;
	struct cbor_value e;
	const char *text;

	if (cbor_type_of(a->argv.value) != CBOR_ARRAY || !cbor_iterate(a->argv.value, &it))
		return fail(&f->error, ST_INVALID, "argv takes a list of texts");
	while (cbor_next(&it, &e)) {
		if (!cbor_get_text(e, &text, &len))
			return fail(&f->error, ST_INVALID, "argv takes a list of texts, not %s",
				    cbor_type_name(cbor_type_of(e)));
		total += len + 1;
	}
	if (total == 0)
		return fail(&f->error, ST_INVALID, "argv is empty");
	if (total > PROMPT_MAX)
		return fail(&f->error, ST_INVALID, "argv has more than %u bytes", PROMPT_MAX);
	audit_on(c, c->prompt, join(a->argv.value, c->prompt));
	return ST_OK;
}

/* Adds the sentence of an error, and what was cut off, to what the line printed. */
static void finish_output(struct control *c, const struct error *err)
{
	char note[ERROR_TEXT_MAX + 64];

	if (err->text[0])
		script_print(c, err->text, strlen(err->text));
	if (c->print_lost == 0)
		return;
	format(note, sizeof note, "\n... (%zu bytes more did not fit)\n", c->print_lost);
	c->print_len = MIN(c->print_len, SHELL_OUTPUT_MAX - strlen(note));
	memcpy(c->print + c->print_len, note, strlen(note));
	c->print_len += strlen(note);
}

static enum status execute_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct error err = {""};
	size_t len = join(a->argv.value, c->prompt);
	enum status st = script_eval(c, c->prompt, len, &err);

	(void)f;
	finish_output(c, &err);
	cbor_put_text(w, "o");
	/* What a script printed may be any bytes; a text string may not. */
	if (cbor_utf8_valid(c->print, c->print_len)) {
		cbor_put_text_n(w, c->print, c->print_len);
	} else {
		for (size_t i = 0; i < c->print_len; i++)
			if ((unsigned char)c->print[i] >= 0x80)
				c->print[i] = '?';
		cbor_put_text_n(w, c->print, c->print_len);
	}
	cbor_put_text(w, "ret");
	cbor_put_int(w, st == ST_OK ? 0 : 1);
	return ST_OK;
}

static const struct arg execute_args[] = {{"argv", ARG_VALUE, ARG_OF(argv), true}};

static const struct command shell_commands[] = {
	{
		.id = SHELL_EXECUTE, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "execute",
		.help = "evaluates a line of Lua", .args = execute_args,
		.arg_count = ARRAY_SIZE(execute_args), .decode = execute_decode, .apply = execute_apply,
	},
};

const struct command_group shell_group = {
	.id = GROUP_SHELL, .name = "shell", .commands = shell_commands, .count = ARRAY_SIZE(shell_commands),
};
