/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks and network interfaces as scripts define them, through Lua, the bridge and the decoder: what each setting
 * becomes, the sentence for each way to get one wrong, and the same settings back out of the encoder.
 */
#include "tests/cmocka_all.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "guest/network.h"
#include "guest/pool.h"
#include "lib/bits.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/define.h"

#define VM_TEXT "boot = { protocol = 'pvh', image = 'k' }, mem = { size = MiB(64) }, "

static lua_State *L;
static struct vm_config cfg;
static struct network_config net;
static struct error err;
static uint8_t cbor[8192];

static int setup(void **state)
{
	(void)state;
	L = luaL_newstate();
	api_open_base(L);
	api_open_units(L, 1000000000);
	if (luaL_dostring(L, "function virtio(t) t.device = 'virtio' return t end") != LUA_OK)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lua_close(L);
	return 0;
}

/* Evaluates @text, a table constructor, into cbor[]. */
static struct cbor_value to_cbor(const char *text)
{
	struct cbor_writer w;
	char chunk[4096];

	snprintf(chunk, sizeof chunk, "return %s", text);
	if (luaL_dostring(L, chunk) != LUA_OK)
		fail_msg("%s", lua_tostring(L, -1));
	cbor_writer_init(&w, cbor, sizeof cbor);
	assert_int_equal(bridge_put(L, -1, &w, &err), ST_OK);
	lua_settop(L, 0);
	assert_false(w.overflow);
	return cbor_root(cbor, w.len);
}

static const struct define_source source = {.name = "a", .name_len = 1, .origin = "t.lua:7", .units = true};
static const struct define_source wire = {.name = "a", .name_len = 1, .origin = ""};

/* A VM with the interface lan0 = virtio { @settings }. */
static enum status define_nic(const char *settings)
{
	char text[2048];

	snprintf(text, sizeof text, "{ " VM_TEXT "net = { lan0 = virtio { %s } } }", settings);
	memset(&cfg, 0x5a, sizeof cfg);
	err.text[0] = '\0';
	return define_decode(&source, to_cbor(text), &cfg, &err);
}

static enum status define_net(const char *settings)
{
	memset(&net, 0x5a, sizeof net);
	err.text[0] = '\0';
	return define_decode_network(&source, to_cbor(settings), NULL, &net, &err);
}

static void assert_good(enum status st)
{
	if (st != ST_OK)
		fail_msg("%s", err.text);
}

/* ---- interfaces ---- */

static void smallest(void **state)
{
	struct vm_nic plain;

	(void)state;
	assert_good(define_nic("network = 'lan'"));
	vm_nic_init(&plain);
	assert_int_equal(cfg.nic_count, 1);
	assert_string_equal(cfg.nics[0].name, "lan0");
	assert_string_equal(cfg.nics[0].network, "lan");
	memcpy(plain.name, cfg.nics[0].name, sizeof plain.name);
	memcpy(plain.network, cfg.nics[0].network, sizeof plain.network);
	assert_memory_equal(&plain, &cfg.nics[0], sizeof plain);
	assert_good(define_nic("network = 'lan', ip = {}, trunk = {}"));
	assert_int_equal(cfg.nics[0].ip_count + cfg.nics[0].trunk_count, 0);
}

static const char everything[] =
	"network = 'lan', mac = '52:54:00:12:34:56', any_mac = false, ip = { '10.0.0.5', 'fe80::1' }, vlan = 10,"
	"trunk = { 20, 30 }, isolated = true, connected = false, queues = 2, mtu = 9000, rate = Mbps(100), storm = 500,"
	"mbps = { reservation = 10, limit = Gbps(1), shares = 'high' }, interrupts = { policy = 'cif', gap = us(5) }";

static void all_of_it(void **state)
{
	static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
	const struct vm_nic *nic = &cfg.nics[0];
	struct cbor_writer w;
	static uint8_t out[8192];
	struct vm_config again;

	(void)state;
	assert_good(define_nic(everything));
	assert_memory_equal(nic->mac, mac, sizeof mac);
	assert_int_equal(nic->ip_count, 2);
	assert_true(!nic->ips[0].v6 && nic->ips[0].bytes[3] == 5 && nic->ips[1].v6 && nic->ips[1].bytes[15] == 1);
	assert_int_equal(nic->vlan, 10);
	assert_int_equal(nic->trunk_count, 2);
	assert_true(nic->trunk[0] == 20 && nic->trunk[1] == 30 && nic->isolated && !nic->connected && !nic->any_mac);
	assert_true(nic->queues == 2 && nic->mtu == 9000 && nic->rate == 12500000 && nic->storm == 500);
	assert_int_equal(nic->numbers.reservation, 1250000);
	assert_int_equal(nic->numbers.limit, 125000000);
	assert_int_equal(nic->numbers.shares, 2 * RLS_SHARES_DEFAULT);
	assert_true(nic->coalesce.policy == COALESCE_CIF && nic->coalesce.gap_ns == 5000);

	/* And back, and in again. */
	cbor_writer_init(&w, out, sizeof out);
	define_encode(&cfg, &w);
	assert_false(w.overflow);
	assert_good(define_decode(&wire, cbor_root(out, w.len), &again, &err));
	again.nics[0].given = cfg.nics[0].given; /* the wire's has all that is not as by default */
	assert_memory_equal(&again.nics[0], nic, sizeof *nic);
}

static void their_order_is_that_of_their_names(void **state)
{
	(void)state;
	assert_good(define_decode(&source, to_cbor("{ " VM_TEXT "net = { wan = virtio { network = 'b' },"
						   " dmz = virtio { network = 'a' }, lan = virtio { network = 'a' } } }"),
				  &cfg, &err));
	assert_int_equal(cfg.nic_count, 3);
	assert_string_equal(cfg.nics[0].name, "dmz");
	assert_string_equal(cfg.nics[1].name, "lan");
	assert_string_equal(cfg.nics[2].name, "wan");
}

static void what_was_given_is_remembered(void **state)
{
	uint32_t own;

	(void)state;
	assert_good(define_nic("network = 'lan'"));
	assert_int_equal(cfg.nics[0].given, 0);
	own = cfg.given;
	assert_good(define_nic("network = 'lan', mbps = { limit = 5 }, rate = Mbps(1)"));
	assert_int_equal(__builtin_popcount(cfg.nics[0].given), 2);
	assert_int_equal(cfg.given, own); /* the VM's own are others */
}

static void nics_that_are_wrong(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"netwrok = 'lan'", "unknown setting net.lan0.netwrok; did you mean net.lan0.network?"},
		{"network = 'lan', macaddr = 'x'", "unknown setting net.lan0.macaddr; it is called mac"},
		{"network = 5", "net.lan0.network takes text, not integer"},
		{"network = 'lan', device = 'e1000'", NULL},
		{"network = 'lan', mac = 'x'", "net.lan0.mac: \"x\" is no address such as 52:54:00:12:34:56"},
		{"network = 'lan', mac = '00:00:00:00:00:00'",
		 "net.lan0.mac: \"00:00:00:00:00:00\" is no address such as 52:54:00:12:34:56"},
		{"network = 'lan', mac = 5", "net.lan0.mac takes text such as \"52:54:00:12:34:56\", not integer"},
		{"network = 'lan', ip = '10.0.0.5/24'",
		 "net.lan0.ip: \"10.0.0.5/24\" is no address such as 10.0.0.5 or fe80::1: write it without its prefix"},
		{"network = 'lan', ip = { '10.0.0.5', 5 }",
		 "net.lan0.ip takes text such as \"10.0.0.5\", or a list of it, not integer"},
		{"network = 'lan', ip = { '1::', '2::', '3::', '4::', '5::' }", "net.lan0.ip has more than 4 addresses"},
		{"network = 'lan', vlan = 4095", "net.lan0.vlan is 4095, it can be 1 to 4094"},
		{"network = 'lan', vlan = -1", "net.lan0.vlan takes the number of a VLAN, not negative integer"},
		{"network = 'lan', vlan = 65537", "net.lan0.vlan is 65537, it can be 1 to 4094"},
		{"network = 'lan', trunk = 5", "net.lan0.trunk takes a list of VLANs such as {10, 20}, not integer"},
		{"network = 'lan', trunk = { 70000 }", "net.lan0.trunk is 70000, it can be 1 to 4094"},
		{"network = 'lan', rate = 100", "net.lan0.rate needs a unit: write Mbps(100), not 100"},
		{"network = 'lan', rate = MiB(1)", "net.lan0.rate takes a rate such as Mbps(100), not a size"},
		{"network = 'lan', mbps = { limit = ms(1) }",
		 "net.lan0.mbps.limit takes a rate such as Mbps(100), not a time"},
		{"network = 'lan', mbps = { limt = 1 }",
		 "unknown setting net.lan0.mbps.limt; did you mean net.lan0.mbps.limit?"},
		{"network = 'lan', mbps = { limit = math.maxinteger }", "net.lan0.mbps.limit is too large"},
		{"network = 'lan', mbps = { shares = 'much' }",
		 "net.lan0.mbps.shares takes a whole number, \"low\", \"normal\" or \"high\", not text"},
		{"network = 'lan', isolated = 1", "net.lan0.isolated takes true or false, not integer"},
		{"network = 'lan', storm = 5000000000", "net.lan0.storm is too large"},
		{"mtu = 1500", "net.lan0: network is missing"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char want[ERROR_TEXT_MAX];

		if (!rows[i].want) {
			assert_good(define_nic(rows[i].text)); /* virtio { } says the device */
			continue;
		}
		assert_int_not_equal(define_nic(rows[i].text), ST_OK);
		snprintf(want, sizeof want, "VM a (t.lua:7): %s", rows[i].want);
		assert_string_equal(err.text, want);
	}
}

static void assert_vm_refused(const char *net_text, const char *want)
{
	char text[1024], full[ERROR_TEXT_MAX];

	snprintf(text, sizeof text, "{ " VM_TEXT "%s }", net_text);
	assert_int_not_equal(define_decode(&source, to_cbor(text), &cfg, &err), ST_OK);
	snprintf(full, sizeof full, "VM a (t.lua:7): %s", want);
	assert_string_equal(err.text, full);
}

static void maps_that_are_none(void **state)
{
	(void)state;
	assert_vm_refused("net = 'lan'", "net takes network interfaces by their names, as in { lan0 = virtio { network = ... } "
					 "}, not text");
	assert_vm_refused("net = { lan0 = { network = 'lan' } }",
			  "net.lan0 is no device: write lan0 = virtio { network = ... }");
	assert_vm_refused("net = { lan0 = 'lan' }", "net.lan0 takes virtio { network = ... }, not text");
	assert_vm_refused("net = { ['" "xxxxxxxxxxxxxxxxxxxx" "'] = virtio { network = 'lan' } }",
			  "net.xxxxxxxxxxxxxxxxxxxx: the name is longer than 19 characters");
	assert_vm_refused("net = { a = virtio {}, b = virtio {}, c = virtio {}, d = virtio {}, e = virtio {} }",
			  "net has 5 network interfaces, at most 4 are possible");
	assert_vm_refused("network = {}", "unknown setting network; it is called net");
	assert_vm_refused("nics = {}", "unknown setting nics; it is called net");
}

/* ---- networks ---- */

static void a_network(void **state)
{
	static uint8_t out[1024];
	struct network_config plain, again;
	struct cbor_writer w;

	(void)state;
	network_config_init(&plain);
	assert_good(define_net("{}"));
	assert_string_equal(net.name, "a");
	assert_string_equal(net.origin, "t.lua:7");
	assert_string_equal(net.uplink, "");
	assert_int_equal(net.mtu, plain.mtu);
	assert_good(define_net("{ uplink = 'nic0' }"));
	assert_string_equal(net.uplink, "nic0");
	assert_true(net.wire.depth_bytes == plain.wire.depth_bytes && net.uplink_vlan == 0 && net.given == 0);
	assert_good(define_net("{ uplink = { nic = 'nic1', vlan = 7, rate = Mbps(50), depth = KiB(16), poll = 8 },"
			       " mtu = 9000, patience = ms(20), age = sec(60) }"));
	assert_string_equal(net.uplink, "nic1");
	assert_true(net.uplink_vlan == 7 && net.wire.rate == 6250000 && net.wire.depth_bytes == 16384);
	assert_true(net.wire.poll_frames == 8 && net.mtu == 9000);
	assert_true(net.settings.patience_ns == 20000000 && net.settings.age_ns == 60000000000ull);
	assert_int_equal(__builtin_popcount(net.given), network_knobs.count); /* all of them are settings of the tree */

	cbor_writer_init(&w, out, sizeof out);
	define_encode_network(&net, &w);
	assert_false(w.overflow);
	assert_good(define_decode_network(&wire, cbor_root(out, w.len), NULL, &again, &err));
	memcpy(again.origin, net.origin, sizeof again.origin);
	assert_memory_equal(&again, &net, sizeof net);
}

/* Each setting of the tree has its value in the definition. */
static void values_by_name(void **state)
{
	uint64_t value;

	(void)state;
	assert_good(define_net("{ uplink = { nic = 'n', rate = Mbps(50), depth = KiB(16), poll = 8 }, mtu = 9000,"
			       " patience = ms(20), age = sec(60) }"));
	for (size_t i = 0; i < network_knobs.count; i++)
		assert_true(define_network_value(&net, network_knobs.rows[i].name, &value));
	assert_true(define_network_value(&net, "uplink.rate", &value) && value == 6250000);
	assert_true(define_network_value(&net, "patience", &value) && value == 20000000);
	assert_true(define_network_value(&net, "mtu", &value) && value == 9000);
	assert_false(define_network_value(&net, "uplink", &value));
	assert_false(define_network_value(&net, "uplink.nic", &value));
	assert_false(define_network_value(&net, "", &value));
}

static void a_part_over_another(void **state)
{
	struct network_config from;

	(void)state;
	assert_good(define_net("{ uplink = { nic = 'nic0', rate = Mbps(50) }, patience = ms(20) }"));
	from = net;
	from.given = 0;
	assert_good(define_decode_network(&source, to_cbor("{ uplink = { rate = Mbps(10) } }"), &from, &net, &err));
	assert_string_equal(net.uplink, "nic0");
	assert_true(net.wire.rate == 1250000 && net.settings.patience_ns == 20000000);
	assert_int_equal(__builtin_popcount(net.given), 1);
}

static void networks_that_are_wrong(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"{ uplnk = 'nic0' }", "unknown setting uplnk; did you mean uplink?"},
		{"{ uplink = 5 }", "uplink takes an interface's name, or { nic = ..., rate = ... }, not integer"},
		{"{ uplink = { rate = Mbps(5) } }", "uplink.nic is missing"},
		{"{ uplink = { nic = 'n', rate = 5 } }", "uplink.rate needs a unit: write Mbps(5), not 5"},
		{"{ uplink = { nic = 'n', depth = 5 } }", "uplink.depth needs a unit: write MiB(5), not 5"},
		{"{ uplink = { nic = 'n', depth = GiB(4) } }", "uplink.depth is too large"},
		{"{ uplink = { nic = 'n', vlan = 5000 } }", "uplink.vlan is 5000, it can be 1 to 4094"},
		{"{ patience = 5 }", "patience needs a unit: write ms(5), not 5"},
		{"{ mtu = 'large' }", "mtu takes a whole number, not text"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char want[ERROR_TEXT_MAX];

		assert_int_not_equal(define_net(rows[i].text), ST_OK);
		snprintf(want, sizeof want, "network a (t.lua:7): %s", rows[i].want);
		assert_string_equal(err.text, want);
	}
	/* The rules of guest/network.h stand behind. */
	assert_int_not_equal(define_net("{ mtu = 5 }"), ST_OK);
	assert_int_not_equal(define_net("{ patience = sec(2) }"), ST_OK);
	assert_int_not_equal(define_net("{ age = ms(1) }"), ST_OK);
}

/* ---- pools ---- */

static void a_pools_part(void **state)
{
	static uint8_t out[1024];
	struct pool_config pool, again;
	struct cbor_writer w;

	(void)state;
	assert_good(define_decode_pool(&source, to_cbor("{ mbps = { reservation = 10, limit = 100, shares = 'low' } }"), NULL,
				       &pool, &err));
	assert_true(pool.net.numbers.reservation == 1250000 && pool.net.numbers.limit == 12500000);
	assert_int_equal(pool.net.numbers.shares, RLS_SHARES_DEFAULT / 2);
	assert_int_equal(__builtin_popcount(pool.net.given), 3);
	assert_int_equal(pool.given, 0);
	cbor_writer_init(&w, out, sizeof out);
	define_encode_pool(&pool, &w);
	assert_good(define_decode_pool(&wire, cbor_root(out, w.len), NULL, &again, &err));
	assert_memory_equal(&again.net.numbers, &pool.net.numbers, sizeof pool.net.numbers);
	assert_int_not_equal(define_decode_pool(&source, to_cbor("{ mbps = { limit = 0 } }"), NULL, &pool, &err), ST_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(smallest),
		TEST(all_of_it),
		TEST(their_order_is_that_of_their_names),
		TEST(what_was_given_is_remembered),
		TEST(nics_that_are_wrong),
		TEST(maps_that_are_none),
		TEST(a_network),
		TEST(values_by_name),
		TEST(a_part_over_another),
		TEST(networks_that_are_wrong),
		TEST(a_pools_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
