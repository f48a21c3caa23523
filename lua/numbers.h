/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of the protocol (docs/protocol.md): groups, their commands, and
 * what is pushed. They are what old and new programs have in common, so none
 * ever changes its meaning. Shared with tools/: depends on nothing.
 */
#ifndef CORBEL_LUA_NUMBERS_H
#define CORBEL_LUA_NUMBERS_H

/* Those below 64 are SMP's own, and so are their commands. */
enum command_group_id {
	GROUP_OS = 0,
	GROUP_IMAGE = 1,
	GROUP_STAT = 2,
	GROUP_SETTINGS = 3,
	GROUP_FILE = 8,
	GROUP_SHELL = 9,
	GROUP_ENUM = 10,
	GROUP_SESSION = 64,
	GROUP_VM = 65,
	GROUP_CPU = 67,
	GROUP_VOLUME = 68,
	GROUP_NET = 69,
	GROUP_POLICY = 70,
	GROUP_EVENTS = 71,
	GROUP_CONSOLE = 72,
	GROUP_INSPECT = 74,
	GROUP_TREE = 76,
	GROUP_STORE = 77,
};

/* ---- SMP's commands ---- */

enum os_command { OS_ECHO = 0, OS_RESET = 5, OS_PARAMETERS = 6, OS_INFO = 7 };
enum image_command { IMAGE_STATE = 0, IMAGE_UPLOAD = 1, IMAGE_ERASE = 5, IMAGE_SLOTS = 6 };
enum stat_command { STAT_DATA, STAT_LIST };
enum settings_command { SETTINGS_ACCESS, SETTINGS_DELETE, SETTINGS_COMMIT, SETTINGS_STORE };
enum file_command { FILE_TRANSFER, FILE_STATUS, FILE_HASH, FILE_TYPES, FILE_CLOSE };
enum shell_command { SHELL_EXECUTE };
enum enum_command { ENUM_COUNT, ENUM_LIST, ENUM_SINGLE, ENUM_DETAILS };

/* ---- ours ---- */

enum session_command {
	SESSION_WHOAMI,
	SESSION_CHALLENGE,
	SESSION_LOGIN,
	SESSION_LOGOUT,
	SESSION_KEYS,
	SESSION_ENROLL,
	SESSION_REVOKE,
	SESSION_TRUST,
	SESSION_AUDIT
};
enum vm_command {
	VM_LIST,
	VM_DEFINE,
	VM_START,
	VM_STOP,
	VM_PAUSE,
	VM_RESUME,
	VM_DESTROY,
	VM_INFO,
	VM_POWER,
	VM_REPORT
};
enum cpu_command {
	CPU_LIST,
	CPU_TRACE,
	CPU_RECORDS,
	CPU_POOL_LIST,
	CPU_POOL_SHOW,
	CPU_POOL_CREATE,
	CPU_POOL_SET,
	CPU_POOL_REMOVE,
	CPU_POOL_MOVE
};
enum policy_command {
	POLICY_SCRIPTS,
	POLICY_HOOKS,
	POLICY_PLAN,
	POLICY_APPLY,
	POLICY_RUN,
	POLICY_STOP,
	POLICY_GENERATIONS,
	POLICY_ROLLBACK
};
enum events_command { EVENTS_READ, EVENTS_ATTACH, EVENTS_DETACH, EVENTS_KINDS };
enum volume_command {
	VOLUME_CMD_LIST,
	VOLUME_CMD_SHOW,
	VOLUME_CMD_CREATE,
	VOLUME_CMD_CLONE,
	VOLUME_CMD_SNAPSHOT,
	VOLUME_CMD_MERGE,
	VOLUME_CMD_DELETE,
	VOLUME_CMD_IMPORT,
	VOLUME_CMD_RESIZE,
	VOLUME_CMD_FORMAT,
	VOLUME_CMD_SET,
	VOLUME_CMD_JOB,
	VOLUME_CMD_JOBS,
	VOLUME_CMD_CANCEL
};
enum net_command {
	NET_CMD_LIST,
	NET_CMD_SHOW,
	NET_CMD_PORTS,
	NET_CMD_ADDRESSES,
	NET_CMD_NICS,
	NET_CMD_DEFINE,
	NET_CMD_SET,
	NET_CMD_REMOVE,
	NET_CMD_CAPTURE,
	NET_CMD_RECORDS,
	NET_CMD_CAPTURE_END
};
enum console_command { CONSOLE_LIST, CONSOLE_READ, CONSOLE_ATTACH, CONSOLE_DETACH, CONSOLE_INPUT, CONSOLE_SIZE };
enum inspect_command { INSPECT_HOST, INSPECT_CHECK };
enum tree_command { TREE_LIST, TREE_GET, TREE_SET, TREE_UNSET, TREE_WHY, TREE_DESCRIBE, TREE_VALUES };
enum store_command { STORE_LIST, STORE_INFO, STORE_DELETE, STORE_FORMAT };

/* ---- the first element of a pushed line ---- */

enum push_kind {
	PUSH_OUTPUT,        /* a console's (lua/push.c) */
	PUSH_CLOSED,
	PUSH_STATE,
	PUSH_EVENT,         /* lua/event_push.h */
	PUSH_EVENT_TEXT,
	PUSH_EVENTS_MISSED
};

#endif
