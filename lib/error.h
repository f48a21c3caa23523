/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sentence for the person who caused an error: what was wrong and where. It
 * travels beside an enum status from the place that knows to the operator.
 */
#ifndef CORBEL_LIB_ERROR_H
#define CORBEL_LIB_ERROR_H

#include "lib/status.h"

#define ERROR_TEXT_MAX 240

struct error {
	char text[ERROR_TEXT_MAX]; /* one sentence, no newline, always NUL-terminated */
};

/*
 * Formats the sentence (lib/format.h conversions) into @err, which may be NULL,
 * and returns @st, so that a check reads `return fail(err, ST_INVALID, ...)`.
 * Outside text must be cleaned by the caller (log_clean).
 */
__attribute__((format(printf, 3, 4))) enum status fail(struct error *err, enum status st, const char *fmt, ...);

#endif
