/* SPDX-License-Identifier: Apache-2.0 */
/* See gennets.h. There is one plan at a time, the control task's. */
#include "lua/gennets.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/genplan.h"
#include "lua/hint.h"
#include "lua/nets.h"

static struct {
	struct network_config wanted[NETWORKS_MAX];
	struct network_config before[NETWORKS_MAX]; /* of those that were changed, for taking it back */
	unsigned count;
	bool fresh[NETWORKS_MAX];   /* not there */
	bool changed[NETWORKS_MAX]; /* there, and it differs */
	bool done[NETWORKS_MAX];
} plan;

/* ---- what the text wants ---- */

void gennets_begin(void)
{
	plan.count = 0;
}

const struct network_config *gennets_wanted(const char *name)
{
	for (unsigned i = 0; i < plan.count; i++)
		if (strcmp(plan.wanted[i].name, name) == 0)
			return &plan.wanted[i];
	return NULL;
}

enum status gennets_collect(const struct network_config *cfg, struct error *err)
{
	const struct network_config *first = gennets_wanted(cfg->name);

	if (first)
		return fail(err, ST_EXISTS, "network %s (%.64s) is already defined (%.64s)", cfg->name, cfg->origin,
			    first->origin);
	if (plan.count == NETWORKS_MAX)
		return fail(err, ST_OVER_LIMIT, "network %s (%.64s): there can be %u networks in this version", cfg->name,
			    cfg->origin, NETWORKS_MAX);
	plan.wanted[plan.count++] = *cfg;
	return ST_OK;
}

/* ---- comparing ---- */

static bool goes(const struct control *c, const struct network *n)
{
	return c->generation.owned_networks[network_place(n)] && !gennets_wanted(network_config_of(n)->name);
}

static struct network *next_removed(struct control *c, const struct network *prev)
{
	struct network *n = network_next(c->cfg.machine, prev);

	while (n && !goes(c, n))
		n = network_next(c->cfg.machine, n);
	return n;
}

/* Will there be such a network, for VMs to be on? */
static bool will_be(struct control *c, const char *name)
{
	const struct network *n = network_find(c->cfg.machine, name);

	return gennets_wanted(name) || (n && !goes(c, n));
}

static enum status no_such_network(struct control *c, const struct vm_config *cfg, const struct vm_nic *nic,
				   struct error *err)
{
	char shown[VM_NAME_MAX], advice[HINT_TEXT_MAX];
	struct hint_names names = {.count = 0};

	for (unsigned i = 0; i < plan.count; i++)
		names.name[names.count++] = plan.wanted[i].name;
	for (struct network *n = network_next(c->cfg.machine, NULL); n; n = network_next(c->cfg.machine, n))
		if (!goes(c, n))
			names.name[names.count++] = network_config_of(n)->name;
	log_clean(shown, sizeof shown, nic->network, strlen(nic->network));
	hint_nearest_name(shown, "", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "VM %s (%.64s): net.%s: there is no network called %s%s", cfg->name, cfg->origin,
		    nic->name, shown, advice);
}

static enum status check_vms(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < genplan.wanted_count && !c->booting; i++) {
		const struct vm_config *cfg = &genplan.wanted[i];

		for (unsigned j = 0; j < cfg->nic_count; j++)
			if (!will_be(c, cfg->nics[j].network))
				return no_such_network(c, cfg, &cfg->nics[j], err);
	}
	for (struct network *n = next_removed(c, NULL); n; n = next_removed(c, n)) {
		struct vm *vm;

		if (nets_is_used(c, network_config_of(n)->name, &vm))
			return fail(err, ST_BUSY, "network %s is not in the text, but VM %s, which is %s, is on it",
				    network_config_of(n)->name, vm->config.name, vm_state_name(vm->state));
	}
	return ST_OK;
}

/* The machine's interfaces. */
static enum status no_such_nic(struct control *c, const struct network_config *cfg, struct error *err)
{
	char shown[NIC_NAME_MAX], advice[HINT_TEXT_MAX];
	struct hint_names names = {.count = 0};

	for (unsigned i = 0; networks_nic(c->cfg.machine, i); i++)
		names.name[names.count++] = networks_nic(c->cfg.machine, i)->name;
	log_clean(shown, sizeof shown, cfg->uplink, strlen(cfg->uplink));
	hint_nearest_name(shown, "", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "network %s (%.64s): uplink: the machine has no interface called %s%s", cfg->name,
		    cfg->origin, shown, advice);
}

static bool is_nic(struct control *c, const char *name)
{
	for (unsigned i = 0; networks_nic(c->cfg.machine, i); i++)
		if (strcmp(networks_nic(c->cfg.machine, i)->name, name) == 0)
			return true;
	return false;
}

/*
 * An interface is one network's. What goes makes no room for what comes: it goes last, when nothing can fail any more.
 */
static enum status check_uplink(struct control *c, unsigned index, struct error *err)
{
	const struct network_config *cfg = &plan.wanted[index];
	const char *other = NULL;

	if (!cfg->uplink[0])
		return ST_OK;
	if (!is_nic(c, cfg->uplink))
		return no_such_nic(c, cfg, err);
	for (unsigned i = 0; i < index; i++)
		if (strcmp(plan.wanted[i].uplink, cfg->uplink) == 0)
			other = plan.wanted[i].name;
	for (struct network *n = network_next(c->cfg.machine, NULL); n; n = network_next(c->cfg.machine, n))
		if (strcmp(network_config_of(n)->uplink, cfg->uplink) == 0 &&
		    strcmp(network_config_of(n)->name, cfg->name) != 0)
			other = network_config_of(n)->name;
	if (!other)
		return ST_OK;
	return fail(err, ST_BUSY, "network %s (%.64s): uplink: %s is that of network %s", cfg->name, cfg->origin,
		    cfg->uplink, other);
}

/* Frames of VMs on it may wait for the wire. */
static enum status check_moves(struct control *c, const struct network_config *present, const struct network_config *cfg,
			       struct error *err)
{
	struct vm *vm;

	if (strcmp(present->uplink, cfg->uplink) == 0 || !nets_is_used(c, cfg->name, &vm))
		return ST_OK;
	return fail(err, ST_BUSY, "network %s (%.64s): uplink differs, and VM %s, which is %s, is on it", cfg->name,
		    cfg->origin, vm->config.name, vm_state_name(vm->state));
}

enum status gennets_make(struct control *c, struct error *err)
{
	enum status st = plan.count ? nets_there(c, err) : ST_OK;

	for (unsigned i = 0; i < plan.count && st == ST_OK; i++) {
		const struct network *n = network_find(c->cfg.machine, plan.wanted[i].name);

		plan.fresh[i] = n == NULL;
		plan.changed[i] = n && !nets_same(nets_definition(n), &plan.wanted[i]);
		plan.done[i] = false;
		st = check_uplink(c, i, err);
		if (st == ST_OK && plan.changed[i])
			st = check_moves(c, network_config_of(n), &plan.wanted[i], err);
	}
	return st == ST_OK ? check_vms(c, err) : st;
}

/* ---- doing ---- */

static void undo(struct control *c, unsigned i)
{
	struct machine *m = c->cfg.machine;
	struct error err;
	enum status st = plan.fresh[i] ? network_remove(m, plan.wanted[i].name, &err) : network_define(m, &plan.before[i], &err);

	if (st != ST_OK)
		log_error("network %s: it cannot be put back: %s", plan.wanted[i].name, err.text);
	plan.done[i] = false;
}

void gennets_undo(struct control *c)
{
	for (unsigned i = plan.count; i-- > 0;)
		if (plan.done[i])
			undo(c, i);
}

enum status gennets_do(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < plan.count; i++) {
		enum status st;

		if (!plan.fresh[i] && !plan.changed[i])
			continue;
		if (plan.changed[i])
			plan.before[i] = *network_config_of(network_find(c->cfg.machine, plan.wanted[i].name));
		st = network_define(c->cfg.machine, &plan.wanted[i], err);
		if (st != ST_OK) {
			gennets_undo(c);
			return st;
		}
		plan.done[i] = true;
	}
	return ST_OK;
}

void gennets_commit(struct control *c)
{
	for (unsigned i = 0; i < plan.count; i++) {
		const struct network *n = network_find(c->cfg.machine, plan.wanted[i].name);

		if (plan.done[i])
			nets_defined(c, &plan.wanted[i], plan.fresh[i]);
		c->generation.owned_networks[network_place(n)] = true;
		plan.done[i] = false;
	}
}

void gennets_remove_old(struct control *c)
{
	struct network *n = next_removed(c, NULL);
	struct error err;

	while (n) {
		struct network *next = next_removed(c, n);

		if (nets_remove(c, n, &err) != ST_OK)
			log_error("%s", err.text); /* nobody was on it a moment ago */
		n = next;
	}
}

/* ---- saying it ---- */

static void put_changed(struct control *c, struct cbor_writer *w, unsigned i)
{
	const struct network_config *is = nets_definition(network_find(c->cfg.machine, plan.wanted[i].name));
	const struct network_config *to = &plan.wanted[i];
	struct cbor_mark map = cbor_open(w), list;

	command_put_text(w, "name", to->name);
	cbor_put_text(w, "settings");
	list = cbor_open(w);
	if (strcmp(is->uplink, to->uplink) != 0 || is->uplink_vlan != to->uplink_vlan || is->wire.rate != to->wire.rate ||
	    is->wire.depth_bytes != to->wire.depth_bytes || is->wire.poll_frames != to->wire.poll_frames)
		cbor_put_text(w, "uplink");
	if (is->mtu != to->mtu)
		cbor_put_text(w, "mtu");
	if (is->settings.patience_ns != to->settings.patience_ns)
		cbor_put_text(w, "patience");
	if (is->settings.age_ns != to->settings.age_ns)
		cbor_put_text(w, "age");
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}

static bool anything(struct control *c)
{
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.fresh[i] || plan.changed[i])
			return true;
	return next_removed(c, NULL) != NULL;
}

void gennets_put(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map, list;

	if (!anything(c))
		return;
	cbor_put_text(w, "networks");
	map = cbor_open(w);
	cbor_put_text(w, "added");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.fresh[i])
			cbor_put_text(w, plan.wanted[i].name);
	cbor_close_array(w, list);
	cbor_put_text(w, "changed");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.changed[i])
			put_changed(c, w, i);
	cbor_close_array(w, list);
	cbor_put_text(w, "removed");
	list = cbor_open(w);
	for (struct network *n = next_removed(c, NULL); n; n = next_removed(c, n))
		cbor_put_text(w, network_config_of(n)->name);
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}
