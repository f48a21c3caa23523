/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface that sends at a speed of its own, by the hand clock, interrupts by a timer of the fake host's,
 * and counts what it sent by the last byte of the source's address. What it receives is put there by the test.
 */
#ifndef CORBEL_TESTS_PACED_NIC_H
#define CORBEL_TESTS_PACED_NIC_H

#include "guest/host.h"
#include "io/nic.h"

#define PACED_NIC_RING 64u
#define PACED_NIC_FRAME 2048u

struct paced_nic {
	struct nic nic;
	const struct host_ops *host;
	uint64_t rate; /* bytes a second */
	uint64_t busy_until;
	struct {
		uint32_t bytes;
		uint64_t at; /* tick when it is gone */
	} sending[PACED_NIC_RING];
	unsigned sent_next, sent_count;
	uint8_t place[PACED_NIC_FRAME], last[PACED_NIC_FRAME];
	uint32_t last_bytes;
	uint64_t bytes_of[256], frames_of[256]; /* committed, by the last byte of the source's address */
	struct {
		uint8_t data[PACED_NIC_FRAME];
		uint32_t bytes;
	} received[PACED_NIC_RING];
	unsigned first, given, received_count; /* the first that is there, those given out, all */
	bool interrupts; /* atomic */
	bool promiscuous;
	struct host_alarm alarm;
};

/* @n, which may be a static, as an interface called @name. */
void paced_nic_init(struct paced_nic *n, const struct host_ops *host, const char *name, uint64_t rate);
/* A frame comes in from the wire; false: no room. Masked. */
bool paced_nic_comes(struct paced_nic *n, const void *frame, uint32_t bytes);

#endif
