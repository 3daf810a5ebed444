/* search_match.c - does a message match? Three answers: unknown means that more must be known; see search.h.
 *
 * Before: search.c gives what is known. After: search_scan.c for a text that must be looked for. Owns
 * nothing. */
#include "base/check.h"

#include "store-backend/imap/search.h"

enum { DAY_S = 86400, FOLDED_MAX = 4 * 1024 * 1024 };

static enum search_answer answer_of(bool yes)
{
	return yes ? ANSWER_YES : ANSWER_NO;
}

void search_forget(struct search_request *r)
{
	for (size_t i = 0; i < r->n; i++)
		r->v[i].learned = ANSWER_UNKNOWN;
}

/* ---- dates --------------------------------------------------------------------------------------- */

static bool match_day(enum search_key key, int64_t day, int32_t asked)
{
	switch (key) {
	case KEY_BEFORE:
	case KEY_SENT_BEFORE:
	case KEY_SAVED_BEFORE:
		return day < asked;
	case KEY_ON:
	case KEY_SENT_ON:
	case KEY_SAVED_ON:
		return day == asked;
	default:
		return day >= asked;
	}
}

static int64_t day_of(int64_t unix_s)
{
	return unix_s / DAY_S - (unix_s % DAY_S < 0);
}

/* On the calendar of its own zone, as a client shows it. */
static int64_t received_day(const struct index_entry *e)
{
	return day_of(e->date_s + (int64_t)e->date_zone * 60);
}

/* RFC 8474: as FETCH tells it. */
static bool match_emailid(struct span asked, uint64_t object)
{
	struct buf own = BUF_INIT(32);
	imap_put_emailid(&own, object);
	bool same = span_eq(asked, buf_span(&own));
	buf_end(&own);
	return same;
}

/* A message without a Date was sent on no day. */
static bool sent_day(struct message *m, int32_t *day_out)
{
	static const struct span date = { "Date", 4 };
	struct span fields, value;
	int64_t unix_s;
	*day_out = m->cache.sent_day;
	if (m->has_cache)
		return m->cache.has_date;
	return message_fields(m, &date, 1, &fields) && mime_find_field(fields, "Date", &value) &&
	       mime_parse_date(value, &unix_s, day_out);
}

static bool match_sent(const struct search_node *n, struct message *m)
{
	int32_t day;
	return sent_day(m, &day) && match_day(n->key, day, n->day);
}

/* ---- fields -------------------------------------------------------------------------------------- */

static bool match_field(const struct search_node *n, struct message *m)
{
	struct span fields;
	struct mime_field f;
	bool found = false;
	if (!message_fields(m, &n->name, 1, &fields))
		return false;
	while (!found && mime_next_field(&fields, &f)) {
		struct buf folded = BUF_INIT(FOLDED_MAX);
		if (!span_ieq(f.name, n->name))
			continue;
		text_fold_field(f.value, &folded);
		found = span_find_span(buf_span(&folded), buf_span(&n->text)) != SIZE_MAX;
		buf_end(&folded);
	}
	return found;
}

/* ---- one key ------------------------------------------------------------------------------------- */

static bool match_known(const struct search_node *n, const struct search_subject *of)
{
	const struct selected_message *m = &of->box->v[of->at];
	switch (n->key) {
	case KEY_ALL:
		return true;
	case KEY_FLAGS:
		return (m->bits & n->bits) != 0;
	case KEY_KEYWORD:
		return (m->keywords & selected_keyword_bit(of->box, n->name)) != 0;
	case KEY_NUMBERS:
		return imap_set_has(&n->set, (uint32_t)(of->at + 1));
	case KEY_UIDS:
		return imap_set_has(&n->set, m->uid);
	default:
		BUG("needs more than flags");
	}
}

static bool match_entry(const struct search_node *n, struct search_subject *of, int64_t now_s)
{
	switch (n->key) {
	case KEY_BEFORE:
	case KEY_ON:
	case KEY_SINCE:
		return match_day(n->key, received_day(&of->entry), n->day);
	case KEY_LARGER:
		return of->entry.size > n->size;
	case KEY_SMALLER:
		return of->entry.size < n->size;
	case KEY_MODSEQ:
		return of->entry.modseq >= n->size;
	case KEY_OLDER:
		return now_s - of->entry.date_s >= (int64_t)n->size;
	case KEY_YOUNGER:
		return now_s - of->entry.date_s <= (int64_t)n->size;
	case KEY_SAVED_BEFORE:
	case KEY_SAVED_ON:
	case KEY_SAVED_SINCE:
		return match_day(n->key, day_of(of->entry.saved_s), n->day);
	case KEY_EMAILID:
		return match_emailid(n->name, of->object);
	case KEY_SENT_BEFORE:
	case KEY_SENT_ON:
	case KEY_SENT_SINCE:
		return match_sent(n, &of->message);
	case KEY_HEADER:
		return match_field(n, &of->message);
	default:
		BUG("not a key of one entry");
	}
}

static enum search_answer match_leaf(const struct search_request *r, struct search_node *n,
    struct search_subject *of, struct search_node **scan_out)
{
	if (n->key <= KEY_UIDS)
		return answer_of(match_known(n, of));
	if (n->learned != ANSWER_UNKNOWN || !of->has_entry)
		return n->learned;
	if (n->key < KEY_BODY)
		n->learned = answer_of(match_entry(n, of, r->now_s));
	else if (*scan_out == NULL)
		*scan_out = n;
	return n->learned;
}

/* ---- the tree ------------------------------------------------------------------------------------ */

static enum search_answer match_node(struct search_request *r, uint16_t at,
    struct search_subject *of, struct search_node **scan_out);

/* AND ends at a no, OR at a yes; otherwise one unknown makes it unknown. */
static enum search_answer match_children(struct search_request *r, const struct search_node *n,
    struct search_subject *of, struct search_node **scan_out)
{
	enum search_answer decides = n->key == KEY_AND ? ANSWER_NO : ANSWER_YES;
	enum search_answer all = n->key == KEY_AND ? ANSWER_YES : ANSWER_NO;
	for (uint16_t i = n->first; i != SEARCH_NONE; i = r->v[i].next) {
		enum search_answer a = match_node(r, i, of, scan_out);
		if (a == decides)
			return a;
		if (a == ANSWER_UNKNOWN)
			all = ANSWER_UNKNOWN;
	}
	return all;
}

/* Nested as deep as it was parsed. */
static enum search_answer match_node(
    struct search_request *r, uint16_t at, struct search_subject *of, struct search_node **scan_out)
{
	struct search_node *n = &r->v[at];
	enum search_answer a = n->key == KEY_AND || n->key == KEY_OR
				   ? match_children(r, n, of, scan_out)
				   : match_leaf(r, n, of, scan_out);
	if (a == ANSWER_UNKNOWN || !n->negate)
		return a;
	return a == ANSWER_YES ? ANSWER_NO : ANSWER_YES;
}

enum search_answer search_match(
    struct search_request *r, struct search_subject *of, struct search_node **scan_out)
{
	*scan_out = NULL;
	return match_node(r, 0, of, scan_out);
}
