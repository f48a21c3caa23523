/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyring as the store has it: whoever can write the disk can write it. What
 * is accepted holds its rules, and written again it reads as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "lua/keys.h"

static void check_key(const struct keyring *k, const struct key *key)
{
	size_t len = strnlen(key->name, sizeof key->name);

	if (len == 0 || len == sizeof key->name || keyring_find(k, key->name, len) != key)
		abort(); /* two of one name, or none */
	if (keyring_find_thumbprint(k, key->thumbprint, sizeof key->thumbprint) != key)
		abort();
	if (key->role < ROLE_OBSERVER || key->role > ROLE_OWNER || key->rights.count > RIGHTS_VMS_MAX ||
	    (key->role == ROLE_OWNER && rights_limited(&key->rights)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t first[KEYRING_BYTES_MAX], second[KEYRING_BYTES_MAX];
	static struct keyring k, again;
	struct error err = {""};
	size_t len;

	if (keyring_decode(data, size, &k, &err) != ST_OK) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	if (k.count > KEYS_MAX)
		abort();
	for (unsigned i = 0; i < k.count; i++)
		check_key(&k, &k.key[i]);
	len = keyring_encode(&k, first);
	if (keyring_decode(first, len, &again, &err) != ST_OK || keyring_encode(&again, second) != len ||
	    memcmp(first, second, len) != 0)
		abort();
	return 0;
}
