/* notify_parse.c - the grammar of NOTIFY; see notify_parse.h. Owns nothing. */
#include "store-backend/imap/notify_parse.h"

#include "base/check.h"

static const char *const filters[] = {
	[NOTIFY_SELECTED] = "selected",
	[NOTIFY_SELECTED_DELAYED] = "selected-delayed",
	[NOTIFY_INBOXES] = "inboxes",
	[NOTIFY_PERSONAL] = "personal",
	[NOTIFY_SUBSCRIBED] = "subscribed",
	[NOTIFY_SUBTREE] = "subtree",
	[NOTIFY_MAILBOXES] = "mailboxes",
};

static const struct {
	const char *word;
	unsigned event;
} events[] = {
	{ "MessageNew", NOTIFY_NEW },
	{ "MessageExpunge", NOTIFY_EXPUNGE },
	{ "FlagChange", NOTIFY_FLAGS },
	{ "MailboxName", NOTIFY_NAME },
	{ "SubscriptionChange", NOTIFY_SUBSCRIPTION },
	{ "MailboxMetadataChange", NOTIFY_METADATA },
	{ "ServerMetadataChange", NOTIFY_SERVER_METADATA },
};

/* ---- which mailboxes --------------------------------------------------------------------------------------- */

static void read_name(struct imap_cursor *c, struct notify_request *out)
{
	struct span name = imap_read_astring(c);
	if (out->name_n == NOTIFY_NAMES_MAX)
		imap_fail(c, "Too many mailboxes");
	else
		out->names[out->name_n++] = name;
}

static void read_names(struct imap_cursor *c, struct notify_request *out, struct notify_group *g)
{
	bool list;
	imap_read_sp(c);
	list = imap_try(c, '(');
	g->name_at = out->name_n;
	do {
		read_name(c, out);
	} while (list && imap_try(c, ' '));
	if (list)
		imap_read_char(c, ')');
	g->name_n = out->name_n - g->name_at;
}

static void read_filter(struct imap_cursor *c, struct notify_request *out, struct notify_group *g)
{
	struct span word = imap_read_atom(c);
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		if (!span_ieq_str(word, filters[i]))
			continue;
		g->filter = (enum notify_filter)i;
		if (g->filter >= NOTIFY_SUBTREE)
			read_names(c, out, g);
		return;
	}
	imap_fail(c, "Unknown mailbox filter");
}

/* ---- which events ---------------------------------------------------------------------------------------------- */

static bool is_selected(const struct notify_group *g)
{
	return g->filter <= NOTIFY_SELECTED_DELAYED;
}

/* [SP "(" fetch items ")"] behind MessageNew. */
static void read_fetch(struct imap_cursor *c, struct notify_request *out,
    const struct notify_group *g, struct fetch_request *scratch)
{
	struct imap_cursor before = *c;
	if (!imap_try(c, ' ') || imap_peek(c) != '(') {
		*c = before;
		return;
	}
	size_t from = c->at;
	fetch_parse(c, false, scratch);
	if (!is_selected(g))
		imap_fail(c, "Items are fetched of the selected mailbox only");
	out->fetch = span_first(span_from(c->in, from), c->at - from);
}

static void read_event(struct imap_cursor *c, struct notify_request *out, struct notify_group *g,
    struct fetch_request *scratch)
{
	struct span word = imap_read_atom(c);
	for (size_t i = 0; i < COUNT_OF(events); i++) {
		if (!span_ieq_str(word, events[i].word))
			continue;
		g->events |= events[i].event;
		if (events[i].event == NOTIFY_NEW)
			read_fetch(c, out, g, scratch);
		return;
	}
	out->bad_event = true;
}

/* RFC 5465 section 5: what goes together. */
static void check_events(struct imap_cursor *c, const struct notify_group *g)
{
	bool fresh = (g->events & NOTIFY_NEW) != 0, gone = (g->events & NOTIFY_EXPUNGE) != 0;
	if (fresh != gone || ((g->events & NOTIFY_FLAGS) != 0 && !fresh))
		imap_fail(c, "MessageNew and MessageExpunge go together, and with FlagChange");
	if (is_selected(g) && (g->events & ~(unsigned)NOTIFY_MESSAGES) != 0)
		imap_fail(c, "Of the selected mailbox only messages are told of");
}

/* "(" filter SP events ")" */
static void read_group(
    struct imap_cursor *c, struct notify_request *out, struct fetch_request *scratch)
{
	struct notify_group g = { .events = 0 };
	imap_read_char(c, '(');
	read_filter(c, out, &g);
	imap_read_sp(c);
	if (!imap_try_word(c, "NONE")) {
		imap_read_char(c, '(');
		do {
			read_event(c, out, &g, scratch);
		} while (imap_ok(c) && imap_try(c, ' '));
		imap_read_char(c, ')');
	}
	imap_read_char(c, ')');
	check_events(c, &g);
	for (size_t i = 0; i < out->n; i++)
		if (is_selected(&g) && is_selected(&out->v[i]))
			imap_fail(c, "One filter of the selected mailbox");
	if (out->n == NOTIFY_GROUPS_MAX)
		imap_fail(c, "Too many filters");
	else
		out->v[out->n++] = g;
}

void notify_parse(struct imap_cursor *c, struct notify_request *out, struct fetch_request *scratch)
{
	out->n = out->name_n = 0;
	out->status = out->bad_event = false;
	out->fetch = SPAN_NONE;
	out->none = imap_try_word(c, "NONE");
	if (out->none)
		return;
	if (!imap_try_word(c, "SET"))
		imap_fail(c, "SET or NONE expected");
	imap_read_sp(c);
	out->status = imap_try_word(c, "STATUS");
	if (out->status)
		imap_read_sp(c);
	do {
		read_group(c, out, scratch);
	} while (imap_ok(c) && imap_try(c, ' '));
}
