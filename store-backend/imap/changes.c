/* changes.c - what has happened in a mailbox since a modseq; see changes.h.
 *
 * Before: mailbox.c (SELECT) and fetch.c, in a view. After: fetch.c tells it. Owns the two lists. */
#include "store-backend/imap/changes.h"

#include <stdlib.h>

#include "base/mem.h"

enum { LIST_FIRST = 64, PUT_BYTES = 8192 };

void changes_end(struct changes *c)
{
	mem_free(c->changed);
	mem_free(c->vanished);
	*c = (struct changes){ 0 };
}

/* ---- uids in the order of their modseqs ------------------------------------------------------------- */

static void add_uid(struct changes *c, uint32_t uid)
{
	if (c->changed_n == c->changed_cap) {
		c->changed_cap = c->changed_cap == 0 ? LIST_FIRST : c->changed_cap * 2;
		c->changed = mem_grow(c->changed, c->changed_cap, sizeof c->changed[0]);
	}
	c->changed[c->changed_n++] = uid;
}

static bool on_change(void *arg, const struct index_entry *e)
{
	add_uid(arg, e->uid);
	return true;
}

static bool on_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	add_uid(arg, uid);
	return true;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void sort(struct changes *c)
{
	if (c->changed_n > 1)
		qsort(c->changed, c->changed_n, sizeof c->changed[0], by_number);
}

void changes_read(
    struct changes *c, struct index_view *v, const struct selected *box, uint64_t since)
{
	index_changes(v, box->id, since, on_change, c);
	sort(c);
}

/* ---- what vanished ---------------------------------------------------------------------------------- */

static void add_vanished(struct changes *c, uint32_t first, uint32_t last)
{
	if (c->vanished_n > 0 && first == c->vanished[c->vanished_n - 1].last + 1) {
		c->vanished[c->vanished_n - 1].last = last;
		return;
	}
	if (c->vanished_n == c->vanished_cap) {
		c->vanished_cap = c->vanished_cap == 0 ? LIST_FIRST : c->vanished_cap * 2;
		c->vanished = mem_grow(c->vanished, c->vanished_cap, sizeof c->vanished[0]);
	}
	c->vanished[c->vanished_n++] = (struct imap_range){ first, last };
}

/* What is in the array was not told to be expunged yet, so it is not told as vanished earlier. */
static void add_remembered(struct changes *c, struct index_view *v, const struct selected *box,
    uint64_t since, const struct imap_set *known)
{
	struct changes uids = { 0 };
	index_vanished(v, box->id, since, on_vanished, &uids);
	sort(&uids);
	for (size_t i = 0; i < uids.changed_n; i++) {
		uint32_t uid = uids.changed[i];
		if (imap_set_has(known, uid) && selected_find(box, uid) == box->n)
			add_vanished(c, uid, uid);
	}
	changes_end(&uids);
}

/* The numbers of one range that are in no message. */
static void add_gaps(struct changes *c, const struct selected *box, struct imap_range r)
{
	uint64_t from = r.first;
	for (size_t i = selected_lower(box, r.first); i < box->n && box->v[i].uid <= r.last; i++) {
		if (box->v[i].uid > from)
			add_vanished(c, (uint32_t)from, box->v[i].uid - 1);
		from = (uint64_t)box->v[i].uid + 1;
	}
	if (from <= r.last)
		add_vanished(c, (uint32_t)from, r.last);
}

void changes_read_vanished(struct changes *c, struct index_view *v, const struct selected *box,
    uint64_t since, const struct imap_set *known)
{
	struct index_mailbox m;
	if (!index_mailbox_get(v, box->id, &m))
		return; /* the mailbox is gone, which will be told */
	if (since >= m.vanished_from) {
		add_remembered(c, v, box, since, known);
		return;
	}
	for (size_t i = 0; i < known->n && known->v[i].first < m.uidnext; i++) {
		struct imap_range r = known->v[i];
		r.last = r.last < m.uidnext ? r.last : m.uidnext - 1;
		add_gaps(c, box, r);
	}
}

bool changes_put_vanished(struct changes *c, struct buf *out)
{
	struct imap_set_writer w = { .out = out };
	if (c->put == c->vanished_n)
		return true;
	buf_add_str(out, "* VANISHED (EARLIER) ");
	do {
		struct imap_range r = c->vanished[c->put++];
		imap_set_write(&w, r.first, r.last);
	} while (c->put < c->vanished_n && buf_len(out) < PUT_BYTES);
	imap_set_write_end(&w);
	buf_add_str(out, "\r\n");
	return c->put == c->vanished_n;
}
