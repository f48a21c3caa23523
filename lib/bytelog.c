/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sequence number masked by the size is the place in the buffer; a copy is
 * split in two where it passes the buffer's end.
 */
#include "lib/bytelog.h"

#include "lib/assert.h"

void bytelog_init(struct bytelog *log, void *buf, uint32_t size)
{
	ASSERT(size != 0 && (size & (size - 1)) == 0);
	*log = (struct bytelog){.buf = buf, .size = size};
}

void bytelog_putc(struct bytelog *log, uint8_t byte)
{
	log->buf[log->head & (log->size - 1)] = byte;
	log->head++;
}

void bytelog_write(struct bytelog *log, const void *data, size_t len)
{
	const uint8_t *in = data;
	size_t at, first;

	if (len > log->size) {
		/* Only the last size bytes survive, but all of them count. */
		log->head += len - log->size;
		in += len - log->size;
		len = log->size;
	}
	if (len == 0)
		return;
	at = log->head & (log->size - 1);
	first = MIN(len, log->size - at);
	memcpy(log->buf + at, in, first);
	memcpy(log->buf, in + first, len - first);
	log->head += len;
}

uint64_t bytelog_oldest(const struct bytelog *log)
{
	return log->head > log->size ? log->head - log->size : 0;
}

size_t bytelog_read(const struct bytelog *log, uint64_t *seq, void *out, size_t max)
{
	uint64_t from = MIN(MAX(*seq, bytelog_oldest(log)), log->head);
	size_t len = MIN(log->head - from, max);
	size_t at = from & (log->size - 1);
	size_t first = MIN(len, log->size - at);

	if (len > 0) {
		memcpy(out, log->buf + at, first);
		memcpy((uint8_t *)out + first, log->buf, len - first);
	}
	*seq = from + len;
	return len;
}
