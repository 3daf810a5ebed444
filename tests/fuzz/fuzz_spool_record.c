/* fuzz_spool_record.c - records of the spool from a lying disk; what is understood is written back the
 * same, and what an older version can say, or did, as that. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/spool_record.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(struct span in)
{
	struct spool_message m, again;
	struct buf out = BUF_INIT(SPOOL_RECORD_MAX);
	if (spool_message_get(in, &m) == ERR_OK) {
		spool_message_is_whole(&m, in);
		CHECK(spool_message_put(&out, &m));
		CHECK(spool_message_get(buf_span(&out), &again) == ERR_OK);
		CHECK(
		    again.recipient_count == m.recipient_count && again.body_bytes == m.body_bytes);
		CHECK(again.body_at == buf_len(&out));
		CHECK(buf_span(&out).p[0] != in.p[0] || m.body_at == again.body_at);
		spool_message_end(&again);
	}
	spool_message_end(&m);
	buf_end(&out);
}

static void check_progress(struct span in)
{
	struct spool_progress p, again;
	struct buf out = BUF_INIT(SPOOL_RECORD_MAX);
	if (spool_progress_get(in, &p) == ERR_OK) {
		CHECK(spool_progress_put(&out, &p));
		CHECK(buf_span(&out).p[0] != in.p[0] || buf_len(&out) == in.n);
		CHECK(spool_progress_get(buf_span(&out), &again) == ERR_OK);
		spool_progress_end(&again);
	}
	spool_progress_end(&p);
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct spool_done d;
	check_message(in);
	check_progress(in);
	spool_done_get(in, &d);
	return 0;
}
