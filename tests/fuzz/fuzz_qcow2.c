/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that say they are qcow2 images. The input is the file's beginning; it is
 * opened, and read at a few places in pieces and all at once. Whatever it holds,
 * each request ends, and what cannot be read is explained.
 */
#include <stdlib.h>
#include <string.h>

#include "io/qcow2.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"

#define FILE_BYTES (256u * 1024)
#define REQUESTS 12u

static struct fault_disk disk;
static struct qcow2 image;
static uint8_t back[REQUESTS][16384];

static void must(bool good_so_far)
{
	if (!good_so_far)
		abort();
}

static void read_all(void)
{
	static const uint64_t places[] = {0, 1, 7, 60, 127, 128, 1000, 4096, 1u << 20, 1ull << 33, UINT64_MAX};
	struct block_request r[REQUESTS];
	struct io_segment s[REQUESTS];
	struct error err[REQUESTS];
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t lba = MIN(places[i], image.device.sectors - 1);

		s[n] = (struct io_segment){back[n], sizeof back[n]};
		r[n] = (struct block_request){.op = BLOCK_READ, .lba = lba, .count = MIN(32, image.device.sectors - lba),
					      .segments = &s[n], .segment_count = 1, .error = &err[n]};
		err[n].text[0] = '\0';
		must(block_check(&image.device, &r[n], NULL) == ST_OK);
		image.device.ops->submit(&image.device, &r[n]);
		n++;
	}
	for (unsigned polls = 0; n > 0; polls++) {
		must(polls < 100000);
		image.device.ops->poll(&image.device);
		while (n > 0 && r[n - 1].done) {
			n--;
			must(r[n].status == ST_OK || err[n].text[0]);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
	struct error err = {.text = ""};

	if (!disk.view)
		fault_disk_init(&disk, FILE_BYTES, 512);
	memset(disk.view, 0, FILE_BYTES);
	memcpy(disk.view, in, MIN(size, (size_t)FILE_BYTES));
	for (unsigned turn = 0; turn < 2; turn++) {
		if (qcow2_open(&image, &disk.device, "image", &err) != ST_OK) {
			must(err.text[0]);
			return 0;
		}
		read_all();
		read_all();
	}
	return 0;
}
