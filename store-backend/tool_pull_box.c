/* tool_pull_box.c - one mailbox of a user who arrives is made what it is at the other store: its rows are compared
 * with what is here, and only what differs is asked for and adopted. Before: tool_pull.c. Owns both lists for the
 * length of a call: 24 bytes for each message, at both ends of STORE_MESSAGES_MAX at most. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store-backend/incoming.h"
#include "store-backend/tool_pull.h"

enum { ASKED_AHEAD = 64, PIECE = 65536 };

struct row {
	uint64_t modseq, keywords;
	uint32_t uid, flags;
};
struct rows {
	struct row *v; /* owned */
	size_t n, cap;
};
struct compare {
	struct pull *x;
	struct pull_box *b;
	struct rows there, here;           /* messages, by uid */
	struct rows gone_there, gone_here; /* by modseq, uid; flags and keywords are 0 */
	struct rows wanted;                /* messages that are not here */
};

static struct row *add_row(struct rows *r, uint32_t uid, uint64_t modseq)
{
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 1024 : r->cap * 2;
		r->v = mem_grow(r->v, r->cap, sizeof r->v[0]);
	}
	r->v[r->n] = (struct row){ .uid = uid, .modseq = modseq };
	return &r->v[r->n++];
}

/* ---- what is there, what is here ----------------------------------------------------------------------------- */

static bool take_entries(struct compare *k, struct wire_in w)
{
	while (!w.bad && w.rest.n > 0) {
		uint32_t uid = wire_get_u32(&w);
		struct row *r = add_row(&k->there, uid, wire_get_u64(&w));
		r->flags = wire_get_u32(&w);
		r->keywords = wire_get_u64(&w);
		if (k->there.n > STORE_MESSAGES_MAX ||
		    (k->there.n > 1 && k->there.v[k->there.n - 2].uid >= uid))
			return false;
	}
	return !w.bad;
}

static bool take_vanished(struct compare *k, struct wire_in w)
{
	while (!w.bad && w.rest.n > 0) {
		uint32_t uid = wire_get_u32(&w);
		(void)add_row(&k->gone_there, uid, wire_get_u64(&w));
		if (k->gone_there.n > STORE_MESSAGES_MAX)
			return false;
	}
	return !w.bad;
}

static bool read_there(struct compare *k)
{
	enum move_frame kind = MOVE_ENTRIES;
	struct wire_in w;
	buf_clear(&k->x->ask);
	wire_put_u64(&k->x->ask, k->b->there);
	if (!pull_ask(k->x, MOVE_ASK_ENTRIES))
		return false;
	while (kind != MOVE_END) {
		if (!pull_next(k->x, &kind, &w))
			return false;
		bool ok = kind == MOVE_END || (kind == MOVE_ENTRIES && take_entries(k, w)) ||
			  (kind == MOVE_VANISHED && take_vanished(k, w));
		if (!ok)
			return pull_fail(k->x, "the other store sent nonsense");
	}
	return true;
}

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct row *r = add_row(arg, e->uid, e->modseq);
	r->flags = e->flags;
	r->keywords = e->keywords;
	return true;
}

static bool on_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	(void)add_row(arg, uid, modseq);
	return true;
}

static bool read_here(struct compare *k)
{
	struct index_view *v = index_view_begin(k->x->p.index);
	if (v == NULL)
		return pull_fail(k->x, "the index here cannot be read");
	index_entries(v, k->b->here, (struct uid_range){ 1, UINT32_MAX }, on_entry, &k->here);
	index_vanished(v, k->b->here, k->b->numbers.vanished_from, on_vanished, &k->gone_here);
	index_view_end(&v);
	return true;
}

/* ---- changes --------------------------------------------------------------------------------------------------- */

static void begin_operation(struct compare *k, enum operation_kind kind, struct operation *op)
{
	*op = pull_operation(k->x, kind);
	op->mailbox = k->b->here;
}

static void send_vanished(struct compare *k, uint64_t modseq, const struct uid_range *v, size_t n)
{
	struct operation op;
	begin_operation(k, OP_ADOPT_VANISHED, &op);
	op.adopted.modseq = modseq;
	op.uids = (struct uid_set){ v, n };
	tool_link_send(&k->x->link, &op);
	k->x->differs = true;
	k->x->vanished += n;
}

/* One operation for each modseq, and no more uids than one may have. */
static void adopt_vanished(struct compare *k, const struct rows *missing)
{
	struct uid_range v[OPERATION_VANISHED_MAX];
	size_t n = 0;
	for (size_t i = 0; i < missing->n; i++) {
		const struct row *r = &missing->v[i];
		v[n++] = (struct uid_range){ r->uid, r->uid };
		if (n == OPERATION_VANISHED_MAX || i + 1 == missing->n ||
		    r[1].modseq != r->modseq || r[1].uid <= r->uid) {
			send_vanished(k, r->modseq, v, n);
			n = 0;
		}
	}
}

static int by_modseq(const struct row *a, const struct row *b)
{
	if (a->modseq != b->modseq)
		return a->modseq < b->modseq ? -1 : 1;
	return (a->uid > b->uid) - (a->uid < b->uid);
}

static void compare_vanished(struct compare *k)
{
	struct rows missing = { 0 };
	size_t h = 0;
	for (size_t i = 0; i < k->gone_there.n; i++) {
		const struct row *r = &k->gone_there.v[i];
		while (h < k->gone_here.n && by_modseq(&k->gone_here.v[h], r) < 0)
			h++;
		if (h == k->gone_here.n || by_modseq(&k->gone_here.v[h], r) != 0)
			(void)add_row(&missing, r->uid, r->modseq);
	}
	adopt_vanished(k, &missing);
	mem_free(missing.v);
}

static void adopt_marks(struct compare *k, const struct row *r)
{
	struct uid_range one = { r->uid, r->uid };
	struct operation op;
	begin_operation(k, OP_ADOPT_MARKS, &op);
	op.uids = (struct uid_set){ &one, 1 };
	op.adopted.modseq = r->modseq;
	op.adopted.keywords = r->keywords;
	op.set.flags = r->flags;
	tool_link_send(&k->x->link, &op);
	k->x->differs = true;
	k->x->marks++;
}

static int by_uid(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	return (x->uid > y->uid) - (x->uid < y->uid);
}

/* What is here and not there went there so long ago that nobody remembers when. */
static void forget_strays(struct compare *k, const struct rows *strays)
{
	struct rows *gone = &k->gone_there;
	if (gone->n > 0)
		qsort(gone->v, gone->n, sizeof gone->v[0], by_uid);
	for (size_t i = 0; i < strays->n; i++) {
		const struct row *r = &strays->v[i];
		struct uid_range one = { r->uid, r->uid };
		if (gone->n == 0 || bsearch(r, gone->v, gone->n, sizeof *r, by_uid) == NULL)
			send_vanished(k, k->b->numbers.vanished_from, &one, 1);
	}
}

static void compare_entries(struct compare *k)
{
	struct rows strays = { 0 };
	size_t h = 0;
	for (size_t i = 0; i < k->there.n; i++) {
		const struct row *r = &k->there.v[i];
		for (; h < k->here.n && k->here.v[h].uid < r->uid; h++)
			(void)add_row(&strays, k->here.v[h].uid, 0);
		if (h == k->here.n || k->here.v[h].uid != r->uid) {
			*add_row(&k->wanted, r->uid, r->modseq) = *r;
			continue;
		}
		const struct row *own = &k->here.v[h++];
		if (own->modseq != r->modseq || own->flags != r->flags ||
		    own->keywords != r->keywords)
			adopt_marks(k, r);
	}
	for (; h < k->here.n; h++)
		(void)add_row(&strays, k->here.v[h].uid, 0);
	forget_strays(k, &strays);
	mem_free(strays.v);
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static bool ask_message(struct compare *k, const struct row *r)
{
	buf_clear(&k->x->ask);
	wire_put_u64(&k->x->ask, k->b->there);
	wire_put_u32(&k->x->ask, r->uid);
	return pull_ask(k->x, MOVE_ASK_MESSAGE);
}

static bool read_bytes(struct pull *x, struct incoming *in, uint64_t size)
{
	char piece[PIECE];
	while (size > 0) {
		size_t n = size < PIECE ? (size_t)size : PIECE;
		if (fread(piece, n, 1, x->in) != 1)
			return pull_fail(x, "the other store is gone");
		if (incoming_add(in, span_of(piece, n)) != ERR_OK)
			return pull_fail(x, "a message cannot be held in temp_dir");
		size -= n;
	}
	return true;
}

static bool adopt_message(struct compare *k, struct operation *op)
{
	struct pull *x = k->x;
	uint64_t size = op->message.size;
	struct incoming *in =
	    incoming_new(x->conf->message_memory, OPERATION_MESSAGE_MAX, x->conf->temp_dir);
	bool ok = read_bytes(x, in, size);
	if (ok && incoming_source(in, &op->message) != ERR_OK)
		ok = pull_fail(x, "a message cannot be held in temp_dir");
	if (ok)
		tool_link_send(&x->link, op);
	incoming_free(&in);
	x->messages++;
	x->bytes += size;
	x->differs = true;
	return ok;
}

static bool take_message(struct compare *k, const struct row *r)
{
	enum move_frame kind;
	struct operation op;
	struct wire_in w;
	if (!pull_next(k->x, &kind, &w))
		return false;
	begin_operation(k, OP_ADOPT_MESSAGE, &op);
	op.adopted.uid = r->uid;
	bool there = wire_get_u8(&w) != 0;
	op.message.size = wire_get_u64(&w);
	op.date_s = (int64_t)wire_get_u64(&w);
	op.date_zone = (int16_t)(int32_t)wire_get_u32(&w);
	op.adopted.saved_s = (int64_t)wire_get_u64(&w);
	op.set.flags = wire_get_u32(&w);
	op.adopted.keywords = wire_get_u64(&w);
	op.adopted.modseq = wire_get_u64(&w);
	op.adopted.object = wire_get_u64(&w);
	if (kind != MOVE_MESSAGE || w.bad || w.rest.n > 0 ||
	    op.message.size > OPERATION_MESSAGE_MAX)
		return pull_fail(k->x, "the other store sent nonsense");
	return !there || adopt_message(k, &op); /* it has gone meanwhile: the next pass tells */
}

/* So many questions are on their way that the other store never waits for the next. */
static bool take_messages(struct compare *k)
{
	size_t asked = 0;
	for (size_t i = 0; i < k->wanted.n; i++) {
		for (; asked < k->wanted.n && asked < i + ASKED_AHEAD; asked++)
			if (!ask_message(k, &k->wanted.v[asked]))
				return false;
		if (!take_message(k, &k->wanted.v[i]))
			return false;
	}
	return true;
}

/* ---- the mailbox ------------------------------------------------------------------------------------------------ */

static bool adopt_mailbox(struct pull *x, struct pull_box *b)
{
	struct span words[STORE_KEYWORDS_MAX];
	struct operation op = pull_operation(x, OP_ADOPT_MAILBOX);
	for (size_t i = 0; i < b->word_n; i++)
		words[i] = span_str(b->words[i]);
	op.name = span_str(b->name);
	op.uses = b->uses;
	op.adopted = b->numbers;
	op.set = (struct flag_set){ .keywords = words, .keyword_n = b->word_n };
	enum operation_result r = tool_link_ask(&x->link, &op);
	b->here = x->link.last.mailbox;
	x->mailboxes++;
	x->differs = true;
	return r == OPR_OK || pull_fail(x, pull_why_refused(r));
}

/* ---- its ACL ------------------------------------------------------------------------------------------------------ */

static void set_acl(struct compare *k, struct span who, uint32_t rights)
{
	struct operation op;
	begin_operation(k, OP_SET_ACL, &op);
	op.name = who;
	op.uses = rights;
	tool_link_send(&k->x->link, &op);
	k->x->differs = true;
}

/* Rows of here that are not there. */
static bool on_row(void *arg, struct span who, uint32_t rights)
{
	struct compare *k = arg;
	for (size_t i = 0; i < k->b->acl_n; i++)
		if (span_eq_str(who, k->b->acl[i].who))
			return true;
	set_acl(k, who, 0);
	return true;
}

static bool adopt_acl(struct compare *k)
{
	struct index_view *v = index_view_begin(k->x->p.index);
	if (v == NULL)
		return pull_fail(k->x, "the index here cannot be read");
	index_acl(v, k->b->here, on_row, k);
	index_view_end(&v);
	for (size_t i = 0; i < k->b->acl_n; i++)
		set_acl(k, span_str(k->b->acl[i].who), k->b->acl[i].rights);
	return true;
}

bool pull_box(struct pull *x, struct pull_box *b)
{
	struct compare k = { .x = x, .b = b };
	bool ok = adopt_mailbox(x, b) && adopt_acl(&k) && pull_metadata(x, b->there, b->here) &&
		  read_there(&k) && read_here(&k);
	if (ok) {
		compare_vanished(&k);
		compare_entries(&k);
		ok = take_messages(&k);
	}
	tool_link_drain(&x->link);
	mem_free(k.there.v);
	mem_free(k.here.v);
	mem_free(k.gone_there.v);
	mem_free(k.gone_here.v);
	mem_free(k.wanted.v);
	return ok;
}
