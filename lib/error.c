/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sentence beside a status. A caller that does not want it passes NULL and
 * pays nothing for formatting.
 */
#include "lib/error.h"

#include <stdarg.h>

#include "lib/format.h"

enum status fail(struct error *err, enum status st, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return st;
	va_start(ap, fmt);
	format_v(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return st;
}
