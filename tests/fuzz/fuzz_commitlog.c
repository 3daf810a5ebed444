/* fuzz_commitlog.c - opening and replaying segments that somebody else has written.
 *
 * First byte odd: the input is a whole segment file. Even: it is damage done to a good log, as pairs of
 * (offset, xor), and then every record that comes out must be one that went in. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "commitlog/commitlog.h"
#include "commitlog/record.h"
#include "tests/fuzz/folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool see(void *arg, const struct log_record *r)
{
	bool *good = arg;
	CHECK(r->payload.n <= COMMITLOG_PAYLOAD_MAX);
	for (size_t i = 0; *good && !r->dead && i < r->payload.n; i++)
		CHECK(r->payload.p[i] == (char)('a' + r->type));
	return true;
}

static void put_file(const void *p, size_t n)
{
	char path[100];
	snprintf(path, sizeof path, "%s/00000001.seg", fuzz_folder);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
	for (uint32_t i = 2; i < 8; i++) {
		snprintf(path, sizeof path, "%s/%08x.seg", fuzz_folder, i);
		unlink(path);
	}
}

static size_t good_log(uint8_t *out)
{
	struct segment_header sh = { 1, 0x1234, 0 };
	size_t at = SEGMENT_HEADER_BYTES;
	segment_header_encode(&sh, out);
	for (uint32_t type = 1; type < 6; type++) {
		uint32_t length = type * 30;
		memset(out + at + RECORD_HEADER_BYTES, 'a' + (int)type, length);
		struct record_header h = {
			.length = length, .type = type, .durable = pos_of(1, at)
		};
		h.payload_crc = hash_crc32c(0, out + at + RECORD_HEADER_BYTES, length);
		record_header_encode(&h, pos_of(1, at), sh.salt, out + at);
		at += record_bytes(length);
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct loop *loop;
	bool good = n > 0 && data[0] % 2 == 0;
	if (loop == NULL) {
		fuzz_folder_make();
		loop = loop_new();
	}
	if (good) {
		uint8_t log[4096] = { 0 };
		size_t have = good_log(log);
		for (size_t i = 1; i + 2 < n; i += 3)
			log[(size_t)(data[i] | data[i + 1] << 8) % have] ^= data[i + 2];
		put_file(log, have);
	} else {
		put_file(data, n);
	}
	struct commitlog_opts o = {
		.dir = fuzz_folder, .segment_bytes = 4096, .unsafe_no_sync = true
	};
	err_t err;
	struct commitlog *log = commitlog_open(loop, &o, &err, NULL);
	if (log != NULL) {
		log_pos pos;
		(void)commitlog_replay(log, 0, see, &good);
		struct span part = span_of("bbb", 3);
		CHECK(commitlog_append(log, 1, &part, 1, &pos) == ERR_OK);
		commitlog_close(&log);
	}
	return 0;
}
