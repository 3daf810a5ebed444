/* select_parse.c - the parameters of SELECT, and what follows from what the client says it knows; see select_parse.h.
 * Owns nothing. */
#include "store-backend/imap/select_parse.h"

void select_params_end(struct select_params *p)
{
	imap_set_end(&p->known);
	imap_set_end(&p->seqs);
	imap_set_end(&p->uids);
}

/* ---- the parameters ------------------------------------------------------------------------------------ */

static void read_plain_set(struct imap_cursor *c, struct imap_set *out)
{
	imap_read_set(c, out);
	if (out->saved)
		imap_fail(c, "No $ in this set");
	for (size_t i = 0; i < out->n; i++) {
		if (out->v[i].first == IMAP_STAR || out->v[i].last == IMAP_STAR)
			imap_fail(c, "No * in this set");
	}
}

/* "(" seqs SP uids ")" */
static void read_places(struct imap_cursor *c, struct select_params *p)
{
	imap_read_char(c, '(');
	read_plain_set(c, &p->seqs);
	imap_read_sp(c);
	read_plain_set(c, &p->uids);
	imap_read_char(c, ')');
}

/* SP "(" uidvalidity SP modseq [SP known-uids] [SP places] ")" */
static void read_qresync(struct imap_cursor *c, struct select_params *p)
{
	p->qresync = true;
	imap_read_sp(c);
	imap_read_char(c, '(');
	p->uidvalidity = imap_read_nz_number(c);
	imap_read_sp(c);
	p->since = imap_read_number64(c);
	bool more = imap_try(c, ' ');
	if (more && imap_peek(c) != '(') {
		read_plain_set(c, &p->known);
		more = imap_try(c, ' ');
	}
	if (more)
		read_places(c, p);
	imap_read_char(c, ')');
	if (p->known.n == 0 && imap_ok(c))
		(void)imap_set_add(&p->known, 1, UINT32_MAX);
}

void select_parse(struct imap_cursor *c, struct select_params *out)
{
	*out = (struct select_params){ 0 };
	if (!imap_try(c, ' '))
		return;
	imap_read_char(c, '(');
	do {
		if (imap_try_word(c, "CONDSTORE"))
			out->condstore = true;
		else if (!out->qresync && imap_try_word(c, "QRESYNC"))
			read_qresync(c, out);
		else
			imap_fail(c, "Unknown parameter");
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
}

/* ---- what the client knows ----------------------------------------------------------------------------- */

struct spot {
	size_t range;
	uint32_t number; /* 0: before its first */
};

static bool next_number(const struct imap_set *set, struct spot *at)
{
	if (at->range < set->n && at->number >= set->v[at->range].last) {
		at->range++;
		at->number = 0;
	}
	if (at->range >= set->n)
		return false;
	uint32_t first = set->v[at->range].first;
	at->number = at->number < first ? first : at->number + 1;
	return true;
}

uint32_t select_settled_uid(const struct selected *box, const struct select_params *r)
{
	struct spot seq = { 0 }, uid = { 0 };
	uint32_t settled = 0;
	while (next_number(&r->seqs, &seq) && next_number(&r->uids, &uid)) {
		if (seq.number > box->n || box->v[seq.number - 1].uid != uid.number)
			break;
		settled = uid.number;
	}
	return settled;
}

void select_above(const struct imap_set *from, uint32_t above, struct imap_set *out)
{
	for (size_t i = 0; i < from->n; i++) {
		struct imap_range r = from->v[i];
		if (r.last > above)
			(void)imap_set_add(out, r.first > above ? r.first : above + 1, r.last);
	}
}
