/* pipe_leave.c - a pipe moves to another process: its record there and back (beside pipe.c). Owns nothing. */
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/pipe_internal.h"
#include "net/tls_park.h"

enum { PLAIN, PARKED };

static enum pipe_stay side_why_stays(const struct side *s)
{
	if (s->eof || s->sending != SEND_OPEN ||
	    (s->wire.park != NULL && tls_park_has_end(s->wire.park)))
		return PIPE_STAYS_HALF_CLOSED;
	return s->wire.ssl != NULL ? PIPE_STAYS_TLS : PIPE_MAY_LEAVE;
}

enum pipe_stay pipe_why_stays(const struct pipe *p)
{
	if (p->frozen || p->over || p->waits || p->farewell != NULL)
		return PIPE_STAYS_ENDING;
	enum pipe_stay why = side_why_stays(&p->sides[CLIENT]);
	if (why == PIPE_MAY_LEAVE)
		why = side_why_stays(&p->sides[STORE]);
	return why == PIPE_MAY_LEAVE && p->cause_known ? PIPE_STAYS_ENDING : why;
}

void pipe_freeze(struct pipe *p)
{
	CHECK(pipe_may_leave(p));
	p->frozen = true;
	timer_clear(&p->idle);
	soon_clear(&p->soon);
	for (int i = CLIENT; i <= STORE; i++) {
		side_unstick(&p->sides[i]);
		watch_set(&p->sides[i].watch, 0);
	}
}

void pipe_thaw(struct pipe *p)
{
	CHECK(p->frozen);
	p->frozen = false;
	pipe_arm(p, pipe_idle_ms(p));
	soon_set(pipe_loop(p), &p->soon);
}

static bool save_side(const struct side *s, struct buf *out)
{
	size_t held = s->held != NULL ? s->held->n - s->held->at : 0;
	bytes_put_u8(out, s->wire.park != NULL ? PARKED : PLAIN);
	bytes_put_u64(out, s->received);
	bytes_put_u32(out, held);
	if (held > 0)
		buf_add(out, s->held->bytes + s->held->at, held);
	return s->wire.park == NULL || tls_park_save(s->wire.park, out);
}

bool pipe_save(struct pipe *p, struct buf *out, int fds_out[2])
{
	CHECK(p->frozen);
	p->lent = true;
	bytes_put_u64(out, p->last_ms);
	for (int i = CLIENT; i <= STORE; i++) {
		if (!save_side(&p->sides[i], out))
			return false;
		fds_out[i] = p->sides[i].wire.fd;
	}
	return buf_ok(out);
}

static bool load_side(struct side *s, struct bytes_reader *in)
{
	unsigned kind = bytes_u8(in);
	s->received = bytes_u64(in);
	side_hold(s, bytes_raw(in, bytes_u32(in)));
	if (kind == PARKED)
		s->wire.park = tls_park_load(in);
	return bytes_ok(in) && kind <= PARKED && (kind == PLAIN || s->wire.park != NULL);
}

struct pipe *pipe_load(
    struct loop *l, struct bytes_reader *in, const int fds[2], const struct pipe_owner *owner)
{
	struct pipe *p = pipe_new(l, owner);
	uint64_t last_ms = bytes_u64(in);
	p->frozen = p->lent = true;
	if (last_ms < p->last_ms)
		p->last_ms = last_ms;
	if (!load_side(&p->sides[CLIENT], in) || !load_side(&p->sides[STORE], in) ||
	    in->rest.n > 0) {
		pipe_free(&p); /* it has no descriptor yet */
		return NULL;
	}
	for (int i = CLIENT; i <= STORE; i++) {
		p->sides[i].wire.fd = fds[i];
		side_watch(&p->sides[i]);
	}
	return p;
}
