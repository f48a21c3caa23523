/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are to the machine: logging in and out, the keys that may, whether the
 * line is trusted, and who did what.
 */
#ifndef CORBEL_TOOLS_SESSION_H
#define CORBEL_TOOLS_SESSION_H

#include "tools/client.h"

/* Logs in with the private key in @path. Anything but EXIT_OK has been explained. */
enum exit_status session_log_in(struct client *c, const char *path);
/* Ends what session_log_in() began; no matter if it does not work. */
void session_log_out(struct client *c);

/* For a prompt: says that a login is needed, or that none is. */
void session_greet(struct client *c);

enum exit_status session_login(struct client *c, int argc, char **argv);
enum exit_status session_logout(struct client *c, int argc, char **argv);
enum exit_status session_whoami(struct client *c, int argc, char **argv);
enum exit_status session_keygen(struct client *c, int argc, char **argv);
enum exit_status session_key_list(struct client *c, int argc, char **argv);
enum exit_status session_key_add(struct client *c, int argc, char **argv);
enum exit_status session_key_remove(struct client *c, int argc, char **argv);
enum exit_status session_trust(struct client *c, int argc, char **argv);
enum exit_status session_audit(struct client *c, int argc, char **argv);

#endif
