/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a word that is being typed may become: for the prompt, and for shells,
 * whose completion files ask `corbelctl --complete WORD...`. Names come from the
 * machine when there is one; that it does not answer is no error here.
 */
#ifndef CORBEL_TOOLS_COMPLETE_H
#define CORBEL_TOOLS_COMPLETE_H

#include "tools/client.h"

#define CANDIDATES_MAX 512
#define CANDIDATE_BYTES 258 /* a file's name with its colon */

struct candidates {
	char word[CANDIDATES_MAX][CANDIDATE_BYTES];
	unsigned count;
};

/* Candidates for @partial behind the @argc words before it; @c NULL: there is no machine to ask. */
void complete_word(struct client *c, int argc, char **argv, const char *partial, struct candidates *out);

#endif
