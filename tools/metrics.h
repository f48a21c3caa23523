/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters as text for Prometheus (exposition format 0.0.4): names end in the
 * base unit and, for totals, in _total; a VM is a label.
 */
#ifndef CORBEL_TOOLS_METRICS_H
#define CORBEL_TOOLS_METRICS_H

#include <stdio.h>

#include "tools/catalog.h"

void metrics_write(FILE *out, const struct catalog *cat, const struct sample *sample);

#endif
