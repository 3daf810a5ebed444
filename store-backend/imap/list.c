/* list.c - LIST and LSUB.
 *
 * Before: input.c. The names are copied out of one view, in byte order; the lines are made in steps as the
 * client reads. In byte order everything below a name stands together, so whether a superior was told before
 * is seen by looking at the name before. */
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/list.h"
#include "store-backend/imap/pattern.h"
#include "store-backend/imap/remote.h"
#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"
#include "store-backend/imap/status.h"

enum {
	NAMES_MAX = 2 * STORE_MAILBOXES_MAX, /* mailboxes and subscriptions */
	NAMES_A_STEP = 100                   /* for one pattern */
};

enum { IS_MAILBOX = 1, IS_SUBSCRIBED = 2 };

struct listed {
	char *name;    /* owned */
	uint32_t uses; /* enum store_use */
	unsigned is;
	/* Owned; of another store: STATUS and MYRIGHTS as it has said them. NULL: none. */
	char *lines;
};

struct list_job {
	struct imap_job job; /* first member */
	struct listed *v;    /* owned, in byte order */
	size_t n, cap;
	size_t at;
	size_t before; /* the last one before it that was selected; SIZE_MAX: none */
	bool lsub;
	bool extended, return_subscribed, return_myrights;
	const struct imap_session *s; /* while the names are collected */
	unsigned select, status;
	struct index_view *view; /* within one step, when STATUS is asked for */
	size_t pattern_n;
	struct buf patterns[LIST_PATTERNS_MAX]; /* owned, in UTF-8; an empty one fits nothing */
};

static struct span name_at(const struct list_job *j, size_t i)
{
	return span_str(j->v[i].name);
}

static void free_listed(struct listed *l)
{
	mem_free(l->name);
	mem_free(l->lines);
}

static void end_list(struct imap_job *job)
{
	struct list_job *j = (struct list_job *)job;
	for (size_t i = 0; i < j->n; i++)
		free_listed(&j->v[i]);
	mem_free(j->v);
	for (size_t i = 0; i < j->pattern_n; i++)
		buf_end(&j->patterns[i]);
	mem_free(j);
}

/* ---- the names ----------------------------------------------------------------------------------------- */

static bool add_name(struct list_job *j, struct span name, uint32_t uses, unsigned is)
{
	if (j->n == NAMES_MAX)
		return false;
	if (j->n == j->cap) {
		j->cap = j->cap == 0 ? 32 : j->cap * 2;
		j->v = mem_grow(j->v, j->cap, sizeof j->v[0]);
	}
	j->v[j->n++] = (struct listed){ mem_span_str(name), uses, is, NULL };
	return true;
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	return add_name(arg, m->name, m->uses, IS_MAILBOX);
}

static bool on_shared(void *arg, const struct index_mailbox *m)
{
	struct list_job *j = arg;
	struct buf name = BUF_INIT(IMAP_NAME_BYTES);
	bool go_on = !shared_put(j->s, m, &name) || add_name(j, buf_span(&name), 0, IS_MAILBOX);
	buf_end(&name);
	return go_on;
}

/* A partition whose committer has not been there yet has none. */
static void add_shared(struct imap_session *s, struct list_job *j)
{
	for (size_t i = 0; i < store_partition_count(s->base.worker); i++) {
		struct index_view *v =
		    index_view_begin(store_partition_at(s->base.worker, i)->index);
		if (v != NULL)
			shared_each(s, v, on_shared, j);
		index_view_end(&v);
	}
}

static void add_remote(struct list_job *j)
{
	const struct remote_listed *v;
	size_t n = imap_remote_listed(j->s, &v);
	for (size_t i = 0; i < n && add_name(j, span_str(v[i].name), 0, IS_MAILBOX); i++)
		if (v[i].lines[0] != '\0')
			j->v[j->n - 1].lines = mem_str(v[i].lines);
}

static bool on_subscription(void *arg, struct span name)
{
	return add_name(arg, name, 0, IS_SUBSCRIBED);
}

static int by_name(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	return span_cmp(span_str(x->name), span_str(y->name));
}

/* Mailboxes and subscriptions become one list, in which every name stands once. */
static void merge_names(struct list_job *j)
{
	size_t kept = 0;
	if (j->n > 1)
		qsort(j->v, j->n, sizeof j->v[0], by_name);
	for (size_t i = 0; i < j->n; i++) {
		struct listed *last = kept > 0 ? &j->v[kept - 1] : NULL;
		if (last == NULL || strcmp(last->name, j->v[i].name) != 0) {
			j->v[kept++] = j->v[i];
			continue;
		}
		last->is |= j->v[i].is;
		last->uses |= j->v[i].uses;
		if (last->lines == NULL) {
			last->lines = j->v[i].lines;
			j->v[i].lines = NULL;
		}
		free_listed(&j->v[i]);
	}
	j->n = kept;
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

/* NULL: there is nothing of that name. */
static const struct listed *find(const struct list_job *j, struct span name)
{
	size_t i = lower(j, name);
	return i < j->n && span_eq(name_at(j, i), name) ? &j->v[i] : NULL;
}

static bool is_selected(const struct list_job *j, const struct listed *l)
{
	bool subscribed = j->lsub || (j->select & LIST_SUBSCRIBED) != 0;
	if (l == NULL || (l->is & (subscribed ? IS_SUBSCRIBED : IS_MAILBOX)) == 0)
		return false;
	return (j->select & LIST_SPECIAL_USE) == 0 || l->uses != 0;
}

static bool is_below(struct span name, struct span superior)
{
	return name.n > superior.n && name.p[superior.n] == '/' && span_starts(name, superior);
}

typedef bool listed_fn(const struct list_job *j, const struct listed *l);

static bool is_mailbox(const struct list_job *j, const struct listed *l)
{
	return (l->is & IS_MAILBOX) != 0;
}

/* Is there a name below it for which fn is true? */
static bool has_below(const struct list_job *j, struct span name, listed_fn *fn)
{
	char below[STORE_MAILBOX_NAME_MAX + 1];
	if (name.n > STORE_MAILBOX_NAME_MAX)
		return false;
	memcpy(below, name.p, name.n);
	below[name.n] = '/';
	size_t i = lower(j, span_of(below, name.n + 1));
	for (; i < j->n && is_below(name_at(j, i), name); i++) {
		if (fn(j, &j->v[i]))
			return true;
	}
	return false;
}

/* ---- the lines ----------------------------------------------------------------------------------------- */

static bool fits_pattern(struct span pattern, struct span name)
{
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

static bool fits(const struct list_job *j, struct span name)
{
	for (size_t i = 0; i < j->pattern_n; i++) {
		if (fits_pattern(buf_span(&j->patterns[i]), name))
			return true;
	}
	return false;
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

static void put_attributes(struct buf *out, const struct list_job *j, struct span name)
{
	const struct listed *l = find(j, name);
	bool there = l != NULL && (l->is & IS_MAILBOX) != 0;
	if (j->lsub) {
		buf_add_str(out, l == NULL ? "\\Noselect" : "");
		return;
	}
	buf_add_str(out, there ? "" : j->extended ? "\\NonExistent " : "\\Noselect ");
	buf_add_str(out, has_below(j, name, is_mailbox) ? "\\HasChildren" : "\\HasNoChildren");
	if (j->return_subscribed && l != NULL && (l->is & IS_SUBSCRIBED) != 0)
		buf_add_str(out, " \\Subscribed");
	if (there)
		put_uses(out, l->uses);
}

/* Which options selected something below the name (RFC 5258 section 3.5). */
static void put_child_info(struct buf *out, const struct list_job *j, struct span name)
{
	if ((j->select & LIST_RECURSIVE) == 0 || !has_below(j, name, is_selected))
		return;
	buf_printf(out, " (\"CHILDINFO\" (%s%s%s))",
	    (j->select & LIST_SUBSCRIBED) != 0 ? "\"SUBSCRIBED\"" : "",
	    (j->select & LIST_SUBSCRIBED) != 0 && (j->select & LIST_SPECIAL_USE) != 0 ? " " : "",
	    (j->select & LIST_SPECIAL_USE) != 0 ? "\"SPECIAL-USE\"" : "");
}

/* STATUS and MYRIGHTS, of what is a mailbox. */
static void put_more(struct imap_session *s, const struct list_job *j, struct span name)
{
	struct index_mailbox m;
	const struct listed *l = find(j, name);
	if (l != NULL && l->lines != NULL) {
		buf_add_str(&s->text, l->lines);
		return;
	}
	struct store_partition *p = shared_partition(s, name);
	struct index_view *other = p == s->home ? NULL : index_view_begin(p->index);
	struct index_view *v = p == s->home ? j->view : other;
	if (v != NULL && shared_find(s, v, name, ACL_LOOKUP, &m) == OPR_OK) {
		uint32_t rights = index_rights(v, &m, span_str(s->user));
		m.name = name;
		if (j->status != 0 && (rights & ACL_READ) != 0)
			status_say(s, v, &m, j->status);
		if (j->return_myrights)
			imap_say_myrights(s, name, rights);
	}
	index_view_end(&other);
}

static void put_line(struct imap_session *s, const struct list_job *j, struct span name)
{
	struct buf *out = &s->text;
	buf_printf(out, "* %s (", j->lsub ? "LSUB" : "LIST");
	put_attributes(out, j, name);
	buf_add_str(out, ") \"/\" ");
	imap_put_name(s, name);
	put_child_info(out, j, name);
	buf_add_str(out, "\r\n");
	if (j->status != 0 || j->return_myrights)
		put_more(s, j, name);
}

/* Are superiors told that are not selected themselves? LIST: those that are no mailboxes, because they were
 * deleted; LSUB: only for a "%" at the end (RFC 3501 section 6.3.9). */
static bool tells_superiors(const struct list_job *j)
{
	struct span pattern = buf_span(&j->patterns[0]);
	if (j->lsub)
		return pattern.n > 0 && pattern.p[pattern.n - 1] == '%';
	return (j->select & (LIST_SUBSCRIBED | LIST_SPECIAL_USE)) == 0 ||
	       (j->select & LIST_RECURSIVE) != 0;
}

static void put_superiors(struct imap_session *s, const struct list_job *j, struct span name)
{
	for (size_t k = 0; k < name.n; k++) {
		struct span superior = span_first(name, k);
		if (name.p[k] != '/' ||
		    (j->before != SIZE_MAX && is_below(name_at(j, j->before), superior)))
			continue;
		if (!is_selected(j, find(j, superior)) && fits(j, superior))
			put_line(s, j, superior);
	}
}

static void put_listed(struct imap_session *s, struct list_job *j, size_t i)
{
	struct span name = name_at(j, i);
	if (!is_selected(j, &j->v[i]))
		return;
	if (tells_superiors(j))
		put_superiors(s, j, name);
	if (fits(j, name))
		put_line(s, j, name);
	j->before = i;
}

/* ---- the job ------------------------------------------------------------------------------------------- */

static enum verdict list_some(struct imap_session *s, struct list_job *j)
{
	for (size_t n = 0; j->at < j->n; j->at++, n += j->pattern_n) {
		if (n >= NAMES_A_STEP)
			return imap_flush(s) ? imap_yield(s) : V_WAIT;
		put_listed(s, j, j->at);
	}
	return imap_finish_done(s);
}

static enum verdict run_list(struct imap_session *s, struct imap_job *job)
{
	struct list_job *j = (struct list_job *)job;
	if (!imap_flush(s))
		return V_WAIT;
	bool looks = j->status != 0 || j->return_myrights;
	if (looks)
		j->view = index_view_begin(s->partition->index);
	if (looks && j->view == NULL)
		return imap_finish_later(s);
	/* a line of output may end the job, but not the view */
	struct index_view *v = j->view;
	enum verdict next = list_some(s, j);
	j->view = NULL;
	index_view_end(&v);
	return next;
}

/* ---- the commands -------------------------------------------------------------------------------------- */

/* reference and pattern are one name with wildcards in it. */
static void add_pattern(
    const struct imap_session *s, struct list_job *j, struct span reference, struct span pattern)
{
	struct buf sent = BUF_INIT(IMAP_PATTERN_MAX);
	struct buf *out = &j->patterns[j->pattern_n++];
	*out = BUF_INIT(IMAP_PATTERN_MAX);
	bool ok = buf_add_span(&sent, reference) && buf_add_span(&sent, pattern) &&
		  imap_decode_name(s, buf_span(&sent), out);
	buf_end(&sent);
	if (ok)
		imap_fold_inbox(out);
	else
		buf_clear(out);
}

static enum verdict start_list(struct imap_session *s, const struct list_request *req, bool lsub)
{
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	struct list_job *j = MEM_NEW(struct list_job);
	j->job = (struct imap_job){ .run = run_list, .end = end_list };
	j->lsub = lsub;
	j->extended = req->extended;
	j->select = req->select;
	j->return_subscribed = req->return_subscribed || (req->select & LIST_SUBSCRIBED) != 0;
	j->status = req->status;
	j->return_myrights = req->return_myrights;
	j->s = s;
	j->before = SIZE_MAX;
	for (size_t i = 0; i < req->pattern_n; i++)
		add_pattern(s, j, req->reference, req->patterns[i]);
	if (!lsub && !s->guest)
		index_mailboxes(v, span_str(s->user), on_mailbox, j);
	if (lsub || j->return_subscribed)
		index_subscriptions(v, span_str(s->user), on_subscription, j);
	index_view_end(&v);
	if (!lsub)
		add_shared(s, j);
	if (!lsub)
		add_remote(j);
	merge_names(j);
	status_enable(s, j->status);
	return imap_start_job(s, &j->job);
}

enum verdict cmd_list(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct list_request req;
	list_parse(c, &req);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (!req.extended && req.patterns[0].n == 0) {
		imap_say(s, "* LIST (\\Noselect) \"/\" \"\"\r\n");
		return imap_finish_done(s);
	}
	return start_list(s, &req, false);
}

enum verdict cmd_lsub(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct list_request req = { .pattern_n = 1 };
	imap_read_sp(c);
	req.reference = imap_read_astring(c);
	imap_read_sp(c);
	req.patterns[0] = imap_read_list_mailbox(c);
	imap_read_end(c);
	return imap_ok(c) ? start_list(s, &req, true) : imap_finish_bad(s, c->why);
}
