/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Definitions as scripts write them, through Lua, the bridge and the decoder:
 * what each setting becomes, and the sentence for each way to get one wrong. The
 * same settings come back out of define_encode().
 */
#include "tests/cmocka_all.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/define.h"

static lua_State *L;
static struct vm_config cfg;
static struct error err;
static uint8_t cbor[8192];

static int setup(void **state)
{
	(void)state;
	L = luaL_newstate();
	api_open_base(L);
	api_open_units(L, 1000000000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lua_close(L);
	return 0;
}

/* Evaluates @text, a table constructor, into cbor[]; returns its length, 0 on a bridge error. */
static size_t to_cbor(const char *text)
{
	struct cbor_writer w;
	char chunk[4096];

	snprintf(chunk, sizeof chunk, "return %s", text);
	if (luaL_dostring(L, chunk) != LUA_OK)
		fail_msg("%s", lua_tostring(L, -1));
	cbor_writer_init(&w, cbor, sizeof cbor);
	if (bridge_put(L, -1, &w, &err) != ST_OK)
		return 0;
	lua_settop(L, 0);
	assert_false(w.overflow);
	return w.len;
}

static enum status define_named(const char *name, const char *text)
{
	struct define_source src = {.name = name, .name_len = strlen(name), .origin = "t.lua:7", .units = true};
	size_t len = to_cbor(text);

	memset(&cfg, 0x5a, sizeof cfg);
	err.text[0] = '\0';
	return define_decode(&src, cbor_root(cbor, len), &cfg, &err);
}

static enum status define(const char *text)
{
	return define_named("a", text);
}

static void assert_refused(const char *text, const char *want)
{
	char full[ERROR_TEXT_MAX];

	assert_int_not_equal(define(text), ST_OK);
	snprintf(full, sizeof full, "VM a (t.lua:7): %s", want);
	assert_string_equal(err.text, full);
}

#define BOOT "boot = { protocol = 'pvh', image = 'k' }"
#define MEM "mem = { size = MiB(64) }"

static void smallest(void **state)
{
	(void)state;
	assert_int_equal(define("{ " BOOT ", " MEM " }"), ST_OK);
	assert_string_equal(cfg.name, "a");
	assert_string_equal(cfg.origin, "t.lua:7");
	assert_int_equal(cfg.boot.protocol, BOOT_PVH);
	assert_string_equal(cfg.boot.image, "k");
	assert_string_equal(cfg.boot.initrd, "");
	assert_int_equal(cfg.memory.size, 64 << 20);
	assert_int_equal(cfg.memory.reservation, 64 << 20);
	assert_int_equal(cfg.cpu.count, 1);
	assert_int_equal(cfg.on_reset, ON_RESET_RESTART);
	assert_true(cfg.acpi && !cfg.autostart && !cfg.debug_exit);
}

static const char everything[] =
	"{ boot = { protocol = 'multiboot', image = 'img', cmdline = 'a=1 b',"
	"  modules = { 'plain', { image = 'm', cmdline = 'c' }, { image = 'n' } } },"
	"  cpu = { count = 1 }, mem = { size = MiB(2), reservation = KiB(2048) },"
	"  on_reset = 'stop', autostart = true, acpi = false, debug_exit = true }";

static void assert_everything(void)
{
	assert_int_equal(cfg.boot.protocol, BOOT_MULTIBOOT);
	assert_string_equal(cfg.boot.cmdline, "a=1 b");
	assert_int_equal(cfg.boot.module_count, 3);
	assert_string_equal(cfg.boot.modules[0].image, "plain");
	assert_string_equal(cfg.boot.modules[0].cmdline, "");
	assert_string_equal(cfg.boot.modules[1].image, "m");
	assert_string_equal(cfg.boot.modules[1].cmdline, "c");
	assert_string_equal(cfg.boot.modules[2].image, "n");
	assert_int_equal(cfg.memory.size, 2 << 20);
	assert_int_equal(cfg.memory.reservation, 2 << 20);
	assert_int_equal(cfg.on_reset, ON_RESET_STOP);
	assert_true(cfg.autostart && !cfg.acpi && cfg.debug_exit);
}

static void every_setting(void **state)
{
	(void)state;
	assert_int_equal(define(everything), ST_OK);
	assert_everything();
	assert_int_equal(define("{ " BOOT ", mem = { size = GiB(1), reservation = 'all' } }"), ST_OK);
	assert_int_equal(cfg.memory.reservation, 1 << 30);
	assert_int_equal(define("{ boot = { image = 'k', modules = {} }, " MEM " }"), ST_OK);
	assert_int_equal(cfg.boot.protocol, BOOT_LINUX);
}

/* What define_encode() writes is what the wire's form of a definition reads. */
static void encoded_and_decoded_again(void **state)
{
	struct define_source wire = {.name = "b", .name_len = 1, .origin = ""};
	struct vm_config again;
	struct cbor_writer w;
	uint8_t out[1024];
	size_t used;

	(void)state;
	assert_int_equal(define(everything), ST_OK);
	cbor_writer_init(&w, out, sizeof out);
	define_encode(&cfg, &w);
	assert_false(w.overflow);
	assert_int_equal(cbor_check(out, w.len, &used), ST_OK);
	assert_int_equal(used, w.len);
	assert_int_equal(define_decode(&wire, cbor_root(out, w.len), &again, &err), ST_OK);
	cfg = again;
	assert_everything();
	assert_string_equal(cfg.name, "b");
}

static void units_where_they_matter(void **state)
{
	(void)state;
	assert_refused("{ " BOOT ", mem = { size = 128 } }", "mem.size needs a unit: write MiB(128), not 128");
	assert_refused("{ " BOOT ", mem = { size = 134217728 } }",
		       "mem.size needs a unit: write MiB(128), not 134217728");
	assert_refused("{ " BOOT ", mem = { size = sec(5) } }", "mem.size takes a size such as MiB(128), not a time");
	assert_refused("{ " BOOT ", mem = { size = pct(5) } }", "mem.size takes a size such as MiB(128), not a share");
	assert_refused("{ " BOOT ", mem = { size = '64M' } }", "mem.size takes a size such as MiB(128), not text");
	assert_refused("{ " BOOT ", mem = { size = MiB(-1) } }", "mem.size is negative");
	assert_refused("{ " BOOT ", mem = { size = 1.5 } }", "mem.size takes a size such as MiB(128), not float");
	assert_refused("{ " BOOT ", mem = { size = MiB(64), reservation = 64 } }",
		       "mem.reservation needs a unit: write MiB(64), not 64");
	assert_refused("{ " BOOT ", mem = { size = MiB(64), reservation = 'most' } }",
		       "mem.reservation takes a size or \"all\"");
	assert_refused("{ " BOOT ", " MEM ", cpu = { count = MiB(1) } }",
		       "cpu.count is a plain number and takes no unit");
}

static void unknown_words(void **state)
{
	(void)state;
	assert_refused("{ " BOOT ", memory = { size = MiB(64) } }", "unknown setting memory; it is called mem");
	assert_refused("{ " BOOT ", mem = { size = MiB(64), reserve = 'all' } }",
		       "unknown setting mem.reserve; it is called reservation");
	assert_refused("{ " BOOT ", " MEM ", cpu = { pin = 2 } }",
		       "unknown setting cpu.pin; it is called affinity");
	assert_refused("{ " BOOT ", " MEM ", bridge = 'lan' }",
		       "unknown setting bridge; it is called net");
	assert_refused("{ " BOOT ", " MEM ", network = {} }", "unknown setting network; it is called net");
	assert_refused("{ " BOOT ", mem = { size = MiB(64), limit = MiB(64) } }",
		       "unknown setting mem.limit: this version does not have it");
	assert_refused("{ " BOOT ", mem = { sise = MiB(64) } }", "unknown setting mem.sise; did you mean mem.size?");
	assert_refused("{ " BOOT ", " MEM ", autostrat = true }", "unknown setting autostrat; did you mean autostart?");
	assert_refused("{ boot = { kernel = 'k' }, " MEM " }", "unknown setting boot.kernel; it is called boot.image");
	assert_refused("{ " BOOT ", " MEM ", colour = 'red' }",
		       "unknown setting colour; known here: boot, cpu, mem, disk, net, rng, balloon, console, pool, on_reset, "
		       "autostart, acpi, debug_exit");
	assert_refused("{ " BOOT ", " MEM ", ['a\\nb'] = 1 }",
		       "unknown setting a?b; known here: boot, cpu, mem, disk, net, rng, balloon, console, pool, on_reset, "
		       "autostart, acpi, debug_exit");
}

static void wrong_kinds(void **state)
{
	(void)state;
	assert_refused("{ boot = 'k', " MEM " }", "boot takes a table of settings, not text");
	assert_refused("{ boot = { image = 5 }, " MEM " }", "boot.image takes text, not integer");
	assert_refused("{ boot = { image = 'a\\0b' }, " MEM " }", "boot.image holds a control character at position 2");
	assert_refused("{ boot = { image = '\\xff' }, " MEM " }", "boot.image takes text, not byte string");
	assert_refused("{ boot = { image = ('x'):rep(128) }, " MEM " }",
		       "boot.image has 128 bytes, at most 127 are possible");
	assert_refused("{ boot = { protocol = 'grub', image = 'k' }, " MEM " }",
		       "boot.protocol takes \"linux\" or \"pvh\" or \"multiboot\"");
	assert_refused("{ " BOOT ", " MEM ", on_reset = 'explode' }", "on_reset takes \"restart\" or \"stop\"");
	assert_refused("{ " BOOT ", " MEM ", autostart = 1 }", "autostart takes true or false, not integer");
	assert_refused("{ " BOOT ", " MEM ", cpu = { count = -1 } }",
		       "cpu.count takes a whole number, not negative integer");
	assert_refused("{ " BOOT ", " MEM ", cpu = { count = 1 << 40 } }", "cpu.count is too large");
	assert_refused("{ boot = { protocol = 'multiboot', image = 'k', modules = 'm' }, " MEM " }",
		       "boot.modules takes a list, not text");
	assert_refused("{ boot = { protocol = 'multiboot', image = 'k', modules = { 1 } }, " MEM " }",
		       "boot.modules takes a list of { image = ..., cmdline = ... }, not integer");
	assert_refused("{ boot = { protocol = 'multiboot', image = 'k', modules = { { file = 'm' } } }, " MEM " }",
		       "a module of boot.modules has image and cmdline, nothing else");
	assert_refused("{ boot = { protocol = 'multiboot', image = 'k', modules = {1,1,1,1,1,1,1,1,1} }, " MEM " }",
		       "boot.modules has 9 entries, at most 8 are possible");
	assert_refused("'text'", "its settings are text, not a table");
	assert_refused("{ 1, 2 }", "its settings are array, not a table");
}

/* ---- disks ---- */

#define DISK(text) "{ " BOOT ", " MEM ", disk = { " text " } }"
#define ROOT(text) DISK("root = { device = 'virtio', " text " }")

static void disks_by_their_names(void **state)
{
	struct define_source wire = {.name = "a", .name_len = 1, .origin = ""};
	struct vm_config again;
	struct cbor_writer w;
	uint8_t out[2048];

	(void)state;
	assert_int_equal(define(DISK("root = { device = 'virtio', volume = 'r', readonly = true, serial = 'S 1', queues = 3,"
				     " iops = { reservation = 100, limit = 500, shares = 7 } },"
				     " data = { device = 'virtio', volume = 'd', bandwidth = { limit = MiB(2) } },"
				     " ['x.y-z_0'] = { device = 'virtio', volume = 'v', iops = { limit = 'none' } }")), ST_OK);
	for (unsigned round = 0; round < 2; round++) {
		const struct vm_disk *data = &cfg.disks[0], *root = &cfg.disks[1], *last = &cfg.disks[2];

		assert_int_equal(cfg.disk_count, 3);
		assert_string_equal(data->name, "data");
		assert_string_equal(root->name, "root");
		assert_string_equal(last->name, "x.y-z_0");
		assert_string_equal(root->volume, "r");
		assert_string_equal(root->serial, "S 1");
		assert_true(root->read_only && !data->read_only);
		assert_int_equal(root->queues, 3);
		assert_int_equal(root->unit, VM_DISK_IOPS);
		assert_int_equal(root->numbers.reservation, 100);
		assert_int_equal(root->numbers.limit, 500);
		assert_int_equal(root->numbers.shares, 7);
		assert_int_equal(data->unit, VM_DISK_BYTES);
		assert_int_equal(data->numbers.limit, 2 << 20);
		assert_int_equal(data->numbers.shares, RLS_SHARES_DEFAULT);
		assert_int_equal(last->numbers.limit, RLS_UNLIMITED);
		if (round == 0) {
			assert_int_equal(cfg.given, 1); /* mem.size: what a disk has been given is its own */
			assert_int_equal(root->given, 7);
			assert_int_equal(data->given, 4);
		}
		cbor_writer_init(&w, out, sizeof out);
		define_encode(&cfg, &w);
		assert_false(w.overflow);
		assert_int_equal(define_decode(&wire, cbor_root(out, w.len), &again, &err), ST_OK);
		cfg = again;
	}
	assert_int_equal(define("{ " BOOT ", " MEM ", disk = {}, rng = false }"), ST_OK);
	assert_true(cfg.disk_count == 0 && !cfg.rng);
}

static void wrong_disks(void **state)
{
	(void)state;
	assert_refused("{ " BOOT ", " MEM ", disk = 'd' }",
		       "disk takes disks by their names, as in { root = virtio { volume = ... } }, not text");
	assert_refused(DISK("{ volume = 'v' }"),
		       "disk takes disks by their names, as in { root = virtio { volume = ... } }, not array");
	assert_refused(DISK("root = 'v'"), "disk.root takes virtio { volume = ... }, not text");
	assert_refused(DISK("root = { volume = 'v' }"),
		       "disk.root is no device: write root = virtio { volume = ... }");
	assert_refused(DISK("root = { device = 'scsi', volume = 'v' }"),
		       "disk.root.device takes \"virtio\": this version has no other");
	assert_refused(DISK("root = { device = 'virtio' }"), "disk.root: volume is missing");
	assert_refused(ROOT("volum = 'v'"), "unknown setting disk.root.volum; did you mean disk.root.volume?");
	assert_refused(ROOT("volume = 'v', read_only = true"),
		       "unknown setting disk.root.read_only; did you mean disk.root.readonly?");
	assert_refused(ROOT("volume = 'v', throughput = {}"), "unknown setting disk.root.throughput; it is called bandwidth");
	assert_refused(ROOT("volume = 'v', iops = { max = 1 }"), "unknown setting disk.root.iops.max; it is called limit");
	assert_refused(ROOT("volume = 5"), "disk.root.volume takes text, not integer");
	assert_refused(ROOT("volume = 'v', readonly = 1"), "disk.root.readonly takes true or false, not integer");
	assert_refused(ROOT("volume = 'v', serial = ('s'):rep(21)"),
		       "disk.root.serial has 21 bytes, at most 20 are possible");
	assert_refused(ROOT("volume = 'v', queues = MiB(1)"), "disk.root.queues is a plain number and takes no unit");
	assert_refused(ROOT("volume = 'v', queues = 17"), "disk.root: queues is 17, a disk has at most 16");
	assert_refused(ROOT("volume = 'v', iops = 500"), "disk.root.iops takes a table of settings, not integer");
	assert_refused(ROOT("volume = 'v', iops = { limit = MiB(1) }"),
		       "disk.root.iops.limit is a plain number, of requests a second, and takes no unit");
	assert_refused(ROOT("volume = 'v', iops = { limit = -1 }"),
		       "disk.root.iops.limit takes a whole number, not negative integer");
	assert_refused(ROOT("volume = 'v', iops = { reservation = 'none' }"),
		       "disk.root.iops.reservation takes a whole number, not text");
	assert_refused(ROOT("volume = 'v', iops = { limit = 0 }"),
		       "disk.root: iops.limit is 0: it would never read or write");
	assert_refused(ROOT("volume = 'v', iops = { reservation = 2, limit = 1 }"),
		       "disk.root: iops.reservation (2) is above iops.limit (1)");
	assert_refused(ROOT("volume = 'v', iops = { shares = 0 }"), "disk.root: iops.shares is 0, it can be 1 to 1000000");
	assert_refused(ROOT("volume = 'v', bandwidth = { limit = 5 }"),
		       "disk.root.bandwidth.limit needs a unit: write MiB(5), not 5");
	assert_refused(ROOT("volume = 'v', bandwidth = { limit = sec(5) }"),
		       "disk.root.bandwidth.limit takes a size such as MiB(128), not a time");
	assert_refused(ROOT("volume = 'v', iops = {}, bandwidth = {}"),
		       "disk.root: iops conflicts with bandwidth: a disk is held to one of them");
	assert_refused(DISK("['0123456789012345678901'] = { device = 'virtio' }"),
		       "disk.0123456789012345678901: the name is longer than 19 characters");
	assert_refused(DISK("Root = { device = 'virtio', volume = 'v' }"),
		       "disk.Root: the name has a character outside a-z, 0-9 and (not first) . _ - at position 1");
	assert_refused("{ " BOOT ", " MEM ", disk = { a=1, b=1, c=1, d=1, e=1, f=1, g=1, h=1, i=1 } }",
		       "disk has 9 disks, at most 8 are possible");
	assert_refused("{ " BOOT ", " MEM ", disks = {} }", "unknown setting disks; it is called disk");
	assert_refused("{ " BOOT ", " MEM ", rng = 1 }", "rng takes true or false, not integer");
}

/* Rules of guest/config.c arrive with the same beginning. */
static void rules_of_the_machine(void **state)
{
	(void)state;
	assert_refused("{ " MEM " }", "boot.image is missing");
	assert_refused("{ " BOOT " }", "mem.size is missing");
	assert_refused("{ " BOOT ", mem = { size = MiB(64), reservation = MiB(65) } }",
		       "mem.reservation (68157440 bytes) is above mem.size (67108864 bytes)");
	assert_refused("{ " BOOT ", " MEM ", cpu = { count = 17 } }", "cpu.count is 17, a VM has at most 16 CPUs");
	assert_int_equal(define_named("Bad Name", "{ " BOOT ", " MEM " }"), ST_INVALID);
	assert_int_equal(define_named("\x1b[2J", "{ " BOOT ", " MEM " }"), ST_INVALID);
	assert_null(strchr(err.text, 0x1b));
	assert_int_equal(define_named("0123456789012345678901234567890123456789", "{ " BOOT ", " MEM " }"), ST_INVALID);
	assert_non_null(strstr(err.text, "the name has 40 characters, at most 31 are possible"));
}

static void given_twice_on_the_wire(void **state)
{
	static const uint8_t twice[] = "\xa2\x64" "acpi\xf5\x64" "acpi\xf4";
	struct define_source wire = {.name = "b", .name_len = 1, .origin = ""};

	(void)state;
	assert_int_equal(define_decode(&wire, cbor_root(twice, sizeof twice - 1), &cfg, &err), ST_INVALID);
	assert_string_equal(err.text, "VM b: acpi is given twice");
}

static void what_is_no_data(void **state)
{
	static const struct { const char *text, *want; } bad[] = {
		{"{ autostart = print or load }", "autostart is a function, which is no data"},
		{"{ [true] = 1 }", "the table has a key that is neither a name nor a list position"},
		{"{ mem = { 1, 2, size = 3 } }", "mem mixes names and a list"},
		{"{ mem = { [1] = 1, [3] = 3 } }", "mem is a list with a gap at 2"},
		{"(function() local t = {} t.t = t return t end)()", "t is nested too deep"},
		{"(function() local t = {} for i = 1, 65 do t[i] = i end return t end)()",
		 "the table has more than 64 entries"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(to_cbor(bad[i].text), 0);
		assert_string_equal(err.text, bad[i].want);
		lua_settop(L, 0);
	}
}

static void to_lua_and_shown(void **state)
{
	char out[200] = "";
	size_t len;

	(void)state;
	len = to_cbor("{ b = 1, a = 'x', c = { true, 1.5, { d = {} } }, ['odd key'] = 'a\\n\"' }");
	bridge_push(L, cbor_root(cbor, len));
	bridge_show(L, -1, out, sizeof out);
	assert_string_equal(out,
			    "{ a = \"x\", b = 1, c = { true, 1.5, { d = {} } }, [\"odd key\"] = \"a\\n\\\"\" }");
	memset(out, 0, 10);
	bridge_show(L, -1, out, 10);
	assert_string_equal(out, "{ a = \"x\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(smallest, setup, teardown),
		cmocka_unit_test_setup_teardown(every_setting, setup, teardown),
		cmocka_unit_test_setup_teardown(encoded_and_decoded_again, setup, teardown),
		cmocka_unit_test_setup_teardown(units_where_they_matter, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_words, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(disks_by_their_names, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(rules_of_the_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(given_twice_on_the_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_data, setup, teardown),
		cmocka_unit_test_setup_teardown(to_lua_and_shown, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
