/* status.c - STATUS; see status.h. Before: input.c and list.c. Owns nothing. */
#include "store-backend/imap/status.h"

#include "base/check.h"
#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

enum {
	ITEM_MESSAGES,
	ITEM_RECENT,
	ITEM_UIDNEXT,
	ITEM_UIDVALIDITY,
	ITEM_UNSEEN,
	ITEM_DELETED,
	ITEM_SIZE,
	ITEM_HIGHESTMODSEQ,
	ITEM_DELETED_STORAGE,
	ITEM_APPENDLIMIT,
	ITEM_MAILBOXID,
	ITEM_COUNT
};

static const char *const names[ITEM_COUNT] = {
	[ITEM_MESSAGES] = "MESSAGES",
	[ITEM_RECENT] = "RECENT",
	[ITEM_UIDNEXT] = "UIDNEXT",
	[ITEM_UIDVALIDITY] = "UIDVALIDITY",
	[ITEM_UNSEEN] = "UNSEEN",
	[ITEM_DELETED] = "DELETED",
	[ITEM_SIZE] = "SIZE",
	[ITEM_HIGHESTMODSEQ] = "HIGHESTMODSEQ",
	[ITEM_DELETED_STORAGE] = "DELETED-STORAGE",
	[ITEM_APPENDLIMIT] = "APPENDLIMIT",
	[ITEM_MAILBOXID] = "MAILBOXID",
};

static unsigned read_item(struct imap_cursor *c)
{
	struct span word = imap_read_atom(c);
	for (unsigned i = 0; i < ITEM_COUNT; i++) {
		if (span_ieq_str(word, names[i]))
			return 1u << i;
	}
	imap_fail(c, "Unknown status item");
	return 0;
}

unsigned status_read_items(struct imap_cursor *c)
{
	unsigned items = 0;
	imap_read_char(c, '(');
	do {
		items |= read_item(c);
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	return items;
}

bool status_put_items(struct buf *out, unsigned items)
{
	const char *before = "(";
	for (unsigned i = 0; i < ITEM_COUNT; i++) {
		if ((items & 1u << i) == 0)
			continue;
		buf_printf(out, "%s%s", before, names[i]);
		before = " ";
	}
	return buf_add_char(out, ')');
}

static bool count_entry(void *arg, const struct index_entry *e)
{
	++*(uint64_t *)arg;
	return true;
}

static uint64_t count_recent(struct index_view *v, const struct index_mailbox *m)
{
	uint64_t n = 0;
	if (m->recent_from <= 1)
		return m->messages;
	if (m->recent_from < m->uidnext)
		index_entries(
		    v, m->id, (struct uid_range){ m->recent_from, UINT32_MAX }, count_entry, &n);
	return n;
}

static bool add_deleted(void *arg, const struct index_entry *e)
{
	uint64_t *bytes = arg;
	*bytes += (e->flags & STORE_DELETED) != 0 ? e->size : 0;
	return true;
}

/* Counted when it is asked for: few do. */
static uint64_t deleted_bytes(struct index_view *v, const struct index_mailbox *m)
{
	uint64_t bytes = 0;
	if (m->deleted > 0)
		index_entries(v, m->id, (struct uid_range){ 1, UINT32_MAX }, add_deleted, &bytes);
	return bytes;
}

static uint64_t value_of(struct index_view *v, const struct index_mailbox *m, unsigned item)
{
	switch (item) {
	case ITEM_MESSAGES:
		return m->messages;
	case ITEM_RECENT:
		return count_recent(v, m);
	case ITEM_UIDNEXT:
		return m->uidnext;
	case ITEM_UIDVALIDITY:
		return m->uidvalidity;
	case ITEM_UNSEEN:
		return m->unseen;
	case ITEM_DELETED:
		return m->deleted;
	case ITEM_SIZE:
		return m->bytes;
	case ITEM_HIGHESTMODSEQ:
		return m->modseq;
	case ITEM_DELETED_STORAGE:
		return deleted_bytes(v, m);
	}
	BUG("no such item");
}

void status_enable(struct imap_session *s, unsigned items)
{
	if ((items & 1u << ITEM_HIGHESTMODSEQ) != 0)
		imap_enable(s, ENABLED_CONDSTORE);
}

static void put_value(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m, unsigned item)
{
	if (item == ITEM_MAILBOXID)
		imap_put_mailboxid(&s->text, index_mailbox_object(v, m->id));
	else
		imap_say(s, "%llu",
		    (unsigned long long)(item == ITEM_APPENDLIMIT ? s->opts->message_size_max
								  : value_of(v, m, item)));
}

void status_say(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m, unsigned items)
{
	const char *space = "";
	imap_say(s, "* STATUS ");
	imap_put_name(s, m->name);
	imap_say(s, " (");
	for (unsigned i = 0; i < ITEM_COUNT; i++) {
		if ((items & 1u << i) == 0)
			continue;
		imap_say(s, "%s%s ", space, names[i]);
		put_value(s, v, m, i);
		space = " ";
	}
	imap_say(s, ")\r\n");
}

enum verdict cmd_status(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct index_mailbox m;
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	imap_read_sp(c);
	unsigned items = status_read_items(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	status_enable(s, items);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_READ, &m);
	m.name = buf_span(&s->cmd.name);
	if (r == OPR_OK)
		status_say(s, v, &m, items);
	index_view_end(&v);
	return r == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, r);
}
