/* SPDX-License-Identifier: Apache-2.0 */
/* See volumes.h. */
#include "lua/volumes.h"

#include <string.h>

#include "lib/addr.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/decode.h"

#define AT(field) offsetof(struct volume_config, field)
#define NAME(key, field) {key, KIND_TEXT, AT(field), VOLUME_NAME_MAX, NULL, NULL}
#define MODEL_DEPTH_DEFAULT 32u

/* ---- the rows ---- */

static const struct setting model_rows[] = {
	NAME("base", base),
	{"iops_max", KIND_NUMBER32, AT(model.iops_max), 0, NULL, NULL},
	{"service", KIND_TIME, AT(model.service_ns), 0, NULL, NULL},
	{"depth", KIND_NUMBER32, AT(model.depth), 0, NULL, NULL},
};
static const struct section model_section = DECODE_ROWS(model_rows);

/* What says what it is. */
static const struct kind_word {
	const char *key;
	enum volume_kind kind;
} kind_words[] = {
	{"ram", VOLUME_RAM}, {"blob", VOLUME_BLOB}, {"qcow2", VOLUME_QCOW2}, {"layer", VOLUME_LAYER}, {"model", VOLUME_MODEL},
};

static enum status read_partition(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	char shown[VOLUME_NAME_MAX];
	const char *text = "";
	size_t len = 0;

	(void)field;
	if (!cbor_get_text(v, &text, &len))
		return decode_wrong_type(d, key, "text", v);
	return decode_refuse(d, ST_UNSUPPORTED, "a partition is a volume of its own: name %s where it is used",
			     log_clean(shown, sizeof shown, text, len));
}

static const struct setting rows[] = {
	{"ram", KIND_SIZE, AT(bytes), 0, NULL, NULL},
	{"blob", KIND_TEXT, AT(file), VM_PATH_MAX, NULL, NULL},
	NAME("qcow2", base),
	NAME("layer", pool),
	{"model", KIND_SECTION, 0, 0, &model_section, NULL},
	{"partition", KIND_OWN, 0, 0, NULL, read_partition},
	NAME("base", base),
	{"size", KIND_SIZE, AT(bytes), 0, NULL, NULL},
	NAME("beside", beside),
};
static const struct section section = DECODE_ROWS(rows);

/* ---- rules ---- */

/* The settings that belong to one kind. */
static const struct {
	const char *key;
	enum volume_kind kind;
} belongs[] = {{"base", VOLUME_LAYER}, {"size", VOLUME_LAYER}, {"beside", VOLUME_QCOW2}};

static enum status find_kind(struct decoder *d, struct cbor_value v, struct volume_config *cfg)
{
	const struct kind_word *found = NULL;
	struct cbor_value ignored;

	for (size_t i = 0; i < ARRAY_SIZE(kind_words); i++) {
		if (!cbor_find(v, kind_words[i].key, &ignored))
			continue;
		if (found)
			return decode_refuse(d, ST_INVALID, "%s conflicts with %s: a volume is one of them", kind_words[i].key,
					     found->key);
		found = &kind_words[i];
	}
	if (!found)
		return decode_refuse(d, ST_INVALID, "it says not what it is: ram, blob, qcow2, layer or model");
	cfg->kind = found->kind;
	for (size_t i = 0; i < ARRAY_SIZE(belongs); i++)
		if (belongs[i].kind != cfg->kind && cbor_find(v, belongs[i].key, &ignored))
			return decode_refuse(d, ST_INVALID, "%s conflicts with %s: only a %s has it", belongs[i].key, found->key,
					     volume_kind_name(belongs[i].kind));
	return ST_OK;
}

static enum status check_bytes(struct decoder *d, const struct volume_config *cfg)
{
	bool ram = cfg->kind == VOLUME_RAM;
	const char *key = ram ? "ram" : "size";
	uint64_t most = ram ? STORAGE_RAM_MAX : LAYER_BYTES_MAX;

	if (cfg->bytes == 0)
		return decode_refuse(d, ST_INVALID, "%s is %s", key, ram ? "0" : "missing");
	if (!is_aligned(cfg->bytes, PAGE_SIZE))
		return decode_refuse(d, ST_INVALID, "%s is %llu bytes, not a multiple of 4096", key,
				     (unsigned long long)cfg->bytes);
	if (cfg->bytes > most)
		return decode_refuse(d, ST_OVER_LIMIT, "%s is %llu bytes, at most %llu are possible", key,
				     (unsigned long long)cfg->bytes, (unsigned long long)most);
	return ST_OK;
}

static enum status check_model(struct decoder *d, const struct volume_config *cfg)
{
	const struct model_config *m = &cfg->model;

	if (!cfg->base[0])
		return decode_refuse(d, ST_INVALID, "model.base is missing");
	if (m->depth < 1 || m->depth > MODEL_DEPTH_MAX)
		return decode_refuse(d, ST_INVALID, "model.depth is %u, it can be 1 to %u", m->depth, MODEL_DEPTH_MAX);
	if (m->iops_max > MODEL_IOPS_MAX)
		return decode_refuse(d, ST_OVER_LIMIT, "model.iops_max is %u, at most %u are possible", m->iops_max,
				     MODEL_IOPS_MAX);
	if (m->service_ns > MODEL_SERVICE_MAX_NS)
		return decode_refuse(d, ST_OVER_LIMIT, "model.service is longer than %llu s",
				     (unsigned long long)(MODEL_SERVICE_MAX_NS / 1000000000));
	return ST_OK;
}

static enum status check(struct decoder *d, const struct volume_config *cfg)
{
	struct error why = {""};

	if (volume_check_name(cfg->name, &why) != ST_OK)
		return decode_refuse(d, ST_INVALID, "%.160s", why.text);
	switch (cfg->kind) {
	case VOLUME_RAM:
	case VOLUME_LAYER:
		return check_bytes(d, cfg);
	case VOLUME_BLOB:
		return cfg->file[0] ? ST_OK : decode_refuse(d, ST_INVALID, "blob names no file");
	case VOLUME_QCOW2:
		return cfg->base[0] ? ST_OK : decode_refuse(d, ST_INVALID, "qcow2 names no volume");
	default:
		return check_model(d, cfg);
	}
}

/* Lua's { model { ... } } is a list of one table. */
static struct cbor_value inner(struct cbor_value v)
{
	struct cbor_value only;
	struct cbor_iter it;

	if (cbor_type_of(v) == CBOR_ARRAY && cbor_count(v) == 1 && cbor_iterate(v, &it) && cbor_next(&it, &only))
		return only;
	return v;
}

static enum status read_name(struct decoder *d, struct volume_config *cfg)
{
	const struct define_source *src = d->src;

	if (src->name_len >= VOLUME_NAME_MAX)
		return decode_refuse(d, ST_INVALID, "the name has %zu characters, at most %d are possible", src->name_len,
				     VOLUME_NAME_MAX - 1);
	memcpy(cfg->name, src->name, src->name_len);
	if (memchr(cfg->name, '\0', src->name_len))
		return decode_refuse(d, ST_INVALID, "the name holds a NUL");
	format(cfg->origin, sizeof cfg->origin, "%s", src->origin);
	return ST_OK;
}

enum status volume_decode(const struct define_source *src, struct cbor_value settings, struct volume_config *out,
			  struct error *err)
{
	static const struct knob_table none = {.count = 0};
	struct volume_config cfg = {.model.depth = MODEL_DEPTH_DEFAULT};
	uint32_t given;
	struct decoder d = {.what = "volume", .src = src, .base = &cfg, .knobs = &none, .given = &given, .err = err};
	enum status st = read_name(&d, &cfg);

	if (st == ST_OK)
		st = decode_settings(&d, &section, inner(settings));
	if (st == ST_OK)
		st = find_kind(&d, inner(settings), &cfg);
	if (st == ST_OK)
		st = check(&d, &cfg);
	if (st == ST_OK)
		*out = cfg;
	return st;
}

/* ---- making ---- */

enum status volumes_storage(struct control *c, struct storage **out, struct error *err)
{
	*out = c->cfg.machine->storage;
	return *out ? ST_OK : fail(err, ST_UNSUPPORTED, "this machine has no volumes");
}

static enum status begin_layer(struct storage *s, const struct volume_config *cfg, uint32_t *job, struct error *err)
{
	struct storage_order order = {.op = STORAGE_CREATE, .bytes = cfg->bytes};

	memcpy(order.name, cfg->name, sizeof order.name);
	memcpy(order.pool, cfg->pool, sizeof order.pool);
	memcpy(order.base, cfg->base, sizeof order.base);
	return storage_begin(s, &order, job, err);
}

static enum status create(struct storage *s, const struct volume_config *cfg, uint32_t *job, struct error *err)
{
	switch (cfg->kind) {
	case VOLUME_RAM:
		return storage_add_ram(s, cfg->name, cfg->bytes, err);
	case VOLUME_BLOB:
		return storage_add_blob(s, cfg->name, cfg->file, err);
	case VOLUME_QCOW2:
		return storage_add_qcow2(s, cfg->name, cfg->base, cfg->beside[0] ? cfg->beside : NULL, err);
	case VOLUME_LAYER:
		return begin_layer(s, cfg, job, err);
	default:
		return storage_add_model(s, cfg->name, cfg->base, &cfg->model, err);
	}
}

/* With the place of its declaration in front. */
static enum status explain(const struct volume_config *cfg, enum status st, const struct error *why, struct error *err)
{
	if (st == ST_OK)
		return ST_OK;
	if (cfg->origin[0])
		return fail(err, st, "volume %s (%.64s): %.140s", cfg->name, cfg->origin, why->text);
	return fail(err, st, "volume %s: %.180s", cfg->name, why->text);
}

enum status volumes_create(struct control *c, const struct volume_config *cfg, uint32_t *job, struct error *err)
{
	struct error why = {""};
	struct storage *s;
	enum status st = volumes_storage(c, &s, &why);

	*job = 0;
	if (st == ST_OK)
		st = create(s, cfg, job, &why);
	if (st == ST_OK)
		log_info("volume %s: %s%s", cfg->name, volume_kind_name(cfg->kind), *job ? " begun" : "");
	if (st == ST_OK && *job == 0)
		events_post(&c->events, EVENT_VOLUME_DEFINED, NULL, "%s: %s%s%.60s", cfg->name, volume_kind_name(cfg->kind),
			    cfg->origin[0] ? ", " : "", cfg->origin);
	return explain(cfg, st, &why, err);
}

static enum status check_same(const struct volume_config *cfg, const struct storage_info *there, struct error *err)
{
	if (there->kind != cfg->kind)
		return fail(err, ST_EXISTS, "it is there as %s", volume_kind_name(there->kind));
	if (cfg->bytes && there->bytes != cfg->bytes)
		return fail(err, ST_EXISTS, "it is there with %llu bytes, not %llu", (unsigned long long)there->bytes,
			    (unsigned long long)cfg->bytes);
	if (cfg->kind == VOLUME_LAYER && strcmp(cfg->base, there->base) != 0 && strcmp(cfg->base, there->parent) != 0)
		return fail(err, ST_EXISTS, "it is there, but does not stand on %s", cfg->base[0] ? cfg->base : "nothing");
	return ST_OK;
}

enum status volumes_want(struct control *c, const struct volume_config *cfg, bool *made, struct error *err)
{
	struct error why = {""};
	struct storage_info there;
	struct storage *s;
	uint32_t job;
	enum status st = volumes_storage(c, &s, &why);

	*made = false;
	if (st != ST_OK)
		return explain(cfg, st, &why, err);
	if (storage_find(s, cfg->name, &there, &why) != ST_OK) {
		st = volumes_create(c, cfg, &job, err);
		*made = st == ST_OK && cfg->kind != VOLUME_LAYER;
		return st;
	}
	st = check_same(cfg, &there, &why);
	if (st == ST_OK && cfg->kind == VOLUME_MODEL)
		st = storage_set_model(s, cfg->name, &cfg->model, &why);
	return explain(cfg, st, &why, err);
}

enum status volumes_remove(struct control *c, const char *name, struct error *err)
{
	struct storage *s = c->cfg.machine->storage;
	unsigned place = 0;
	enum status st = storage_domain_of(s, name, &place, err);

	if (st == ST_OK)
		st = storage_remove(s, name, err);
	if (st != ST_OK)
		return st;
	if (!storage_domain_at(s, place))
		settings_forget(c, TREE_OWNER_DOMAIN | place);
	events_post(&c->events, EVENT_VOLUME_REMOVED, NULL, "%s", name);
	return st;
}

void volumes_undo(struct control *c, const struct volume_config *cfg)
{
	struct error err;

	if (volumes_remove(c, cfg->name, &err) != ST_OK)
		log_error("volume %s: cannot be taken back: %s", cfg->name, err.text);
}

static bool is_coming(struct storage *s, const char *name)
{
	struct storage_job_info j = {.job = 0};

	while (storage_next_job(s, j.job, &j) == ST_OK)
		if (!j.done && strcmp(j.order.name, name) == 0)
			return true;
	return false;
}

bool volumes_are_coming(const struct control *c, const struct vm *vm)
{
	struct storage *s = c->cfg.machine->storage;

	for (unsigned i = 0; s && i < vm->config.disk_count; i++)
		if (is_coming(s, vm->config.disks[i].volume))
			return true;
	return false;
}

/* ---- of a text ---- */

/* The control task's. Those that stand on others come behind them, as the text has them. */
static struct {
	struct volume_config wanted[VOLUMES_IN_TEXT_MAX];
	bool made[VOLUMES_IN_TEXT_MAX];
	unsigned count;
} text;

void volumes_begin(void) { text.count = 0; }

enum status volumes_collect(const struct volume_config *cfg, struct error *err)
{
	for (unsigned i = 0; i < text.count; i++)
		if (strcmp(text.wanted[i].name, cfg->name) == 0)
			return fail(err, ST_EXISTS, "volume %s (%.64s) is already declared (%.64s)", cfg->name, cfg->origin,
				    text.wanted[i].origin);
	if (text.count == VOLUMES_IN_TEXT_MAX)
		return fail(err, ST_OVER_LIMIT, "volume %s (%.64s): one text declares at most %u volumes", cfg->name,
			    cfg->origin, VOLUMES_IN_TEXT_MAX);
	text.made[text.count] = false;
	text.wanted[text.count++] = *cfg;
	return ST_OK;
}

void volumes_undo_all(struct control *c)
{
	for (unsigned i = text.count; i-- > 0;) {
		if (text.made[i])
			volumes_undo(c, &text.wanted[i]);
		text.made[i] = false;
	}
}

enum status volumes_do(struct control *c, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < text.count && st == ST_OK; i++)
		st = volumes_want(c, &text.wanted[i], &text.made[i], err);
	if (st != ST_OK)
		volumes_undo_all(c);
	return st;
}

void volumes_put_new(struct control *c, struct cbor_writer *w)
{
	struct storage *s = c->cfg.machine->storage;
	struct storage_info there;
	struct cbor_mark list;
	struct error ignored;

	if (text.count == 0)
		return;
	cbor_put_text(w, "volumes");
	list = cbor_open(w);
	for (unsigned i = 0; i < text.count; i++)
		if (text.made[i] || !s || storage_find(s, text.wanted[i].name, &there, &ignored) != ST_OK)
			cbor_put_text(w, text.wanted[i].name);
	cbor_close_array(w, list);
}
