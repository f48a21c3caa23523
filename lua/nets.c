/* SPDX-License-Identifier: Apache-2.0 */
/* See nets.h. */
#include "lua/nets.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/genplan.h"
#include "lua/hint.h"
#include "lua/saved.h"

/* By the networks' places. The control task's. */
static struct network_config definitions[NETWORKS_MAX];

const struct network_config *nets_definition(const struct network *n)
{
	return &definitions[network_place(n)];
}

enum status nets_there(struct control *c, struct error *err)
{
	return c->cfg.machine->networks ? ST_OK : fail(err, ST_UNSUPPORTED, "this machine has no networks");
}

/* ---- names ---- */

static enum status unknown(struct control *c, const char *name, size_t len, struct error *err)
{
	char shown[VM_NAME_MAX], advice[HINT_TEXT_MAX];
	struct hint_names names = {.count = 0};

	for (struct network *n = network_next(c->cfg.machine, NULL); n; n = network_next(c->cfg.machine, n))
		names.name[names.count++] = network_config_of(n)->name;
	log_clean(shown, sizeof shown, name, len);
	hint_nearest_name(shown, "", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "there is no network called %s%s", shown, advice);
}

enum status nets_find(struct control *c, const char *name, size_t len, struct network **out, struct error *err)
{
	struct network *n = NULL;
	char text[VM_NAME_MAX];

	if (len < sizeof text && !memchr(name, '\0', len)) {
		memcpy(text, name, len);
		text[len] = '\0';
		n = network_find(c->cfg.machine, text);
	}
	if (!n)
		return unknown(c, name, len, err);
	*out = n;
	return ST_OK;
}

bool nets_is_used(struct control *c, const char *name, struct vm **who)
{
	for (struct vm *vm = vm_next(c->cfg.machine, NULL); vm; vm = vm_next(c->cfg.machine, vm)) {
		for (unsigned i = 0; i < vm->config.nic_count && !genplan_at_rest(vm); i++) {
			if (strcmp(vm->config.nics[i].network, name) != 0)
				continue;
			if (who)
				*who = vm;
			return true;
		}
	}
	return false;
}

/* ---- coming and going ---- */

static void recall(struct control *c, const char *name)
{
	char place[TREE_PATH_MAX];
	struct error err;
	size_t len = format(place, sizeof place, "%s.%s", network_knobs.group, name);

	if (saved_read(c, place, len, &err) != ST_OK)
		log_error("network %s: its saved settings cannot be read: %s", name, err.text);
}

void nets_defined(struct control *c, const struct network_config *cfg, bool fresh)
{
	struct network *n = network_find(c->cfg.machine, cfg->name);

	ASSERT(n);
	definitions[network_place(n)] = *cfg;
	if (fresh)
		recall(c, cfg->name);
	else
		settings_network_redefined(c, n);
	events_post(&c->events, fresh ? EVENT_NETWORK_DEFINED : EVENT_NETWORK_CHANGED, NULL, "%s%s%s", cfg->name,
		    cfg->origin[0] ? ", " : "", cfg->origin);
	log_info("network %s: %s (%s)", cfg->name, fresh ? "defined" : "changed",
		 cfg->origin[0] ? cfg->origin : "by request");
}

bool nets_same(const struct network_config *a, const struct network_config *b)
{
	return strcmp(a->uplink, b->uplink) == 0 && a->uplink_vlan == b->uplink_vlan && a->mtu == b->mtu &&
	       a->settings.patience_ns == b->settings.patience_ns && a->settings.age_ns == b->settings.age_ns &&
	       a->wire.rate == b->wire.rate && a->wire.depth_bytes == b->wire.depth_bytes &&
	       a->wire.poll_frames == b->wire.poll_frames;
}

enum status nets_define(struct control *c, const struct network_config *cfg, struct error *err)
{
	const struct network *n = network_find(c->cfg.machine, cfg->name);
	bool fresh = n == NULL;
	enum status st;

	if (n && nets_same(nets_definition(n), cfg))
		return ST_OK;
	st = nets_there(c, err);
	if (st == ST_OK)
		st = network_define(c->cfg.machine, cfg, err);
	if (st == ST_OK)
		nets_defined(c, cfg, fresh);
	return st;
}

enum status nets_remove(struct control *c, struct network *n, struct error *err)
{
	unsigned place = network_place(n);
	char name[VM_NAME_MAX];
	enum status st;

	format(name, sizeof name, "%s", network_config_of(n)->name);
	st = network_remove(c->cfg.machine, name, err);
	if (st != ST_OK)
		return st;
	settings_forget(c, TREE_OWNER_NETWORK | place);
	c->generation.owned_networks[place] = false;
	events_post(&c->events, EVENT_NETWORK_REMOVED, NULL, "%s", name);
	log_info("network %s: removed", name);
	return ST_OK;
}
