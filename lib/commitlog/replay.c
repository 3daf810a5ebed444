/* replay.c - step 3, beside commitlog.c and reader.c: the records of a segment one after the other, damage among
 * them. Owns nothing. */
#include "commitlog/replay.h"

/* Reads what the record's callback gets to see. */
static err_t replay_load(
    struct replay *r, struct walk *w, const struct record_header *h, struct log_record *rec)
{
	rec->type = h->type;
	rec->dead = h->dead;
	rec->payload = span_of(NULL, h->length);
	if (h->dead)
		return ERR_OK;
	err_t err = walk_payload(w, rec->pos, h, &r->payload);
	rec->damaged = err == ERR_CORRUPT;
	if (rec->damaged)
		buf_clear(&r->payload);
	rec->payload = buf_span(&r->payload);
	return rec->damaged ? ERR_OK : err;
}

err_t replay_walk(struct replay *r, struct walk *w)
{
	err_t err = ERR_OK;
	while (!err && !r->stopped) {
		struct record_header h;
		struct log_record rec = { .pos = pos_of(w->number, w->at) };
		if (rec.pos >= r->to) {
			r->stopped = true;
			break;
		}
		enum walk_result res = walk_next(w, &rec.pos, &h);
		if (res == WALK_END)
			break;
		if (res == WALK_RECORD) {
			err = replay_load(r, w, &h, &rec);
		} else {
			rec.damaged = true;
			rec.lost = res == WALK_BAD ? walk_skip(w) : 0;
			err = res == WALK_IO || w->failed ? ERR_IO : ERR_OK;
		}
		if (!err)
			r->stopped = !r->fn(r->arg, &rec);
	}
	return err;
}
