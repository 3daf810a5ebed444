/* list.c - LIST, LSUB, STATUS.
 *
 * Before: input.c. The names are copied out of one view, in byte order; the lines are made in steps as the
 * client reads. In byte order everything below a name stands together, so whether a superior was told before
 * is seen by looking at the name before. */
#include "base/check.h"
#include "base/mem.h"
#include "proto/imap_utf7.h"

#include "store-backend/imap/pattern.h"
#include "store-backend/imap/session.h"

enum {
	NAMES_MAX = STORE_MAILBOXES_MAX,
	NAMES_A_STEP = 100,
	WIRE_NAME_MAX = 4 * STORE_MAILBOX_NAME_MAX
};

struct listed {
	char *name; /* owned */
	uint32_t uses;
};

struct list_job {
	struct imap_job job; /* first member */
	struct listed *v;    /* owned, in byte order */
	size_t n, cap;
	size_t at;
	bool lsub;
	struct buf pattern; /* in UTF-8; over: fits nothing */
};

static struct span name_at(const struct list_job *j, size_t i)
{
	return span_str(j->v[i].name);
}

static void end_list(struct imap_job *job)
{
	struct list_job *j = (struct list_job *)job;
	for (size_t i = 0; i < j->n; i++)
		mem_free(j->v[i].name);
	mem_free(j->v);
	buf_end(&j->pattern);
	mem_free(j);
}

/* ---- the names ----------------------------------------------------------------------------------------- */

static bool add_name(struct list_job *j, struct span name, uint32_t uses)
{
	if (j->n == NAMES_MAX)
		return false;
	if (j->n == j->cap) {
		j->cap = j->cap == 0 ? 32 : j->cap * 2;
		j->v = mem_grow(j->v, j->cap, sizeof j->v[0]);
	}
	j->v[j->n++] = (struct listed){ mem_span_str(name), uses };
	return true;
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	return add_name(arg, m->name, m->uses);
}

static bool on_subscription(void *arg, struct span name)
{
	return add_name(arg, name, 0);
}

/* The first name that is not before `what`. */
static size_t lower(const struct list_job *j, struct span what)
{
	size_t lo = 0, hi = j->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (span_cmp(name_at(j, mid), what) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool holds(const struct list_job *j, struct span name)
{
	size_t i = lower(j, name);
	return i < j->n && span_eq(name_at(j, i), name);
}

static bool is_below(struct span name, struct span superior)
{
	return name.n > superior.n && name.p[superior.n] == '/' && span_starts(name, superior);
}

static bool has_children(const struct list_job *j, struct span name)
{
	char below[STORE_MAILBOX_NAME_MAX + 1];
	if (name.n > STORE_MAILBOX_NAME_MAX)
		return false;
	memcpy(below, name.p, name.n);
	below[name.n] = '/';
	size_t i = lower(j, span_of(below, name.n + 1));
	return i < j->n && is_below(name_at(j, i), name);
}

/* ---- the lines ----------------------------------------------------------------------------------------- */

static bool fits(const struct list_job *j, struct span name)
{
	struct span pattern = buf_span(&j->pattern);
	char upper[IMAP_PATTERN_MAX];
	if (imap_pattern_fits(pattern, name))
		return true;
	if (!span_eq_str(name, "INBOX") || pattern.n > sizeof upper)
		return false;
	for (size_t i = 0; i < pattern.n; i++) /* INBOX is the one name without case */
		upper[i] = pattern.p[i] >= 'a' && pattern.p[i] <= 'z' ? (char)(pattern.p[i] - 32)
								      : pattern.p[i];
	return imap_pattern_fits(span_of(upper, pattern.n), name);
}

static void put_uses(struct buf *out, uint32_t uses)
{
	static const struct {
		uint32_t use;
		const char *name;
	} rows[] = {
		{ STORE_USE_ARCHIVE, "Archive" },
		{ STORE_USE_DRAFTS, "Drafts" },
		{ STORE_USE_JUNK, "Junk" },
		{ STORE_USE_SENT, "Sent" },
		{ STORE_USE_TRASH, "Trash" },
		{ STORE_USE_FLAGGED, "Flagged" },
		{ STORE_USE_ALL, "All" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if ((uses & rows[i].use) != 0)
			buf_printf(out, " \\%s", rows[i].name);
	}
}

/* The name as the client writes it. */
static void put_name(struct buf *out, struct span name)
{
	struct buf wire = BUF_INIT(WIRE_NAME_MAX);
	if (imap_utf7_encode(name, &wire))
		imap_put_astring(out, buf_span(&wire));
	buf_end(&wire);
}

static void put_line(struct imap_session *s, const struct list_job *j, struct span name, int use)
{
	struct buf *out = &s->text;
	bool missing = use < 0;
	buf_printf(out, "* %s (", j->lsub ? "LSUB" : "LIST");
	if (j->lsub)
		buf_add_str(out, missing ? "\\Noselect" : "");
	else
		buf_printf(out, "%s%s", missing ? "\\Noselect " : "",
		    has_children(j, name) ? "\\HasChildren" : "\\HasNoChildren");
	if (!missing)
		put_uses(out, (uint32_t)use);
	buf_add_str(out, ") \"/\" ");
	put_name(out, name);
	buf_add_str(out, "\r\n");
}

/* Superiors of the i-th name that are no mailboxes themselves and fit: they were deleted, or (LSUB) are not
 * subscribed. LSUB tells of them only for a "%" at the end (RFC 3501 section 6.3.9). */
static void put_superiors(struct imap_session *s, const struct list_job *j, size_t i)
{
	struct span name = name_at(j, i), pattern = buf_span(&j->pattern);
	if (j->lsub && (pattern.n == 0 || pattern.p[pattern.n - 1] != '%'))
		return;
	for (size_t k = 0; k < name.n; k++) {
		struct span superior = span_first(name, k);
		if (name.p[k] != '/' || (i > 0 && is_below(name_at(j, i - 1), superior)))
			continue;
		if (!holds(j, superior) && fits(j, superior))
			put_line(s, j, superior, -1);
	}
}

static enum verdict run_list(struct imap_session *s, struct imap_job *job)
{
	struct list_job *j = (struct list_job *)job;
	if (!imap_flush(s))
		return V_WAIT;
	for (size_t n = 0; j->at < j->n; j->at++, n++) {
		if (n == NAMES_A_STEP)
			return imap_flush(s) ? imap_yield(s) : V_WAIT;
		put_superiors(s, j, j->at);
		if (fits(j, name_at(j, j->at)))
			put_line(s, j, name_at(j, j->at), (int)j->v[j->at].uses);
	}
	return imap_finish_done(s);
}

/* ---- the commands -------------------------------------------------------------------------------------- */

/* reference and pattern are one name with wildcards in it. */
static bool make_pattern(struct list_job *j, struct span reference, struct span pattern)
{
	struct buf sent = BUF_INIT(IMAP_PATTERN_MAX);
	j->pattern = BUF_INIT(IMAP_PATTERN_MAX);
	bool ok = buf_add_span(&sent, reference) && buf_add_span(&sent, pattern) &&
		  imap_utf7_decode(buf_span(&sent), &j->pattern);
	buf_end(&sent);
	imap_fold_inbox(&j->pattern);
	return ok;
}

static enum verdict list(struct imap_session *s, bool lsub)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	struct span reference = imap_read_astring(c);
	imap_read_sp(c);
	struct span pattern = imap_read_list_mailbox(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (pattern.n == 0 && !lsub) {
		imap_say(s, "* LIST (\\Noselect) \"/\" \"\"\r\n");
		return imap_finish_done(s);
	}
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	struct list_job *j = MEM_NEW(struct list_job);
	j->job = (struct imap_job){ run_list, end_list };
	j->lsub = lsub;
	if (!make_pattern(j, reference, pattern))
		buf_clear(&j->pattern); /* fits nothing, as no name is empty */
	else if (lsub)
		index_subscriptions(v, span_str(s->user), on_subscription, j);
	else
		index_mailboxes(v, span_str(s->user), on_mailbox, j);
	index_view_end(&v);
	return imap_start_job(s, &j->job);
}

enum verdict cmd_list(struct imap_session *s)
{
	return list(s, false);
}

enum verdict cmd_lsub(struct imap_session *s)
{
	return list(s, true);
}

/* ---- STATUS -------------------------------------------------------------------------------------------- */

enum {
	ITEM_MESSAGES,
	ITEM_RECENT,
	ITEM_UIDNEXT,
	ITEM_UIDVALIDITY,
	ITEM_UNSEEN,
	ITEM_HIGHESTMODSEQ,
	ITEM_COUNT
};
static const char *const item_names[ITEM_COUNT] = { "MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY",
	"UNSEEN", "HIGHESTMODSEQ" };

static unsigned read_item(struct imap_cursor *c)
{
	struct span word = imap_read_atom(c);
	for (unsigned i = 0; i < ITEM_COUNT; i++) {
		if (span_ieq_str(word, item_names[i]))
			return 1u << i;
	}
	imap_fail(c, "Unknown status item");
	return 0;
}

static unsigned read_items(struct imap_cursor *c)
{
	unsigned items = 0;
	imap_read_char(c, '(');
	do {
		items |= read_item(c);
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	return items;
}

static bool count_entry(void *arg, const struct index_entry *e)
{
	++*(uint32_t *)arg;
	return true;
}

static uint32_t count_recent(struct index_view *v, const struct index_mailbox *m)
{
	uint32_t n = 0;
	if (m->recent_from <= 1)
		return m->messages;
	if (m->recent_from < m->uidnext)
		index_entries(
		    v, m->id, (struct uid_range){ m->recent_from, UINT32_MAX }, count_entry, &n);
	return n;
}

static void say_status(struct imap_session *s, struct index_view *v, unsigned items)
{
	struct index_mailbox m;
	if (!index_mailbox_find(v, span_str(s->user), buf_span(&s->cmd.name), &m)) {
		imap_finish_result(s, OPR_NO_MAILBOX);
		return;
	}
	const uint64_t values[ITEM_COUNT] = { m.messages,
		(items & 1u << ITEM_RECENT) != 0 ? count_recent(v, &m) : 0, m.uidnext,
		m.uidvalidity, m.unseen, m.modseq };
	const char *space = "";
	imap_say(s, "* STATUS ");
	put_name(&s->text, buf_span(&s->cmd.name));
	imap_say(s, " (");
	for (unsigned i = 0; i < ITEM_COUNT; i++) {
		if ((items & 1u << i) == 0)
			continue;
		imap_say(s, "%s%s %llu", space, item_names[i], (unsigned long long)values[i]);
		space = " ";
	}
	imap_say(s, ")\r\n");
	imap_finish_done(s);
}

enum verdict cmd_status(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	imap_read_mailbox(c, &s->cmd.name);
	imap_read_sp(c);
	unsigned items = read_items(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	if ((items & 1u << ITEM_HIGHESTMODSEQ) != 0)
		imap_enable(s, ENABLED_CONDSTORE);
	say_status(s, v, items);
	index_view_end(&v);
	return V_NEXT;
}
