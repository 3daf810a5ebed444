/* shared.c - mailboxes of others: names, and whether they are there for this user. Before: every command that names a
 * mailbox; after: index.c. Owns nothing. */
#include "store-backend/imap/shared.h"

#include "base/clock.h"
#include "store-backend/imap/session.h"

#define OTHERS "Other Users/"
#define PUBLIC "Shared Folders/"

static struct span public_user(const struct imap_session *s)
{
	return span_str(s->opts->public_user != NULL ? s->opts->public_user : "");
}

struct shared_name shared_parse(const struct imap_session *s, struct span name)
{
	struct shared_name out = { s->guest ? SPAN_NONE : span_str(s->user), name };
	if (!s->opts->shared_folders)
		return out;
	if (span_starts(name, SPAN(OTHERS))) {
		out.name = span_from(name, sizeof OTHERS - 1);
		out.owner = span_cut(&out.name, '/');
	} else if (span_starts(name, SPAN(PUBLIC))) {
		out.name = span_from(name, sizeof PUBLIC - 1);
		out.owner = public_user(s);
	} else {
		return out;
	}
	if (!operation_user_ok(out.owner) || !operation_name_ok(out.name))
		out.owner = SPAN_NONE;
	return out;
}

struct store_partition *shared_partition(struct imap_session *s, struct span name)
{
	struct shared_name n = shared_parse(s, name);
	if (n.owner.n == 0 || span_eq_str(n.owner, s->user))
		return s->home;
	return store_partition_of(s->base.worker, n.owner);
}

bool shared_put(const struct imap_session *s, const struct index_mailbox *m, struct buf *out)
{
	if (span_eq_str(m->user, s->user))
		return buf_add_span(out, m->name);
	if (span_eq(m->user, public_user(s)))
		buf_add_str(out, PUBLIC);
	else
		buf_printf(out, OTHERS "%.*s/", SPAN_ARG(m->user));
	return buf_add_span(out, m->name);
}

enum operation_result shared_find(struct imap_session *s, struct index_view *v, struct span name,
    uint32_t rights, struct index_mailbox *out)
{
	struct shared_name n = shared_parse(s, name);
	if (n.owner.n == 0 || !index_mailbox_find(v, n.owner, n.name, out))
		return OPR_NO_MAILBOX;
	uint32_t have = index_rights(v, out, span_str(s->user));
	if ((rights & (ACL_READ | ACL_INSERT)) != 0 && (have & rights) == rights &&
	    index_mending(v, out->id, clock_wall_us() / 1000000))
		return OPR_MENDING;
	if ((have & rights) == rights && have != 0)
		return OPR_OK;
	return (have & ACL_LOOKUP) != 0 ? OPR_DENIED : OPR_NO_MAILBOX;
}

struct each_shared {
	struct imap_session *s;
	struct index_view *view;
	bool (*fn)(void *arg, const struct index_mailbox *m);
	void *arg;
};

static bool on_granted(void *arg, const struct index_mailbox *m)
{
	struct each_shared *e = arg;
	struct span user = span_str(e->s->user);
	if (span_eq(m->user, user) || (index_rights(e->view, m, user) & ACL_LOOKUP) == 0)
		return true;
	return e->fn(e->arg, m);
}

void shared_each(struct imap_session *s, struct index_view *v,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg)
{
	struct each_shared e = { s, v, fn, arg };
	if (!s->opts->shared_folders)
		return;
	index_granted(v, span_str(s->user), on_granted, &e);
	index_granted(v, SPAN("anyone"), on_granted, &e);
}

void shared_act(const struct imap_session *s, struct operation *op, struct span owner)
{
	op->user = owner;
	op->actor = span_eq_str(owner, s->user) ? SPAN_NONE : span_str(s->user);
}
