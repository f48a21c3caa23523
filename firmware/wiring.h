/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins the rooms: memory management over the RAM that was found, the store over
 * the loaded module, the engine, the machine of VMs, the control plane.
 */
#ifndef CORBEL_FIRMWARE_WIRING_H
#define CORBEL_FIRMWARE_WIRING_H

/* In this order, after the hardware is started; each succeeds or stops the boot with a sentence. */
void wire_memory(void);
void wire_store(void);
void wire_engine(void);
void wire_disk(void);
void wire_network(void);
void wire_control(void);
void wire_release(void);

#endif
