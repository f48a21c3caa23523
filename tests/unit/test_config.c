/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule of a VM definition, and that its sentence names the VM, the place and the settings. */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/config.h"

static struct vm_config cfg;
static struct error err;

static int setup(void **state)
{
	(void)state;
	vm_config_init(&cfg);
	strcpy(cfg.name, "web");
	strcpy(cfg.origin, "boot.lua:12");
	strcpy(cfg.boot.image, "vmlinuz");
	cfg.memory.size = cfg.memory.reservation = 64ull << 20;
	memset(&err, 0, sizeof err);
	return 0;
}

static void refused(enum status want, const char *part)
{
	assert_int_equal(vm_config_check(&cfg, &err), want);
	if (!strstr(err.text, part))
		print_error("\"%s\" does not say \"%s\"\n", err.text, part);
	assert_non_null(strstr(err.text, part));
	assert_non_null(strstr(err.text, "boot.lua:12"));
}

static void defaults_pass(void **state)
{
	(void)state;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	assert_true(cfg.acpi);
	assert_false(cfg.debug_exit);
	assert_int_equal(cfg.on_reset, ON_RESET_RESTART);
}

static void names(void **state)
{
	static const char *const good[] = {"a", "0", "web-1.prod_x", "abcdefghijklmnopqrstuvwxyz01234"};
	static const char *const bad[] = {".a", "-a", "_a", "Web", "a b", "a\x1b[31m", "\xc3\xa9"};

	(void)state;
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
		strcpy(cfg.name, good[i]);
		assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	}
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		strcpy(cfg.name, bad[i]);
		refused(ST_INVALID, "name has a character");
		assert_null(strchr(err.text, '\x1b'));
	}
	cfg.name[0] = 0;
	refused(ST_INVALID, "name is missing");
	memset(cfg.name, 'a', sizeof cfg.name);
	refused(ST_INVALID, "name is longer than 31");
}

static void strings_end(void **state)
{
	(void)state;
	memset(cfg.boot.cmdline, 'x', sizeof cfg.boot.cmdline);
	refused(ST_INVALID, "boot.cmdline is longer than 2047");
	setup(NULL);
	memset(cfg.boot.image, 'x', sizeof cfg.boot.image);
	refused(ST_INVALID, "boot.image is longer than 127");
	setup(NULL);
	memset(cfg.boot.initrd, 'x', sizeof cfg.boot.initrd);
	refused(ST_INVALID, "boot.initrd is longer");
	setup(NULL);
	memset(cfg.origin, 'x', sizeof cfg.origin);
	assert_int_equal(vm_config_check(&cfg, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "origin is longer"));
}

static void boot_settings(void **state)
{
	(void)state;
	cfg.boot.image[0] = 0;
	refused(ST_INVALID, "boot.image is missing");
	setup(NULL);
	cfg.boot.protocol = (enum boot_protocol)7;
	refused(ST_INVALID, "protocol 7");
	setup(NULL);
	cfg.boot.protocol = BOOT_MULTIBOOT;
	strcpy(cfg.boot.initrd, "initrd");
	refused(ST_INVALID, "boot.initrd conflicts with the multiboot protocol");
	setup(NULL);
	cfg.boot.module_count = 1;
	strcpy(cfg.boot.modules[0].image, "m");
	refused(ST_INVALID, "boot.modules conflicts with the linux protocol");
	cfg.boot.protocol = BOOT_PVH;
	refused(ST_INVALID, "boot.modules conflicts with the pvh protocol");
	cfg.boot.protocol = BOOT_MULTIBOOT;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	cfg.boot.module_count = 2;
	refused(ST_INVALID, "boot.modules[2] names no image");
	memset(cfg.boot.modules[1].cmdline, 'x', VM_PATH_MAX);
	refused(ST_INVALID, "boot.modules[2] is longer");
	cfg.boot.module_count = VM_MODULES_MAX + 1;
	refused(ST_OVER_LIMIT, "boot.modules has 9 entries");
}

static void memory_settings(void **state)
{
	(void)state;
	cfg.memory.size = 0;
	refused(ST_INVALID, "mem.size is missing");
	cfg.memory.size = 4096;
	refused(ST_INVALID, "at least 1048576");
	cfg.memory.size = (64ull << 20) + 1;
	refused(ST_INVALID, "not a multiple of 4096");
	cfg.memory.size = 1ull << 50;
	refused(ST_OVER_LIMIT, "at most");
	setup(NULL);
	cfg.memory.reservation++;
	refused(ST_INVALID, "mem.reservation (67108865 bytes) is above mem.size (67108864 bytes)");
	cfg.memory.reservation = 0;
	refused(ST_UNSUPPORTED, "must equal mem.size");
}

static void the_rest(void **state)
{
	(void)state;
	cfg.cpu.count = 0;
	refused(ST_INVALID, "cpu.count is 0");
	cfg.cpu.count = VM_VCPUS_MAX;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	cfg.cpu.count++;
	refused(ST_INVALID, "cpu.count is 17, a VM has at most 16 CPUs");
	setup(NULL);
	cfg.on_reset = (enum reset_action)9;
	refused(ST_INVALID, "on_reset action 9");
}

static struct vm_disk *add_disk(const char *name, const char *volume)
{
	struct vm_disk *d = &cfg.disks[cfg.disk_count++];

	vm_disk_init(d);
	strcpy(d->name, name);
	strcpy(d->volume, volume);
	return d;
}

static void disks_have_names_and_volumes(void **state)
{
	struct vm_disk *d;

	(void)state;
	assert_true(cfg.disk_count == 0 && cfg.rng);
	add_disk("root", "debian");
	add_disk("data-1.x_y", "pool/data@monday");
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	d = add_disk("root", "other");
	refused(ST_EXISTS, "disk.root is there twice");
	d->name[0] = 0;
	refused(ST_INVALID, "disk 3 has no name");
	strcpy(d->name, "Root\x1b");
	refused(ST_INVALID, "the name has a character outside");
	assert_null(strchr(err.text, '\x1b'));
	memset(d->name, 'x', sizeof d->name);
	refused(ST_INVALID, "the name is longer than 19 characters");
	strcpy(d->name, "third");
	d->volume[0] = 0;
	refused(ST_INVALID, "disk.third: volume is missing");
	memset(d->volume, 'v', sizeof d->volume);
	refused(ST_INVALID, "disk.third: volume is longer than 127");
	strcpy(d->volume, "v");
	strcpy(d->serial, "abcdefghijklmnopqrst");
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	d->serial[20] = 'u';
	refused(ST_INVALID, "disk.third: serial is longer than 20");
	strcpy(d->serial, "ab\ncd");
	refused(ST_INVALID, "disk.third: serial has a character that does not print at position 3");
	cfg.disk_count = VM_DISKS_MAX + 1;
	refused(ST_OVER_LIMIT, "it has 9 disks, at most 8");
}

static void disks_have_numbers(void **state)
{
	struct vm_disk *d = add_disk("root", "debian");

	(void)state;
	d->numbers = (struct rls){.reservation = 100, .limit = 500, .shares = 1};
	d->queues = VM_DISK_QUEUES_MAX;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	d->numbers.reservation = 501;
	refused(ST_INVALID, "disk.root: iops.reservation (501) is above iops.limit (500)");
	d->unit = VM_DISK_BYTES;
	refused(ST_INVALID, "disk.root: bandwidth.reservation (501) is above bandwidth.limit (500)");
	d->numbers = (struct rls){.limit = 0, .shares = 1};
	refused(ST_INVALID, "disk.root: bandwidth.limit is 0: it would never");
	d->numbers = (struct rls){.limit = VM_DISK_RATE_MAX + 1, .shares = 1};
	refused(ST_OVER_LIMIT, "disk.root: bandwidth.reservation or bandwidth.limit is above");
	d->numbers = (struct rls){.limit = RLS_UNLIMITED, .shares = 0};
	refused(ST_INVALID, "disk.root: bandwidth.shares is 0, it can be 1 to 1000000");
	d->numbers.shares = RLS_SHARES_MAX + 1;
	refused(ST_INVALID, "bandwidth.shares is 1000001");
	d->unit = (enum vm_disk_unit)5;
	refused(ST_INVALID, "disk.root: unit 5 of its numbers is unknown");
	d->queues = VM_DISK_QUEUES_MAX + 1;
	refused(ST_OVER_LIMIT, "disk.root: queues is 17, a disk has at most 16");
}

static struct vm_nic *add_nic(const char *name, const char *network)
{
	struct vm_nic *n = &cfg.nics[cfg.nic_count++];

	vm_nic_init(n);
	strcpy(n->name, name);
	strcpy(n->network, network);
	return n;
}

static void interfaces_have_names_and_networks(void **state)
{
	struct vm_nic *n;

	(void)state;
	assert_int_equal(cfg.nic_count, 0);
	n = add_nic("lan0", "lan");
	assert_true(n->connected && n->numbers.limit == RLS_UNLIMITED && n->numbers.shares == RLS_SHARES_DEFAULT);
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	n = add_nic("lan0", "lan");
	refused(ST_EXISTS, "net.lan0 is there twice");
	n->name[0] = 0;
	refused(ST_INVALID, "net 2 has no name");
	strcpy(n->name, "Lan\x1b");
	refused(ST_INVALID, "the name has a character outside");
	assert_null(strchr(err.text, '\x1b'));
	memset(n->name, 'x', sizeof n->name);
	refused(ST_INVALID, "the name is longer than 19 characters");
	strcpy(n->name, "b");
	n->network[0] = 0;
	refused(ST_INVALID, "net.b: network is missing");
	strcpy(n->network, "la n");
	refused(ST_INVALID, "net.b: no network is called so: position 3");
	memset(n->network, 'n', sizeof n->network);
	refused(ST_INVALID, "net.b: network is longer than 31");
	cfg.nic_count = VM_NICS_MAX + 1;
	refused(ST_OVER_LIMIT, "it has 5 network interfaces, at most 4");
}

static void interfaces_have_addresses(void **state)
{
	static const uint8_t given[NET_MAC_BYTES] = {0x52, 0x54, 0, 1, 2, 3};
	struct vm_nic *a = add_nic("a", "lan"), *b = add_nic("b", "lan");
	uint8_t of_a[NET_MAC_BYTES], again[NET_MAC_BYTES];

	(void)state;
	vm_nic_mac(&cfg, a, of_a);
	vm_nic_mac(&cfg, a, again);
	assert_memory_equal(of_a, again, NET_MAC_BYTES);
	assert_int_equal(of_a[0], 0xc2);
	vm_nic_mac(&cfg, b, again);
	assert_memory_not_equal(of_a, again, NET_MAC_BYTES);
	strcpy(cfg.name, "other");
	vm_nic_mac(&cfg, a, again);
	assert_memory_not_equal(of_a, again, NET_MAC_BYTES);
	strcpy(cfg.name, "web");
	memcpy(a->mac, given, sizeof given);
	vm_nic_mac(&cfg, a, again);
	assert_memory_equal(given, again, NET_MAC_BYTES);
	memcpy(b->mac, given, sizeof given);
	refused(ST_EXISTS, "net.b: mac is that of net.a");
	strcpy(b->network, "dmz");
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	b->mac[0] = 0x53;
	refused(ST_INVALID, "net.b: mac is a group's address");
	b->mac[0] = 0;
	b->ip_count = 2;
	b->ips[0] = (struct net_ip){.bytes = {10, 0, 0, 2}};
	b->ips[1] = (struct net_ip){.v6 = true, .bytes = {0xfe, 0x80, [15] = 1}};
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	b->ips[1].bytes[0] = 0xff;
	refused(ST_INVALID, "net.b: ip[2] is no address that one host can have");
	b->ips[1].v6 = false;
	refused(ST_INVALID, "net.b: ip[2] is no");
	b->ips[0].bytes[0] = 0;
	b->ips[0].bytes[3] = 0;
	refused(ST_INVALID, "net.b: ip[1] is no");
	b->ip_count = NET_PORT_IPS_MAX + 1;
	refused(ST_OVER_LIMIT, "net.b: ip has 5 addresses");
}

static void interfaces_have_vlans(void **state)
{
	struct vm_nic *n = add_nic("a", "lan");

	(void)state;
	n->vlan = NET_VLAN_MAX;
	n->trunk[0] = 1;
	n->trunk[1] = 7;
	n->trunk_count = 2;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	n->vlan = NET_VLAN_MAX + 1;
	refused(ST_INVALID, "net.a: vlan is 4095, it can be 1 to 4094");
	n->vlan = 7;
	refused(ST_INVALID, "net.a: trunk conflicts with vlan: 7");
	n->vlan = 0;
	n->trunk[1] = 1;
	refused(ST_EXISTS, "net.a: trunk has 1 twice");
	n->trunk[1] = 0;
	refused(ST_INVALID, "net.a: trunk[2] is 0, it can be 1 to 4094");
	n->trunk_count = NET_PORT_VLANS_MAX + 1;
	refused(ST_OVER_LIMIT, "net.a: trunk has 17 VLANs");
}

static void interfaces_have_numbers(void **state)
{
	struct vm_nic *n = add_nic("a", "lan");

	(void)state;
	n->numbers = (struct rls){.reservation = 12500000, .limit = 25000000, .shares = 1};
	n->rate = 12500000;
	n->storm = VM_NIC_STORM_MAX;
	n->queues = VM_NIC_QUEUES_MAX;
	n->mtu = NET_MTU_MAX;
	assert_int_equal(vm_config_check(&cfg, &err), ST_OK);
	n->rate--;
	refused(ST_INVALID, "net.a: mbps.reservation (100 Mbit/s) is above rate (12499999 B/s)");
	n->rate = 100;
	refused(ST_INVALID, "net.a: rate is 100 B/s, it can be 100 kbit/s");
	n->rate = 0;
	n->numbers.limit = 12499999;
	refused(ST_INVALID, "net.a: mbps.reservation (100 Mbit/s) is above mbps.limit (12499999 B/s)");
	n->numbers.limit = 100;
	refused(ST_INVALID, "net.a: mbps.limit is 100 B/s, it can be 100 kbit/s or more");
	n->numbers.limit = VM_NIC_RATE_MAX + 1;
	refused(ST_OVER_LIMIT, "net.a: mbps.reservation or mbps.limit is above 1000 Gbit/s");
	n->numbers = (struct rls){.limit = RLS_UNLIMITED, .shares = 0};
	refused(ST_INVALID, "net.a: mbps.shares is 0, it can be 1 to 1000000");
	n->numbers.shares = 1;
	n->queues++;
	refused(ST_OVER_LIMIT, "net.a: queues is 9, an interface has at most 8");
	n->queues = 0;
	n->mtu = NET_MTU_MIN - 1;
	refused(ST_INVALID, "net.a: mtu is 67, it can be 68 to 9216");
	n->mtu = 0;
	n->storm++;
	refused(ST_OVER_LIMIT, "net.a: storm is 1000001");
	n->storm = 0;
	n->coalesce.cif_min = 1;
	refused(ST_INVALID, "net.a: interrupts: ");
}

static void a_sentence_without_origin(void **state)
{
	(void)state;
	cfg.origin[0] = 0;
	cfg.cpu.count = 0;
	assert_int_equal(vm_config_check(&cfg, &err), ST_INVALID);
	assert_string_equal(err.text, "VM web: cpu.count is 0");
	assert_int_equal(vm_config_check(&cfg, NULL), ST_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_pass, setup),
		cmocka_unit_test_setup(names, setup),
		cmocka_unit_test_setup(strings_end, setup),
		cmocka_unit_test_setup(boot_settings, setup),
		cmocka_unit_test_setup(memory_settings, setup),
		cmocka_unit_test_setup(the_rest, setup),
		cmocka_unit_test_setup(disks_have_names_and_volumes, setup),
		cmocka_unit_test_setup(disks_have_numbers, setup),
		cmocka_unit_test_setup(interfaces_have_names_and_networks, setup),
		cmocka_unit_test_setup(interfaces_have_addresses, setup),
		cmocka_unit_test_setup(interfaces_have_vlans, setup),
		cmocka_unit_test_setup(interfaces_have_numbers, setup),
		cmocka_unit_test_setup(a_sentence_without_origin, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
