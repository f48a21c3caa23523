/* SPDX-License-Identifier: Apache-2.0 */
/* See pools.h. */
#include "lua/pools.h"

#include <string.h>

#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/hint.h"
#include "lua/saved.h"

static enum status unknown(struct control *c, const char *name, size_t len, struct error *err)
{
	char shown[VM_NAME_MAX], advice[HINT_TEXT_MAX];
	struct hint_names names = {.count = 0};

	for (struct pool *p = pool_next(c->cfg.machine, NULL); p; p = pool_next(c->cfg.machine, p))
		if (p->id != POOL_OWN_SYSTEM)
			names.name[names.count++] = p->config.name;
	log_clean(shown, sizeof shown, name, len);
	hint_nearest_name(shown, "", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "there is no pool called %s%s", shown, advice);
}

enum status pools_find(struct control *c, const char *name, size_t len, struct pool **out, struct error *err)
{
	char text[VM_NAME_MAX];
	struct pool *p = NULL;

	if (len < sizeof text && !memchr(name, '\0', len)) {
		memcpy(text, name, len);
		text[len] = '\0';
		p = pool_find(c->cfg.machine, text);
	}
	if (!p)
		return unknown(c, name, len, err);
	*out = p;
	return ST_OK;
}

enum status pools_usable(struct control *c, const char *name, struct error *err)
{
	struct pool *p;
	enum status st = pool_named(c->cfg.machine, name, &p, err);

	return st == ST_NOT_FOUND ? unknown(c, name, strlen(name), err) : st;
}

void pools_changed(struct control *c, const struct pool *p)
{
	events_post(&c->events, EVENT_POOL_CHANGED, NULL, "%s", p->config.name);
	log_info("pool %s: changed", p->config.name);
}

static void recall(struct control *c, const struct pool *p)
{
	char place[TREE_PATH_MAX];
	struct error err;
	size_t len = format(place, sizeof place, "pool.%s", p->config.name);

	if (saved_read(c, place, len, &err) != ST_OK)
		log_error("pool %s: its saved settings cannot be read: %s", p->config.name, err.text);
}

void pools_come(struct control *c, struct pool *p)
{
	events_post(&c->events, EVENT_POOL_DEFINED, NULL, "%s%s%s", p->config.name, p->config.origin[0] ? ", " : "",
		    p->config.origin);
	log_info("pool %s: defined (%s)", p->config.name, p->config.origin[0] ? p->config.origin : "by request");
	recall(c, p);
}

enum status pools_define(struct control *c, const struct pool_config *cfg, struct pool **out, struct error *err)
{
	enum status st = pools_usable(c, cfg->parent, err);
	struct error why;

	if (st != ST_OK) {
		why = *err;
		return fail(err, st, "pool %s%s%.64s%s: parent: %.120s", cfg->name, cfg->origin[0] ? " (" : "", cfg->origin,
			    cfg->origin[0] ? ")" : "", why.text);
	}
	st = pool_define(c->cfg.machine, cfg, out, err);
	if (st != ST_OK)
		return st;
	pools_come(c, *out);
	return ST_OK;
}

enum status pools_remove(struct control *c, struct pool *p, struct error *err)
{
	char name[VM_NAME_MAX];
	unsigned id = p->id;
	enum status st;

	format(name, sizeof name, "%s", p->config.name);
	st = pool_remove(p, err);
	if (st != ST_OK)
		return st;
	settings_forget(c, TREE_OWNER_POOL | id);
	c->generation.owned_pools[id] = false;
	events_post(&c->events, EVENT_POOL_REMOVED, NULL, "%s", name);
	log_info("pool %s: removed", name);
	return ST_OK;
}
