/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's OS group (0): echo, reset, parameters, info. Replies carry exactly the
 * documented keys, because stock clients refuse others.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lua/control_internal.h"

#define OS_NAME "Corbel"
#define INFO_TEXT_MAX 512
#define OS_RC_INVALID_FORMAT 2 /* the group's own code */

static enum status echo_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)f;
	cbor_put_text(w, "r");
	cbor_put_text_n(w, a->d.text, a->d.len);
	return ST_OK;
}

/* The machine is reset when the reply has left: control_step() sees to it. */
static enum status reset_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)a;
	(void)w;
	(void)f;
	c->reset_due = true;
	return ST_OK;
}

static enum status parameters_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)a;
	(void)f;
	command_put_uint(w, "buf_size", SMP_BUFFER_BYTES);
	command_put_uint(w, "buf_count", 1);
	return ST_OK;
}

/* A field of info's answer; they come in this order, whatever order is asked for. */
struct info_field {
	char letter;
	const char *(*text)(const struct control *c);
};

static const char *os_name(const struct control *c)
{
	(void)c;
	return OS_NAME;
}

static const char *node_name(const struct control *c)
{
	(void)c;
	return "corbel";
}

static const char *release(const struct control *c)
{
	return c->cfg.version;
}

static const char *build(const struct control *c)
{
	return c->cfg.build;
}

static const char *architecture(const struct control *c)
{
	(void)c;
	return "x86_64";
}

static const char *processor(const struct control *c)
{
	return c->cfg.processor ? c->cfg.processor : "unknown";
}

static const char *platform(const struct control *c)
{
	for (unsigned i = 0; i < c->cfg.fact_count; i++)
		if (strcmp(c->cfg.facts[i].name, "board") == 0)
			return c->cfg.facts[i].value;
	return "pc";
}

static const struct info_field info_fields[] = {
	{'s', os_name}, {'n', node_name}, {'r', release}, {'v', release}, {'b', build},
	{'m', architecture}, {'p', processor}, {'i', platform}, {'o', os_name},
};

/* True when every letter of @format is a field's or 'a'. */
static bool format_known(const struct arg_text *format)
{
	for (size_t i = 0; i < format->len; i++) {
		bool known = format->text[i] == 'a';

		for (size_t j = 0; j < ARRAY_SIZE(info_fields); j++)
			known |= info_fields[j].letter == format->text[i];
		if (!known)
			return false;
	}
	return true;
}

static enum status info_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (format_known(&a->format))
		return ST_OK;
	f->group_rc = OS_RC_INVALID_FORMAT;
	return fail(&f->error, ST_INVALID, "format takes letters of snrvbmpio, or a for all");
}

static enum status info_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char text[INFO_TEXT_MAX] = "";
	size_t len = 0;
	bool all;

	(void)f;
	if (a->format.len == 0)
		a->format = (struct arg_text){.text = "s", .len = 1};
	all = memchr(a->format.text, 'a', a->format.len) != NULL;
	for (size_t i = 0; i < ARRAY_SIZE(info_fields) && len < sizeof text; i++) {
		if (all || memchr(a->format.text, info_fields[i].letter, a->format.len))
			len += format(text + len, sizeof text - len, "%s%s", len ? " " : "", info_fields[i].text(c));
	}
	command_put_text(w, "output", text);
	return ST_OK;
}

static const struct arg echo_args[] = {{"d", ARG_TEXT, ARG_OF(d), true}};
static const struct arg info_args[] = {{"format", ARG_TEXT, ARG_OF(format), false}};

static const struct command os_commands[] = {
	{
		.id = OS_ECHO, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_NONE, .unaudited = true, .name = "echo",
		.help = "sends a text back",
		.args = echo_args, .arg_count = ARRAY_SIZE(echo_args), .apply = echo_apply,
	},
	{.id = OS_RESET, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "reset", .help = "resets the machine",
	 .apply = reset_apply},
	{.id = OS_PARAMETERS, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "parameters",
	 .help = "says how large a request may be", .apply = parameters_apply},
	{
		.id = OS_INFO, .ops = BIT(SMP_READ), .role = ROLE_NONE, .name = "info", .help = "names and versions, like uname",
		.args = info_args, .arg_count = ARRAY_SIZE(info_args), .decode = info_decode, .apply = info_apply,
	},
};

const struct command_group os_group = {
	.id = GROUP_OS, .name = "os", .commands = os_commands, .count = ARRAY_SIZE(os_commands),
};
