/* run_wire.c - see run_wire.h. Every field of the other side is checked, whoever it is. */
#include "edge/run_wire.h"

#include <stdio.h>

#include "base/bytes.h"

enum { VERSION = 1, LENGTH_BYTES = 4 };

/* ---- framing ------------------------------------------------------------------------------------ */

static bool put_frame(struct buf *out, struct buf *payload)
{
	bytes_put_u32(out, buf_len(payload));
	buf_add_span(out, buf_span(payload));
	bool ok = buf_ok(out) && buf_ok(payload);
	buf_end(payload);
	return ok;
}

static enum run_got take_frame(struct span bytes, size_t max, struct bytes_reader *r)
{
	*r = bytes_reader_of(bytes);
	if (bytes.n < LENGTH_BYTES)
		return RUN_MORE;
	uint32_t n = bytes_u32(r);
	if (n > max - LENGTH_BYTES || r->rest.n > n)
		return RUN_BAD;
	if (r->rest.n < n)
		return RUN_MORE;
	return bytes_u8(r) == VERSION ? RUN_WHOLE : RUN_BAD;
}

static enum run_got end_frame(const struct bytes_reader *r)
{
	return bytes_ok(r) && r->rest.n == 0 ? RUN_WHOLE : RUN_BAD;
}

/* ---- questions ---------------------------------------------------------------------------------- */

bool run_ask_put(struct buf *out, const struct run_ask *a)
{
	struct buf b = BUF_INIT(RUN_ASK_MAX);
	bytes_put_u8(&b, VERSION);
	bytes_put_u8(&b, (unsigned)a->kind);
	bytes_put_string(&b, a->channel);
	bytes_put_ident(&b, a->id);
	bytes_put_u16(&b, a->recipient);
	bytes_put_string(&b, a->address);
	bytes_put_string(&b, a->user);
	bytes_put_string(&b, a->detail);
	bytes_put_string(&b, a->sender);
	bytes_put_u64(&b, a->arrived_us);
	bytes_put_u8(&b, a->again);
	bytes_put_u8(&b, a->ours);
	bytes_put_string(&b, a->to);
	return put_frame(out, &b);
}

/* NUL would end a name sooner here than there. */
static struct span get_name(struct bytes_reader *r)
{
	struct span s = bytes_string(r, RUN_STRING_MAX);
	if (span_find(s, '\0') != SIZE_MAX)
		r->bad = true;
	return s;
}

static bool get_bool(struct bytes_reader *r)
{
	uint8_t v = bytes_u8(r);
	r->bad = r->bad || v > 1;
	return v == 1;
}

enum run_got run_ask_get(struct span bytes, struct run_ask *out)
{
	struct bytes_reader r;
	enum run_got got = take_frame(bytes, RUN_ASK_MAX, &r);
	if (got != RUN_WHOLE)
		return got;
	*out = (struct run_ask){ .kind = (enum run_kind)bytes_u8(&r) };
	if (out->kind >= RUN_KINDS)
		return RUN_BAD;
	out->channel = get_name(&r);
	out->id = bytes_ident(&r);
	out->recipient = bytes_u16(&r);
	out->address = get_name(&r);
	out->user = get_name(&r);
	out->detail = get_name(&r);
	out->sender = get_name(&r);
	out->arrived_us = bytes_u64(&r);
	out->again = get_bool(&r);
	out->ours = get_bool(&r);
	out->to = get_name(&r);
	if (out->id.s[0] == '\0' || out->channel.n == 0)
		return RUN_BAD;
	return end_frame(&r);
}

/* ---- answers ------------------------------------------------------------------------------------ */

bool run_answer_put(struct buf *out, const struct run_answer *a)
{
	struct buf b = BUF_INIT(RUN_ANSWER_MAX);
	bytes_put_u8(&b, VERSION);
	bytes_put_u8(&b, (unsigned)a->end);
	bytes_put_u8(&b, a->code & 0xff);
	bytes_put_string(&b, span_first(a->text, RUN_TEXT_MAX));
	return put_frame(out, &b);
}

enum run_got run_answer_get(struct span bytes, struct run_answer *out)
{
	struct bytes_reader r;
	enum run_got got = take_frame(bytes, RUN_ANSWER_MAX, &r);
	if (got != RUN_WHOLE)
		return got;
	*out = (struct run_answer){ .end = (enum run_end)bytes_u8(&r) };
	if (out->end >= RUN_ENDS)
		return RUN_BAD;
	out->code = bytes_u8(&r);
	out->text = bytes_string(&r, RUN_TEXT_MAX);
	return end_frame(&r);
}

const char *run_socket_path(const char *run_dir, char path[RUN_PATH_SIZE])
{
	int n = snprintf(path, RUN_PATH_SIZE, "%s/edge-run.sock", run_dir);
	return n > 0 && n < RUN_PATH_SIZE ? path : "";
}
