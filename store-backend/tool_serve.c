/* tool_serve.c - postern-store serve: one user's mail for another store that pulls it, beside a committer that
 * works. Answers questions until its input ends. Reads only; owns the open partition. */
#include <inttypes.h>

#include "store-backend/store.h"
#include "store-backend/tool_internal.h"
#include "store-backend/tool_move.h"

enum { PIECE = 65536 };

struct serve {
	FILE *in, *out;
	struct tool_partition p;
	struct span user;
	struct buf frame;        /* under construction */
	enum move_frame rows;    /* kind of the rows in it */
	struct index_view *view; /* of the question under way */
	bool ok;                 /* the other end is there */
};

/* ---- frames ------------------------------------------------------------------------------------------------ */

bool move_put(FILE *to, enum move_frame kind, struct span body)
{
	uint32_t n = (uint32_t)body.n + 1;
	uint8_t head[5] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24),
		(uint8_t)kind };
	return fwrite(head, sizeof head, 1, to) == 1 &&
	       (body.n == 0 || fwrite(body.p, body.n, 1, to) == 1);
}

bool move_get(FILE *from, enum move_frame *kind_out, struct buf *b)
{
	uint8_t head[5];
	char *p;
	buf_clear(b);
	if (fread(head, sizeof head, 1, from) != 1)
		return false;
	uint32_t n = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
		     (uint32_t)head[3] << 24;
	*kind_out = (enum move_frame)head[4];
	if (n < 1 || n - 1 > MOVE_FRAME_MAX || head[4] == 0 || head[4] >= MOVE_KIND_COUNT)
		return false;
	if (n == 1)
		return true;
	if (buf_room(b, n - 1, &p) < n - 1 || fread(p, n - 1, 1, from) != 1)
		return false;
	buf_added(b, n - 1);
	return true;
}

static void put(struct serve *s, enum move_frame kind)
{
	s->ok = s->ok && buf_ok(&s->frame) && move_put(s->out, kind, buf_span(&s->frame));
	buf_clear(&s->frame);
}

/* Rows are sent when a frame is full of them. */
static bool row_done(struct serve *s, size_t bytes)
{
	if (buf_len(&s->frame) >= bytes * MOVE_ROWS)
		put(s, s->rows);
	return s->ok;
}

static void rows_begin(struct serve *s, enum move_frame kind)
{
	s->rows = kind;
}

static void rows_end(struct serve *s)
{
	if (buf_len(&s->frame) > 0)
		put(s, s->rows);
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void on_user(struct serve *s, struct wire_in *w)
{
	struct index_user u = { 0 };
	bool there = s->view != NULL && index_user(s->view, s->user, &u);
	enum store_stay stay = s->view != NULL ? index_stay(s->view, s->user) : STAY_HERE;
	uint32_t version = wire_get_u32(w);
	struct span user = wire_get_string(w, STORE_USER_MAX);
	if (w->bad || version != MOVE_VERSION || !span_eq(user, s->user))
		there = false;
	if (!w->bad && version != MOVE_VERSION)
		fprintf(stderr,
		    "postern-store: the new store moves users by version %u, this one by "
		    "version %u: the older of the two is to be upgraded first\n",
		    version, (unsigned)MOVE_VERSION);
	wire_put_u8(&s->frame, there);
	wire_put_u8(&s->frame, (uint8_t)stay);
	wire_put_u64(&s->frame, u.quota_bytes);
	wire_put_u64(&s->frame, u.quota_messages);
	wire_put_u32(&s->frame, MOVE_VERSION);
	put(s, MOVE_USER);
}

static bool put_acl(void *arg, struct span who, uint32_t rights)
{
	struct serve *s = arg;
	wire_put_string(&s->frame, who);
	wire_put_u32(&s->frame, rights);
	put(s, MOVE_ACL);
	return s->ok;
}

static bool put_mailbox(void *arg, const struct index_mailbox *m)
{
	struct serve *s = arg;
	struct buf *b = &s->frame;
	wire_put_u64(b, m->id);
	wire_put_string(b, m->name);
	wire_put_u32(b, m->uses);
	wire_put_u32(b, m->uidvalidity);
	wire_put_u32(b, m->uidnext);
	wire_put_u32(b, m->recent_from);
	wire_put_u64(b, m->modseq);
	wire_put_u64(b, m->vanished_from);
	wire_put_u64(b, index_mailbox_digest(s->view, m->id));
	wire_put_u64(b, index_mailbox_object(s->view, m->id));
	wire_put_u32(b, (uint32_t)m->keyword_n);
	for (size_t i = 0; i < m->keyword_n; i++)
		wire_put_string(b, m->keywords[i]);
	put(s, MOVE_MAILBOX);
	index_acl(s->view, m->id, put_acl, s);
	return s->ok;
}

static bool put_subscription(void *arg, struct span name)
{
	struct serve *s = arg;
	wire_put_string(&s->frame, name);
	put(s, MOVE_SUBSCRIPTION);
	return s->ok;
}

static void on_mailboxes(struct serve *s, struct wire_in *w)
{
	index_mailboxes(s->view, s->user, put_mailbox, s);
	index_subscriptions(s->view, s->user, put_subscription, s);
	put(s, MOVE_END);
}

static bool put_entry(void *arg, const struct index_entry *e)
{
	struct serve *s = arg;
	wire_put_u32(&s->frame, e->uid);
	wire_put_u64(&s->frame, e->modseq);
	wire_put_u32(&s->frame, e->flags);
	wire_put_u64(&s->frame, e->keywords);
	return row_done(s, MOVE_ENTRY_BYTES);
}

static bool put_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	struct serve *s = arg;
	wire_put_u32(&s->frame, uid);
	wire_put_u64(&s->frame, modseq);
	return row_done(s, MOVE_VANISHED_BYTES);
}

static bool own_mailbox(struct serve *s, uint64_t id, struct index_mailbox *out)
{
	return index_mailbox_get(s->view, id, out) && span_eq(out->user, s->user);
}

static void on_entries(struct serve *s, struct wire_in *w)
{
	struct index_mailbox m;
	if (own_mailbox(s, wire_get_u64(w), &m)) {
		rows_begin(s, MOVE_ENTRIES);
		index_entries(s->view, m.id, (struct uid_range){ 1, UINT32_MAX }, put_entry, s);
		rows_end(s);
		rows_begin(s, MOVE_VANISHED);
		index_vanished(s->view, m.id, m.vanished_from, put_vanished, s);
		rows_end(s);
	}
	put(s, MOVE_END);
}

static void put_bytes(struct serve *s, const struct index_entry *e)
{
	char piece[PIECE];
	for (uint64_t at = 0; s->ok && at < e->size;) {
		size_t n = e->size - at < PIECE ? (size_t)(e->size - at) : PIECE;
		err_t err = commitlog_reader_read(s->p.reader, e->blob, at, piece, n);
		if (err)
			fprintf(stderr, "postern-store: message %u: %s\n", e->uid, err_name(err));
		s->ok = err == ERR_OK && fwrite(piece, n, 1, s->out) == 1;
		at += n;
	}
}

/* The text is checked before the first byte of it: what is damaged ends the move, and is not moved as it is. */
static void on_message(struct serve *s, struct wire_in *w)
{
	struct index_mailbox m;
	struct index_entry e = { 0 };
	bool there =
	    own_mailbox(s, wire_get_u64(w), &m) && index_entry(s->view, m.id, wire_get_u32(w), &e);
	if (there && commitlog_reader_verify(s->p.reader, e.blob) != ERR_OK) {
		fprintf(stderr, "postern-store: mailbox %.*s: message %u is damaged in the log\n",
		    SPAN_ARG(m.name), e.uid);
		s->ok = false;
		return;
	}
	wire_put_u8(&s->frame, there);
	wire_put_u64(&s->frame, there ? e.size : 0);
	wire_put_u64(&s->frame, (uint64_t)e.date_s);
	wire_put_u32(&s->frame, (uint32_t)(int32_t)e.date_zone);
	wire_put_u64(&s->frame, (uint64_t)e.saved_s);
	wire_put_u32(&s->frame, e.flags);
	wire_put_u64(&s->frame, e.keywords);
	wire_put_u64(&s->frame, e.modseq);
	wire_put_u64(&s->frame, there ? index_object(s->view, e.blob) : 0);
	put(s, MOVE_MESSAGE);
	if (there)
		put_bytes(s, &e);
}

static bool put_delivery(void *arg, struct span id, uint64_t folder_hash)
{
	struct serve *s = arg;
	wire_put_string(&s->frame, id);
	wire_put_u64(&s->frame, folder_hash);
	put(s, MOVE_DELIVERY);
	return s->ok;
}

static void on_deliveries(struct serve *s, struct wire_in *w)
{
	index_deliveries(s->view, s->user, put_delivery, s);
	put(s, MOVE_END);
}

static bool put_metadata(void *arg, struct span whose, struct span name, struct span value)
{
	struct serve *s = arg;
	wire_put_string(&s->frame, whose);
	wire_put_string(&s->frame, name);
	wire_put_string(&s->frame, value);
	put(s, MOVE_METADATA);
	return s->ok;
}

static bool put_own_metadata(void *arg, struct span name, struct span value)
{
	struct serve *s = arg;
	return put_metadata(s, s->user, name, value);
}

static void on_metadata(struct serve *s, struct wire_in *w)
{
	struct index_mailbox m;
	uint64_t mailbox = wire_get_u64(w);
	if (mailbox == 0 && !w->bad)
		index_metadata(s->view, 0, s->user, put_own_metadata, s);
	else if (own_mailbox(s, mailbox, &m))
		index_metadata_all(s->view, m.id, put_metadata, s);
	put(s, MOVE_END);
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static void answer(struct serve *s, enum move_frame kind, struct span body)
{
	static void (*const answers[MOVE_KIND_COUNT])(struct serve * s, struct wire_in * w) = {
		[MOVE_ASK_USER] = on_user,
		[MOVE_ASK_MAILBOXES] = on_mailboxes,
		[MOVE_ASK_ENTRIES] = on_entries,
		[MOVE_ASK_MESSAGE] = on_message,
		[MOVE_ASK_DELIVERIES] = on_deliveries,
		[MOVE_ASK_METADATA] = on_metadata,
	};
	struct wire_in w = { .rest = body };
	s->view = index_view_begin(s->p.index);
	s->ok = s->view != NULL && answers[kind] != NULL;
	if (s->ok)
		answers[kind](s, &w);
	index_view_end(&s->view);
}

static bool serve_all(struct serve *s)
{
	struct buf body = BUF_INIT(MOVE_FRAME_MAX);
	enum move_frame kind;
	while (s->ok && move_get(s->in, &kind, &body)) {
		answer(s, kind, buf_span(&body));
		s->ok = s->ok && fflush(s->out) == 0;
	}
	buf_end(&body);
	return s->ok && feof(s->in) != 0;
}

int tool_serve(const struct conf *c, const char *const *words)
{
	struct serve s = { .in = stdin, .out = stdout, .ok = true };
	const struct store_partition_conf *pc = NULL;
	struct buf user;
	int status = TOOL_USAGE;
	if (tool_user(words[0], &user)) {
		s.user = buf_span(&user);
		s.frame = BUF_INIT(MOVE_FRAME_MAX);
		pc = tool_partition_of(store_options(c), s.user);
		status = TOOL_FAILED;
	}
	if (pc != NULL && tool_open(pc, &s.p)) {
		status = serve_all(&s) ? 0 : TOOL_FAILED;
		tool_close(&s.p);
	}
	buf_end(&s.frame);
	buf_end(&user);
	return status;
}
