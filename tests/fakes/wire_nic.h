/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface whose wire is this program: what is sent is counted and gone, and frames come when the program
 * says so. For tests of what an operator sees of networks; tests of drivers and uplinks have others.
 */
#ifndef CORBEL_TESTS_FAKES_WIRE_NIC_H
#define CORBEL_TESTS_FAKES_WIRE_NIC_H

#include "io/nic.h"

#define WIRE_NIC_FRAMES 64u
#define WIRE_NIC_BYTES 2048u

struct wire_nic {
	struct nic nic;
	bool interrupts;
	uint8_t out[WIRE_NIC_BYTES];
	struct {
		uint8_t data[WIRE_NIC_BYTES];
		uint32_t bytes;
	} in[WIRE_NIC_FRAMES];
	unsigned head, taken, tail; /* came, handed out, given back */
};

/* @name: "nic0"; the address ends in its digit. Its link is up. */
void wire_nic_init(struct wire_nic *w, const char *name);
/* A frame comes from the wire; one that finds no room is counted. Masked, no lock held. */
void wire_nic_receive(struct wire_nic *w, const void *data, uint32_t bytes);
/* A broadcast that some station sends, of @bytes, numbered in its payload; likewise. */
void wire_nic_beacon(struct wire_nic *w, uint32_t number, uint32_t bytes);

#endif
