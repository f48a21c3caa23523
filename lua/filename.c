/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and the audit log are files of the store like others, but no client's:
 * whoever could write them could make himself the owner.
 */
#include "lua/filename.h"

#include <string.h>

#include "io/files.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/image.h"

#define SHOWN_MAX 64

static bool begins(const char *name, const char *folder)
{
	return strncmp(name, folder, strlen(folder)) == 0;
}

bool filename_hidden(const char *name)
{
	return begins(name, FILES_OWN);
}

enum status filename_take(const struct arg_text *t, enum file_use use, char out[FILE_NAME_MAX], struct error *err)
{
	size_t skip = t->len > 1 && t->text[0] == '/', len = t->len - skip;
	char shown[SHOWN_MAX];

	log_clean(shown, sizeof shown, t->text, t->len);
	if (len == 0)
		return fail(err, ST_INVALID, "a file needs a name");
	if (len >= FILE_NAME_MAX || memchr(t->text, '\0', t->len))
		return fail(err, ST_INVALID, "%s is no name of a file: it is too long, or has a NUL", shown);
	memcpy(out, t->text + skip, len);
	out[len] = '\0';
	if (filename_hidden(out))
		return fail(err, ST_DENIED, "%s is the control plane's own", shown);
	if (use == FILE_USE_READ)
		return ST_OK;
	if (begins(out, IMAGE_FOLDER))
		return fail(err, ST_DENIED, "%s is an image slot: images are written and erased through group 1", shown);
	return kvlog_check_key(out, err);
}
