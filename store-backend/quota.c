/* quota.c - limits of mailboxes, and the warning of a user who comes near the own. Pure. Before: partition_warn.c,
 * partition_batch.c and lmtp/lmtp_deliver.c, which ask. Owns nothing. */
#include "store-backend/quota.h"

#include "base/clock.h"
#include "store-backend/imap/pattern.h"

static bool is_beyond(uint64_t limit, uint64_t used, uint64_t more)
{
	return limit > 0 && (used > limit || more > limit - used);
}

bool quota_mailbox_has_room(
    const struct store_conf *s, const struct index_mailbox *m, uint64_t bytes, uint64_t messages)
{
	for (size_t i = 0; i < s->quota_n; i++) {
		const struct store_quota_conf *q = s->quota[i];
		if (imap_pattern_fits_any(&q->folders, m->name) &&
		    (q->users.n == 0 || imap_pattern_fits_any(&q->users, m->user)) &&
		    (is_beyond(q->bytes, m->bytes, bytes) ||
			is_beyond((uint64_t)q->messages, m->messages, messages)))
			return false;
	}
	return true;
}

static unsigned percent_of(uint64_t used, uint64_t limit)
{
	if (limit == 0)
		return 0;
	uint64_t percent = used >= UINT64_MAX / 100 ? used / (limit / 100 + 1) : used * 100 / limit;
	return percent > 999 ? 999 : (unsigned)percent;
}

struct quota_level quota_level_of(const struct store_conf *s, const struct index_user *u)
{
	unsigned bytes = percent_of(u->bytes, u->quota_bytes);
	unsigned messages = percent_of(u->messages, u->quota_messages);
	struct quota_level l = { .used = bytes, .messages = messages > bytes };
	if (l.messages)
		l.used = messages;
	for (size_t i = 0; i < s->quota_warn.n; i++) {
		unsigned level = (unsigned)s->quota_warn.v[i];
		if (l.used >= level && level > l.percent)
			l.percent = level;
	}
	return l;
}

bool quota_is_exempt(const struct store_conf *s, struct span sender)
{
	return sender.n > 0 && imap_pattern_fits_any(&s->quota_exempt, sender);
}

void quota_check(const struct store_conf *s, struct conf_diag *d)
{
	for (size_t i = 0; i < s->quota_n; i++)
		if (s->quota[i]->bytes == 0 && s->quota[i]->messages == 0)
			conf_error(d, s->quota[i]->head.pos, "quota %s limits nothing",
			    s->quota[i]->head.title);
}

bool quota_put_warning(const struct store_conf *s, const struct index_user *u, struct span user,
    const char *hostname, struct buf *out)
{
	char date[CLOCK_RFC5322_SIZE];
	struct quota_level l = quota_level_of(s, u);
	buf_printf(out,
	    "Return-Path: <>\r\nFrom: Mail store <postmaster@%s>\r\nTo: <%.*s>\r\nSubject: Your "
	    "mailbox is %u %% full\r\nDate: %s\r\nMessage-ID: <quota.%llu@%s>\r\n"
	    "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n\r\n",
	    hostname, SPAN_ARG(user), l.used, clock_rfc5322(clock_wall_us(), date),
	    (unsigned long long)clock_wall_us(), hostname);
	if (l.messages)
		buf_printf(out, "You have %llu messages; %llu are allowed.\r\n",
		    (unsigned long long)u->messages, (unsigned long long)u->quota_messages);
	else
		buf_printf(out, "Your mail takes %llu MiB; %llu MiB are allowed.\r\n",
		    (unsigned long long)(u->bytes >> 20),
		    (unsigned long long)(u->quota_bytes >> 20));
	return buf_add_str(out,
	    "When the mailbox is full no mail can be delivered to you.\r\n"
	    "Please delete what you do not need any more, and empty the trash.\r\n");
}
