/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job a channel, driven from state to state by poll(); the next is taken when
 * it ends. Every state that waits has a deadline. The protocols are those of ATA/ATAPI-7 volume 2, clause 11: PIO
 * data-in, PIO data-out, non-data, DMA.
 */
#include "firmware/ide.h"

#include <stdarg.h>

#include "firmware/ata.h"
#include "lib/bits.h"
#include "lib/format.h"

#define SECOND_NS 1000000000ull
#define SELECT_NS (1 * SECOND_NS)      /* a drive that is not busy with a command answers at once */
#define COMMAND_NS (10 * SECOND_NS)    /* between any two sectors; error recovery inside drives takes seconds */
#define FLUSH_NS (60 * SECOND_NS)      /* may take longer than 30 s: ATA/ATAPI-7, 6.12 */
#define RESET_HOLD_NS 5000ull          /* 5 us at least */
#define RESET_SETTLE_NS 2000000ull     /* 2 ms before the status means anything */
#define RESET_NS (10 * SECOND_NS)      /* the standard allows 31 s to a drive that spins up; these spin */
#define GIVE_UP_AFTER 3u               /* commands in a row without an end: nobody waits so long for each that is queued */
#define TRY_AGAIN_NS (10 * SECOND_NS)  /* after which a drive that was given up is asked again */
#define SETTLE_READS 4u                /* of the alternate status: 400 ns */
#define GONE "the drive has not answered for some time"
#define PROBE_A 0x55u
#define PROBE_B 0xaau

/* ---- registers ---- */

static uint8_t get(const struct ide_channel *ch, unsigned reg) { return ch->ports->in8((uint16_t)(ch->command + reg)); }

static void put(const struct ide_channel *ch, unsigned reg, uint64_t v)
{
	ch->ports->out8((uint16_t)(ch->command + reg), (uint8_t)v);
}

static void put_control(const struct ide_channel *ch, uint8_t v) { ch->ports->out8(ch->control, v); }

/* The status is not valid for 400 ns after a drive was selected or given a command. */
static void settle(const struct ide_channel *ch)
{
	for (unsigned i = 0; i < SETTLE_READS; i++)
		(void)ch->ports->in8(ch->control);
}

static void set_deadline(struct ide_channel *ch, uint64_t ns)
{
	ch->deadline = ch->clock->ticks() + ns_to_ticks(ns, ch->clock->hz);
}

static bool is_late(const struct ide_channel *ch)
{
	return ch->clock->ticks() >= ch->deadline;
}

static uint8_t device_bits(const struct ide_drive *d)
{
	return (uint8_t)(ATA_DEVICE_OLD | (d->number ? ATA_DEVICE_DEV : 0));
}

/* ---- ends ---- */

static void start_next(struct ide_channel *ch);

/* The job's end. The request's sentence is there, unless it is a good end. */
static void end_job(struct ide_channel *ch, enum status st)
{
	struct block_request *r = ch->job.request;

	ch->state = IDE_IDLE;
	ch->job.request = NULL;
	if (st == ST_OK) {
		ch->job.drive->troubles = 0;
		ch->job.drive->gone_until = 0;
	}
	if (ch->job.dma)
		ide_dma_unmap(&ch->dma);
	block_complete(r, st);
	start_next(ch);
}

__attribute__((format(printf, 2, 3)))
static void explain(struct ide_channel *ch, const char *fmt, ...)
{
	struct error *e = ch->job.request->error;
	va_list ap;

	if (!e)
		return;
	va_start(ap, fmt);
	format_v(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
}

static bool is_gone(const struct ide_drive *d)
{
	return d->gone_until != 0 && d->channel->clock->ticks() < d->gone_until;
}

/* The drive did not end the job's command. If that is its way, what is queued ends as well. */
static void note_trouble(struct ide_channel *ch)
{
	struct ide_drive *d = ch->job.drive;
	struct list *queue = &ch->queue[d->number];

	if (++d->troubles < GIVE_UP_AFTER)
		return;
	d->gone_until = ch->clock->ticks() + ns_to_ticks(TRY_AGAIN_NS, ch->clock->hz);
	while (!list_empty(queue)) {
		struct block_request *r = list_entry(queue->next, struct block_request, link);

		list_remove(&r->link);
		block_end(r, ST_IO, "%s", GONE);
		block_complete(r, ST_IO);
	}
}

static bool begin_reset(struct ide_channel *ch)
{
	ch->reset_due = true;
	ch->resets++;
	if (ch->dma.base)
		(void)ide_dma_stop(&ch->dma);
	put_control(ch, ch->quiet | ATA_CONTROL_SRST);
	ch->state = IDE_RESET_HOLD;
	set_deadline(ch, RESET_HOLD_NS);
	return true;
}

/* The drive may still be at it: the request stays ours until a reset has stopped that. */
static void time_out(struct ide_channel *ch, const char *what, uint8_t status)
{
	explain(ch, "%s, status 0x%02x", what, status);
	ch->job.failed = true;
	begin_reset(ch);
}

static const char *error_name(uint8_t error)
{
	if (error & ATA_ERROR_UNC)
		return "uncorrectable data";
	if (error & ATA_ERROR_IDNF)
		return "no such sector";
	if (error & ATA_ERROR_ICRC)
		return "checksum on the cable";
	return error & ATA_ERROR_ABRT ? "command refused" : "no reason given";
}

/* True when @status says that the command has failed, and ends the job. */
static bool has_failed(struct ide_channel *ch, uint8_t status)
{
	uint8_t error;

	if (!(status & (ATA_STATUS_ERR | ATA_STATUS_DF)))
		return false;
	error = get(ch, ATA_ERROR);
	ch->job.drive->troubles = 0; /* it answers */
	/* A drive that still wants data after an error is only got rid of by a reset. */
	ch->reset_due |= (status & ATA_STATUS_DRQ) != 0;
	if (status & ATA_STATUS_DF)
		explain(ch, "device fault, status 0x%02x", status);
	else
		explain(ch, "%s, error 0x%02x at sector %llu", error_name(error), error,
			(unsigned long long)(ch->job.lba + ch->job.count - ch->job.left));
	end_job(ch, ST_IO);
	return true;
}

/* ---- states: each true when something moved ---- */

static bool hold_reset(struct ide_channel *ch)
{
	if (!is_late(ch))
		return false;
	put_control(ch, ch->quiet);
	ch->state = IDE_RESET_WAIT;
	set_deadline(ch, RESET_NS);
	return true;
}

static bool is_engine_at_rest(const struct ide_channel *ch)
{
	return !ch->dma.base || !(ide_dma_status(&ch->dma) & IDE_BM_STATUS_ACTIVE);
}

static bool wait_reset(struct ide_channel *ch)
{
	uint64_t waited = ch->clock->ticks() + ns_to_ticks(RESET_NS, ch->clock->hz) - ch->deadline;
	uint8_t status;
	bool at_rest;

	if (waited < ns_to_ticks(RESET_SETTLE_NS, ch->clock->hz))
		return false;
	status = get(ch, ATA_STATUS);
	at_rest = !(status & ATA_STATUS_BSY) && is_engine_at_rest(ch);
	if (!at_rest && !is_late(ch))
		return false;
	if (!at_rest || ch->job.failed)
		note_trouble(ch);
	if (!at_rest && ch->job.given)
		return begin_reset(ch); /* nothing proves that the request's memory is its owner's again */
	ch->reset_due = !at_rest;
	if (ch->reset_due && !ch->job.failed)
		explain(ch, "the channel stays busy after a reset, status 0x%02x", status);
	if (ch->reset_due || ch->job.failed) {
		end_job(ch, ST_IO);
		return true;
	}
	ch->state = IDE_SELECT;
	set_deadline(ch, SELECT_NS);
	return true;
}

static bool select_drive(struct ide_channel *ch)
{
	uint8_t status = get(ch, ATA_STATUS);

	if (status & (ATA_STATUS_BSY | ATA_STATUS_DRQ)) {
		if (is_late(ch))
			time_out(ch, "the channel is busy with something else", status);
		return false;
	}
	put(ch, ATA_DEVICE, device_bits(ch->job.drive) | ATA_DEVICE_LBA);
	settle(ch);
	ch->state = IDE_ISSUE;
	set_deadline(ch, SELECT_NS);
	return true;
}

static void put_address(struct ide_channel *ch)
{
	const struct ide_job *j = &ch->job;

	/* A 48-bit command takes each register twice, the upper bytes first. */
	if (j->wide) {
		put(ch, ATA_COUNT, j->count >> 8);
		put(ch, ATA_LBA_LOW, j->lba >> 24);
		put(ch, ATA_LBA_MID, j->lba >> 32);
		put(ch, ATA_LBA_HIGH, j->lba >> 40);
	}
	put(ch, ATA_COUNT, j->count);
	put(ch, ATA_LBA_LOW, j->lba);
	put(ch, ATA_LBA_MID, j->lba >> 8);
	put(ch, ATA_LBA_HIGH, j->lba >> 16);
	put(ch, ATA_DEVICE, device_bits(j->drive) | ATA_DEVICE_LBA | (j->wide ? 0 : j->lba >> 24 & 15));
}

static bool issue(struct ide_channel *ch)
{
	uint8_t status = get(ch, ATA_STATUS);
	bool flush = ch->job.request->op == BLOCK_FLUSH;

	/* A drive that takes IDENTIFY as its first command need not have said that it is ready. */
	if (status & (ATA_STATUS_BSY | ATA_STATUS_DRQ) ||
	    (ch->job.command != ATA_IDENTIFY_DEVICE && !(status & ATA_STATUS_DRDY))) {
		if (is_late(ch))
			time_out(ch, "the drive does not get ready", status);
		return false;
	}
	put_address(ch);
	if (ch->job.dma) {
		ide_dma_prepare(&ch->dma, ch->job.to_drive);
		ch->job.given = true;
	}
	put(ch, ATA_COMMAND, ch->job.command);
	settle(ch);
	if (ch->job.dma)
		ide_dma_start(&ch->dma, ch->job.to_drive);
	ch->state = ch->job.dma ? IDE_DMA : ch->job.left > 0 ? IDE_DATA : IDE_END;
	set_deadline(ch, flush ? FLUSH_NS : COMMAND_NS);
	return true;
}

/* Memory for the next sector: where it belongs, or the bounce buffer when that is in pieces. */
static uint8_t *sector_memory(struct ide_channel *ch, uint32_t bytes)
{
	struct segment_cursor rest = ch->job.memory;
	uint8_t *data;

	if (segment_next(&rest, bytes, &data) != bytes)
		return ch->bounce;
	ch->job.memory = rest;
	return data;
}

/* block_check() has seen to it that there is memory for all sectors. */
static void move_words(struct ide_channel *ch, uint32_t bytes)
{
	struct ide_job *j = &ch->job;
	uint16_t port = (uint16_t)(ch->command + ATA_DATA);
	uint8_t *data = sector_memory(ch, bytes);
	bool bounces = data == ch->bounce;

	if (j->to_drive) {
		if (bounces)
			segment_copy_from(&j->memory, data, bytes);
		ch->ports->out16s(port, data, bytes / 2);
		return;
	}
	ch->ports->in16s(port, data, bytes / 2);
	if (bounces)
		segment_copy_to(&j->memory, data, bytes);
}

static bool move_sector(struct ide_channel *ch)
{
	struct ide_job *j = &ch->job;
	uint8_t status = get(ch, ATA_STATUS);
	uint32_t bytes = j->command == ATA_IDENTIFY_DEVICE ? ATA_ID_WORDS * 2 : j->drive->device.sector_bytes;

	if (!(status & ATA_STATUS_BSY) && has_failed(ch, status))
		return true;
	if (status & ATA_STATUS_BSY || !(status & ATA_STATUS_DRQ)) {
		if (is_late(ch))
			time_out(ch, status & ATA_STATUS_BSY ? "no answer" : "the drive does not ask for data", status);
		return false;
	}
	move_words(ch, bytes);
	settle(ch);
	if (--j->left == 0)
		ch->state = IDE_END;
	set_deadline(ch, COMMAND_NS);
	return true;
}

static bool wait_end(struct ide_channel *ch)
{
	uint8_t status = get(ch, ATA_STATUS);

	if (status & ATA_STATUS_BSY) {
		if (is_late(ch))
			time_out(ch, "no answer", status);
		return false;
	}
	if (has_failed(ch, status))
		return true;
	if (status & ATA_STATUS_DRQ) {
		if (is_late(ch))
			time_out(ch, "the drive has more data than was asked for", status);
		return false;
	}
	end_job(ch, ST_OK);
	return true;
}

/* What has gone wrong with the engine is only got rid of by a reset. */
static bool engine_failed(struct ide_channel *ch, const char *what, uint8_t status)
{
	time_out(ch, what, status);
	return true;
}

/* Drive and engine are at rest, so it needs no reset: the drive has ended the command before all was moved. */
static bool ended_early(struct ide_channel *ch)
{
	explain(ch, "less data than was asked for, error 0x%02x", get(ch, ATA_ERROR));
	ch->job.drive->troubles = 0; /* it answers */
	end_job(ch, ST_IO);
	return true;
}

/* The drive's interrupt, as the engine has seen it, is the end; the drive has to say so too. */
static bool wait_dma(struct ide_channel *ch)
{
	uint8_t told = ide_dma_status(&ch->dma), status;

	if (!(told & (IDE_BM_STATUS_INTERRUPT | IDE_BM_STATUS_ERROR))) {
		if (is_late(ch))
			time_out(ch, "no end of a transfer", ch->ports->in8(ch->control));
		return false;
	}
	status = ch->ports->in8(ch->control);
	/* An engine may call it its own error when the drive has ended the command with one. */
	if (told & IDE_BM_STATUS_ERROR && (status & ATA_STATUS_BSY || !(status & (ATA_STATUS_ERR | ATA_STATUS_DF))))
		return engine_failed(ch, "the transfer failed on the bus", status);
	if (status & ATA_STATUS_BSY) {
		if (is_late(ch))
			time_out(ch, "no end of a transfer", status);
		return false;
	}
	if (!ide_dma_stop(&ch->dma))
		return engine_failed(ch, "the engine does not stop", status);
	status = get(ch, ATA_STATUS); /* takes the interrupt back */
	if (has_failed(ch, status))
		return true;
	if (status & ATA_STATUS_DRQ)
		return engine_failed(ch, "more data than was asked for", status);
	if (told & IDE_BM_STATUS_ACTIVE)
		return ended_early(ch);
	end_job(ch, ST_OK);
	return true;
}

static bool step(struct ide_channel *ch)
{
	switch (ch->state) {
	case IDE_IDLE: return false;
	case IDE_RESET_HOLD: return hold_reset(ch);
	case IDE_RESET_WAIT: return wait_reset(ch);
	case IDE_SELECT: return select_drive(ch);
	case IDE_ISSUE: return issue(ch);
	case IDE_DATA: return move_sector(ch);
	case IDE_DMA: return wait_dma(ch);
	case IDE_END: return wait_end(ch);
	}
	return false;
}

/* ---- block_ops ---- */

static void start_job(struct ide_channel *ch, const struct ide_job *job)
{
	ch->job = *job;
	if (ch->reset_due) {
		begin_reset(ch);
		return;
	}
	ch->state = IDE_SELECT;
	set_deadline(ch, SELECT_NS);
}

static struct ide_drive *drive_of(struct block_device *device)
{
	return container_of(device, struct ide_drive, device);
}

static uint8_t command_for(const struct ide_drive *d, const struct ide_job *j, enum block_op op)
{
	if (op == BLOCK_FLUSH)
		return d->flush_ext ? ATA_FLUSH_CACHE_EXT : ATA_FLUSH_CACHE;
	if (j->dma && op == BLOCK_READ)
		return j->wide ? ATA_READ_DMA_EXT : ATA_READ_DMA;
	if (j->dma)
		return j->wide ? ATA_WRITE_DMA_EXT : ATA_WRITE_DMA;
	if (op == BLOCK_READ)
		return j->wide ? ATA_READ_SECTORS_EXT : ATA_READ_SECTORS;
	return j->wide ? ATA_WRITE_SECTORS_EXT : ATA_WRITE_SECTORS;
}

static struct ide_job job_for(struct ide_drive *d, struct block_request *r)
{
	struct ide_job job = {.drive = d, .request = r, .to_drive = r->op == BLOCK_WRITE};

	if (r->op != BLOCK_FLUSH) {
		job.memory = block_begin(r);
		job.lba = r->lba;
		job.count = job.left = (uint32_t)r->count;
		/* The short form wherever it reaches: drives know it better. */
		job.wide = r->lba + r->count > ATA_LBA28_SECTORS;
		job.dma = d->dma && ide_dma_map(&d->channel->dma, r, r->count * d->device.sector_bytes, job.to_drive);
	}
	job.command = command_for(d, &job, r->op);
	return job;
}

static void start_next(struct ide_channel *ch)
{
	for (unsigned i = 0; i < IDE_DRIVES && !ch->job.request; i++) {
		unsigned number = (ch->turn + i) % IDE_DRIVES;
		struct block_request *r;
		struct ide_job job;

		if (list_empty(&ch->queue[number]))
			continue;
		r = list_entry(ch->queue[number].next, struct block_request, link);
		list_remove(&r->link);
		ch->turn = number + 1;
		job = job_for(ch->drive[number], r);
		start_job(ch, &job);
	}
}

static void submit(struct block_device *device, struct block_request *r)
{
	struct ide_drive *d = drive_of(device);

	r->done = false;
	if (is_gone(d)) {
		block_end(r, ST_IO, "%s", GONE);
		return;
	}
	if (!device->volatile_cache && r->op == BLOCK_FLUSH) {
		/* A drive of before ATA-5 without the command has no cache to flush either. */
		block_end(r, ST_OK, "%s", "");
		return;
	}
	list_push_back(&d->channel->queue[d->number], &r->link);
	start_next(d->channel);
}

static bool poll(struct block_device *device)
{
	return step(drive_of(device)->channel);
}

static bool cancel(struct block_device *device, struct block_request *r)
{
	if (drive_of(device)->channel->job.request == r)
		return false;
	list_remove(&r->link);
	return true;
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .cancel = cancel};

/* ---- looking for drives ---- */

void ide_channel_init(struct ide_channel *ch, const struct ide_ports *ports, const struct clock *clock,
		      uint16_t command, uint16_t control)
{
	*ch = (struct ide_channel){
		.ports = ports, .clock = clock, .command = command, .control = control, .quiet = ATA_CONTROL_NIEN};
	for (unsigned i = 0; i < IDE_DRIVES; i++)
		list_init(&ch->queue[i]);
	put_control(ch, ATA_CONTROL_NIEN);
}

enum status ide_use_dma(struct ide_channel *ch, uint16_t base, const struct dma *dma, void *table)
{
	return ide_dma_init(&ch->dma, ch->ports, base, dma, table);
}

void ide_use_interrupts(struct ide_channel *ch)
{
	ch->quiet = 0;
	put_control(ch, 0);
}

/* Registers that keep what is written: some controller with a drive. Nothing but registers is touched. */
static bool answers(struct ide_channel *ch, const struct ide_drive *d)
{
	if (get(ch, ATA_STATUS) == ATA_STATUS_FLOATING)
		return false;
	put(ch, ATA_DEVICE, device_bits(d));
	settle(ch);
	put(ch, ATA_COUNT, PROBE_A);
	put(ch, ATA_LBA_LOW, PROBE_B);
	put(ch, ATA_COUNT, PROBE_B);
	put(ch, ATA_LBA_LOW, PROBE_A);
	if (get(ch, ATA_COUNT) != PROBE_B || get(ch, ATA_LBA_LOW) != PROBE_A)
		return false;
	/* Drive 0 answers for a missing drive 1, with a status of 0. */
	return get(ch, ATA_STATUS) != 0 && get(ch, ATA_STATUS) != ATA_STATUS_FLOATING;
}

static void copy_model(struct ide_drive *d, const uint16_t *id)
{
	size_t len = 0;

	for (unsigned i = 0; i < ATA_ID_MODEL_WORDS; i++) {
		d->model[2 * i] = (char)(id[ATA_ID_MODEL + i] >> 8);
		d->model[2 * i + 1] = (char)id[ATA_ID_MODEL + i];
	}
	for (unsigned i = 0; i < 2 * ATA_ID_MODEL_WORDS; i++) {
		if (d->model[i] < ' ' || d->model[i] > '~')
			d->model[i] = ' ';
		if (d->model[i] != ' ')
			len = i + 1;
	}
	d->model[len] = '\0';
}

static uint64_t words(const uint16_t *id, unsigned first, unsigned count)
{
	uint64_t v = 0;

	while (count-- > 0)
		v = v << 16 | id[first + count];
	return v;
}

static bool is_valid(uint16_t word)
{
	return (word & ATA_ID_VALID_MASK) == ATA_ID_VALID;
}

static enum status take_identity(struct ide_drive *d, const uint16_t *id, struct error *err)
{
	uint16_t commands = is_valid(id[ATA_ID_COMMANDS]) ? id[ATA_ID_COMMANDS] : 0, size = id[ATA_ID_SECTOR_SIZE];
	struct block_device *b = &d->device;

	copy_model(d, id);
	d->lba48 = commands & ATA_ID_COMMANDS_LBA48;
	d->dma = id[ATA_ID_CAPABILITIES] & ATA_ID_CAPABILITIES_DMA;
	d->flush_ext = commands & ATA_ID_COMMANDS_FLUSH_EXT;
	b->volatile_cache = d->flush_ext || commands & ATA_ID_COMMANDS_FLUSH;
	b->sectors = words(id, ATA_ID_SECTORS28, 2);
	if (d->lba48)
		b->sectors = MAX(b->sectors, MIN(words(id, ATA_ID_SECTORS48, 4), ATA_LBA48_SECTORS));
	else
		b->sectors = MIN(b->sectors, ATA_LBA28_SECTORS);
	b->sector_bytes = BLOCK_SECTOR_MIN;
	if (is_valid(size) && size & ATA_ID_SECTOR_SIZE_LARGE)
		b->sector_bytes = (uint32_t)MIN(words(id, ATA_ID_SECTOR_WORDS, 2) * 2, UINT32_MAX);
	if (!(id[ATA_ID_CAPABILITIES] & ATA_ID_CAPABILITIES_LBA) || b->sectors == 0)
		return fail(err, ST_UNSUPPORTED, "%s (%s) cannot be addressed by LBA", b->name, d->model);
	if (b->sector_bytes < BLOCK_SECTOR_MIN || b->sector_bytes > BLOCK_SECTOR_MAX ||
	    b->sector_bytes & (b->sector_bytes - 1))
		return fail(err, ST_UNSUPPORTED, "%s (%s) has sectors of %u bytes", b->name, d->model, b->sector_bytes);
	return ST_OK;
}

static enum status identify(struct ide_drive *d, uint16_t *id, struct error *err)
{
	struct ide_channel *ch = d->channel;
	struct io_segment segment = {id, ATA_ID_WORDS * 2};
	struct error why = {.text = ""};
	struct block_request r = {.op = BLOCK_READ, .segments = &segment, .segment_count = 1, .error = &why};
	struct ide_job job = {.drive = d, .request = &r, .command = ATA_IDENTIFY_DEVICE, .count = 1, .left = 1};
	uint8_t mid, high;

	job.memory = block_begin(&r);
	ch->drive[d->number] = d;
	start_job(ch, &job);
	while (!r.done)
		step(ch);
	if (r.status == ST_OK)
		return ST_OK;
	mid = get(ch, ATA_LBA_MID);
	high = get(ch, ATA_LBA_HIGH);
	if (mid == ATA_PACKET_MID && high == ATA_PACKET_HIGH)
		return fail(err, ST_UNSUPPORTED, "%s is a packet device", d->device.name);
	return fail(err, ST_IO, "%s: IDENTIFY DEVICE failed: %s", d->device.name, why.text);
}

enum status ide_probe(struct ide_channel *ch, unsigned number, struct ide_drive *out, struct error *err)
{
	struct ide_drive *d = out;
	uint16_t id[ATA_ID_WORDS];
	enum status st;

	*d = (struct ide_drive){.channel = ch, .number = number};
	d->device = (struct block_device){.ops = &ops, .max_count = ATA_COUNT_MAX, .at_once = 1};
	format(d->device.name, sizeof d->device.name, "drive %u at 0x%x", number, ch->command);
	if (!answers(ch, d))
		return fail(err, ST_NOT_FOUND, "%s: nothing is there", d->device.name);
	st = identify(d, id, err);
	return st == ST_OK ? take_identity(d, id, err) : st;
}
