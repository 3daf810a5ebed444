/* lmtp_room.c - is there room for a recipient? As far as it is known: at RCPT by the size that the client has said, and when the
 * message is there by its own and by its kind. Before: lmtp_command.c and lmtp_deliver.c, which ask; the users' own limits
 * are the committer's to look at once more. Owns nothing. */
#include "base/clock.h"
#include "base/mem.h"
#include "directory/name.h"
#include "store-backend/domain_quota.h"
#include "store-backend/lmtp/lmtp_internal.h"
#include "store-backend/quota_tell.h"

/* ---- mailboxes and kinds -------------------------------------------------------------------------------------- */

/* The mailbox that the message would go to, as long as nothing changes. A user who is not there yet has nothing. */
static void find_mailbox(
    struct index_view *v, struct span user, struct span folder, struct index_mailbox *out)
{
	if ((folder.n == 0 || !operation_name_ok(folder) ||
		!index_mailbox_find(v, user, folder, out)) &&
	    !index_mailbox_find(v, user, SPAN("INBOX"), out))
		*out = (struct index_mailbox){ .user = user, .name = SPAN("INBOX") };
}

static bool mailbox_has_room(struct lmtp_session *s, struct index_view *v,
    const struct op_recipient *to, const struct type_uses *more)
{
	const struct store_conf *rules = store_options(s->base.conf);
	struct index_mailbox m;
	struct quota_ask ask = { .mailbox = &m, .more = *more };
	if (rules->quota_n == 0)
		return true;
	find_mailbox(v, to->user, to->folder, &m);
	index_types(v, &m, &ask.in_mailbox, &ask.of_owner);
	const struct store_quota_conf *rule = quota_in_the_way(rules, &ask);
	if (rule != NULL)
		quota_tell_full(s->base.worker, v, to->user,
		    (struct quota_by){ rule, rule->folders.n > 0 ? m.id : 0, false });
	return rule == NULL;
}

/* ---- domains -------------------------------------------------------------------------------------------------- */

/* Each domain is added up once for a message, and then what its recipients get. */
struct domain_room {
	struct span domain;
	struct domain_use use;
};
struct domain_rooms {
	struct domain_room *v; /* owned */
	size_t n, cap;
};

static struct domain_use *domain_of(
    struct lmtp_session *s, struct domain_rooms *rooms, struct span user)
{
	struct span domain = name_domain(user);
	for (size_t i = 0; i < rooms->n; i++)
		if (span_eq(rooms->v[i].domain, domain))
			return &rooms->v[i].use;
	if (rooms->n == rooms->cap) {
		rooms->cap = rooms->cap == 0 ? 4 : rooms->cap * 2;
		rooms->v = mem_grow(rooms->v, rooms->cap, sizeof rooms->v[0]);
	}
	struct domain_room *one = &rooms->v[rooms->n++];
	one->domain = domain;
	domain_use_now(s->base.worker, store_options(s->base.conf), domain, &one->use);
	return &one->use;
}

static bool domain_takes(struct lmtp_session *s, struct index_view *v, struct domain_rooms *rooms,
    const struct op_recipient *to, uint64_t size)
{
	struct type_use more = { size, 1 };
	return quota_domain_admits(
	    s->base.worker, v, to->user, domain_of(s, rooms, to->user), &more);
}

/* ---- public --------------------------------------------------------------------------------------------------- */

static bool is_full(const struct index_user *u, uint64_t size)
{
	return (u->quota_bytes > 0 && u->bytes + size >= u->quota_bytes) ||
	       (u->quota_messages > 0 && u->messages >= u->quota_messages);
}

static bool user_has_room(
    struct lmtp_session *s, struct index_view *v, struct span user, uint64_t size)
{
	struct index_user u;
	bool room = !index_user(v, user, &u) || !is_full(&u, size);
	if (!room)
		quota_tell_full(s->base.worker, v, user, (struct quota_by){ 0 });
	return room;
}

/* Of what kind the message will be is not known. */
static bool has_room(
    struct lmtp_session *s, struct index_view *v, const struct op_recipient *to, uint64_t size)
{
	struct type_uses more = { .of = { [TYPE_ANY] = { size, 1 } } };
	struct domain_rooms rooms = { 0 };
	bool room = user_has_room(s, v, to->user, size) && mailbox_has_room(s, v, to, &more) &&
		    domain_takes(s, v, &rooms, to, size);
	mem_free(rooms.v);
	return room;
}

enum operation_result lmtp_no_room(struct lmtp_session *s, struct index_view *v, struct span user)
{
	struct index_quota_mark mark;
	(void)index_quota_mark(v, user, &mark);
	return quota_is_grace_over(store_options(s->base.conf), &mark, clock_wall_us() / 1000000)
		   ? OPR_OVER_GRACE
		   : OPR_OVER_QUOTA;
}

enum operation_result lmtp_recipient_room(
    struct lmtp_session *s, struct span user, struct span folder, uint64_t size)
{
	struct index_view *v = index_view_begin(store_partition_of(s->base.worker, user)->index);
	enum operation_result r = OPR_OK;
	struct op_recipient to = { user, folder };
	if (v != NULL && index_stay(v, user) != STAY_HERE)
		r = OPR_AWAY;
	else if (v != NULL && !s->t->exempt && !has_room(s, v, &to, size))
		r = lmtp_no_room(s, v, user);
	index_view_end(&v);
	return r;
}

void lmtp_refuse_full(struct lmtp_session *s, const struct message_source *message)
{
	struct type_uses more = { 0 };
	struct domain_rooms rooms = { 0 };
	if (s->t->exempt)
		return;
	type_uses_add(&more, message_type_in(message->cache), message->size, 1);
	for (size_t i = 0; i < s->t->recipient_n; i++) {
		struct lmtp_recipient *r = &s->t->recipients[i];
		struct op_recipient to = { span_str(r->user), span_str(r->folder) };
		struct index_view *v = index_view_begin(r->partition->index);
		if (v != NULL && (!mailbox_has_room(s, v, &to, &more) ||
				     !domain_takes(s, v, &rooms, &to, message->size)))
			r->result = lmtp_no_room(s, v, to.user);
		index_view_end(&v);
	}
	for (size_t i = 0; i < rooms.n; i++)
		quota_warn_domain(s->base.worker, rooms.v[i].domain, &rooms.v[i].use);
	mem_free(rooms.v);
}
