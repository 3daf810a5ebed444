/* change.c - STORE, COPY, MOVE, EXPUNGE: changes of messages of the selected mailbox.
 *
 * Before: input.c. After: operation.c; then the news of the mailbox tell the client what has changed. */
#include "store-backend/imap/change.h"

#include "base/check.h"
#include "base/mem.h"
#include "directory/name.h"

#include "store-backend/domain_quota.h"
#include "store-backend/quota_tell.h"
#include "store-backend/imap/across.h"
#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

enum { COPYUID_MAX = IMAP_REPLY_MAX / 2 };

struct imap_change {
	struct imap_set set; /* the messages named, resolved; owned */
	struct uid_range *v; /* the same as uids; owned */
	size_t n;
	/* STORE: */
	struct imap_flags flags; /* words point into the command */
	enum flag_how how;
	bool silent;
	bool conditional; /* UNCHANGEDSINCE */
	uint64_t since;
};

void imap_change_free(struct imap_change **cp)
{
	struct imap_change *c = *cp;
	if (c == NULL)
		return;
	imap_set_end(&c->set);
	mem_free(c->v);
	MEM_FREE(cp);
}

/* SP set */
static struct imap_change *read_set(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_change *ch = s->change = MEM_NEW(struct imap_change);
	imap_read_sp(c);
	imap_read_set(c, &ch->set);
	if (!imap_ok(c))
		return ch;
	selected_resolve(s->box, &ch->set, s->cmd.uid);
	if (!s->cmd.uid && ch->set.n > 0 && ch->set.v[ch->set.n - 1].last > s->box->told_n)
		imap_fail(c, "No such message");
	else if (!selected_uids(s->box, &ch->set, s->cmd.uid, &ch->v, &ch->n))
		imap_fail(c, "Too many ranges");
	return ch;
}

static void start_operation(struct imap_session *s, enum operation_kind kind, struct operation *op)
{
	operation_init(op, kind);
	op->mailbox = s->box->id;
	if (s->change != NULL)
		op->uids = (struct uid_set){ s->change->v, s->change->n };
}

/* The selected mailbox was changed: the news before the tagged line say how. */
static void on_changed(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	s->box->stale = true;
	imap_step(s, a->result == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, a->result));
}

/* The same where messages went away: with QRESYNC the client learns how far it is (RFC 7162 section 3.2.7). */
static void on_removed(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	if (a->result != OPR_OK || a->uids.n == 0 || (s->enabled & ENABLED_QRESYNC) == 0) {
		on_changed(s, a);
		return;
	}
	imap_answered(s);
	s->box->stale = true;
	imap_step(s, imap_finishf(s, "OK", "[HIGHESTMODSEQ %llu] %s completed",
			 (unsigned long long)a->modseq, s->cmd.row->name));
}

/* ---- STORE --------------------------------------------------------------------------------------------- */

static void read_how(struct imap_cursor *c, struct imap_change *ch)
{
	static const struct {
		const char *word;
		enum flag_how how;
		bool silent;
	} words[] = {
		{ "FLAGS", FLAGS_SET, false },
		{ "FLAGS.SILENT", FLAGS_SET, true },
		{ "+FLAGS", FLAGS_ADD, false },
		{ "+FLAGS.SILENT", FLAGS_ADD, true },
		{ "-FLAGS", FLAGS_REMOVE, false },
		{ "-FLAGS.SILENT", FLAGS_REMOVE, true },
	};
	struct span word = imap_read_atom(c);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!span_ieq_str(word, words[i].word))
			continue;
		ch->how = words[i].how;
		ch->silent = words[i].silent;
		return;
	}
	imap_fail(c, "FLAGS, +FLAGS or -FLAGS expected");
}

static bool holds_uid(const struct uid_set *set, uint32_t uid)
{
	size_t lo = 0, hi = set->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (uid > set->v[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < set->n && uid >= set->v[lo].first;
}

/* Puts into the array what the client expects, so that the refresh finds only what others did meanwhile; then
 * all are marked whose flags, or modseqs, are to be told. failed: not changed, because others did. */
static void expect_flags(struct imap_session *s, struct index_view *v, const struct uid_set *failed)
{
	struct selected *box = s->box;
	const struct imap_change *ch = s->change;
	struct selected_flags f = { .flags = ch->flags.system };
	struct selected_walk w;
	size_t i;
	if (!selected_refresh_keywords(box, v))
		return; /* the mailbox is gone: the refresh will find out */
	for (size_t k = 0; k < ch->flags.keyword_count; k++)
		f.keywords |= selected_keyword_bit(box, ch->flags.keywords[k]);
	selected_walk_init(&w, box, &ch->set, s->cmd.uid);
	while (selected_walk_next(&w, &i)) {
		if (holds_uid(failed, box->v[i].uid))
			continue;
		selected_apply_flags(box, i, ch->how, &f);
		if (!ch->silent || box->modseqs)
			selected_mark_dirty(box, i, ch->silent);
	}
}

/* "[MODIFIED 7,9] ", as the command named its messages. */
static enum verdict finish_modified(struct imap_session *s, const struct uid_set *failed)
{
	struct buf code = BUF_INIT(COPYUID_MAX);
	struct imap_set_writer w = { .out = &code };
	struct selected_walk walk;
	size_t i;
	selected_walk_init(&walk, s->box, &s->change->set, s->cmd.uid);
	while (selected_walk_next(&walk, &i)) {
		uint32_t uid = s->box->v[i].uid, name = s->cmd.uid ? uid : (uint32_t)(i + 1);
		if (holds_uid(failed, uid))
			imap_set_write(&w, name, name);
	}
	imap_set_write_end(&w);
	enum verdict v = imap_finishf(
	    s, "OK", "[MODIFIED %s] Some have been changed meanwhile", buf_cstr(&code));
	buf_end(&code);
	return v;
}

static void on_stored(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct index_view *v = a->result == OPR_OK ? index_view_begin(s->partition->index) : NULL;
	/* With some rights only what was changed is seen by the refresh. */
	if (v != NULL && s->box->rights == ACL_ALL)
		expect_flags(s, v, &a->uids);
	index_view_end(&v);
	if (a->result != OPR_OK || a->uids.n == 0) {
		on_changed(s, a);
		return;
	}
	imap_answered(s);
	s->box->stale = true;
	imap_step(s, finish_modified(s, &a->uids));
}

/* ["(" "UNCHANGEDSINCE" SP modseq ")" SP] */
static void read_condition(struct imap_session *s, struct imap_change *ch)
{
	struct imap_cursor *c = &s->cmd.args;
	if (!imap_try(c, '('))
		return;
	if (!imap_try_word(c, "UNCHANGEDSINCE"))
		imap_fail(c, "Unknown STORE modifier");
	imap_read_sp(c);
	ch->since = imap_read_number64(c);
	ch->conditional = true;
	imap_read_char(c, ')');
	imap_read_sp(c);
}

enum verdict cmd_store(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_change *ch = read_set(s);
	struct operation op;
	imap_read_sp(c);
	read_condition(s, ch);
	read_how(c, ch);
	imap_read_sp(c);
	imap_read_flags(c, true, &ch->flags);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (s->box->read_only)
		return imap_finish_read_only(s);
	if (ch->n == 0)
		return imap_finish_done(s);
	start_operation(s, OP_FLAGS, &op);
	if (ch->conditional) {
		imap_enable(s, ENABLED_CONDSTORE);
		op.unchanged_since = ch->since;
	}
	op.how = ch->how;
	op.set = (struct flag_set){ .flags = ch->flags.system,
		.keywords = ch->flags.keywords,
		.keyword_n = ch->flags.keyword_count };
	return imap_operate(s, &op, on_stored);
}

/* ---- COPY, MOVE ---------------------------------------------------------------------------------------- */

static void put_uids(struct buf *out, const struct uid_set *set)
{
	struct imap_set_writer w = { .out = out };
	for (size_t i = 0; i < set->n; i++)
		imap_set_write(&w, set->v[i].first, set->v[i].last);
	imap_set_write_end(&w);
}

/* "[COPYUID ...] ", or nothing when nothing was copied or the list is beyond all bounds. */
static void put_copyuid(struct buf *out, const struct operation_answer *a)
{
	struct buf code = BUF_INIT(COPYUID_MAX);
	buf_printf(&code, "[COPYUID %u ", a->uidvalidity);
	put_uids(&code, &a->uids);
	buf_add_char(&code, ' ');
	put_uids(&code, &a->target_uids);
	buf_add_str(&code, "] ");
	if (a->uids.n > 0 && buf_ok(&code))
		buf_add_span(out, buf_span(&code));
	buf_end(&code);
}

static void on_copied(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct buf code = BUF_INIT(COPYUID_MAX);
	imap_answered(s);
	s->box->stale = true; /* the target may be the same mailbox */
	if (a->result != OPR_OK) {
		imap_step(s, imap_finish_result(s, a->result));
		return;
	}
	put_copyuid(&code, a);
	enum verdict v = imap_finishf(s, "OK", "%sCOPY completed", buf_cstr(&code));
	buf_end(&code);
	imap_step(s, v);
}

/* The code comes before the EXPUNGE lines, so it has a line of its own (RFC 6851 section 4.3). */
static void on_moved(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct buf code = BUF_INIT(COPYUID_MAX);
	if (a->result == OPR_OK)
		put_copyuid(&code, a);
	if (buf_len(&code) > 0)
		imap_say(s, "* OK %sMoved\r\n", buf_cstr(&code));
	buf_end(&code);
	on_removed(s, a);
}

static bool weigh_one(void *arg, const struct index_entry *e)
{
	struct type_use *more = arg;
	more->bytes += e->size;
	more->messages++;
	return true;
}

/* Of the messages named. False: they cannot be looked at now. */
static bool weigh(const struct imap_session *s, struct type_use *out)
{
	const struct imap_change *ch = s->change;
	struct index_view *v = index_view_begin(s->box_in->index);
	*out = (struct type_use){ 0 };
	for (size_t i = 0; v != NULL && i < ch->n; i++)
		index_entries(v, s->box->id, ch->v[i], weigh_one, out);
	bool looked = v != NULL;
	index_view_end(&v);
	return looked;
}

/* A MOVE within a domain is no more than before. */
static enum operation_result judge_domain(
    struct imap_session *s, struct index_view *v, enum operation_kind kind, struct span owner)
{
	struct span domain = name_domain(owner);
	struct domain_use use;
	struct type_use more;
	if (kind == OP_MOVE && span_eq(domain, name_domain(span_str(s->box->owner))))
		return OPR_OK;
	domain_use_now(s->base.worker, s->opts, domain, &use);
	if (use.limit.bytes == 0 && use.limit.messages == 0)
		return OPR_OK;
	if (!weigh(s, &more))
		return OPR_LATER;
	if (!quota_domain_admits(s->base.worker, v, owner, &use, &more))
		return OPR_OVER_QUOTA;
	quota_warn_domain(s->base.worker, domain, &use);
	return OPR_OK;
}

static enum operation_result find_target(
    struct imap_session *s, enum operation_kind kind, uint64_t *id_out)
{
	struct index_mailbox m = { 0 };
	struct span name = buf_span(&s->cmd.name);
	struct index_view *v = index_view_begin(shared_partition(s, name)->index);
	if (v == NULL)
		return OPR_LATER;
	enum operation_result r = shared_find(s, v, name, ACL_INSERT, &m);
	if (r == OPR_OK)
		r = judge_domain(s, v, kind, m.user);
	index_view_end(&v);
	*id_out = m.id;
	return r == OPR_NO_MAILBOX ? OPR_NO_TARGET : r;
}

static enum verdict copy(struct imap_session *s, enum operation_kind kind, operation_fn *fn)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_change *ch = read_set(s);
	struct operation op;
	imap_change_read_target(s);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	uint64_t target = 0;
	enum operation_result r = find_target(s, kind, &target);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	if (ch->n == 0)
		return imap_finish_done(s);
	if (shared_partition(s, buf_span(&s->cmd.name)) != s->box_in)
		return imap_across_start(s);
	start_operation(s, kind, &op);
	op.target = target;
	return imap_operate(s, &op, fn);
}

enum verdict cmd_copy(struct imap_session *s)
{
	return copy(s, OP_COPY, on_copied);
}

enum verdict cmd_move(struct imap_session *s)
{
	return s->box->read_only ? imap_finish_read_only(s) : copy(s, OP_MOVE, on_moved);
}

/* ---- EXPUNGE ------------------------------------------------------------------------------------------- */

enum verdict cmd_expunge(struct imap_session *s)
{
	static const struct uid_range every = { 1, UINT32_MAX };
	struct imap_cursor *c = &s->cmd.args;
	struct operation op;
	if (s->cmd.uid)
		read_set(s);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (s->box->read_only)
		return imap_finish_read_only(s);
	start_operation(s, OP_EXPUNGE, &op);
	if (!s->cmd.uid)
		op.uids = (struct uid_set){ &every, 1 };
	if (op.uids.n == 0)
		return imap_finish_done(s);
	op.only_deleted = true;
	return imap_operate(s, &op, on_removed);
}

/* ---- to another store or partition -------------------------------------------------------------------------------------- */

void imap_change_read_target(struct imap_session *s)
{
	imap_read_sp(&s->cmd.args);
	buf_clear(&s->cmd.name); /* it may have been read ahead */
	imap_read_mailbox(s, &s->cmd.name);
	imap_read_end(&s->cmd.args);
}

bool imap_is_move(const struct imap_session *s)
{
	return s->cmd.row->run == cmd_move;
}

void imap_change_read(struct imap_session *s)
{
	read_set(s);
}

struct uid_set imap_change_uids(const struct imap_session *s)
{
	return (struct uid_set){ s->change->v, s->change->n };
}

enum verdict imap_change_take_away(struct imap_session *s)
{
	struct operation op;
	start_operation(s, OP_EXPUNGE, &op);
	return imap_operate(s, &op, on_removed);
}
