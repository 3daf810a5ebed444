/* notify.c - NOTIFY (RFC 5465): which mailboxes a client wants to be told of beside the selected one, and telling it, also while
 * no command is in progress. Before: input.c, watch.c; after: reply.c sends what is said here. notify_names.c knows the
 * mailboxes. Owns the watches, and what was told last. */
#include "store-backend/imap/notify_box.h"

#include "base/mem.h"

#include "store-backend/acl.h"
#include "store-backend/imap/blob.h"
#include "store-backend/imap/remote.h"
#include "store-backend/imap/shared.h"

#define AWAY "Nothing can be told of a mailbox that is on another store"

/* ---- the object -------------------------------------------------------------------------------------------------- */

void notify_box_free(struct notify_box *b)
{
	mailbox_watch_stop(&b->watch);
	for (size_t i = 0; i < b->entry_n; i++)
		mem_free(b->entries[i].name);
	mem_free(b->entries);
	mem_free(b->name);
	mem_free(b);
}

void imap_notify_free(struct imap_notify **np)
{
	struct imap_notify *n = *np;
	if (n == NULL)
		return;
	for (size_t i = 0; i < n->box_n; i++)
		notify_box_free(n->boxes[i]);
	for (size_t i = 0; i < n->user_n; i++) {
		mailbox_watch_stop(&n->users[i].watch);
		mem_free(n->users[i].user);
	}
	for (size_t i = 0; i < n->sub_n; i++)
		mem_free(n->subs[i]);
	for (size_t i = 0; i < n->name_n; i++)
		mem_free(n->names[i]);
	mem_free(n->boxes);
	mem_free(n->subs);
	buf_end(&n->fetch);
	MEM_FREE(np);
}

void notify_wake(struct imap_notify *n)
{
	n->stale = true;
	imap_news_came(n->s);
}

static const struct notify_group *selected_group(const struct imap_session *s)
{
	for (size_t i = 0; s->notify != NULL && i < s->notify->n; i++)
		if (s->notify->v[i].filter <= NOTIFY_SELECTED_DELAYED)
			return &s->notify->v[i];
	return NULL;
}

enum imap_news imap_notify_selected(const struct imap_session *s)
{
	const struct notify_group *g = selected_group(s);
	if (g == NULL || (g->events & NOTIFY_NEW) == 0)
		return NEWS_NONE;
	return g->filter == NOTIFY_SELECTED ? NEWS_ALL : NEWS_NO_EXPUNGE;
}

bool imap_notify_flags(const struct imap_session *s)
{
	const struct notify_group *g = selected_group(s);
	return g != NULL && (g->events & NOTIFY_FLAGS) != 0;
}

/* ---- new messages of the selected mailbox --------------------------------------------------------------------------- */

/* A part in memory; a longer one than FETCH_TEXT_MAX is left out. */
static bool put_range(struct message *m, struct message_range r, struct buf *text)
{
	return r.n <= FETCH_TEXT_MAX && message_read(m, r, text);
}

static bool put_binary(const struct fetch_item *it, struct message *m, struct buf *text)
{
	struct fetch_binary b;
	enum fetch_binary_step next = BINARY_GOES_ON;
	if (m->bytes.size > FETCH_TEXT_MAX || fetch_binary_start(&b, m, it) != BINARY_STARTED)
		return false;
	while (next == BINARY_GOES_ON)
		next = fetch_binary_step(&b, m, "", text);
	return next == BINARY_DONE;
}

static void put_item(struct imap_session *s, const struct fetch_request *req,
    const struct fetch_item *it, const struct fetch_subject *of)
{
	struct buf text = BUF_INIT(2 * FETCH_TEXT_MAX);
	struct message_range r = { 0, 0 };
	bool ok;
	if (it->kind >= FETCH_BINARY) {
		ok = put_binary(it, of->message, &text);
	} else {
		enum fetch_put put = fetch_put_item(&text, req, it, of, &r);
		ok = put == PUT_DONE || (put == PUT_RANGE && put_range(of->message, r, &text));
	}
	if (ok && buf_ok(&text)) {
		buf_add_char(&s->text, ' ');
		buf_add_span(&s->text, buf_span(&text));
	}
	buf_end(&text);
}

/* Each begins with its uid. */
static void put_new(
    struct imap_session *s, struct index_view *v, const struct fetch_request *req, size_t i)
{
	struct message m;
	struct blob blob;
	struct fetch_subject of = { .box = s->box, .at = i, .message = &m };
	if (!index_entry(v, s->box->id, s->box->v[i].uid, &of.entry))
		return; /* gone already, which will be told */
	blob_init(&blob, s->box_in->reader, &of.entry);
	message_init(&m, &blob.bytes);
	message_set_cache(&m, index_cache(v, of.entry.blob));
	of.object = index_object(v, of.entry.blob);
	selected_put_fetch(s->box, i, &s->text);
	imap_say(s, "UID %u", s->box->v[i].uid);
	for (size_t k = 0; k < req->n; k++)
		if (req->v[k].kind != FETCH_UID)
			put_item(s, req, &req->v[k], &of);
	imap_say(s, ")\r\n");
	message_rest(&m);
	message_end(&m);
}

static void forget_new(struct imap_session *s, struct imap_notify *n)
{
	size_t told = s->box->told_n;
	n->fetch_box = s->box->id;
	n->fetch_in = s->box_in;
	n->fetch_uid = told > 0 ? s->box->v[told - 1].uid + 1 : 1;
}

/* False: no room; there are more. */
static bool tell_new(struct imap_session *s, struct imap_notify *n, struct index_view *v)
{
	struct imap_cursor c;
	struct buf scratch = BUF_INIT(buf_len(&n->fetch) + 1);
	struct fetch_request *req = mem_array(1, sizeof *req);
	bool room = true;
	imap_cursor_init(&c, buf_span(&n->fetch), &scratch);
	fetch_parse(&c, false, req);
	size_t i = selected_lower(s->box, n->fetch_uid);
	for (; room && i < s->box->told_n; i++) {
		if ((s->box->v[i].bits & MARK_GONE) == 0)
			put_new(s, v, req, i);
		n->fetch_uid = s->box->v[i].uid + 1;
		room = imap_flush(s);
	}
	mem_free(req);
	buf_end(&scratch);
	return room;
}

/* Ids are unique in a partition only. */
static bool is_fetched(const struct imap_session *s)
{
	return s->notify->fetch_box == s->box->id && s->notify->fetch_in == s->box_in;
}

static bool has_new(const struct imap_session *s)
{
	const struct imap_notify *n = s->notify;
	return s->box != NULL && buf_len(&n->fetch) > 0 && is_fetched(s) && s->box->told_n > 0 &&
	       s->box->v[s->box->told_n - 1].uid >= n->fetch_uid;
}

/* ---- the others -------------------------------------------------------------------------------------------------------- */

/* first: for NOTIFY itself, which tells the modseq whoever wants to hear of flags (RFC 5465 section 3). */
static void say_status(
    struct imap_session *s, struct notify_box *b, const struct index_mailbox *m, bool first)
{
	imap_say(s, "* STATUS ");
	imap_put_name(s, span_str(b->name));
	imap_say(s, " (MESSAGES %u UIDNEXT %u UIDVALIDITY %u UNSEEN %u", m->messages, m->uidnext,
	    m->uidvalidity, m->unseen);
	if ((s->enabled & ENABLED_CONDSTORE) != 0 || (first && (b->events & NOTIFY_FLAGS) != 0))
		imap_say(s, " HIGHESTMODSEQ %llu", (unsigned long long)m->modseq);
	imap_say(s, ")\r\n");
}

static bool is_news(const struct notify_box *b, const struct index_mailbox *m)
{
	bool counts = m->messages != b->messages || m->uidnext != b->uidnext;
	return (b->events & NOTIFY_FLAGS) != 0 ? m->modseq != b->modseq
					       : counts && (b->events & NOTIFY_NEW) != 0;
}

/* The selected one is told of in its own way. always: whether it has changed or not. */
static void tell_box(
    struct imap_session *s, struct notify_box *b, struct index_view *v, bool always)
{
	struct index_mailbox m;
	bool own = s->box != NULL && s->box_in == b->in && s->box->id == b->id;
	b->stale = false;
	if ((b->events & NOTIFY_MESSAGES) == 0 || !index_mailbox_get(v, b->id, &m))
		return;
	if (!own && (always || is_news(b, &m)) &&
	    (index_rights(v, &m, span_str(s->user)) & ACL_READ) != 0)
		say_status(s, b, &m, always);
	b->modseq = m.modseq;
	b->messages = m.messages;
	b->uidnext = m.uidnext;
}

/* Those that are stale, or all; a view for each partition that has one. False: one cannot be read now. */
static bool tell_each(struct imap_session *s, struct imap_notify *n, bool always)
{
	bool all = true;
	for (size_t p = 0; p < store_partition_count(s->base.worker); p++) {
		const struct store_partition *in = store_partition_at(s->base.worker, p);
		struct index_view *v = NULL;
		for (size_t i = 0; i < n->box_n; i++) {
			struct notify_box *b = n->boxes[i];
			if (b->in != in || (!always && !b->stale))
				continue;
			if (v == NULL)
				v = index_view_begin(in->index);
			if (v != NULL)
				tell_box(s, b, v, always);
			all = all && v != NULL;
		}
		index_view_end(&v);
	}
	return all;
}

static void tell_boxes(struct imap_session *s, struct imap_notify *n)
{
	if (!n->names_stale || notify_refresh_names(n, true)) {
		n->stale = !tell_each(s, n, false) || n->names_stale;
		return;
	}
	imap_say(s, "* OK [NOTIFICATIONOVERFLOW] There are too many mailboxes to tell of\r\n");
	imap_notify_free(&s->notify);
}

enum verdict imap_notify_tell(struct imap_session *s)
{
	struct imap_notify *n = s->notify;
	if (n == NULL)
		return V_NEXT;
	if (s->box != NULL && !is_fetched(s))
		forget_new(s, n);
	if (!n->stale && !has_new(s))
		return V_NEXT;
	if (!imap_flush(s))
		return V_WAIT;
	bool room = true;
	if (has_new(s)) {
		struct index_view *v = index_view_begin(s->box_in->index);
		if (v == NULL)
			return V_NEXT; /* told with what comes next */
		room = tell_new(s, n, v);
		index_view_end(&v);
	}
	if (room && n->stale)
		tell_boxes(s, n);
	return imap_flush(s) && room ? V_NEXT : V_WAIT;
}

/* ---- the command ----------------------------------------------------------------------------------------------------------- */

static struct imap_notify *new_notify(struct imap_session *s, const struct notify_request *req)
{
	struct imap_notify *n = MEM_NEW(struct imap_notify);
	n->s = s;
	n->n = req->n;
	memcpy(n->v, req->v, req->n * sizeof n->v[0]);
	for (size_t i = 0; i < req->name_n; i++) {
		struct buf name = BUF_INIT(IMAP_NAME_BYTES);
		imap_name_of(s, req->names[i], &name);
		n->names[n->name_n++] = mem_span_str(buf_span(&name)); /* "" is no mailbox's */
		buf_end(&name);
	}
	n->fetch = BUF_INIT(IMAP_TOTAL_MAX);
	buf_add_span(&n->fetch, req->fetch);
	return n;
}

void imap_notify_selected_away(struct imap_session *s)
{
	const struct notify_group *g = selected_group(s);
	if (g == NULL || g->events == 0)
		return;
	stream_printf(s->io, "* OK [NOTIFICATIONOVERFLOW] " AWAY "\r\n");
	imap_notify_free(&s->notify);
}

static bool is_away(const struct imap_notify *n, const struct notify_group *g)
{
	if (g->filter <= NOTIFY_SELECTED_DELAYED)
		return imap_remote_is_selected(n->s);
	for (size_t i = 0; i < g->name_n; i++) {
		struct span name = span_str(n->names[g->name_at + i]);
		if (imap_remote_may_have(n->s, shared_parse(n->s, name).owner))
			return true;
	}
	return false;
}

/* Is something to be told of a mailbox that is named, or selected, and on another store? There is nobody here to hear of its news, and
 * what is promised must come (RFC 5465 section 5.8). */
static bool wants_away(const struct imap_notify *n)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->v[i].events != 0 && is_away(n, &n->v[i]))
			return true;
	return false;
}

static enum verdict set(struct imap_session *s, const struct notify_request *req)
{
	struct imap_notify *n = new_notify(s, req);
	if (wants_away(n)) {
		imap_notify_free(&n);
		return imap_finish(s, "NO", "[NOTIFICATIONOVERFLOW] " AWAY);
	}
	if (!notify_refresh_names(n, false)) {
		imap_notify_free(&n);
		return imap_finish(s, "NO", "[NOTIFICATIONOVERFLOW] Too many mailboxes to tell of");
	}
	if (n->names_stale || (req->status && !tell_each(s, n, true))) {
		imap_notify_free(&n);
		return imap_finish_later(s);
	}
	imap_notify_free(&s->notify);
	s->notify = n;
	return imap_finish_done(s);
}

enum verdict cmd_notify(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct notify_request *req = mem_array(1, sizeof *req);
	struct fetch_request *scratch = mem_array(1, sizeof *scratch);
	enum verdict v;
	imap_read_sp(c);
	notify_parse(c, req, scratch);
	imap_read_end(c);
	if (!imap_ok(c)) {
		v = imap_finish_bad(s, c->why);
	} else if (req->bad_event) {
		v = imap_finish(s, "NO",
		    "[BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "
		    "SubscriptionChange "
		    "MailboxMetadataChange ServerMetadataChange)] One of the events is not known");
	} else if (req->none) {
		imap_notify_free(&s->notify);
		v = imap_finish_done(s);
	} else {
		v = set(s, req);
	}
	mem_free(req);
	mem_free(scratch);
	return v;
}
