/* parts.c - a mail's recipients and members sorted into transactions (between steps 4 and 5).
 *
 * Owns a struct parts for each mail with members: its transactions (parts_way.c), their tickets, and what makes one question
 * to the spool of them (commit_unit.c). */
#include "edge/parts_internal.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "directory/group.h"
#include "proto/header.h"

#include "edge/channel.h"
#include "edge/edge_tables.h"
#include "edge/outcome.h"
#include "edge/unit.h"

enum {
	HEADER_LOOK = 256 * 1024,
	KEY_MAX = 1200,
	MARK = 'd',
	APPROVALS_MAX = 8 * 1024,
};

/* ---- life ------------------------------------------------------------------------------------- */

static void parts_free(struct parts *x)
{
	ticket_cancel(&x->ask);
	soon_clear(&x->soon);
	for (size_t i = 0; i < x->part_n; i++)
		part_free(x->parts[i]);
	commit_unit_free(&x->unit);
	mem_free(x->parts);
	mem_free(x->shares);
	map_free(&x->known);
	buf_wipe_end(&x->approvals);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	parts_free(OBJ(parts, t));
}

static void give(struct parts *x)
{
	void (*fn)(void *arg) = x->fn;
	void *arg = x->arg;
	parts_free(x);
	fn(arg);
}

/* ---- keys ------------------------------------------------------------------------------------- */

static void put_key(struct buf *out, char kind, struct span address)
{
	out->max = KEY_MAX;
	buf_clear(out);
	buf_add_char(out, kind);
	for (size_t i = 0; i < address.n; i++)
		buf_add_char(out, ascii_lower(address.p[i]));
}

static size_t known_at(const struct parts *x, struct span key)
{
	return (size_t)(uintptr_t)map_get(x->known, key);
}

static void set_known(struct parts *x, struct span key, size_t at)
{
	map_set(x->known, key, (void *)(uintptr_t)at, NULL);
}

/* ---- marks ------------------------------------------------------------------------------------ */

static void take_mark(struct parts *x, struct span value)
{
	struct buf line = BUF_INIT(KEY_MAX), key = BUF_INIT(KEY_MAX);
	if (header_unfold(value, &line)) {
		put_key(&key, MARK, span_trim(buf_span(&line)));
		set_known(x, buf_span(&key), SIZE_MAX);
	}
	buf_end(&line);
	buf_end(&key);
}

static bool any_secret(const struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		for (size_t m = 0; m < t->recipients[i].member_count; m++)
			if (shape_has_secret(t->recipients[i].members[m].shape))
				return true;
	return false;
}

/* The passwords of a message to a group that has one are kept aside, and seen by nobody behind it. False: the message
 * cannot be kept. */
static bool take_approvals(struct parts *x)
{
	struct buf kept = BUF_INIT(HEADER_LOOK + 2);
	size_t bytes;
	err_t err = ERR_OK;
	if (!any_secret(x->t))
		return true;
	struct span start = body_read(x->t->body, 0, HEADER_LOOK, &err);
	if (!err && shape_strip(start, &kept, &x->approvals, &bytes))
		err = buf_ok(&kept) ? body_set_head(x->t->body, bytes, buf_span(&kept))
				    : ERR_TOO_LONG;
	buf_end(&kept);
	return !err;
}

/* False: the message cannot be read. */
static bool take_marks(struct parts *x)
{
	struct header_walk w;
	struct header_field f;
	err_t err = ERR_OK;
	header_walk_init(&w, body_read(x->t->body, 0, HEADER_LOOK, &err));
	while (!err && header_next(&w, &f) == HEADER_FIELD)
		if (span_ieq(f.name, SPAN("Delivered-To")))
			take_mark(x, f.value);
	return !err;
}

static bool is_marked(const struct parts *x, const char *via)
{
	struct buf key = BUF_INIT(KEY_MAX);
	put_key(&key, MARK, span_str(via));
	bool marked = known_at(x, buf_span(&key)) != 0;
	buf_end(&key);
	return marked;
}

/* ---- transactions ----------------------------------------------------------------------------- */

static void add_share(struct parts *x, size_t recipient, struct part *p, size_t at)
{
	size_t n = x->share_n;
	if ((n & (n - 1)) == 0)
		x->shares = mem_grow(x->shares, n == 0 ? 1 : 2 * n, sizeof *x->shares);
	x->shares[x->share_n++] = (struct share){ recipient, p, at };
}

/* ---- recipients ------------------------------------------------------------------------------- */

static void put_recipient_key(struct buf *key, const struct recipient *r)
{
	bool refused = r->outcome.fate == FATE_REFUSED;
	if (!refused && channel_is_place(r->store)) { /* one way of several to a user */
		struct buf way = BUF_INIT(KEY_MAX);
		buf_printf(&way, "%s %s", r->store, r->user != NULL ? r->user : r->address);
		put_key(key, 'c', buf_span(&way));
		buf_end(&way);
		return;
	}
	put_key(key,
	    refused           ? 'x'
	    : r->user != NULL ? 'u'
			      : 'r',
	    span_str(r->user != NULL && !refused ? r->user : r->address));
}

/* Puts r into a transaction, unless somebody in one has the mail for the same mailbox; `of` says whose outcome
 * it shares in. NULL: it was there. */
static struct recipient *put(
    struct parts *x, size_t of, const struct recipient *r, const struct way *w)
{
	struct buf key = BUF_INIT(KEY_MAX);
	struct recipient *made = NULL;
	put_recipient_key(&key, r);
	size_t there = known_at(x, buf_span(&key));
	if (there != 0) {
		add_share(x, of, x->shares[there - 1].part, x->shares[there - 1].at);
	} else {
		struct part *p = part_for(x, w);
		made = transaction_add(p->t, RECIPIENTS_MAX, span_str(r->address),
		    span_str(r->user), span_str(r->detail), span_str(r->store));
		CHECK(made != NULL); /* part_for() gives one with room */
		made->outcome = r->outcome;
		add_share(x, of, p, p->t->recipient_count - 1);
		set_known(x, buf_span(&key), x->share_n);
	}
	buf_end(&key);
	return made;
}

/* The wishes of the client go along, but not through a group that has a return path of its own, and that for success not to
 * several (RFC 3461 section 5.2.7). */
static void wish(struct recipient *made, const struct recipient *given)
{
	if (made == NULL)
		return;
	made->notify = recipient_notify_behind(given->notify, given->behind);
	made->orcpt = mem_str(given->orcpt);
}

/* When all of the mail is held its reason stands for everybody. */
static const char *hold_of(const struct parts *x, const struct recipient *r)
{
	return x->t->hold ? NULL : r->hold_why;
}

static void put_plain(struct parts *x, size_t at)
{
	const struct recipient *r = &x->t->recipients[at];
	const struct way w = { .sender = x->t->sender, .hold = hold_of(x, r) };
	wish(put(x, at, r, &w), r);
}

static void put_refused(struct parts *x, size_t at, const char *address, const struct outcome *why)
{
	const struct recipient r = { .address = (char *)(uintptr_t)address, .outcome = *why };
	const struct way w = { .sender = x->t->sender };
	wish(put(x, at, &r, &w), &x->t->recipients[at]);
}

static const struct outcome too_big = { .fate = FATE_REFUSED,
	.code = 552,
	.enhanced = "5.2.3",
	.text = "the message is too big for this group" };
static const struct outcome loop = { .fate = FATE_REFUSED,
	.code = 554,
	.enhanced = "5.4.6",
	.text = "mail for this address goes round in a loop" };
static const struct outcome empty = {
	.fate = FATE_REFUSED, .code = 550, .enhanced = "5.2.4", .text = "the group has no members"
};

/* True: m gets the mail, or had it already. Of what a group does not let through the group is told, not its members. */
static bool put_member(struct parts *x, size_t at, const struct recipient *m)
{
	const struct recipient *given = &x->t->recipients[at];
	bool leaves =
	    m->user == NULL && m->outcome.fate == FATE_OPEN && !channel_is_place(m->store);
	struct way w = { .sender = m->sender != NULL ? m->sender : x->t->sender,
		.hold = hold_of(x, given),
		.own_sender = m->sender != NULL };
	struct buf mark = BUF_INIT(KEY_MAX + GROUP_FIELDS_MAX);
	if (body_size(x->t->body) > m->size_max) {
		put_refused(x, at, given->address, &too_big);
		return false;
	}
	if (shape_changes(m->shape) && m->outcome.fate != FATE_REFUSED)
		w.shape = m->shape;
	if (leaves)
		buf_printf(&mark, "Delivered-To: %s\r\n", given->via);
	buf_add_str(&mark, m->fields != NULL ? m->fields : "");
	if (buf_len(&mark) > 0)
		w.mark = buf_cstr(&mark);
	if (leaves && !w.own_sender && x->srs_sender[0] != '\0') {
		w.sender = x->srs_sender;
		w.rewritten = true;
	}
	struct recipient *made = put(x, at, m, &w);
	if (!w.own_sender)
		wish(made, given);
	buf_end(&mark);
	return m->outcome.fate != FATE_REFUSED;
}

/* Of the group is told, not of its members. */
static bool is_for(struct parts *x, size_t at, const struct recipient *m)
{
	const struct recipient *given = &x->t->recipients[at];
	struct outcome o = { 0 };
	const char *why = shape_refuses(m->shape, buf_span(&x->approvals));
	if (why != NULL && why[0] != '\0') {
		outcome_set(&o, FATE_REFUSED, 550, "5.7.2", span_str(why));
		put_refused(x, at, given->address, &o);
	}
	return why == NULL;
}

/* Of what has become of the address itself its sender is told; from the queue, which has it with the mail or not at all. */
static void put_expanded(struct parts *x, size_t at)
{
	const struct recipient *given = &x->t->recipients[at];
	struct recipient r = { .address = given->address,
		.store = (char *)(uintptr_t)EXPANDED_PLACE };
	const struct way w = { .sender = x->t->sender, .hold = hold_of(x, given) };
	if (given->behind == BEHIND_LIST)
		r.detail = (char *)(uintptr_t)EXPANDED_LIST;
	struct recipient *made = put(x, at, &r, &w);
	if (made == NULL)
		return;
	made->notify = SMTP_NOTIFY_SUCCESS;
	made->orcpt = mem_str(given->orcpt);
}

static void put_members(struct parts *x, size_t at)
{
	const struct recipient *r = &x->t->recipients[at];
	if (is_marked(x, r->via)) {
		put_refused(x, at, r->address, &loop);
		return;
	}
	size_t before = x->share_n;
	bool any = false;
	for (size_t i = 0; i < r->member_count; i++)
		if (is_for(x, at, &r->members[i]))
			any = put_member(x, at, &r->members[i]) || any;
	if (any && r->behind != BEHIND_ONE && transaction_tells_success(x->t, r))
		put_expanded(x, at);
	if (x->share_n == before) /* only moderators, who were not to be asked */
		put_refused(x, at, r->address, &empty);
}

/* ---- commit ----------------------------------------------------------------------------------- */

static int rank(enum fate f)
{
	static const int ranks[] = { [FATE_OPEN] = 0,
		[FATE_REFUSED] = 1,
		[FATE_DELIVERED] = 2,
		[FATE_SPOOLED] = 3,
		[FATE_LATER] = 4 };
	return ranks[f];
}

static void set_outcomes(struct parts *x)
{
	for (size_t i = 0; i < x->t->recipient_count; i++)
		x->t->recipients[i].outcome.fate = FATE_OPEN;
	for (size_t i = 0; i < x->share_n; i++) {
		const struct share *s = &x->shares[i];
		struct outcome *sum = &x->t->recipients[s->recipient].outcome;
		const struct outcome *o = &s->part->t->recipients[s->at].outcome;
		if (rank(o->fate) > rank(sum->fate))
			*sum = *o;
	}
}

static void log_part(const struct parts *x, const struct part *p)
{
	log_write(&edge_events[EDGE_EV_MESSAGE_PART], x->t->id.s,
	    LOG_FIELDS(LOG_STR("part", p->t->id.s), LOG_STR("sender", p->t->sender),
		LOG_U64("recipients", p->t->recipient_count)));
}

static void fail(
    struct parts *x, enum fate fate, unsigned code, const char *enhanced, const char *why)
{
	for (size_t i = 0; i < x->t->recipient_count; i++)
		outcome_set(&x->t->recipients[i].outcome, fate, code, enhanced, span_str(why));
	give(x);
}

static void on_committed(void *arg)
{
	struct part *p = OBJ(part, arg);
	struct parts *x = p->all;
	p->commit = NULL;
	if (--x->open > 0)
		return;
	set_outcomes(x);
	give(x);
}

/* All at once: what has to go to the spool goes there together, and no store is asked for a part. */
static void commit_all(struct parts *x)
{
	if (x->part_n > 1)
		x->unit = commit_unit_new(x->opts.committer, x->t, x->part_n);
	x->open = x->part_n;
	for (size_t i = 0; i < x->part_n; i++) {
		struct part *p = x->parts[i];
		if (x->unit != NULL) {
			p->t->id = unit_part_id(x->t->id, i);
			p->t->unit = x->unit;
			log_part(x, p);
		}
		p->commit = commit_start(x->opts.committer, p->t, on_committed, p);
	}
}

/* What a filter has refused for an address reaches nobody behind it. */
static bool goes_to_members(const struct recipient *r)
{
	return r->member_count > 0 && r->outcome.fate != FATE_REFUSED;
}

/* Those without members first: who is named by the client gets the mail as it was sent. */
static void split(struct parts *x)
{
	const struct transaction *t = x->t;
	for (size_t i = 0; i < t->recipient_count; i++)
		if (!goes_to_members(&t->recipients[i]))
			put_plain(x, i);
	for (size_t i = 0; i < t->recipient_count; i++)
		if (goes_to_members(&t->recipients[i]))
			put_members(x, i);
	if (x->failed)
		fail(x, FATE_LATER, 451, "4.3.0", "the message could not be kept");
	else if (x->part_n > UNIT_PARTS_MAX)
		fail(x, FATE_REFUSED, 552, "5.5.3", "too many groups, each with a copy of its own");
	else
		commit_all(x);
}

/* ---- the sender's domain ---------------------------------------------------------------------- */

static void on_domain(void *arg, enum directory_status status)
{
	struct parts *x = OBJ(parts, arg);
	x->ask = NULL;
	if (status == DIRECTORY_UNKNOWN) {
		fail(x, FATE_LATER, 451, "4.3.0", "cannot look up the sender's domain now");
		return;
	}
	if (status == DIRECTORY_ABSENT &&
	    !srs_forward(x->opts.srs, span_str(x->t->sender), clock_wall_us(), x->srs_sender)) {
		x->srs_sender[0] = '\0';
		log_write(&edge_events[EDGE_EV_SENDER_KEPT], x->t->id.s,
		    LOG_FIELDS(LOG_STR("sender", x->t->sender)));
	}
	split(x);
}

/* A client of ours sends its own mail straight to the outside with the same return path: nothing to rewrite. */
static bool may_rewrite(const struct parts *x)
{
	const struct transaction *t = x->t;
	if (x->opts.srs->domain == NULL || t->trusted || t->sender[0] == '\0')
		return false;
	for (size_t i = 0; i < t->recipient_count; i++)
		for (size_t m = 0; m < t->recipients[i].member_count; m++)
			if (t->recipients[i].members[m].user == NULL)
				return true;
	return false;
}

static void on_soon(void *arg)
{
	struct parts *x = OBJ(parts, arg);
	struct span sender = span_str(x->t->sender);
	if (!take_approvals(x) || !take_marks(x))
		fail(x, FATE_LATER, 451, "4.3.0", "the message cannot be read");
	else if (may_rewrite(x))
		x->ask = directory_domain(x->opts.directory,
		    span_from(sender, span_rfind(sender, '@') + 1), on_domain, x);
	else
		split(x);
}

static size_t count_all(const struct transaction *t)
{
	size_t n = t->recipient_count, members = 0;
	bool holds = false;
	for (size_t i = 0; i < t->recipient_count; i++) {
		members += t->recipients[i].member_count;
		holds = holds || t->recipients[i].hold_why != NULL;
	}
	return members > 0 || holds ? n + members : 0;
}

struct ticket *parts_commit(
    const struct parts_opts *opts, struct transaction *t, void (*fn)(void *arg), void *arg)
{
	size_t n = count_all(t);
	if (n == 0)
		return commit_start(opts->committer, t, fn, arg);
	struct parts *x = MEM_NEW(struct parts);
	x->ticket.cancel = cancel;
	x->magic = parts_MAGIC;
	x->opts = *opts;
	x->t = t;
	x->fn = fn;
	x->arg = arg;
	x->known = map_new(n + HEADER_FIELDS_MAX);
	x->approvals = BUF_INIT(APPROVALS_MAX);
	soon_init(&x->soon, on_soon, x);
	soon_set(opts->loop, &x->soon);
	return &x->ticket;
}
