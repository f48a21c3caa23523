/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of volumes (68): what there is, and what makes, copies and removes it.
 * What takes time begins as a job, whose number is the reply; how far it is and how it
 * ended is asked by that number (guest/storage.h).
 */
#include <string.h>

#include "guest/storage.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/volumes.h"

#define ENTRY_MAX 640u /* bytes that one volume takes in a list, at most */
#define JOB_MAX 640u
#define SHOWN_MAX 40

/* ---- reading ---- */

static void put_some(struct cbor_writer *w, const char *key, const char *text)
{
	if (text[0])
		command_put_text(w, key, text);
}

static void put_flag(struct cbor_writer *w, const char *key, bool flag)
{
	if (!flag)
		return;
	cbor_put_text(w, key);
	cbor_put_bool(w, true);
}

static void put_layer(const struct storage_info *v, struct cbor_writer *w)
{
	static const char *const states[] = {
		[LAYER_LIVE] = "live", [LAYER_FROZEN] = "snapshot", [LAYER_MERGING] = "merging",
		[LAYER_DELETING] = "deleting", [LAYER_FILLING] = "importing",
	};

	command_put_text(w, "pool", v->pool);
	put_some(w, "parent", v->parent);
	put_some(w, "base", v->base);
	command_put_text(w, "state", (unsigned)v->state < ARRAY_SIZE(states) && states[v->state] ? states[v->state] : "unknown");
	command_put_uint(w, "own_bytes", v->own_bytes);
	command_put_uint(w, "children", v->children);
	command_put_uint(w, "depth", v->depth);
}

/* The pairs of a volume, in an open map. */
static void put_volume(const struct storage_info *v, struct cbor_writer *w)
{
	command_put_text(w, "name", v->name);
	command_put_text(w, "kind", volume_kind_name(v->kind));
	command_put_uint(w, "bytes", v->bytes);
	put_some(w, "domain", v->domain);
	put_flag(w, "readonly", v->read_only);
	put_flag(w, "divided", v->is_pool);
	command_put_uint(w, "users", v->users);
	put_some(w, "user", v->user);
	if (v->kind == VOLUME_LAYER)
		put_layer(v, w);
}

/* The text of an argument as a volume's name; ST_NOT_FOUND for what cannot be one. */
static enum status name_of(const struct arg_text *arg, char out[VOLUME_NAME_MAX], struct failure *f)
{
	char shown[SHOWN_MAX];

	if (arg->len >= VOLUME_NAME_MAX || memchr(arg->text, '\0', arg->len))
		return fail(&f->error, ST_NOT_FOUND, "there is no volume '%s'",
			    log_clean(shown, sizeof shown, arg->text, arg->len));
	memcpy(out, arg->text, arg->len);
	out[arg->len] = '\0';
	return ST_OK;
}

static enum status list_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char name[VOLUME_NAME_MAX];
	struct storage *s;
	enum status st = volumes_storage(c, &s, &f->error);

	if (st == ST_OK && a->max.given && a->max.value == 0)
		st = fail(&f->error, ST_INVALID, "max is 0: a page holds one volume at least");
	return st == ST_OK && a->after_name.given ? name_of(&a->after_name, name, f) : st;
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t max = a->max.given ? a->max.value : UINT64_MAX, shown = 0;
	struct storage *s = c->cfg.machine->storage;
	char after[VOLUME_NAME_MAX] = "";
	struct storage_info v;
	struct cbor_mark list, map;
	bool more = false;

	if (a->after_name.given && name_of(&a->after_name, after, f) != ST_OK)
		return ST_NOT_FOUND;
	cbor_put_text(w, "volumes");
	list = cbor_open(w);
	while (storage_next(s, after, &v) == ST_OK) {
		more = shown++ == max || !command_fits(w, ENTRY_MAX);
		if (more)
			break;
		map = cbor_open(w);
		put_volume(&v, w);
		cbor_close_map(w, map);
		memcpy(after, v.name, sizeof after);
	}
	cbor_close_array(w, list);
	if (more)
		command_put_text(w, "next", after);
	return ST_OK;
}

static uint64_t as_ns(const struct control *c, uint64_t ticks)
{
	return ticks_to_ns(ticks, c->cfg.clock->hz);
}

/* Up to where it counts, and how many, for each bucket that is not empty. */
static void put_latency(const struct control *c, const struct iosched_figures *figures, struct cbor_writer *w)
{
	struct cbor_mark list, pair;

	cbor_put_text(w, "latency");
	list = cbor_open(w);
	for (unsigned i = 0; i < IOSCHED_LATENCY_BUCKETS; i++) {
		if (figures->latency[i] == 0)
			continue;
		pair = cbor_open(w);
		cbor_put_uint(w, as_ns(c, BIT(i)));
		cbor_put_uint(w, figures->latency[i]);
		cbor_close_array(w, pair);
	}
	cbor_close_array(w, list);
}

static void put_figures(const struct control *c, const struct iosched_figures *figures, struct cbor_writer *w)
{
	static const char *const ops[BLOCK_OP_COUNT] = {
		[BLOCK_READ] = "reads", [BLOCK_WRITE] = "writes", [BLOCK_FLUSH] = "flushes", [BLOCK_DISCARD] = "discards",
		[BLOCK_WRITE_ZEROES] = "write_zeroes",
	};
	struct cbor_mark map;

	cbor_put_text(w, "figures");
	map = cbor_open(w);
	for (unsigned op = 0; op < BLOCK_OP_COUNT; op++)
		command_put_uint(w, ops[op], figures->requests[op]);
	command_put_uint(w, "read_bytes", figures->bytes_read);
	command_put_uint(w, "written_bytes", figures->bytes_written);
	command_put_uint(w, "failed", figures->failed);
	command_put_uint(w, "waiting", figures->waiting);
	command_put_uint(w, "at_device", figures->at_device);
	command_put_uint(w, "queued_ns", as_ns(c, figures->queued));
	command_put_uint(w, "throttled_ns", as_ns(c, figures->throttled));
	command_put_uint(w, "service_ns", as_ns(c, figures->service));
	put_latency(c, figures, w);
	cbor_close_map(w, map);
}

static void put_settings(const struct iosched_settings *set, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "domain_settings");
	map = cbor_open(w);
	command_put_uint(w, "depth_max", set->depth_max);
	command_put_uint(w, "latency_ns", set->latency_ns);
	command_put_uint(w, "burst", set->burst);
	cbor_close_map(w, map);
}

static void put_pool(const struct layer_pool_stats *p, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "pool_state");
	map = cbor_open(w);
	command_put_uint(w, "size", p->clusters * LAYER_CLUSTER_BYTES);
	command_put_uint(w, "free", p->clusters_free * LAYER_CLUSTER_BYTES);
	command_put_uint(w, "meta_size", p->meta_blocks * LAYER_BLOCK_BYTES);
	command_put_uint(w, "meta_free", p->meta_blocks_free * LAYER_BLOCK_BYTES);
	command_put_uint(w, "layers", p->layers);
	command_put_uint(w, "generation", p->generation);
	cbor_put_text(w, "writable");
	cbor_put_bool(w, p->writable);
	put_some(w, "why_not", p->why_not);
	command_put_uint(w, "commits", p->commits);
	command_put_uint(w, "full", p->full);
	cbor_close_map(w, map);
}

/* The volume that the argument @volume names. */
static enum status find(struct control *c, const struct command_args *a, struct storage_info *out, struct failure *f)
{
	char name[VOLUME_NAME_MAX];
	struct storage *s;
	enum status st = volumes_storage(c, &s, &f->error);

	if (st == ST_OK)
		st = name_of(&a->volume, name, f);
	return st == ST_OK ? storage_find(s, name, out, &f->error) : st;
}

static enum status find_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct storage_info v;

	audit_on(c, a->volume.text, a->volume.len);
	return find(c, a, &v, f);
}

static enum status show_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage *s = c->cfg.machine->storage;
	struct iosched_figures figures;
	struct iosched_settings set;
	struct layer_pool_stats pool;
	struct storage_info v;
	struct error ignored;
	enum status st = find(c, a, &v, f);

	if (st != ST_OK)
		return st;
	put_volume(&v, w);
	command_put_uint(w, "sector_bytes", v.sector_bytes);
	if (storage_get_settings(s, v.name, &set, &ignored) == ST_OK)
		put_settings(&set, w);
	if (v.is_pool && storage_pool_stats(s, v.name, &pool, &ignored) == ST_OK)
		put_pool(&pool, w);
	if (storage_figures(s, v.name, &figures, &ignored) == ST_OK)
		put_figures(c, &figures, w);
	return ST_OK;
}

/* ---- create ---- */

static enum status read_new(struct control *c, const struct command_args *a, struct volume_config *out, struct failure *f)
{
	char origin[VM_PATH_MAX] = "";
	struct define_source src = {
		.name = a->name.text, .name_len = a->name.len, .origin = origin, .units = a->from_script,
	};
	struct storage *s;
	enum status st = volumes_storage(c, &s, &f->error);

	if (a->origin.given)
		log_clean(origin, sizeof origin, a->origin.text, a->origin.len);
	return st == ST_OK ? volume_decode(&src, a->config.value, out, &f->error) : st;
}

static enum status create_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct volume_config cfg;

	return read_new(c, a, &cfg, f);
}

static void put_job(struct cbor_writer *w, uint32_t job)
{
	if (job)
		command_put_uint(w, "job", job);
}

/* What storage refuses, it refuses here: nothing has been done then. */
static enum status create_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct volume_config cfg;
	uint32_t job;
	enum status st = read_new(c, a, &cfg, f);

	if (st == ST_OK)
		st = volumes_create(c, &cfg, &job, &f->error);
	if (st != ST_OK)
		return st;
	command_put_text(w, "name", cfg.name);
	put_job(w, job);
	return ST_OK;
}

/* ---- operations on layers ---- */

static enum status begin(struct control *c, struct command_args *a, enum storage_op op, struct cbor_writer *w,
			 struct failure *f)
{
	struct storage_order order = {.op = op, .bytes = a->bytes.value};
	struct storage *s;
	uint32_t job = 0;
	enum status st = volumes_storage(c, &s, &f->error);

	if (st == ST_OK)
		st = name_of(&a->volume, order.volume, f);
	if (st == ST_OK && a->name.given)
		st = name_of(&a->name, order.name, f);
	if (st == ST_OK && a->pool.given)
		st = name_of(&a->pool, order.pool, f);
	if (st == ST_OK)
		st = storage_begin(s, &order, &job, &f->error);
	if (st != ST_OK)
		return st;
	log_info("volume %s: %s%s%s begun", order.volume, storage_op_name(op), order.name[0] ? " as " : "", order.name);
	put_job(w, job);
	return ST_OK;
}

#define OPERATION(function, op)                                                                            \
	static enum status function(struct control *c, struct command_args *a, struct cbor_writer *w,         \
				    struct failure *f)                                                        \
	{                                                                                                     \
		return begin(c, a, op, w, f);                                                                   \
	}

OPERATION(clone_apply, STORAGE_CLONE)
OPERATION(snapshot_apply, STORAGE_SNAPSHOT)
OPERATION(merge_apply, STORAGE_MERGE)
OPERATION(import_apply, STORAGE_IMPORT)
OPERATION(resize_apply, STORAGE_RESIZE)

/* A layer goes piece by piece, the others at once. */
static enum status delete_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage_info v;
	enum status st = find(c, a, &v, f);

	if (st != ST_OK)
		return st;
	if (v.kind == VOLUME_LAYER)
		return begin(c, a, STORAGE_DELETE, w, f);
	st = volumes_remove(c, v.name, &f->error);
	if (st == ST_OK)
		log_info("volume %s: deleted", v.name);
	return st == ST_DENIED ? ST_BAD_STATE : st; /* denied is for roles */
}

/* ---- pools of layers ---- */

/* All that is on the volume is lost: only for somebody who names it twice. */
static enum status format_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct storage_info v;
	enum status st = find(c, a, &v, f);

	audit_on(c, a->volume.text, a->volume.len);
	if (st != ST_OK)
		return st;
	if (!a->store_id.given)
		return fail(&f->error, ST_BAD_STATE, "all that is on %s would be lost: confirm takes its name", v.name);
	if (a->store_id.len != strlen(v.name) || memcmp(a->store_id.text, v.name, a->store_id.len) != 0)
		return fail(&f->error, ST_INVALID, "confirm is not the volume's name, which is %s", v.name);
	return ST_OK;
}

static enum status format_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage_info v;
	enum status st = find(c, a, &v, f);

	(void)w;
	if (st == ST_OK)
		st = storage_format_pool(c->cfg.machine->storage, v.name, c->cfg.machine->host->random(), &f->error);
	if (st == ST_OK)
		log_warn("volume %s: formatted as a pool of layers by an operator", v.name);
	return st == ST_DENIED ? ST_BAD_STATE : st;
}

/* ---- set ---- */

#define SETTINGS 3u

/* Settings of the tree, as an operator's for good: the numbers that the request has. */
static enum status read_settings(struct control *c, const struct command_args *a, struct setting_change changes[SETTINGS],
				 unsigned *count, struct failure *f)
{
	const struct { const char *name; const struct arg_number *arg; } rows[SETTINGS] = {
		{"depth_max", &a->depth_max}, {"latency", &a->latency_ns}, {"burst", &a->burst},
	};
	struct storage_info v;
	unsigned place = 0;
	enum status st = find(c, a, &v, f);

	*count = 0;
	if (st == ST_OK)
		st = storage_domain_of(c->cfg.machine->storage, v.name, &place, &f->error);
	for (unsigned i = 0; i < SETTINGS && st == ST_OK; i++) {
		struct setting_change *change = &changes[*count];

		if (!rows[i].arg->given)
			continue;
		*change = (struct setting_change){
			.item = {.table = tree_domain_knobs(c, place)}, .value = rows[i].arg->value, .origin = ORIGIN_OPERATOR,
		};
		while (strcmp(item_knob(&change->item)->name, rows[i].name) != 0)
			change->item.row++;
		++*count;
		st = settings_check(c, change, &f->error);
	}
	if (st == ST_OK && *count == 0)
		return fail(&f->error, ST_INVALID, "set needs one of depth_max, latency_ns and burst");
	return st == ST_OK ? settings_check_room(c, changes, *count, &f->error) : st;
}

static enum status set_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct setting_change changes[SETTINGS];
	unsigned count;

	audit_on(c, a->volume.text, a->volume.len);
	return read_settings(c, a, changes, &count, f);
}

static enum status set_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct setting_change changes[SETTINGS];
	struct iosched_settings set;
	struct storage_info v;
	unsigned count;
	enum status st = read_settings(c, a, changes, &count, f);

	for (unsigned i = 0; i < count && st == ST_OK; i++)
		change_apply(c, &changes[i]);
	if (st == ST_OK)
		st = find(c, a, &v, f);
	if (st == ST_OK)
		st = storage_get_settings(c->cfg.machine->storage, v.name, &set, &f->error);
	if (st == ST_OK)
		put_settings(&set, w);
	return st;
}

/* ---- jobs ---- */

static void put_job_info(const struct storage_job_info *j, struct cbor_writer *w)
{
	command_put_uint(w, "job", j->job);
	command_put_text(w, "op", storage_op_name(j->order.op));
	put_some(w, "volume", j->order.volume);
	put_some(w, "name", j->order.name);
	cbor_put_text(w, "done");
	cbor_put_bool(w, j->done);
	if (j->done && j->status != ST_OK)
		command_put_text(w, "error", j->why[0] ? j->why : status_name(j->status));
	command_put_uint(w, "steps", j->steps);
	command_put_uint(w, "steps_total", j->steps_total);
}

static enum status find_job(struct control *c, const struct command_args *a, struct storage_job_info *out,
			    struct failure *f)
{
	struct storage *s;
	enum status st = volumes_storage(c, &s, &f->error);

	if (st != ST_OK)
		return st;
	if (a->job.value == 0 || a->job.value > UINT32_MAX || storage_job(s, (uint32_t)a->job.value, out) != ST_OK)
		return fail(&f->error, ST_NOT_FOUND, "there is no job %llu", (unsigned long long)a->job.value);
	return ST_OK;
}

static enum status job_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct storage_job_info j;

	return find_job(c, a, &j, f);
}

static enum status job_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage_job_info j;
	enum status st = find_job(c, a, &j, f);

	if (st == ST_OK)
		put_job_info(&j, w);
	return st;
}

static enum status jobs_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct storage *s;

	(void)a;
	return volumes_storage(c, &s, &f->error);
}

static enum status jobs_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage *s = c->cfg.machine->storage;
	uint32_t last = a->after.value > UINT32_MAX ? UINT32_MAX : (uint32_t)a->after.value;
	struct storage_job_info j;
	struct cbor_mark list, map;
	bool more = false;

	(void)f;
	cbor_put_text(w, "jobs");
	list = cbor_open(w);
	while (!more && storage_next_job(s, last, &j) == ST_OK) {
		more = !command_fits(w, JOB_MAX);
		if (more)
			break;
		map = cbor_open(w);
		put_job_info(&j, w);
		cbor_close_map(w, map);
		last = j.job;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

static enum status cancel_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct storage_job_info j;
	enum status st = find_job(c, a, &j, f);

	(void)w;
	return st == ST_OK ? storage_cancel(c->cfg.machine->storage, j.job, &f->error) : st;
}

/* ---- the table ---- */

static const struct arg list_args[] = {
	{"after", ARG_TEXT, ARG_OF(after_name), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
};
static const struct arg volume_args[] = {{"volume", ARG_TEXT, ARG_OF(volume), true}};
static const struct arg create_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"config", ARG_VALUE, ARG_OF(config), true},
	{"origin", ARG_TEXT, ARG_OF(origin), false},
};
static const struct arg copy_args[] = {
	{"volume", ARG_TEXT, ARG_OF(volume), true},
	{"name", ARG_TEXT, ARG_OF(name), true},
};
static const struct arg import_args[] = {
	{"volume", ARG_TEXT, ARG_OF(volume), true},
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"pool", ARG_TEXT, ARG_OF(pool), false},
};
static const struct arg resize_args[] = {
	{"volume", ARG_TEXT, ARG_OF(volume), true},
	{"bytes", ARG_NUMBER, ARG_OF(bytes), true},
};
static const struct arg format_args[] = {
	{"volume", ARG_TEXT, ARG_OF(volume), true},
	{"confirm", ARG_TEXT, ARG_OF(store_id), false},
};
static const struct arg set_args[] = {
	{"volume", ARG_TEXT, ARG_OF(volume), true},
	{"depth_max", ARG_NUMBER, ARG_OF(depth_max), false},
	{"latency_ns", ARG_NUMBER, ARG_OF(latency_ns), false},
	{"burst", ARG_NUMBER, ARG_OF(burst), false},
};
static const struct arg job_args[] = {{"job", ARG_NUMBER, ARG_OF(job), true}};
static const struct arg jobs_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}};

#define COMMAND(number, word, op, who, rows, check, function, text)                                         \
	{                                                                                                     \
		.id = (number), .ops = BIT(op), .role = (who), .name = (word), .help = (text), .args = (rows),   \
		.arg_count = ARRAY_SIZE(rows), .decode = (check), .apply = (function),                           \
	}

static const struct command volume_commands[] = {
	COMMAND(VOLUME_CMD_LIST, "list", SMP_READ, ROLE_OBSERVER, list_args, list_decode, list_apply, "lists the volumes"),
	COMMAND(VOLUME_CMD_SHOW, "show", SMP_READ, ROLE_OBSERVER, volume_args, find_decode, show_apply,
		"says all about a volume"),
	COMMAND(VOLUME_CMD_CREATE, "create", SMP_WRITE, ROLE_OPERATOR, create_args, create_decode, create_apply,
		"makes a volume"),
	COMMAND(VOLUME_CMD_CLONE, "clone", SMP_WRITE, ROLE_OPERATOR, copy_args, find_decode, clone_apply,
		"makes a layer with the content of a snapshot"),
	COMMAND(VOLUME_CMD_SNAPSHOT, "snapshot", SMP_WRITE, ROLE_OPERATOR, copy_args, find_decode, snapshot_apply,
		"keeps what a layer is now under another name"),
	COMMAND(VOLUME_CMD_MERGE, "merge", SMP_WRITE, ROLE_OPERATOR, volume_args, find_decode, merge_apply,
		"gives what a snapshot has to what stands on it, and removes it"),
	COMMAND(VOLUME_CMD_DELETE, "delete", SMP_WRITE, ROLE_OPERATOR, volume_args, find_decode, delete_apply,
		"deletes a volume with what is on it"),
	COMMAND(VOLUME_CMD_IMPORT, "import", SMP_WRITE, ROLE_OPERATOR, import_args, find_decode, import_apply,
		"copies a volume into a new layer"),
	COMMAND(VOLUME_CMD_RESIZE, "resize", SMP_WRITE, ROLE_OPERATOR, resize_args, find_decode, resize_apply,
		"makes a layer larger"),
	COMMAND(VOLUME_CMD_FORMAT, "format", SMP_WRITE, ROLE_OWNER, format_args, format_decode, format_apply,
		"makes a volume a pool of layers, empty"),
	COMMAND(VOLUME_CMD_SET, "set", SMP_WRITE, ROLE_OPERATOR, set_args, set_decode, set_apply,
		"sets how a volume's device is used"),
	COMMAND(VOLUME_CMD_JOB, "job", SMP_READ, ROLE_OBSERVER, job_args, job_decode, job_apply,
		"says how far an operation is, and how it ended"),
	COMMAND(VOLUME_CMD_JOBS, "jobs", SMP_READ, ROLE_OBSERVER, jobs_args, jobs_decode, jobs_apply,
		"lists operations that are under way, and the last that ended"),
	COMMAND(VOLUME_CMD_CANCEL, "cancel", SMP_WRITE, ROLE_OPERATOR, job_args, job_decode, cancel_apply,
		"ends an import and deletes what it has copied"),
};

const struct command_group volume_group = {
	.id = GROUP_VOLUME, .name = "corbel volume", .commands = volume_commands, .count = ARRAY_SIZE(volume_commands),
};
