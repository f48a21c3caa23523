/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry. Modes exclude each other by one small table; a machine has tens
 * of volumes, so names are found by a walk.
 */
#include "io/volume.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"

const char *volume_kind_name(enum volume_kind kind)
{
	static const char *const names[VOLUME_KINDS] = {"disk", "partition", "ram", "blob", "layer", "qcow2", "model"};

	return names[kind];
}

void volumes_init(struct volumes *vs)
{
	*vs = (struct volumes){.count = 0};
	list_init(&vs->all);
}

/* ---- names ---- */

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

enum status volume_check_name(const char *name, struct error *err)
{
	char clean[VOLUME_NAME_MAX];
	size_t len = strlen(name);

	if (len == 0 || len >= VOLUME_NAME_MAX)
		return fail(err, ST_INVALID, "the name of a volume has 1 to %u characters, not %zu", VOLUME_NAME_MAX - 1, len);
	for (size_t i = 0; i < len; i++)
		if (!is_letter_or_digit(name[i]) && (i == 0 || !strchr("._-:@", name[i])))
			return fail(err, ST_INVALID, "'%s' is no name for a volume: letters and digits, ._-:@ not first",
				    log_clean(clean, sizeof clean, name, len));
	return ST_OK;
}

enum status volume_find(const struct volumes *vs, const char *name, struct volume **out, struct error *err)
{
	char clean[VOLUME_NAME_MAX];

	list_for_each(it, &vs->all) {
		struct volume *v = list_entry(it, struct volume, link);

		if (strcmp(v->name, name) == 0) {
			*out = v;
			return ST_OK;
		}
	}
	return fail(err, ST_NOT_FOUND, "there is no volume '%s'", log_clean(clean, sizeof clean, name, strlen(name)));
}

struct volume *volume_next(const struct volumes *vs, const struct volume *v)
{
	const struct list *at = v ? v->link.next : vs->all.next;

	return at == &vs->all ? NULL : list_entry(at, struct volume, link);
}

/* ---- life ---- */

enum status volume_add(struct volumes *vs, struct volume *v, const char *name, enum volume_kind kind,
		       struct block_device *device, struct error *err)
{
	enum status st = volume_check_name(name, err);
	void (*removed)(struct volume *) = v->removed;
	struct volume *other;

	if (st != ST_OK)
		return st;
	if (volume_find(vs, name, &other, NULL) == ST_OK)
		return fail(err, ST_EXISTS, "there is a volume '%s' already", name);
	*v = (struct volume){.in = vs, .kind = kind, .device = device, .removed = removed};
	format(v->name, sizeof v->name, "%s", name);
	list_init(&v->users);
	list_push_back(&vs->all, &v->link);
	vs->count++;
	return ST_OK;
}

enum status volume_stand_on(struct volume *v, struct volume *below, enum volume_mode mode, struct error *err)
{
	if (volume_stands_on(below, v))
		return fail(err, ST_INVALID, "volume '%s' stands on '%s' already", below->name, v->name);
	for (unsigned i = 0; i < VOLUME_BELOW_MAX; i++)
		if (!v->below[i].volume)
			return volume_open(below, mode, v->name, &v->below[i], err);
	return fail(err, ST_OVER_LIMIT, "volume '%s' stands on %u others already", v->name, VOLUME_BELOW_MAX);
}

enum status volume_remove(struct volume *v, struct error *err)
{
	if (!list_empty(&v->users))
		return fail(err, ST_BUSY, "volume '%s' is in use by %s", v->name,
			    list_entry(v->users.next, struct volume_user, link)->who);
	for (unsigned i = 0; i < VOLUME_BELOW_MAX; i++)
		if (v->below[i].volume)
			volume_close(&v->below[i]);
	list_remove(&v->link);
	v->in->count--;
	if (v->removed)
		v->removed(v);
	return ST_OK;
}

bool volume_stands_on(const struct volume *v, const struct volume *other)
{
	if (v == other)
		return true;
	for (unsigned i = 0; i < VOLUME_BELOW_MAX; i++)
		if (v->below[i].volume && volume_stands_on(v->below[i].volume, other))
			return true;
	return false;
}

/* ---- use ---- */

static bool excludes(enum volume_mode a, enum volume_mode b)
{
	return a != b || a == VOLUME_WRITE;
}

enum status volume_open(struct volume *v, enum volume_mode mode, const char *who, struct volume_user *out,
			struct error *err)
{
	static const char *const modes[] = {[VOLUME_READ] = "read", [VOLUME_WRITE] = "written to", [VOLUME_SHARE] = "divided"};

	if (mode == VOLUME_WRITE && v->device->read_only)
		return fail(err, ST_DENIED, "volume '%s' is read-only", v->name);
	list_for_each(it, &v->users) {
		const struct volume_user *u = list_entry(it, struct volume_user, link);

		if (excludes(u->mode, mode))
			return fail(err, ST_BUSY, "volume '%s' is %s by %s, and cannot be %s meanwhile", v->name, modes[u->mode],
				    u->who, modes[mode]);
	}
	*out = (struct volume_user){.volume = v, .mode = mode, .who = who};
	list_push_back(&v->users, &out->link);
	return ST_OK;
}

void volume_close(struct volume_user *u)
{
	ASSERT(u->volume);
	list_remove(&u->link);
	u->volume = NULL;
}

unsigned volume_users(const struct volume *v)
{
	unsigned n = 0;

	list_for_each(it, &v->users)
		n++;
	return n;
}

/* ---- parts of a device ---- */

static void part_submit(struct block_device *device, struct block_request *r)
{
	const struct volume_part *p = container_of(device, struct volume_part, device);
	struct block_device *below = p->range.device;

	r->lba += p->range.first;
	below->ops->submit(below, r);
}

static bool part_poll(struct block_device *device)
{
	struct block_device *below = container_of(device, struct volume_part, device)->range.device;

	return below->ops->poll(below);
}

static bool part_cancel(struct block_device *device, struct block_request *r)
{
	struct block_device *below = container_of(device, struct volume_part, device)->range.device;

	return below->ops->cancel && below->ops->cancel(below, r);
}

static const struct block_ops part_ops = {.submit = part_submit, .poll = part_poll, .cancel = part_cancel};

enum status volume_part_init(struct volume_part *p, const struct block_range *range, const char *name, struct error *err)
{
	const struct block_device *d = range->device;

	if (range->count == 0 || !range_fits(range->first, range->count, d->sectors))
		return fail(err, ST_INVALID, "%s: %llu sectors from %llu are not inside its %llu", d->name,
			    (unsigned long long)range->count, (unsigned long long)range->first, (unsigned long long)d->sectors);
	p->range = *range;
	p->device = *d;
	p->device.ops = &part_ops;
	p->device.sectors = range->count;
	format(p->device.name, sizeof p->device.name, "%s", name);
	return ST_OK;
}
