/* reprocess.c - the station reprocess: a recipient is looked up anew, and those who are behind it get the message in one
 * or several new ones (part of step 6; before and after: deliver.c).
 *
 * The rules are those of step 3 and of parts.h: who is elsewhere gets it with Delivered-To in front and, from a stranger,
 * with a return path of ours; a group with mgrpErrorsTo has its own. Owns the members that were found, until they are in
 * the log. */
#include "edge/station.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/body.h"
#include "edge/expand.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"
#include "edge/shape.h"
#include "proto/header.h"

#define reprocess_MAGIC 0x90e0e011u

enum { HEADER_LOOK = 256 * 1024, MARK_MAX = 1200 + GROUP_FIELDS_MAX, GROWTH_MAX = 512 * 1024 };

static const char how[] = "reprocess";

struct reprocess {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	struct q_item *it;
	struct mail_source body;
	struct ticket *ask;  /* owned */
	struct recipient to; /* owned: who is behind the recipient now, and by way of what */
	bool *done;          /* owned: of the members */
	char srs_sender[SMTP_PATH_SIZE];
	struct srs srs;
	unsigned made;       /* messages so far */
	struct body *shaped; /* owned: what one is made of, when groups change it, or NULL */
	bool refused;        /* the sender is told that somebody wants a password */
	struct spool_recipient *recipients; /* owned: of the one under way */
	station_fn *fn;
	void *arg;
};

static void reprocess_free(struct reprocess *x)
{
	ticket_cancel(&x->ask);
	recipients_free(x->to.members, x->to.member_count);
	mem_free(x->done);
	mem_free(x->to.via);
	mem_free(x->recipients);
	body_free(&x->shaped);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	reprocess_free(OBJ(reprocess, t));
}

static void give(struct reprocess *x, const struct station_result *r)
{
	station_fn *fn = x->fn;
	void *arg = x->arg;
	reprocess_free(x);
	fn(arg, r);
}

static void give_outcome(
    struct reprocess *x, enum fate fate, unsigned code, const char *enhanced, const char *text)
{
	struct station_result r = { .end = STATION_OUTCOME };
	outcome_set(&r.outcome, fate, code, enhanced, span_str(text));
	give(x, &r);
}

/* ---- new messages ------------------------------------------------------------------------------- */

static bool leaves(const struct recipient *m)
{
	return m->user == NULL && m->outcome.fate == FATE_OPEN && !channel_is_place(m->store);
}

/* Another return path, or a mark in front: another message. */
static const char *sender_of(const struct reprocess *x, const struct recipient *m)
{
	if (m->sender != NULL)
		return m->sender;
	return leaves(m) && x->srs_sender[0] != '\0' ? x->srs_sender : x->it->entry->sender;
}

static const struct shape *shape_of(const struct recipient *m)
{
	return shape_changes(m->shape) && m->outcome.fate != FATE_REFUSED ? m->shape : NULL;
}

static bool same_way(
    const struct reprocess *x, const struct recipient *a, const struct recipient *b)
{
	return leaves(a) == leaves(b) && strcmp(sender_of(x, a), sender_of(x, b)) == 0 &&
	       span_eq(span_str(a->fields), span_str(b->fields)) && shape_of(a) == shape_of(b);
}

static void set_refused(
    struct spool_recipient *out, unsigned code, const char *enhanced, const char *text)
{
	out->fate = SPOOL_REFUSED;
	out->code = (uint16_t)code;
	out->enhanced = span_str(enhanced);
	out->text = span_str(text);
}

/* The wishes of the sender go along, but not through a group that has a return path of its own, and that for success not to
 * several (RFC 3461 section 5.2.7). */
static void put_recipient(
    const struct reprocess *x, const struct recipient *m, struct spool_recipient *out)
{
	*out = (struct spool_recipient){ .address = span_str(m->address),
		.user = span_str(m->user),
		.detail = span_str(m->detail),
		.store = span_str(m->store) };
	if (m->sender == NULL) {
		out->notify = m->notify;
		out->orcpt = span_str(x->it->orcpt);
	}
	const char *why = shape_refuses(m->shape, SPAN_NONE);
	if (why != NULL) {
		out->address = span_str(x->it->address);
		set_refused(out, 550, "5.7.2", why);
	} else if (m->outcome.fate == FATE_REFUSED)
		set_refused(out, m->outcome.code, m->outcome.enhanced, m->outcome.text);
	else if (x->body.size > m->size_max)
		set_refused(out, 552, "5.2.3", "the message is too big for this group");
}

static struct span read_shaped(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	return body_read(arg, at, n, err_out);
}

static void next_message(struct reprocess *x);

static void on_moved(void *arg, err_t err)
{
	struct reprocess *x = OBJ(reprocess, arg);
	x->ask = NULL;
	if (err)
		give_outcome(x, FATE_LATER, 451, "4.3.0", move_why(err));
	else
		next_message(x);
}

/* What came this way has given no password to a group behind another one. Of that its sender is told once. */
static bool is_passed_over(struct reprocess *x, const struct recipient *m)
{
	const char *why = shape_refuses(m->shape, SPAN_NONE);
	bool told = x->refused;
	x->refused = told || (why != NULL && why[0] != '\0');
	return why != NULL && (told || why[0] == '\0');
}

/* False: it cannot be made now. */
static bool make_body(struct reprocess *x, const struct shape *shape, struct mail_source *out)
{
	const struct edge_conf *c = x->queue->edge;
	*out = x->body;
	body_free(&x->shaped);
	if (shape == NULL)
		return true;
	x->shaped = shape_body(shape, &x->body, c->message_size_max + GROWTH_MAX, c->temp_dir);
	if (x->shaped == NULL)
		return false;
	*out = (struct mail_source){ read_shaped, x->shaped, body_size(x->shaped) };
	return true;
}

/* Members from `first` on that go the same way. */
static size_t gather(struct reprocess *x, size_t first)
{
	size_t n = 0;
	x->recipients = mem_array(x->to.member_count - first, sizeof(*x->recipients));
	for (size_t i = first; i < x->to.member_count && n < RECIPIENTS_MAX; i++) {
		if (x->done[i] || !same_way(x, &x->to.members[first], &x->to.members[i]))
			continue;
		x->done[i] = true;
		if (is_passed_over(x, &x->to.members[i]))
			continue;
		put_recipient(x, &x->to.members[i], &x->recipients[n++]);
	}
	return n;
}

static void next_message(struct reprocess *x)
{
	const struct q_entry *e = x->it->entry;
	size_t first = 0;
	while (first < x->to.member_count && x->done[first])
		first++;
	if (first == x->to.member_count) {
		give(x, &(struct station_result){ .end = STATION_MOVED });
		return;
	}
	const struct recipient *m = &x->to.members[first];
	struct buf mark = BUF_INIT(MARK_MAX);
	if (leaves(m))
		buf_printf(&mark, "Delivered-To: %s\r\n", x->to.via);
	buf_add_str(&mark, m->fields != NULL ? m->fields : "");
	MEM_FREE(&x->recipients);
	size_t n = gather(x, first);
	struct mail_source body;
	if (n == 0 || !make_body(x, shape_of(m), &body)) {
		buf_end(&mark);
		if (n == 0)
			next_message(x);
		else
			give_outcome(x, FATE_LATER, 451, "4.3.0", "the message cannot be kept now");
		return;
	}
	char way[40];
	snprintf(way, sizeof way, "%s %zu", how, item_index(x->it));
	struct move_opts o = { .id = move_id(&e->id, way, x->made++),
		.from = e,
		.sender = sender_of(x, m),
		.trusted = e->trusted || m->sender != NULL,
		.keeps_wishes = m->sender == NULL,
		.stage = STAGE_REPROCESS,
		.recipients = x->recipients,
		.recipient_n = n,
		.prefix = buf_span(&mark),
		.body = body };
	if (queue_knows(x->queue, o.id))
		next_message(x); /* made before a crash */
	else
		x->ask = move_start(&o, on_moved, x);
	buf_end(&mark);
}

/* ---- what the directory says -------------------------------------------------------------------- */

/* -1: it cannot be read now. */
static int is_marked(const struct reprocess *x)
{
	struct header_walk w;
	struct header_field f;
	err_t err = ERR_OK;
	header_walk_init(&w, x->body.read(x->body.arg, 0, HEADER_LOOK, &err));
	while (!err && header_next(&w, &f) == HEADER_FIELD)
		if (span_ieq(f.name, SPAN("Delivered-To")) &&
		    span_ieq_str(span_trim(f.value), x->to.via))
			return 1;
	return err ? -1 : 0;
}

static bool any_leaves(const struct reprocess *x)
{
	for (size_t i = 0; i < x->to.member_count; i++)
		if (leaves(&x->to.members[i]))
			return true;
	return false;
}

static void on_domain(void *arg, enum directory_status status)
{
	struct reprocess *x = OBJ(reprocess, arg);
	const char *sender = x->it->entry->sender;
	x->ask = NULL;
	if (status == DIRECTORY_UNKNOWN) {
		give_outcome(x, FATE_LATER, 451, "4.3.0", "cannot look up the sender's domain now");
		return;
	}
	if (status == DIRECTORY_ABSENT &&
	    !srs_forward(&x->srs, span_str(sender), clock_wall_us(), x->srs_sender))
		x->srs_sender[0] = '\0';
	next_message(x);
}

/* Of what has become of the address itself its sender is told, by one more that goes along with the members. */
static void add_expanded(struct reprocess *x)
{
	x->to.members = mem_grow(x->to.members, x->to.member_count + 1, sizeof *x->to.members);
	struct recipient *r = &x->to.members[x->to.member_count++];
	*r = (struct recipient){ .address = mem_str(x->it->address),
		.store = mem_str(EXPANDED_PLACE),
		.detail = x->to.behind == BEHIND_LIST ? mem_str(EXPANDED_LIST) : NULL,
		.notify = SMTP_NOTIFY_SUCCESS,
		.size_max = UINT64_MAX };
}

static bool any_gets_it(const struct reprocess *x)
{
	struct spool_recipient to;
	for (size_t i = 0; i < x->to.member_count; i++) {
		put_recipient(x, &x->to.members[i], &to);
		if (to.fate != SPOOL_REFUSED)
			return true;
	}
	return false;
}

static void set_wishes(struct reprocess *x)
{
	const struct q_entry *e = x->it->entry;
	unsigned notify = x->it->notify;
	for (size_t i = 0; i < x->to.member_count; i++)
		x->to.members[i].notify = recipient_notify_behind(notify, x->to.behind);
	if (x->to.behind != BEHIND_ONE && recipient_wants(notify, SMTP_NOTIFY_SUCCESS) &&
	    entry_may_tell(e) && any_gets_it(x))
		add_expanded(x);
}

static void take_members(struct reprocess *x, struct expansion *e)
{
	const struct q_entry *from = x->it->entry;
	struct span sender = span_str(from->sender);
	expansion_take(e, &x->to);
	set_wishes(x);
	x->done = mem_array(x->to.member_count, sizeof(*x->done));
	int marked = any_leaves(x) ? is_marked(x) : 0;
	edge_srs(&x->srs, x->queue->edge);
	if (marked < 0)
		give_outcome(x, FATE_LATER, 451, "4.3.0", "the message cannot be read");
	else if (marked > 0)
		give_outcome(
		    x, FATE_REFUSED, 554, "5.4.6", "mail for this address goes round in a loop");
	else if (x->srs.domain != NULL && !from->trusted && sender.n > 0 && any_leaves(x))
		x->ask = directory_domain(x->queue->directory,
		    span_from(sender, span_rfind(sender, '@') + 1), on_domain, x);
	else
		next_message(x);
}

static void on_found(void *arg, struct expansion *e)
{
	struct reprocess *x = OBJ(reprocess, arg);
	x->ask = NULL;
	if (e->end == EXPAND_TAKEN)
		take_members(x, e);
	else if (e->end == EXPAND_ELSEWHERE)
		give(x, &(struct station_result){ .end = STATION_PAST });
	else
		give_outcome(x, e->code / 100 == 5 ? FATE_REFUSED : FATE_LATER, e->code,
		    e->enhanced, e->text);
}

struct ticket *reprocess_start(const struct station_ask *a, station_fn *fn, void *arg)
{
	struct reprocess *x = MEM_NEW(struct reprocess);
	struct queue *q = a->dest->queue;
	const struct q_entry *e = a->items[0]->entry;
	x->ticket.cancel = cancel;
	x->magic = reprocess_MAGIC;
	x->queue = q;
	x->it = a->items[0];
	x->body = *a->body;
	x->fn = fn;
	x->arg = arg;
	struct expand_opts opts = { .loop = q->loop,
		.directory = q->directory,
		.conf = q->edge,
		.posted = true,
		.sender = { .address = span_str(e->sender),
		    .user = e->auth_user,
		    .trusted = e->trusted,
		    .size = e->body.bytes } };
	x->ask = expand_start(&opts, span_str(x->it->address), on_found, x);
	return &x->ticket;
}
