/* across.c - messages on their way to another partition; see across.h.
 *
 * Before: change.c, which knows them. After: append.c, to which each message is what a client would send: its options, and a
 * literal whose bytes come from the log; change.c takes them away. Owns the list of them. */
#include "store-backend/imap/across.h"

#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/append.h"
#include "store-backend/imap/blob.h"
#include "store-backend/imap/change.h"
#include "store-backend/imap/shared.h"

enum { PIECE_MAX = 256 * 1024, CODE_MAX = IMAP_REPLY_MAX / 2 };

struct imap_across {
	uint32_t *uids; /* owned */
	size_t n, at;
	struct blob blob; /* of the message under way; does not move */
	uint64_t taken;   /* of its bytes */
};

void imap_across_free(struct imap_across **xp)
{
	if (*xp == NULL)
		return;
	mem_free((*xp)->uids);
	MEM_FREE(xp);
}

/* ---- what there is ----------------------------------------------------------------------------------------- */

uint32_t *across_uids(const struct imap_session *s, size_t *n_out)
{
	const struct selected *box = s->box;
	struct uid_set set = imap_change_uids(s);
	uint32_t *uids = mem_array(STORE_AT_ONCE_MAX, sizeof *uids);
	size_t n = 0;
	for (size_t k = 0; k < set.n; k++) {
		size_t i = selected_lower(box, set.v[k].first);
		for (; i < box->n && box->v[i].uid <= set.v[k].last; i++) {
			if (n == STORE_AT_ONCE_MAX) {
				mem_free(uids);
				return NULL;
			}
			uids[n++] = box->v[i].uid;
		}
	}
	*n_out = n;
	return uids;
}

static bool find_entry(const struct imap_session *s, uint32_t uid, struct index_entry *out)
{
	struct index_view *v = index_view_begin(s->box_in->index);
	bool there = v != NULL && index_entry(v, s->box->id, uid, out);
	index_view_end(&v);
	return there;
}

bool across_put_head(
    struct imap_session *s, uint32_t uid, struct buf *out, struct index_entry *entry_out)
{
	size_t i = selected_find(s->box, uid);
	if (i == s->box->n || !find_entry(s, uid, entry_out))
		return false;
	struct selected_message m = s->box->v[i];
	m.bits &= ~(uint32_t)IMAP_RECENT;
	buf_add_char(out, ' ');
	selected_put_flags(s->box, &m, out);
	buf_add_char(out, ' ');
	imap_put_date_time_zone(out, entry_out->date_s, entry_out->date_zone);
	buf_printf(out, " {%llu}\r\n", (unsigned long long)entry_out->size);
	CHECK(buf_ok(out));
	return true;
}

/* ---- to the append ------------------------------------------------------------------------------------------ */

static enum verdict offer(struct imap_session *s)
{
	struct imap_across *x = s->across;
	struct index_entry e = { 0 };
	struct buf *room = imap_append_room(s);
	bool more = x->at < x->n;
	if (more && !across_put_head(s, x->uids[x->at], room, &e)) {
		imap_append_drop(s);
		return imap_finish(s, "NO", ACROSS_EXPUNGED);
	}
	if (more) {
		blob_init(&x->blob, s->box_in->reader, &e);
		x->taken = 0;
	}
	return imap_append_offer(s, more, e.size);
}

/* Others have their turn between the pieces. */
enum verdict imap_across_feed(struct imap_session *s)
{
	struct imap_across *x = s->across;
	size_t n = s->literal_left < PIECE_MAX ? (size_t)s->literal_left : PIECE_MAX;
	char *piece = mem_array(PIECE_MAX, 1);
	err_t err = x->blob.bytes.read(x->blob.bytes.arg, x->taken, piece, n);
	if (!err)
		imap_append_data(s, span_of(piece, n));
	mem_free(piece);
	if (err) {
		imap_append_drop(s);
		return imap_finish_later(s);
	}
	x->taken += n;
	s->literal_left -= n;
	if (s->literal_left > 0)
		return imap_yield(s);
	x->at++;
	return offer(s);
}

/* ---- begin and end ------------------------------------------------------------------------------------------- */

/* The committer of the target knows nothing of this side. */
static enum operation_result may_leave(struct imap_session *s)
{
	struct index_mailbox m;
	uint32_t needed = ACL_READ | (imap_is_move(s) ? ACL_TRASH | ACL_EXPUNGE : 0);
	struct index_view *v = index_view_begin(s->box_in->index);
	if (v == NULL)
		return OPR_LATER;
	enum operation_result r = OPR_NO_MAILBOX;
	if (index_mailbox_get(v, s->box->id, &m))
		r = (index_rights(v, &m, span_str(s->user)) & needed) == needed ? OPR_OK
										: OPR_DENIED;
	index_view_end(&v);
	return r;
}

enum verdict imap_across_start(struct imap_session *s)
{
	enum operation_result r = may_leave(s);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	struct imap_across *x = s->across = MEM_NEW(struct imap_across);
	x->uids = across_uids(s, &x->n);
	if (x->uids == NULL)
		return imap_finish(
		    s, "NO", "[LIMIT] Too many messages at once for another partition");
	if (x->n == 0)
		return imap_finish_done(s);
	s->partition = shared_partition(s, buf_span(&s->cmd.name));
	return offer(s);
}

static void put_copyuid(
    struct buf *out, const struct imap_across *x, uint32_t uidvalidity, uint32_t first)
{
	struct imap_set_writer w = { .out = out };
	buf_printf(out, "[COPYUID %u ", uidvalidity);
	for (size_t i = 0; i < x->n; i++)
		imap_set_write(&w, x->uids[i], x->uids[i]);
	imap_set_write_end(&w);
	buf_printf(out, " %u", first);
	if (x->n > 1)
		buf_printf(out, ":%u", first + (uint32_t)x->n - 1);
	buf_add_str(out, "]");
}

enum verdict imap_across_done(struct imap_session *s, uint32_t uidvalidity, uint32_t first)
{
	struct buf code = BUF_INIT(CODE_MAX);
	enum verdict v;
	put_copyuid(&code, s->across, uidvalidity, first);
	if (imap_is_move(s)) {
		imap_say(s, "* OK %s Moved\r\n", buf_cstr(&code));
		s->partition = s->box_in;
		v = imap_change_take_away(s);
	} else {
		v = imap_finishf(s, "OK", "%s COPY completed", buf_cstr(&code));
	}
	buf_end(&code);
	return v;
}
