/* SPDX-License-Identifier: Apache-2.0 */
/* A small state machine for each VM id; steps are made for one turn at a time. */
#include "tests/fakes/fake_guest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/pc.h"
#include "tests/fakes/fake_engine.h"
#include "tests/fakes/fake_host.h"

#define STEPS_MAX 64
#define TEXT_MAX 4096
#define LSR_DATA 1
#define PORT_LSR (PC_PORT_COM1 + 5)

static const char forged[] = "\x06\x09"
			     "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n"
			     "\x05\x0c"
			     "gwAAQA==\n\x1b[2J\x1b]0;owned\x07";

struct guest {
	uint64_t started_at; /* of the VM, as this state was made: ids are used again */
	char text[TEXT_MAX];
	size_t at, len;
	uint64_t flood, flooded;
	bool echo, data_ready, quit, ended;
	char end[32];
	struct fake_step steps[STEPS_MAX];
	unsigned count;
	char out[STEPS_MAX]; /* bytes of the steps that write, in order */
	unsigned out_count, out_next;
};

static struct guest guests[VMS_MAX + 1];

static struct guest *guest_of(struct vcpu *v)
{
	return &guests[v->vm->id];
}

static void load_next_byte(struct vcpu *v)
{
	struct guest *g = guest_of(v);

	v->gpr[GPR_RAX] = (uint8_t)g->out[g->out_next++];
}

static void note_line_status(struct vcpu *v)
{
	guest_of(v)->data_ready = v->gpr[GPR_RAX] & LSR_DATA;
}

static void upper_case(struct vcpu *v)
{
	guest_of(v)->quit |= (v->gpr[GPR_RAX] & 0xff) == 'q';
	v->gpr[GPR_RAX] = (uint8_t)toupper((int)(v->gpr[GPR_RAX] & 0xff));
}

static void load_end_value(struct vcpu *v)
{
	const char *end = guest_of(v)->end;

	if (strncmp(end, "exit:", 5) == 0)
		v->gpr[GPR_RAX] = strtoul(end + 5, NULL, 0);
	else if (strcmp(end, "off") == 0)
		v->gpr[GPR_RAX] = PC_S5_SLP_TYP << 10 | 1 << 13;
	else
		v->gpr[GPR_RAX] = PC_RESET_VALUE;
}

/* More is to come, so the turn may end: a script's end would last until the slice's. */
static void give_way(struct vcpu *v)
{
	vcpu_request(v, REQ_EVENT);
	fake_host.cpu.need_resched = true;
}

static void add_step(struct guest *g, struct exit exit, void (*setup)(struct vcpu *v))
{
	if (g->count < STEPS_MAX)
		g->steps[g->count++] = (struct fake_step){.exit = exit, .ticks = 10, .setup = setup};
}

static void add_io(struct guest *g, uint16_t port, uint8_t size, bool in, void (*setup)(struct vcpu *v))
{
	struct exit exit = {.kind = EXIT_IO, .length = 1, .u.io = {.port = port, .size = size, .in = in}};

	add_step(g, exit, setup);
}

static void add_output(struct guest *g, char byte)
{
	g->out[g->out_count++] = byte;
	add_io(g, PC_PORT_COM1, 1, false, load_next_byte);
}

static void print_some(struct guest *g)
{
	for (int i = 0; i < STEPS_MAX / 2 && g->at < g->len; i++)
		add_output(g, g->text[g->at++]);
	for (int i = 0; g->at == g->len && i < STEPS_MAX / 2 && g->flooded < g->flood; i++)
		add_output(g, "0123456789abcdef"[g->flooded++ % 16]);
}

static void end_now(struct guest *g)
{
	g->ended = true;
	if (strcmp(g->end, "crash") == 0)
		add_step(g, (struct exit){.kind = EXIT_TRIPLE_FAULT}, NULL);
	else if (strcmp(g->end, "off") == 0)
		add_io(g, PC_PM1_CNT, 2, false, load_end_value);
	else if (strcmp(g->end, "reset") == 0)
		add_io(g, PC_PORT_RESET, 1, false, load_end_value);
	else if (strncmp(g->end, "exit:", 5) == 0)
		add_io(g, PC_PORT_DEBUG_EXIT, 4, false, load_end_value);
}

static void echo_some(struct guest *g)
{
	if (g->data_ready) {
		add_io(g, PC_PORT_COM1, 1, true, NULL);
		add_io(g, PC_PORT_COM1, 1, false, upper_case);
	}
	add_io(g, PORT_LSR, 1, true, NULL);
	add_step(g, (struct exit){.kind = EXIT_PAUSE, .length = 2}, note_line_status);
}

static void parse(struct guest *g, const char *cmdline)
{
	char words[VM_CMDLINE_MAX];

	snprintf(words, sizeof words, "%s", cmdline);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) {
		if (strncmp(w, "say=", 4) == 0) {
			g->len = (size_t)snprintf(g->text, sizeof g->text, "%s\n", w + 4);
			for (size_t i = 0; i < g->len; i++)
				g->text[i] = g->text[i] == '_' ? ' ' : g->text[i];
		} else if (strncmp(w, "flood=", 6) == 0) {
			g->flood = strtoull(w + 6, NULL, 0);
		} else if (strcmp(w, "forge") == 0) {
			memcpy(g->text, forged, g->len = sizeof forged - 1);
		} else if (strcmp(w, "echo") == 0) {
			g->echo = true;
		} else if (strncmp(w, "end=", 4) == 0) {
			snprintf(g->end, sizeof g->end, "%s", w + 4);
		}
	}
}

static void prepare(struct vm *vm)
{
	struct guest *g = &guests[vm->id];
	struct vcpu *v = vm->vcpus[0];

	if (g->started_at != vm->started_at) {
		memset(g, 0, sizeof *g);
		g->started_at = vm->started_at;
		parse(g, vm->config.boot.cmdline);
	}
	if (fake(v)->next < fake(v)->steps)
		return;
	g->count = g->out_count = g->out_next = 0;
	if (g->at < g->len || g->flooded < g->flood) {
		print_some(g);
		add_step(g, (struct exit){.kind = EXIT_PAUSE, .length = 2}, give_way);
	} else if (g->end[0] && !g->ended && (!g->echo || g->quit)) {
		end_now(g);
	} else if (g->echo) {
		echo_some(g);
	}
	fake_play(v, g->steps, g->count);
}

void fake_guests_prepare(struct machine *m)
{
	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm))
		if (vm->state == VM_RUNNING)
			prepare(vm);
}
