/* spool_wire.c - frames between worker and queue. Both ends are ours, and still every length is bounded. */
#include "edge/spool_wire.h"

#include <stdio.h>

#include "base/bytes.h"

static size_t payload_max(unsigned type)
{
	switch (type) {
	case SPOOL_FRAME_PUT:
		return SPOOL_FRAME_MAX;
	case SPOOL_FRAME_DATA:
		return SPOOL_FRAME_DATA_MAX;
	case SPOOL_FRAME_DURABLE:
	case SPOOL_FRAME_FAILED:
	case SPOOL_FRAME_KICK:
	case SPOOL_FRAME_KICKED:
	case SPOOL_FRAME_RELEASE:
	case SPOOL_FRAME_WITHDRAW:
	case SPOOL_FRAME_PING:
	case SPOOL_FRAME_HELD:
	case SPOOL_FRAME_LISTED:
		return SPOOL_FRAME_SHORT;
	case SPOOL_FRAME_HELLO:
		return SPOOL_NAME_MAX + SPOOL_SECRET_MAX + 12;
	default:
		return 0;
	}
}

enum spool_frame_rx spool_frame_take(struct span input, struct spool_frame *out, size_t *eat_out)
{
	struct bytes_reader r = bytes_reader_of(input);
	uint32_t n = bytes_u32(&r);
	unsigned type = bytes_u8(&r);
	*eat_out = 0;
	if (!bytes_ok(&r))
		return SPOOL_FRAME_MORE;
	if (n == 0 || n > payload_max(type))
		return SPOOL_FRAME_BAD;
	if (r.rest.n < n)
		return SPOOL_FRAME_MORE;
	out->type = (enum spool_frame_type)type;
	out->payload = span_first(r.rest, n);
	*eat_out = SPOOL_FRAME_HEAD + n;
	return SPOOL_FRAME_READY;
}

bool spool_frame_put(struct buf *out, enum spool_frame_type type, struct span payload)
{
	bytes_put_u32(out, payload.n);
	bytes_put_u8(out, (unsigned)type);
	return buf_add_span(out, payload);
}

bool spool_answer_put(struct buf *out, enum spool_frame_type type, const struct spool_answer *a)
{
	struct buf payload = BUF_INIT(1024);
	bytes_put_ident(&payload, a->id);
	bytes_put_string(&payload, span_first(a->why, 500));
	bool ok = buf_ok(&payload) && spool_frame_put(out, type, buf_span(&payload));
	buf_end(&payload);
	return ok;
}

bool spool_answer_get(struct span payload, struct spool_answer *out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	out->id = bytes_ident(&r);
	out->why = bytes_string(&r, 500);
	return bytes_ok(&r) && r.rest.n == 0 && out->id.s[0] != '\0';
}

bool spool_hello_put(struct buf *out, const struct spool_hello *h)
{
	struct buf payload = BUF_INIT(SPOOL_NAME_MAX + SPOOL_SECRET_MAX + 12);
	bytes_put_string(&payload, h->name);
	bytes_put_string(&payload, h->secret);
	bytes_put_u64(&payload, h->spool);
	bool ok = buf_ok(&payload) && spool_frame_put(out, SPOOL_FRAME_HELLO, buf_span(&payload));
	buf_end(&payload);
	return ok;
}

bool spool_hello_get(struct span payload, struct spool_hello *out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	out->name = bytes_string(&r, SPOOL_NAME_MAX);
	out->secret = bytes_string(&r, SPOOL_SECRET_MAX);
	out->spool = bytes_u64(&r);
	return bytes_ok(&r) && r.rest.n == 0 && out->name.n > 0;
}

bool spool_id_put(struct buf *out, enum spool_frame_type type, struct ident id, bool adopted)
{
	struct buf payload = BUF_INIT(64);
	bytes_put_ident(&payload, id);
	bytes_put_u8(&payload, adopted);
	bool ok = spool_frame_put(out, type, buf_span(&payload));
	buf_end(&payload);
	return ok;
}

bool spool_id_get(struct span payload, struct ident *id_out, bool *adopted_out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	*id_out = bytes_ident(&r);
	*adopted_out = bytes_u8(&r) != 0;
	return bytes_ok(&r) && r.rest.n == 0 && id_out->s[0] != '\0';
}

bool spool_word_put(struct buf *out, enum spool_frame_type type)
{
	return spool_frame_put(out, type, SPAN("."));
}

const char *spool_socket_path(const char *run_dir, char out[SPOOL_PATH_SIZE])
{
	snprintf(out, SPOOL_PATH_SIZE, "%s/edge-spool.sock", run_dir);
	return out;
}
