/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corbelctl's commands: the same words on the command line and at the prompt.
 */
#ifndef CORBEL_TOOLS_COMMANDS_H
#define CORBEL_TOOLS_COMMANDS_H

#include "tools/client.h"

#define WORDS_MAX 64

/* What a command's arguments name: they are completed from the machine. */
enum ctl_names { NAMES_NONE, NAMES_VMS, NAMES_FILES, NAMES_PATHS, NAMES_SETTINGS, NAMES_POOLS, NAMES_VM_AND_POOL,
		 NAMES_VOLUMES, NAMES_NETWORKS, NAMES_PORTS };

struct ctl_command {
	const char *words;     /* "vm start" */
	const char *arguments; /* "NAME..." */
	const char *help;
	unsigned least;        /* arguments at least */
	enum ctl_names names;  /* what its arguments complete to */
	enum exit_status (*run)(struct client *c, int argc, char **argv);
};

/* All commands; NULL words at the end. */
extern const struct ctl_command ctl_commands[];

/* The command whose words @argv starts with, *used of them; NULL when there is none. */
const struct ctl_command *command_match(int argc, char **argv, int *used);
/* True when the words are a command with enough arguments; explains otherwise. Needs no machine. */
bool command_words_good(int argc, char **argv);
/* Finds and runs; explains what is wrong with the words. */
enum exit_status command_run_words(struct client *c, int argc, char **argv);
/* The list of commands, or the same as JSON; of those alone whose first word is @word, unless it is "". */
void command_help(bool json, const char *word);

/* Puts the text of the file @path ("-": the standard input) and its name into @r. False after a sentence. */
bool request_lua_text(struct request *r, const char *path);

/* ---- policy.c ---- */

enum exit_status policy_plan(struct client *c, int argc, char **argv);
enum exit_status policy_apply(struct client *c, int argc, char **argv);
enum exit_status policy_run(struct client *c, int argc, char **argv);
enum exit_status policy_stop(struct client *c, int argc, char **argv);
enum exit_status policy_rollback(struct client *c, int argc, char **argv);
enum exit_status policy_scripts(struct client *c, int argc, char **argv);
enum exit_status policy_generations(struct client *c, int argc, char **argv);

/* ---- live.c ---- */

enum exit_status live_console(struct client *c, int argc, char **argv);
enum exit_status live_log(struct client *c, int argc, char **argv);

/* ---- events.c ---- */

enum exit_status events_show(struct client *c, int argc, char **argv);

/* ---- files.c, copy.c ---- */

enum exit_status files_list(struct client *c, int argc, char **argv);
enum exit_status files_store_info(struct client *c, int argc, char **argv);
enum exit_status files_store_format(struct client *c, int argc, char **argv);
enum exit_status files_remove(struct client *c, int argc, char **argv);
enum exit_status files_copy(struct client *c, int argc, char **argv);

/* ---- image.c ---- */

enum exit_status image_list(struct client *c, int argc, char **argv);
enum exit_status image_upload(struct client *c, int argc, char **argv);
enum exit_status image_test(struct client *c, int argc, char **argv);
enum exit_status image_confirm(struct client *c, int argc, char **argv);
enum exit_status image_erase(struct client *c, int argc, char **argv);

/* ---- cpu.c, trace.c ---- */

enum exit_status cpu_list(struct client *c, int argc, char **argv);
enum exit_status trace_record(struct client *c, int argc, char **argv);

/* ---- pool.c ---- */

enum exit_status pool_list(struct client *c, int argc, char **argv);
enum exit_status pool_show(struct client *c, int argc, char **argv);
enum exit_status pool_create(struct client *c, int argc, char **argv);
enum exit_status pool_set(struct client *c, int argc, char **argv);
enum exit_status pool_delete(struct client *c, int argc, char **argv);
enum exit_status pool_move(struct client *c, int argc, char **argv);

/* ---- volume.c ---- */

enum exit_status volume_list(struct client *c, int argc, char **argv);
enum exit_status volume_show(struct client *c, int argc, char **argv);
enum exit_status volume_create(struct client *c, int argc, char **argv);
enum exit_status volume_clone(struct client *c, int argc, char **argv);
enum exit_status volume_snapshot(struct client *c, int argc, char **argv);
enum exit_status volume_merge(struct client *c, int argc, char **argv);
enum exit_status volume_delete(struct client *c, int argc, char **argv);
enum exit_status volume_import(struct client *c, int argc, char **argv);
enum exit_status volume_resize(struct client *c, int argc, char **argv);
enum exit_status volume_format(struct client *c, int argc, char **argv);
enum exit_status volume_set(struct client *c, int argc, char **argv);
enum exit_status volume_jobs(struct client *c, int argc, char **argv);
enum exit_status volume_cancel(struct client *c, int argc, char **argv);

/* ---- net.c, capture.c ---- */

enum exit_status net_list(struct client *c, int argc, char **argv);
enum exit_status net_show(struct client *c, int argc, char **argv);
enum exit_status net_nics(struct client *c, int argc, char **argv);
enum exit_status net_define(struct client *c, int argc, char **argv);
enum exit_status net_set(struct client *c, int argc, char **argv);
enum exit_status net_remove(struct client *c, int argc, char **argv);
enum exit_status net_link(struct client *c, int argc, char **argv);
enum exit_status capture_run(struct client *c, int argc, char **argv);

/* ---- tree.c ---- */

enum exit_status tree_get(struct client *c, int argc, char **argv);
enum exit_status tree_set(struct client *c, int argc, char **argv);
enum exit_status tree_unset(struct client *c, int argc, char **argv);
enum exit_status tree_save(struct client *c, int argc, char **argv);
enum exit_status tree_why(struct client *c, int argc, char **argv);
enum exit_status tree_stats(struct client *c, int argc, char **argv);

/* ---- metrics.c, exporter.c, top.c ---- */

enum exit_status metrics_print(struct client *c, int argc, char **argv);
enum exit_status metrics_serve(struct client *c, int argc, char **argv);
enum exit_status top_run(struct client *c, int argc, char **argv);

/* ---- prompt.c ---- */

/* Reads commands until the operator leaves. */
enum exit_status prompt_run(struct client *c);

#endif
