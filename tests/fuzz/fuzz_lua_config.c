/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any Lua text as a definition of VMs: it ends within its budget, an error is a
 * printable sentence and defines nothing, a success can be defined and the
 * settings of each VM survive encoding and decoding.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/control_rig.h"

#define MIB (1ull << 20)
#define STEPS 30000

static void check_sentence(const struct error *err)
{
	if (err->text[0] == '\0')
		abort();
	for (const char *p = err->text; *p; p++)
		if (*p < ' ' || *p > '~')
			abort();
}

/* But for what was given: what is written has all that is not as by default. */
static bool same_nics(const struct vm_config *a, struct vm_config *b)
{
	for (unsigned i = 0; i < a->nic_count && i < b->nic_count; i++)
		b->nics[i].given = a->nics[i].given;
	return a->nic_count == b->nic_count && memcmp(a->nics, b->nics, a->nic_count * sizeof a->nics[0]) == 0;
}

static void check_round_trip(const struct vm_config *cfg)
{
	struct define_source src = {.name = cfg->name, .name_len = strlen(cfg->name), .origin = ""};
	static uint8_t out[12288];
	struct vm_config again;
	struct cbor_writer w;
	struct error err;

	cbor_writer_init(&w, out, sizeof out);
	define_encode(cfg, &w);
	if (w.overflow || define_decode(&src, cbor_root(out, w.len), &again, &err) != ST_OK)
		abort();
	memcpy(again.origin, cfg->origin, sizeof again.origin);
	if (memcmp(&again.boot.image, &cfg->boot.image, sizeof again.boot.image) != 0 ||
	    strcmp(again.boot.cmdline, cfg->boot.cmdline) != 0 || again.memory.size != cfg->memory.size ||
	    again.on_reset != cfg->on_reset || again.boot.module_count != cfg->boot.module_count ||
	    !same_nics(cfg, &again))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control *c;
	struct error err = {""};

	if (size > 8192)
		return 0;
	control_rig_init(8 * MIB);
	c = control_rig.control;
	c->script.budget.call_steps = STEPS;
	if (script_collect(c, (const char *)data, size, "fuzz", &err) != ST_OK) {
		check_sentence(&err);
	} else {
		for (unsigned i = 0; i < c->pending_count; i++)
			check_round_trip(&c->pending[i]);
		if (vm_apply_definitions(c, c->pending, c->pending_count, &err) != ST_OK)
			check_sentence(&err);
	}
	control_rig_fini();
	return 0;
}
