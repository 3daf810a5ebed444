/* quota_tell.c - warnings of domains, and refusals of the workers as events; see quota_tell.h. Before: lmtp/lmtp_room.c, imap/append.c and
 * imap/change.c, which refuse; after: partition_mark.c. Owns nothing. */
#include "store-backend/quota_tell.h"

#include "base/clock.h"
#include "directory/name.h"

enum { US = 1000000, ASKED_MAX = 64 /* under way to a committer: more are not told */ };

static void on_told(void *arg, const struct operation_answer *a)
{
	struct store_partition *p = arg;
	p->marks_asked--;
}

static void tell(struct store_worker *w, struct span user, const struct operation *op)
{
	struct store_partition *p = store_partition_of(w, user);
	if (p->marks_asked == ASKED_MAX || !operation_link_up(p->link))
		return;
	p->marks_asked++;
	(void)operation_ask(p->link, op, on_told, p);
}

void quota_tell_full(
    struct store_worker *w, struct index_view *v, struct span user, struct quota_by by)
{
	const struct store_conf *s = store_options(store_worker_conf(w));
	struct index_quota_mark mark;
	struct index_user u;
	struct operation op;
	char root[STORE_USER_MAX + 1];
	if (!quota_wants_marks(s))
		return;
	(void)index_quota_mark(v, user, &mark);
	if (!quota_mark_is_due(s, &mark, clock_wall_us() / US) || !index_user(v, user, &u))
		return;
	quota_mark_op(&op, user, FLAGS_ADD, &mark);
	op.mailbox = by.mailbox;
	if (by.rule != NULL)
		op.name = span_str(by.rule->head.title);
	if (by.domain)
		op.name = quota_domain_root(name_domain(user), root);
	tell(w, user, &op);
}

static void tell_within(
    struct store_worker *w, struct index_view *v, struct span user, const struct domain_use *use)
{
	struct index_quota_mark mark;
	struct operation op;
	if (!quota_wants_marks(store_options(store_worker_conf(w))) ||
	    !index_quota_mark(v, user, &mark) || !span_starts(mark.root, SPAN("@")) ||
	    !quota_domain_within(use))
		return;
	quota_mark_op(&op, user, FLAGS_REMOVE, &mark);
	tell(w, user, &op);
}

bool quota_domain_admits(struct store_worker *w, struct index_view *v, struct span user,
    struct domain_use *use, const struct type_use *more)
{
	if (!quota_domain_has_room(use, more->bytes, more->messages)) {
		quota_tell_full(w, v, user, (struct quota_by){ .domain = true });
		return false;
	}
	tell_within(w, v, user, use);
	use->all.bytes += more->bytes;
	use->all.messages += more->messages;
	return true;
}

/* ---- domains that come near their limits ------------------------------------------------------------------------ */

/* Who is told: quota_domain_warn_to, of that domain unless it says of which. */
static bool warned_user(const struct store_conf *s, struct span domain, struct buf *out)
{
	struct span to = span_str(s->quota_domain_warn_to);
	buf_add_span(out, to);
	if (name_domain(to).n == 0 && to.n > 0)
		buf_printf(out, "@%.*s", SPAN_ARG(domain));
	return buf_ok(out) && operation_user_ok(buf_span(out));
}

/* Mail for nobody makes a user: whoever is not there is not told. */
static bool is_to_be_told(struct store_worker *w, struct span user, struct span id)
{
	struct index_user there;
	struct index_view *v = index_view_begin(store_partition_of(w, user)->index);
	bool yes = v != NULL && index_user(v, user, &there) && !index_delivered(v, id, user);
	index_view_end(&v);
	return yes;
}

static void send_warning(
    struct store_worker *w, const struct quota_warning *warning, struct span id, unsigned percent)
{
	struct quota_letter l;
	if (quota_letter_write(&l, warning, id, clock_wall_us() / US)) {
		tell(w, warning->user, &l.op);
		log_write(&store_events[STORE_EV_DOMAIN_WARNED], NULL,
		    LOG_FIELDS(LOG_SPAN("domain", warning->domain), LOG_U64("percent", percent),
			LOG_SPAN("to", warning->user)));
	}
	quota_letter_end(&l);
}

void quota_warn_domain(struct store_worker *w, struct span domain, const struct domain_use *use)
{
	const struct store_conf *s = store_options(store_worker_conf(w));
	struct buf user = BUF_INIT(STORE_USER_MAX);
	char room[QUOTA_WARNING_ID_SIZE];
	struct quota_warning warning = { .domain = domain,
		.is = quota_domain_as_user(use),
		.hostname = store_worker_hostname(w) };
	struct quota_level l = quota_level_of(&s->quota_warn, &warning.is);
	if (l.percent > 0 && warned_user(s, domain, &user)) {
		struct span id =
		    quota_warning_id(s, "domain", l.percent, clock_wall_us() / US, room);
		warning.user = buf_span(&user);
		if (is_to_be_told(w, warning.user, id))
			send_warning(w, &warning, id, l.used);
	}
	buf_end(&user);
}
