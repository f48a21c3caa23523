/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane in a host process: the real lua/, guest/, memmgr/ and sched/
 * over the fake engine, with a TCP socket of the loopback interface as the
 * management line. One client at a time, as on a cable.
 *
 *	control_host --store FILE [--disk FILE | --disk none] [--args TEXT] [--megs N] [--rate BYTES_PER_S]
 *	             [--speed N] [--wall SECONDS] [--beacon MS]
 *
 * prints "port N" when it listens, then the hypervisor's log; "reset" and exit
 * status 42 when the machine is reset. It ends when its standard input does. The writable store is on the
 * file given with --disk, which is made when it is not there; without it on one that nobody sees. There are two network
 * interfaces, nic0 and nic1; with --beacon a frame comes from the first one's wire so often.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "firmware/uart.h"
#include "firmware/watchdog.h"
#include "guest/network.h"
#include "guest/storage.h"
#include "lib/log.h"
#include "lua/control.h"
#include "tests/fakes/fake_guest.h"
#include "tests/fakes/file_disk.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/script_tick.h"
#include "tests/fakes/vm_rig.h"
#include "tests/fakes/wire_nic.h"

#define LINE_BYTES 4096u
#define LOG_BYTES 65536u
#define TURNS_PER_LOOP 64
#define RESET_STATUS 42
#define TICK_US 2000 /* as the control task has it */
#define DISK_BYTES (8u << 20)
#define BEACON_MIN 60u   /* bytes, and what its length goes up to */
#define BEACON_MAX 1514u

static struct {
	int listener, client;
	uint8_t out[LINE_BYTES]; /* the line's queue */
	size_t queued;
	uint64_t rate;           /* bytes a second, 0: as fast as the socket takes them */
	uint64_t may_send;       /* bytes earned and not used */
	uint64_t earned_at;      /* ns */
} line = {.client = -1};

static struct bytelog log_bytes;
static uint8_t log_buf[LOG_BYTES];
static const struct clock *hand;

static void stop(const char *what)
{
	fprintf(stderr, "control_host: %s: %s\n", what, strerror(errno));
	exit(1);
}

/*
 * ---- time: the host's, and the hand clock of the rig never behind it ----
 *
 * It passes while this program computes and while it waits, but not while the machine runs others in its place: a busy
 * machine must not take a script's budget.
 */

static uint64_t waited_ns;

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t real_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID) + waited_ns;
}

static int wait_for_files(struct pollfd *fds, nfds_t count, int ms)
{
	uint64_t from = clock_ns(CLOCK_MONOTONIC);
	int ready = poll(fds, count, ms);

	waited_ns += clock_ns(CLOCK_MONOTONIC) - from;
	return ready;
}

static uint64_t start_ns, speed = 1;

static uint64_t real_ticks(void)
{
	return ns_to_ticks((real_ns() - start_ns) * speed, VM_RIG_HZ);
}

static uint64_t control_ticks_now(void)
{
	uint64_t ticks = real_ticks();

	if (ticks > hand->ticks())
		hand_clock_set(ticks);
	return hand->ticks();
}

static const struct clock control_clock = {.ticks = control_ticks_now, .hz = VM_RIG_HZ};

/* ---- the line ---- */

static size_t line_room(void *ctx)
{
	(void)ctx;
	return LINE_BYTES - line.queued;
}

static size_t line_queued(void *ctx)
{
	(void)ctx;
	return line.queued;
}

static void line_write(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	if (len > LINE_BYTES - line.queued)
		abort(); /* control broke its promise */
	memcpy(line.out + line.queued, data, len);
	line.queued += len;
}

/* Bytes that the line's rate lets go now. */
static size_t earned(void)
{
	uint64_t now = real_ns();

	if (line.rate == 0)
		return line.queued;
	line.may_send += (now - line.earned_at) * line.rate / 1000000000ull;
	line.earned_at = now;
	if (line.may_send > line.rate / 50 + 1)
		line.may_send = line.rate / 50 + 1;
	return line.may_send < line.queued ? line.may_send : line.queued;
}

static void line_flush(void)
{
	size_t n = earned();
	ssize_t sent;

	if (n == 0)
		return;
	/* A cable with nobody at its end: what is sent is gone. */
	sent = line.client < 0 ? (ssize_t)n : send(line.client, line.out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0) {
		if (errno == EAGAIN)
			return;
		close(line.client);
		line.client = -1;
		return;
	}
	memmove(line.out, line.out + sent, line.queued - (size_t)sent);
	line.queued -= (size_t)sent;
	line.may_send -= line.rate ? (uint64_t)sent : 0;
}

static void line_open(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	line.listener = socket(AF_INET, SOCK_STREAM, 0);
	if (line.listener < 0 || bind(line.listener, (struct sockaddr *)&address, size) || listen(line.listener, 4) ||
	    getsockname(line.listener, (struct sockaddr *)&address, &size))
		stop("socket");
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
}

static void line_receive(struct control *c)
{
	uint8_t data[1024];
	ssize_t got = recv(line.client, data, sizeof data, MSG_DONTWAIT);

	if (got > 0)
		control_rx(c, data, (size_t)got);
	else if (got == 0 || errno != EAGAIN) {
		close(line.client);
		line.client = -1;
		control_line_dropped(c);
	}
}

/* Waits for the line or @ms, and takes what came. */
static void line_wait(struct control *c, int ms)
{
	struct pollfd fds[3] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = line.client < 0 ? line.listener : -1, .events = POLLIN},
		{.fd = line.client, .events = POLLIN},
	};

	if (wait_for_files(fds, 3, ms) < 0)
		stop("poll");
	if (fds[0].revents) {
		char c1;

		if (read(STDIN_FILENO, &c1, 1) <= 0)
			_exit(0); /* leaks are no news: VMs still run */
	}
	if (fds[1].revents)
		line.client = accept(line.listener, NULL, NULL);
	if (fds[2].revents)
		line_receive(c);
}

/* ---- the machine ---- */

static void log_sink(const char *text, size_t len)
{
	bytelog_write(&log_bytes, text, len);
	fwrite(text, 1, len, stdout);
	fflush(stdout);
}

static unsigned long long log_us(void)
{
	return (real_ns() - start_ns) / 1000;
}

static void reset_machine(void)
{
	printf("reset\n");
	fflush(stdout);
	_exit(RESET_STATUS);
}

static enum status entropy(void *out, size_t len, struct error *err)
{
	return getrandom(out, len, 0) == (ssize_t)len ? ST_OK : fail(err, ST_IO, "no source of entropy: getrandom");
}

static void *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	void *data;

	if (!f || fseek(f, 0, SEEK_END))
		stop(path);
	*size = (size_t)ftell(f);
	rewind(f);
	data = malloc(*size + 1);
	if (fread(data, 1, *size, f) != *size)
		stop(path);
	fclose(f);
	return data;
}

/* Lets the guests run, but never ahead of the host's time. True when some did. */
static bool run_guests(void)
{
	enum sched_end end;
	bool any = false;

	for (int i = 0; i < TURNS_PER_LOOP && hand->ticks() <= real_ticks(); i++) {
		fake_guests_prepare(&vm_rig.machine);
		if (!vm_rig_turn(&end))
			break;
		any = true;
	}
	return any;
}

/* ---- the network ---- */

static struct wire_nic nics[2];
static uint64_t beacon_ns; /* 0: none */

static void add_nics(void)
{
	struct error err;

	wire_nic_init(&nics[0], "nic0");
	wire_nic_init(&nics[1], "nic1");
	for (unsigned i = 0; i < sizeof nics / sizeof nics[0]; i++)
		if (networks_add_nic(&vm_rig.machine, &nics[i].nic, &err) != ST_OK)
			stop(err.text);
}

/* What is due from the wire. Their lengths differ, so that a reader that takes one for another is found out. */
static bool beacons(void)
{
	static uint64_t last;
	static uint32_t number;
	unsigned long masked;
	uint64_t now = real_ns();

	if (beacon_ns == 0 || now - last < beacon_ns)
		return false;
	last = now;
	masked = fake_host.ops.mask();
	wire_nic_beacon(&nics[0], number, BEACON_MIN + number * 7 % (BEACON_MAX - BEACON_MIN));
	fake_host.ops.unmask(masked);
	number++;
	return true;
}

static void loop(struct control *c)
{
	for (;;) {
		bool busy = false;

		for (int i = 0; i < 100 && control_step(c); i++)
			busy = true;
		line_flush();
		busy |= beacons();
		busy |= run_guests();
		line_wait(c, busy || line.queued ? 0 : 2);
		if (line.queued && line.rate)
			wait_for_files(NULL, 0, 1);
	}
}

/* The writable store, on a disk of its own. */
static void mount_store(struct files *files, const char *path)
{
	static struct file_disk disk;
	struct block_range range = {.device = &disk.device};
	struct kvlog_stats stats;
	bool formatted;
	struct error err;
	size_t bytes;

	if (path && strcmp(path, "none") == 0)
		return;
	if (!file_disk_open(&disk, path, DISK_BYTES))
		stop(path ? path : "tmpfile");
	range.count = disk.device.sectors;
	bytes = kvlog_memory_bytes(&range);
	if (files_mount(files, &range, real_ns(), aligned_alloc(64, bytes), bytes, &formatted, &err) != ST_OK) {
		log_error("store: %s", err.text);
		return;
	}
	kvlog_stats(files->kv, &stats);
	log_info("store: %s, %u names, generation %llu", formatted ? "made" : "opened", stats.keys,
		 (unsigned long long)stats.generation);
}

/* The calendar, when there is one. */
static uint64_t wall_start;

static uint64_t wall_clock(void)
{
	return wall_start + (real_ns() - start_ns) * speed / 1000000000ull;
}

struct options {
	const char *store, *disk, *args;
	uint64_t megs;
};

static struct options parse(int argc, char **argv)
{
	struct options o = {.args = "", .megs = 64};

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--store") == 0)
			o.store = argv[i + 1];
		else if (strcmp(argv[i], "--disk") == 0)
			o.disk = argv[i + 1];
		else if (strcmp(argv[i], "--args") == 0)
			o.args = argv[i + 1];
		else if (strcmp(argv[i], "--megs") == 0)
			o.megs = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--rate") == 0)
			line.rate = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--wall") == 0)
			wall_start = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--beacon") == 0)
			beacon_ns = strtoull(argv[i + 1], NULL, 0) * 1000000ull;
		else if (strcmp(argv[i], "--speed") == 0)
			speed = strtoull(argv[i + 1], NULL, 0);
	}
	return o;
}

int main(int argc, char **argv)
{
	static const struct control_fact facts[] = {
		{"board", "fake"},
		{"mitigations", "off: there is no silicon"},
	};
	static struct uart uart; /* of no line at all, for its counters */
	static const struct control_counter_source counters[] = {{&uart_counters, &uart}};
	static const struct control_knob_source knobs[] = {{&watchdog_knobs, NULL}};
	struct options o = parse(argc, argv);
	struct control_config cfg;
	struct control *control;
	static struct store store; /* empty until it is opened */
	static struct files files;
	struct error err;
	size_t size;
	void *image;

	start_ns = line.earned_at = real_ns();
	bytelog_init(&log_bytes, log_buf, sizeof log_buf);
	log_init(log_sink, log_us);
	vm_rig_init(o.megs << 20);
	hand = fake_host.ops.clock;
	fake_host.ops.wall_clock = wall_start ? wall_clock : NULL;
	if (o.store) {
		image = read_file(o.store, &size);
		if (store_open(&store, image, size, &err) != ST_OK)
			log_error("store: %s", err.text);
	}
	files_init(&files, &store, "this machine has no disk");
	mount_store(&files, o.disk);
	vm_rig.machine.files = &files;
	if (storage_create(&vm_rig.machine, &err) != ST_OK)
		stop(err.text);
	if (networks_create(&vm_rig.machine, &err) != ST_OK)
		stop(err.text);
	add_nics();
	cfg = (struct control_config){
		.machine = &vm_rig.machine,
		.log = &log_bytes,
		.line = {.room = line_room, .queued = line_queued, .write = line_write},
		.args = o.args,
		.clock = &control_clock,
		.memory_bytes = 1 << 20,
		.version = "0.0-test",
		.image_stamp = (const uint8_t *)"the hash of the image that runs.",
		.image_bytes = 1 << 20,
		.build = "host",
		.processor = "fake processor",
		.facts = facts,
		.fact_count = sizeof facts / sizeof facts[0],
		.counters = counters,
		.counter_count = sizeof counters / sizeof counters[0],
		.knobs = knobs,
		.knob_count = sizeof knobs / sizeof knobs[0],
		.reset = reset_machine,
		.entropy = entropy,
	};
	cfg.memory = aligned_alloc(4096, cfg.memory_bytes);
	if (control_init(&cfg, &control, &err) != ST_OK)
		stop(err.text);
	script_tick_start(TICK_US, NULL);
	line_open();
	control_run_boot_script(control);
	log_info("management line is open");
	loop(control);
	return 0;
}
