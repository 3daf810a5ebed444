/* quota.c - limits of mailboxes and kinds of messages, and the warning of a user who comes near the own. Pure. Before: partition_warn.c,
 * partition_batch.c and lmtp/lmtp_deliver.c, which ask. Owns nothing. */
#include "store-backend/quota.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store-backend/imap/pattern.h"
#include "store-backend/parse.h"

enum { MS = 1000, EXCEED_EVERY_S = 86400 /* without settings */ };

static bool is_beyond(uint64_t limit, uint64_t used, uint64_t more)
{
	return limit > 0 && (used > limit || more > limit - used);
}

static bool is_of_user(const struct store_quota_conf *q, struct span user)
{
	return q->users.n == 0 || imap_pattern_fits_any(&q->users, user);
}

bool quota_is_root(const struct store_quota_conf *q, struct span user)
{
	return q->folders.n == 0 && q->domains.n == 0 && is_of_user(q, user);
}

static const struct type_use *used_of(const struct store_quota_conf *q, const struct quota_ask *a)
{
	return q->folders.n > 0 ? &a->in_mailbox.of[q->type] : &a->of_owner.of[q->type];
}

static bool has_room(const struct store_quota_conf *q, const struct quota_ask *a)
{
	const struct type_use *more = &a->more.of[q->type], *used = used_of(q, a);
	if (q->folders.n == 0 && a->moves)
		return true;
	return (q->type != TYPE_ANY && more->messages == 0) ||
	       (!is_beyond(q->bytes, used->bytes, more->bytes) &&
		   !is_beyond((uint64_t)q->messages, used->messages, more->messages));
}

static bool fits_mailbox(const struct store_quota_conf *q, const struct index_mailbox *m)
{
	return q->domains.n == 0 && is_of_user(q, m->user) &&
	       (q->folders.n == 0 || imap_pattern_fits_any(&q->folders, m->name));
}

const struct store_quota_conf *quota_in_the_way(
    const struct store_conf *s, const struct quota_ask *a)
{
	for (size_t i = 0; i < s->quota_n; i++) {
		const struct store_quota_conf *q = s->quota[i];
		if (fits_mailbox(q, a->mailbox) && !has_room(q, a))
			return q;
	}
	return NULL;
}

bool quota_rule_within(const struct store_conf *s, struct span rule, const struct quota_ask *a)
{
	for (size_t i = 0; i < s->quota_n; i++) {
		const struct store_quota_conf *q = s->quota[i];
		const struct type_use *used = used_of(q, a);
		if (!span_eq_str(rule, q->head.title) || q->domains.n > 0)
			continue;
		return (q->bytes == 0 || used->bytes < q->bytes) &&
		       (q->messages == 0 || used->messages < (uint64_t)q->messages);
	}
	return true;
}

/* ---- domains ------------------------------------------------------------------------------------------------ */

void quota_domain_add(struct domain_use *u, const struct index_domain *one)
{
	u->all.bytes += one->bytes;
	u->all.messages += one->messages;
	u->all.users += one->users;
	if (one->version <= u->all.version)
		return;
	u->all.quota_bytes = one->quota_bytes;
	u->all.quota_messages = one->quota_messages;
	u->all.version = one->version;
}

static void take_less(uint64_t *limit, uint64_t other)
{
	if (other > 0 && (*limit == 0 || other < *limit))
		*limit = other;
}

void quota_domain_limit(const struct store_conf *s, struct span domain, struct domain_use *u)
{
	u->limit = (struct type_use){ u->all.quota_bytes, u->all.quota_messages };
	for (size_t i = 0; i < s->quota_n; i++) {
		const struct store_quota_conf *q = s->quota[i];
		if (q->domains.n == 0 || !imap_pattern_fits_any(&q->domains, domain))
			continue;
		take_less(&u->limit.bytes, q->bytes);
		take_less(&u->limit.messages, (uint64_t)q->messages);
	}
}

void quota_domain_remove(struct domain_use *u, uint64_t bytes, uint64_t messages)
{
	u->all.bytes -= bytes < u->all.bytes ? bytes : u->all.bytes;
	u->all.messages -= messages < u->all.messages ? messages : u->all.messages;
}

bool quota_domain_has_room(const struct domain_use *u, uint64_t bytes, uint64_t messages)
{
	return !is_beyond(u->limit.bytes, u->all.bytes, bytes) &&
	       !is_beyond(u->limit.messages, u->all.messages, messages);
}

static bool is_within(uint64_t used, uint64_t limit)
{
	return limit == 0 || used <= limit - limit / 10;
}

bool quota_domain_within(const struct domain_use *u)
{
	return is_within(u->all.bytes, u->limit.bytes) &&
	       is_within(u->all.messages, u->limit.messages) && quota_domain_has_room(u, 1, 1);
}

/* ---- users -------------------------------------------------------------------------------------------------- */

static unsigned percent_of(uint64_t used, uint64_t limit)
{
	if (limit == 0)
		return 0;
	uint64_t percent = used >= UINT64_MAX / 100 ? used / (limit / 100 + 1) : used * 100 / limit;
	return percent > 999 ? 999 : (unsigned)percent;
}

bool quota_is_reached(const struct index_user *u)
{
	return (u->quota_bytes > 0 && u->bytes >= u->quota_bytes) ||
	       (u->quota_messages > 0 && u->messages >= u->quota_messages);
}

bool quota_has_room(const struct index_user *u, uint64_t bytes, uint64_t messages)
{
	return !is_beyond(u->quota_bytes, u->bytes, bytes) &&
	       !is_beyond(u->quota_messages, u->messages, messages);
}

bool quota_is_exceeded(const struct index_user *u)
{
	return !quota_has_room(u, 0, 0);
}

struct quota_level quota_level_of(const struct conf_ints *warn, const struct index_user *u)
{
	unsigned bytes = percent_of(u->bytes, u->quota_bytes);
	unsigned messages = percent_of(u->messages, u->quota_messages);
	struct quota_level l = { .used = bytes, .messages = messages > bytes };
	if (l.messages)
		l.used = messages;
	for (size_t i = 0; i < warn->n; i++) {
		unsigned level = (unsigned)warn->v[i];
		if (l.used >= level && level > l.percent)
			l.percent = level;
	}
	return l;
}

bool quota_rule_level(const struct store_quota_conf *q, const struct quota_ask *a,
    struct index_user *is_out, struct quota_level *level_out)
{
	const struct type_use *used = used_of(q, a);
	*is_out = (struct index_user){ .bytes = used->bytes,
		.messages = used->messages,
		.quota_bytes = q->bytes,
		.quota_messages = (uint64_t)q->messages };
	*level_out = quota_level_of(&q->warn, is_out);
	return level_out->percent > 0 && fits_mailbox(q, a->mailbox);
}

bool quota_is_exempt(const struct store_conf *s, struct span sender)
{
	return sender.n > 0 && imap_pattern_fits_any(&s->quota_exempt, sender);
}

bool quota_wants_marks(const struct store_conf *s)
{
	return store_wants_events(s) || (s->quota_grace > 0 && s->quota_over == STORE_OVER_DEFER);
}

bool quota_mark_is_due(
    const struct store_conf *s, const struct index_quota_mark *mark, uint64_t now_s)
{
	uint64_t every_s = s != NULL ? s->quota_exceed_every / MS : EXCEED_EVERY_S;
	return mark->since_s == 0 || now_s >= mark->since_s + every_s;
}

void quota_mark_op(struct operation *op_out, struct span user, enum flag_how how,
    const struct index_quota_mark *mark)
{
	operation_init(op_out, OP_QUOTA_MARK);
	op_out->user = user;
	op_out->how = how;
	op_out->unchanged_since = mark->since_s;
	if (how == FLAGS_REMOVE) {
		op_out->name = mark->root;
		op_out->mailbox = mark->mailbox;
	}
}

struct span quota_domain_root(struct span domain, char out[STORE_USER_MAX + 1])
{
	out[0] = '@';
	memcpy(out + 1, domain.p, domain.n);
	return span_of(out, 1 + domain.n);
}

bool quota_is_grace_over(
    const struct store_conf *s, const struct index_quota_mark *mark, uint64_t now_s)
{
	return s->quota_grace > 0 && mark->since_s > 0 &&
	       now_s >= mark->first_s + s->quota_grace / MS;
}

static void check_one(const struct store_quota_conf *q, struct conf_diag *d)
{
	if (q->bytes == 0 && q->messages == 0)
		conf_error(d, q->head.pos, "quota %s limits nothing", q->head.title);
	bool narrow = q->folders.n > 0 || q->type != TYPE_ANY;
	if (!narrow && q->domains.n == 0)
		conf_error(
		    d, q->head.pos, "quota %s needs folders, a type or domains", q->head.title);
	if (q->domains.n > 0 && q->warn.n > 0)
		conf_error(d, q->head.pos, "quota %s: of domains quota_warn warns", q->head.title);
	if (q->domains.n > 0 && (narrow || q->users.n > 0))
		conf_error(d, q->head.pos,
		    "quota %s: domains go with neither users, folders nor type", q->head.title);
}

void quota_check(const struct store_conf *s, struct conf_diag *d)
{
	for (size_t i = 0; i < s->quota_n; i++)
		check_one(s->quota[i], d);
}

struct index_user quota_domain_as_user(const struct domain_use *u)
{
	return (struct index_user){ .bytes = u->all.bytes,
		.messages = u->all.messages,
		.quota_bytes = u->limit.bytes,
		.quota_messages = u->limit.messages };
}

struct span quota_warning_id(const struct store_conf *s, const char *what, unsigned percent,
    uint64_t wall_s, char out[QUOTA_WARNING_ID_SIZE])
{
	(void)snprintf(out, QUOTA_WARNING_ID_SIZE, "%s-%u-%llu", what, percent,
	    (unsigned long long)(wall_s / (s->quota_warn_every / MS)));
	return span_str(out);
}

static void put_subject(const struct quota_warning *w, unsigned percent, struct buf *out)
{
	static const char *const kinds[] = { [TYPE_ANY] = "",
		[TYPE_MAIL] = "mail ",
		[TYPE_VOICE] = "voice ",
		[TYPE_FAX] = "fax ",
		[TYPE_VIDEO] = "video " };
	if (w->domain.n > 0)
		buf_printf(out, "The mailboxes of %.*s are", SPAN_ARG(w->domain));
	else if (w->rule == NULL)
		buf_add_str(out, "Your mailbox is");
	else if (w->mailbox.n > 0)
		buf_add_str(out, "One of your mailboxes is");
	else
		buf_printf(out, "The room for your %smessages is", kinds[w->rule->type]);
	buf_printf(out, " %u %% full", percent);
}

static void put_head(const struct quota_warning *w, unsigned percent, struct buf *out)
{
	char date[CLOCK_RFC5322_SIZE];
	uint64_t now = clock_wall_us();
	buf_printf(out,
	    "Return-Path: <>\r\nFrom: Mail store <postmaster@%s>\r\nTo: <%.*s>\r\nSubject: ",
	    w->hostname, SPAN_ARG(w->user));
	put_subject(w, percent, out);
	buf_printf(out,
	    "\r\nDate: %s\r\nMessage-ID: <quota.%llu@%s>\r\n"
	    "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
	    clock_rfc5322(now, date), (unsigned long long)now, w->hostname);
	if (w->mailbox.n > 0)
		buf_printf(out, "Its name is %.*s.\r\n", SPAN_ARG(w->mailbox));
}

static void put_use(const struct quota_warning *w, const struct quota_level *l, struct buf *out)
{
	const struct index_user *u = &w->is;
	bool domain = w->domain.n > 0;
	if (l->messages)
		buf_printf(out, "%s %llu messages; %llu are allowed.\r\n",
		    domain || w->rule != NULL ? "There are" : "You have",
		    (unsigned long long)u->messages, (unsigned long long)u->quota_messages);
	else if (w->rule != NULL)
		buf_printf(out, "There are %llu KiB; %llu KiB are allowed.\r\n",
		    (unsigned long long)(u->bytes >> 10),
		    (unsigned long long)(u->quota_bytes >> 10));
	else
		buf_printf(out, "%s takes %llu MiB; %llu MiB are allowed.\r\n",
		    domain ? "The mail of all users together" : "Your mail",
		    (unsigned long long)(u->bytes >> 20),
		    (unsigned long long)(u->quota_bytes >> 20));
}

static bool put_warning(const struct quota_warning *w, struct buf *out)
{
	static const struct conf_ints none = { 0 };
	struct quota_level l = quota_level_of(&none, &w->is);
	put_head(w, l.used, out);
	put_use(w, &l, out);
	if (w->domain.n > 0)
		return buf_add_str(
		    out, "When there is no room no mail can be delivered to any of them.\r\n");
	return buf_add_str(
		   out, w->rule != NULL
			    ? "When there is no room no such mail can be delivered to you.\r\n"
			    : "When the mailbox is full no mail can be delivered to you.\r\n") &&
	       buf_add_str(
		   out, "Please delete what you do not need any more, and empty the trash.\r\n");
}

bool quota_letter_write(
    struct quota_letter *out, const struct quota_warning *w, struct span id, uint64_t wall_s)
{
	out->text = BUF_INIT(QUOTA_WARNING_MAX);
	out->cache = BUF_INIT(STORE_CACHE_MAX);
	if (!put_warning(w, &out->text))
		return false;
	parse_message(buf_span(&out->text), &out->cache);
	out->to = (struct op_recipient){ w->user, SPAN_NONE };
	operation_init(&out->op, OP_DELIVER);
	out->op.uses = DELIVER_ANYWAY | DELIVER_WARNING;
	if (w->rule != NULL)
		out->op.name = span_str(w->rule->head.title);
	else if (w->domain.n > 0)
		out->op.name = quota_domain_root(w->domain, out->root);
	out->op.delivery_id = id;
	out->op.recipients = &out->to;
	out->op.recipient_n = 1;
	out->op.date_s = (int64_t)wall_s;
	out->op.message = (struct message_source){ .bytes = buf_span(&out->text),
		.size = buf_len(&out->text),
		.cache = buf_span(&out->cache) };
	return true;
}

void quota_letter_end(struct quota_letter *l)
{
	buf_end(&l->text);
	buf_end(&l->cache);
}
