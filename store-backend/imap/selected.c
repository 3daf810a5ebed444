/* selected.c - the messages of the selected mailbox as the client numbers them; see selected.h.
 *
 * Before: index views and the watch. After: every handler of a selected mailbox. Owns the array, the
 * keyword table and the watch. */
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

#include "store-backend/acl.h"
#include "store-backend/imap/selected.h"

enum { ARRAY_FIRST = 32, REPORT_BYTES = 8192 };

static void on_watch(void *arg, const struct mailbox_news *news)
{
	struct selected *box = OBJ(selected, arg);
	box->stale = true;
	box->deleted = box->deleted || news->gone;
	box->on_news(box->arg);
}

struct selected *selected_new(struct operation_link *link, const struct index_mailbox *m,
    bool read_only, void (*on_news)(void *arg), void *arg)
{
	struct selected *box = MEM_NEW(struct selected);
	box->magic = selected_MAGIC;
	box->id = m->id;
	box->name = mem_span_str(m->name);
	box->owner = mem_span_str(m->user);
	box->rights = ACL_ALL;
	box->uidvalidity = m->uidvalidity;
	box->read_only = read_only;
	box->recent_from = box->recent_floor = m->recent_from;
	box->on_news = on_news;
	box->arg = arg;
	box->watch = mailbox_watch_start(link, m->id, on_watch, box);
	return box;
}

void selected_free(struct selected **boxp)
{
	struct selected *box = *boxp;
	if (box == NULL)
		return;
	mailbox_watch_stop(&box->watch);
	for (size_t i = 0; i < box->keyword_n; i++)
		mem_free(box->keywords[i]);
	imap_set_end(&box->saved);
	mem_free(box->v);
	mem_free(box->name);
	mem_free(box->owner);
	box->magic = 0;
	MEM_FREE(boxp);
}

/* ---- finding ------------------------------------------------------------------------------------- */

size_t selected_lower(const struct selected *box, uint32_t uid)
{
	size_t lo = 0, hi = box->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (box->v[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t selected_find(const struct selected *box, uint32_t uid)
{
	size_t i = selected_lower(box, uid);
	return i < box->n && box->v[i].uid == uid ? i : box->n;
}

uint32_t selected_last_uid(const struct selected *box)
{
	return box->n == 0 ? 0 : box->v[box->n - 1].uid;
}

size_t selected_recent(const struct selected *box)
{
	size_t recent = 0;
	for (size_t i = selected_lower(box, box->recent_floor); i < box->n; i++)
		recent += (box->v[i].bits & IMAP_RECENT) != 0;
	return recent;
}

uint64_t selected_keyword_bit(const struct selected *box, struct span word)
{
	for (size_t i = 0; i < box->keyword_n; i++) {
		if (span_ieq_str(word, box->keywords[i]))
			return (uint64_t)1 << i;
	}
	return 0;
}

/* ---- marking ------------------------------------------------------------------------------------- */

static void mark(struct selected *box, size_t i, uint32_t bit)
{
	if ((box->v[i].bits & bit) != 0)
		return;
	box->v[i].bits |= bit;
	if (bit == MARK_GONE)
		box->gone++;
	else
		box->dirty++;
}

void selected_told_flags(struct selected *box, size_t i)
{
	if ((box->v[i].bits & MARK_DIRTY) == 0)
		return;
	box->v[i].bits &= ~(uint32_t)(MARK_DIRTY | MARK_KNOWN);
	box->dirty--;
}

void selected_mark_dirty(struct selected *box, size_t i, bool known)
{
	bool was = (box->v[i].bits & MARK_DIRTY) != 0;
	mark(box, i, MARK_DIRTY);
	if (known && !was)
		box->v[i].bits |= MARK_KNOWN;
	if (!known)
		box->v[i].bits &= ~(uint32_t)MARK_KNOWN;
}

static void append(struct selected *box, const struct index_entry *e)
{
	if (box->n == box->cap) {
		box->cap = box->cap == 0 ? ARRAY_FIRST : box->cap + box->cap / 2;
		box->v = mem_grow(box->v, box->cap, sizeof box->v[0]);
	}
	box->v[box->n++] = (struct selected_message){ .uid = e->uid,
		.bits =
		    (e->flags & STORE_FLAGS_ALL) | (e->uid >= box->recent_from ? IMAP_RECENT : 0),
		.keywords = e->keywords };
}

static void update(struct selected *box, size_t i, const struct index_entry *e)
{
	struct selected_message *m = &box->v[i];
	uint32_t flags = e->flags & STORE_FLAGS_ALL;
	if ((m->bits & STORE_FLAGS_ALL) == flags && m->keywords == e->keywords)
		return;
	m->bits = (m->bits & ~(uint32_t)STORE_FLAGS_ALL) | flags;
	m->keywords = e->keywords;
	selected_mark_dirty(box, i, false);
}

struct merge {
	struct selected *box;
	size_t at;    /* next message that was known before */
	size_t known; /* how many were */
	bool sorted;
};

/* One of all entries, in order of uid. */
static bool on_entry(void *arg, const struct index_entry *e)
{
	struct merge *g = arg;
	while (g->at < g->known && g->box->v[g->at].uid < e->uid)
		mark(g->box, g->at++, MARK_GONE);
	if (g->at < g->known && g->box->v[g->at].uid == e->uid)
		update(g->box, g->at++, e);
	else if (g->at == g->known)
		append(g->box, e);
	return true;
}

/* One of the changed entries, in order of modseq. */
static bool on_change(void *arg, const struct index_entry *e)
{
	struct merge *g = arg;
	struct selected *box = g->box;
	if (g->known == 0 || e->uid > box->v[g->known - 1].uid) {
		g->sorted = g->sorted && e->uid > selected_last_uid(box);
		append(box, e);
		return true;
	}
	/* The known part is sorted, and uid lies in it; mostly it is the next one. */
	size_t i = g->at;
	if (i >= g->known || box->v[i].uid != e->uid)
		i = selected_find(box, e->uid);
	if (i < g->known)
		update(box, i, e);
	g->at = i + 1;
	return true;
}

static bool on_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	struct selected *box = arg;
	size_t i = selected_find(box, uid);
	if (i < box->n)
		mark(box, i, MARK_GONE);
	return true;
}

static int by_uid(const void *a, const void *b)
{
	const struct selected_message *x = a, *y = b;
	return (x->uid > y->uid) - (x->uid < y->uid);
}

/* ---- refreshing ---------------------------------------------------------------------------------- */

static void learn_keywords(struct selected *box, const struct index_mailbox *m)
{
	while (box->keyword_n < m->keyword_n && box->keyword_n < STORE_KEYWORDS_MAX) {
		box->keywords[box->keyword_n] = mem_span_str(m->keywords[box->keyword_n]);
		box->keyword_n++;
	}
}

static void compare_all(struct selected *box, struct index_view *v)
{
	struct merge g = { .box = box, .known = box->n };
	index_entries(v, box->id, (struct uid_range){ 1, UINT32_MAX }, on_entry, &g);
	while (g.at < g.known)
		mark(box, g.at++, MARK_GONE);
}

static void apply_changes(struct selected *box, struct index_view *v)
{
	struct merge g = { .box = box, .known = box->n, .sorted = true };
	index_changes(v, box->id, box->modseq, on_change, &g);
	if (!g.sorted)
		qsort(box->v + g.known, box->n - g.known, sizeof box->v[0], by_uid);
	index_vanished(v, box->id, box->modseq, on_vanished, box);
}

static void drop_gone(struct selected *box)
{
	size_t kept = 0, told = 0;
	for (size_t i = 0; i < box->n; i++) {
		if ((box->v[i].bits & MARK_GONE) != 0) {
			selected_told_flags(box, i);
			continue;
		}
		told += i < box->told_n;
		box->v[kept++] = box->v[i];
	}
	box->n = kept;
	box->told_n = told;
	box->gone = 0;
}

/* Marks and \Recent of an earlier session are nothing to this one. */
static void settle(struct selected *box)
{
	uint32_t recent =
	    box->recent_floor < box->recent_from ? box->recent_floor : box->recent_from;
	if (box->gone > 0)
		drop_gone(box);
	for (size_t i = box->dirty > 0 ? 0 : selected_lower(box, recent); i < box->n; i++) {
		struct selected_message *m = &box->v[i];
		m->bits = (m->bits & STORE_FLAGS_ALL) |
			  (m->uid >= box->recent_from ? (uint32_t)IMAP_RECENT : 0);
	}
	box->dirty = 0;
	box->recent_floor = box->recent_from;
	box->untold = false;
}

bool selected_refresh_keywords(struct selected *box, struct index_view *v)
{
	struct index_mailbox m;
	if (!index_mailbox_get(v, box->id, &m))
		return false;
	learn_keywords(box, &m);
	return true;
}

bool selected_refresh(struct selected *box, struct index_view *v)
{
	struct index_mailbox m;
	if (!index_mailbox_get(v, box->id, &m)) {
		box->deleted = true;
		return false;
	}
	bool empty = box->modseq == 0;
	if (!empty && !box->untold)
		box->recent_from = m.recent_from;
	learn_keywords(box, &m);
	if (empty || box->modseq < m.vanished_from)
		compare_all(box, v);
	else if (box->modseq < m.modseq)
		apply_changes(box, v);
	if (box->untold)
		settle(box);
	box->modseq = m.modseq;
	box->stale = false;
	return true;
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void put_keywords(const struct selected *box, uint64_t bits, bool first, struct buf *out)
{
	for (size_t i = 0; i < box->keyword_n; i++) {
		if ((bits >> i & 1) == 0)
			continue;
		if (!first)
			buf_add_char(out, ' ');
		buf_add_str(out, box->keywords[i]);
		first = false;
	}
}

void selected_put_flags(
    const struct selected *box, const struct selected_message *m, struct buf *out)
{
	uint32_t system = m->bits & SELECTED_FLAG_BITS;
	if (box->rev2)
		system &= ~(uint32_t)IMAP_RECENT;
	buf_add_char(out, '(');
	imap_put_system_flags(out, system);
	put_keywords(box, m->keywords, system == 0, out);
	buf_add_char(out, ')');
}

static void put_all_flags(const struct selected *box, struct buf *out)
{
	imap_put_system_flags(out, STORE_FLAGS_ALL);
	put_keywords(box, UINT64_MAX, false, out);
}

void selected_put_mailbox_flags(const struct selected *box, struct buf *out)
{
	buf_add_str(out, "FLAGS (");
	put_all_flags(box, out);
	buf_add_char(out, ')');
}

/* Those that this session's user may change. */
static uint32_t own_flags(const struct selected *box)
{
	uint32_t flags = 0;
	if ((box->rights & ACL_SEEN) != 0)
		flags |= STORE_SEEN;
	if ((box->rights & ACL_TRASH) != 0)
		flags |= STORE_DELETED;
	if ((box->rights & ACL_WRITE) != 0)
		flags |= STORE_FLAGS_ALL & ~(uint32_t)(STORE_SEEN | STORE_DELETED);
	return box->read_only ? 0 : flags;
}

void selected_put_permanent_flags(const struct selected *box, struct buf *out)
{
	uint32_t flags = own_flags(box);
	bool words = !box->read_only && (box->rights & ACL_WRITE) != 0;
	buf_add_str(out, "PERMANENTFLAGS (");
	imap_put_system_flags(out, flags);
	if (words)
		put_keywords(box, UINT64_MAX, false, out);
	if (words && box->keyword_n < STORE_KEYWORDS_MAX)
		buf_add_str(out, " \\*");
	buf_add_char(out, ')');
}

void selected_told_all(struct selected *box)
{
	box->told_n = box->n;
	box->told_keyword = box->keyword_n;
}

static void put_expunge(struct buf *out, size_t number)
{
	buf_add_str(out, "* ");
	buf_add_number(out, number);
	buf_add_str(out, " EXPUNGE\r\n");
}

/* From the last one down, so that each number is still right when it is read. */
static bool report_expunges(struct selected *box, struct buf *out)
{
	while (box->report_at > 0) {
		if (buf_len(out) > REPORT_BYTES)
			return false;
		size_t i = --box->report_at;
		if ((box->v[i].bits & MARK_GONE) != 0 && i < box->told_n)
			put_expunge(out, i + 1);
	}
	return true;
}

/* The same by uid, upwards: no number is said. */
static bool report_vanished(struct selected *box, struct buf *out)
{
	struct imap_set_writer w = { .out = out };
	size_t n = box->told_n;
	for (; box->report_at < n && buf_len(out) <= REPORT_BYTES; box->report_at++) {
		const struct selected_message *m = &box->v[box->report_at];
		if ((m->bits & MARK_GONE) == 0)
			continue;
		if (!w.any)
			buf_add_str(out, "* VANISHED ");
		imap_set_write(&w, m->uid, m->uid);
	}
	imap_set_write_end(&w);
	if (w.any)
		buf_add_str(out, "\r\n");
	return box->report_at == n;
}

/* False: it is gone, which will be told. */
static bool find_modseq(
    const struct selected *box, struct index_view *v, uint32_t uid, uint64_t *modseq_out)
{
	struct index_entry e;
	if (!index_entry(v, box->id, uid, &e))
		return false;
	*modseq_out = selected_modseq(box, &e);
	return true;
}

void selected_put_fetch(const struct selected *box, size_t i, struct buf *out)
{
	buf_add_str(out, "* ");
	buf_add_number(out, box->uidonly ? box->v[i].uid : i + 1);
	buf_add_str(out, box->uidonly ? " UIDFETCH (" : " FETCH (");
}

static void report_one(struct selected *box, struct index_view *v, size_t i, struct buf *out)
{
	const struct selected_message *m = &box->v[i];
	uint64_t modseq = 0;
	if (box->modseqs && !find_modseq(box, v, m->uid, &modseq))
		return;
	const char *space = box->uidonly ? "" : " ";
	selected_put_fetch(box, i, out);
	if (!box->uidonly && buf_add_str(out, "UID "))
		buf_add_number(out, m->uid);
	if ((m->bits & MARK_KNOWN) == 0 || !box->modseqs) {
		buf_add_str(out, box->uidonly ? "FLAGS " : " FLAGS ");
		selected_put_flags(box, m, out);
		space = " ";
	}
	if (box->modseqs)
		buf_printf(out, "%sMODSEQ (%llu)", space, (unsigned long long)modseq);
	buf_add_str(out, ")\r\n");
}

static bool report_flags(struct selected *box, struct index_view *v, struct buf *out)
{
	if ((box->modseqs && v == NULL) || box->hold_flags)
		return true; /* later */
	for (; box->dirty > 0 && box->report_at < box->n; box->report_at++) {
		uint32_t bits = box->v[box->report_at].bits;
		if (buf_len(out) > REPORT_BYTES)
			return false;
		if ((bits & MARK_DIRTY) == 0 || (bits & MARK_GONE) != 0)
			continue;
		report_one(box, v, box->report_at, out);
		selected_told_flags(box, box->report_at);
	}
	return true;
}

static void report_exists(struct selected *box, struct buf *out)
{
	if (box->told_n == box->n)
		return;
	buf_printf(out, "* %zu EXISTS\r\n", box->n);
	if (!box->rev2)
		buf_printf(out, "* %zu RECENT\r\n", selected_recent(box));
	box->told_n = box->n;
}

void selected_report_keywords(struct selected *box, struct buf *out)
{
	if (box->told_keyword == box->keyword_n)
		return;
	buf_add_str(out, "* ");
	selected_put_mailbox_flags(box, out);
	buf_add_str(out, "\r\n");
	box->told_keyword = box->keyword_n;
}

bool selected_report(struct selected *box, struct index_view *v, bool expunges, struct buf *out)
{
	if (box->report == REPORT_START) {
		selected_report_keywords(box, out);
		box->report_at = box->vanished ? 0 : box->n;
		box->report = expunges && box->gone > 0 ? REPORT_EXPUNGES : REPORT_EXISTS;
	}
	if (box->report == REPORT_EXPUNGES) {
		if (box->vanished ? !report_vanished(box, out) : !report_expunges(box, out))
			return false;
		drop_gone(box);
		box->report = REPORT_EXISTS;
	}
	if (box->report == REPORT_EXISTS) {
		report_exists(box, out);
		box->report_at = 0;
		box->report = REPORT_FLAGS;
	}
	if (!report_flags(box, v, out))
		return false;
	box->report = REPORT_START;
	return true;
}

/* ---- sets ---------------------------------------------------------------------------------------- */

/* What was saved has so many ranges at most. */
static void add_saved(const struct selected *box, struct imap_set *set, bool uid)
{
	for (size_t k = 0; k < box->saved.n; k++) {
		struct imap_range r = box->saved.v[k];
		size_t first = selected_lower(box, r.first), i = first;
		while (i < box->told_n && box->v[i].uid <= r.last)
			i++;
		if (uid)
			(void)imap_set_add(set, r.first, r.last);
		else if (i > first)
			(void)imap_set_add(set, (uint32_t)first + 1, (uint32_t)i);
	}
}

void selected_resolve(const struct selected *box, struct imap_set *set, bool uid)
{
	if (set->saved)
		add_saved(box, set, uid);
	imap_set_resolve(set, uid ? selected_last_uid(box) : (uint32_t)box->told_n);
}

void selected_walk_init(
    struct selected_walk *w, const struct selected *box, const struct imap_set *set, bool uid)
{
	*w = (struct selected_walk){ .box = box, .set = set, .uid = uid };
}

bool selected_walk_next(struct selected_walk *w, size_t *index_out)
{
	for (; w->range < w->set->n; w->range++) {
		struct imap_range r = w->set->v[w->range];
		size_t first = w->uid ? selected_lower(w->box, r.first) : r.first - 1;
		size_t i = w->at > first ? w->at : first;
		if (i < w->box->told_n && (w->uid ? w->box->v[i].uid : i + 1) <= r.last) {
			w->at = i + 1;
			*index_out = i;
			return true;
		}
	}
	return false;
}

bool selected_uids(const struct selected *box, const struct imap_set *set, bool uid,
    struct uid_range **v_out, size_t *n_out)
{
	struct selected_walk w;
	struct uid_range *v = NULL;
	size_t n = 0, cap = 0, i, before = SIZE_MAX;
	selected_walk_init(&w, box, set, uid);
	while (n <= STORE_RANGES_MAX && selected_walk_next(&w, &i)) {
		if ((box->v[i].bits & MARK_GONE) != 0)
			continue;
		uint32_t u = box->v[i].uid;
		if (n > 0 && i == before + 1) {
			v[n - 1].last = u;
		} else {
			if (n == cap) {
				cap = cap == 0 ? 8 : cap * 2;
				v = mem_grow(v, cap, sizeof v[0]);
			}
			v[n++] = (struct uid_range){ u, u };
		}
		before = i;
	}
	*v_out = v;
	*n_out = n;
	return n <= STORE_RANGES_MAX;
}

void selected_apply_flags(
    struct selected *box, size_t i, enum flag_how how, const struct selected_flags *f)
{
	struct selected_message *m = &box->v[i];
	uint32_t flags = m->bits & STORE_FLAGS_ALL, rest = m->bits & ~(uint32_t)STORE_FLAGS_ALL;
	switch (how) {
	case FLAGS_SET:
		flags = f->flags;
		m->keywords = f->keywords;
		break;
	case FLAGS_ADD:
		flags |= f->flags;
		m->keywords |= f->keywords;
		break;
	case FLAGS_REMOVE:
		flags &= ~f->flags;
		m->keywords &= ~f->keywords;
		break;
	}
	m->bits = rest | flags;
}
