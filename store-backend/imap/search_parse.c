/* search_parse.c - the keys of SEARCH (RFC 3501 section 6.4.4) become a tree; see search.h.
 *
 * Before: search.c. After: search_match.c. Owns nothing; the request owns the nodes, their texts and sets. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/search.h"

enum { NODES_FIRST = 8 };

/* ---- the tree ------------------------------------------------------------------------------------ */

/* In the order of enum search_key: what one question costs. Children decide for AND and OR. */
static const uint8_t costs[] = {
	[KEY_ALL] = 0,
	[KEY_FLAGS] = 0,
	[KEY_KEYWORD] = 0,
	[KEY_NUMBERS] = 1,
	[KEY_UIDS] = 1,
	[KEY_BEFORE] = 2,
	[KEY_ON] = 2,
	[KEY_SINCE] = 2,
	[KEY_LARGER] = 2,
	[KEY_SMALLER] = 2,
	[KEY_MODSEQ] = 2,
	[KEY_OLDER] = 2,
	[KEY_YOUNGER] = 2,
	[KEY_SAVED_BEFORE] = 2,
	[KEY_SAVED_ON] = 2,
	[KEY_SAVED_SINCE] = 2,
	[KEY_EMAILID] = 2,
	[KEY_SENT_BEFORE] = 3,
	[KEY_SENT_ON] = 3,
	[KEY_SENT_SINCE] = 3,
	[KEY_HEADER] = 4,
	[KEY_BODY] = 5,
	[KEY_TEXT] = 5,
	[KEY_AND] = 0,
	[KEY_OR] = 0,
};

/* Nodes move when one is added, so they are known by number. */
static uint16_t add_node(struct imap_cursor *c, struct search_request *r, enum search_key key)
{
	if (r->n == SEARCH_KEYS_MAX) {
		imap_fail(c, "Too many search keys");
		return 0;
	}
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? NODES_FIRST : r->cap * 2;
		r->v = mem_grow(r->v, r->cap, sizeof r->v[0]);
	}
	r->v[r->n] = (struct search_node){
		.key = key, .cost = costs[key], .first = SEARCH_NONE, .next = SEARCH_NONE
	};
	return (uint16_t)r->n++;
}

/* Behind those that cost no more. */
static void add_child(struct search_request *r, uint16_t parent, uint16_t child)
{
	uint16_t *link = &r->v[parent].first;
	while (*link != SEARCH_NONE && r->v[*link].cost <= r->v[child].cost)
		link = &r->v[*link].next;
	r->v[child].next = *link;
	*link = child;
	if (r->v[parent].cost < r->v[child].cost)
		r->v[parent].cost = r->v[child].cost;
}

void search_end(struct search_request *r)
{
	for (size_t i = 0; i < r->n; i++) {
		buf_end(&r->v[i].text);
		imap_set_end(&r->v[i].set);
	}
	mem_free(r->v);
	*r = (struct search_request){ 0 };
}

/* ---- the words ----------------------------------------------------------------------------------- */

enum argument {
	ARG_NONE,
	ARG_DATE,
	ARG_SIZE,
	ARG_TEXT,
	ARG_FIELD_TEXT,
	ARG_KEYWORD,
	ARG_UIDS,
	ARG_MODSEQ,
	ARG_SECONDS
};

static const struct {
	const char *word;
	enum search_key key;
	bool negate;
	enum argument argument;
	uint32_t bits;
	const char *field;
} words[] = {
	{ "ALL", KEY_ALL, false, ARG_NONE, 0, NULL },
	{ "ANSWERED", KEY_FLAGS, false, ARG_NONE, STORE_ANSWERED, NULL },
	{ "BCC", KEY_HEADER, false, ARG_TEXT, 0, "Bcc" },
	{ "BEFORE", KEY_BEFORE, false, ARG_DATE, 0, NULL },
	{ "BODY", KEY_BODY, false, ARG_TEXT, 0, NULL },
	{ "CC", KEY_HEADER, false, ARG_TEXT, 0, "Cc" },
	{ "DELETED", KEY_FLAGS, false, ARG_NONE, STORE_DELETED, NULL },
	{ "DRAFT", KEY_FLAGS, false, ARG_NONE, STORE_DRAFT, NULL },
	{ "EMAILID", KEY_EMAILID, false, ARG_KEYWORD, 0, NULL },
	{ "FLAGGED", KEY_FLAGS, false, ARG_NONE, STORE_FLAGGED, NULL },
	{ "FROM", KEY_HEADER, false, ARG_TEXT, 0, "From" },
	{ "HEADER", KEY_HEADER, false, ARG_FIELD_TEXT, 0, NULL },
	{ "KEYWORD", KEY_KEYWORD, false, ARG_KEYWORD, 0, NULL },
	{ "LARGER", KEY_LARGER, false, ARG_SIZE, 0, NULL },
	{ "MODSEQ", KEY_MODSEQ, false, ARG_MODSEQ, 0, NULL },
	{ "OLD", KEY_FLAGS, true, ARG_NONE, IMAP_RECENT, NULL },
	{ "OLDER", KEY_OLDER, false, ARG_SECONDS, 0, NULL },
	{ "ON", KEY_ON, false, ARG_DATE, 0, NULL },
	{ "RECENT", KEY_FLAGS, false, ARG_NONE, IMAP_RECENT, NULL },
	{ "SAVEDATESUPPORTED", KEY_ALL, false, ARG_NONE, 0, NULL },
	{ "SAVEDBEFORE", KEY_SAVED_BEFORE, false, ARG_DATE, 0, NULL },
	{ "SAVEDON", KEY_SAVED_ON, false, ARG_DATE, 0, NULL },
	{ "SAVEDSINCE", KEY_SAVED_SINCE, false, ARG_DATE, 0, NULL },
	{ "SEEN", KEY_FLAGS, false, ARG_NONE, STORE_SEEN, NULL },
	{ "SENTBEFORE", KEY_SENT_BEFORE, false, ARG_DATE, 0, NULL },
	{ "SENTON", KEY_SENT_ON, false, ARG_DATE, 0, NULL },
	{ "SENTSINCE", KEY_SENT_SINCE, false, ARG_DATE, 0, NULL },
	{ "SINCE", KEY_SINCE, false, ARG_DATE, 0, NULL },
	{ "SMALLER", KEY_SMALLER, false, ARG_SIZE, 0, NULL },
	{ "SUBJECT", KEY_HEADER, false, ARG_TEXT, 0, "Subject" },
	{ "TEXT", KEY_TEXT, false, ARG_TEXT, 0, NULL },
	{ "THREADID", KEY_ALL, true, ARG_KEYWORD, 0, NULL }, /* no message has one */
	{ "TO", KEY_HEADER, false, ARG_TEXT, 0, "To" },
	{ "UID", KEY_UIDS, false, ARG_UIDS, 0, NULL },
	{ "UNANSWERED", KEY_FLAGS, true, ARG_NONE, STORE_ANSWERED, NULL },
	{ "UNDELETED", KEY_FLAGS, true, ARG_NONE, STORE_DELETED, NULL },
	{ "UNDRAFT", KEY_FLAGS, true, ARG_NONE, STORE_DRAFT, NULL },
	{ "UNFLAGGED", KEY_FLAGS, true, ARG_NONE, STORE_FLAGGED, NULL },
	{ "UNKEYWORD", KEY_KEYWORD, true, ARG_KEYWORD, 0, NULL },
	{ "UNSEEN", KEY_FLAGS, true, ARG_NONE, STORE_SEEN, NULL },
	{ "YOUNGER", KEY_YOUNGER, false, ARG_SECONDS, 0, NULL },
};

static void read_text(struct imap_cursor *c, struct search_node *n)
{
	struct span text = imap_read_astring(c);
	if (!span_is_utf8(text))
		imap_fail(c, "Search text is not valid in its charset");
	if (!imap_ok(c))
		return;
	n->text = BUF_INIT(text.n + 1);
	text_fold(text, &n->text);
}

/* [entry SP type SP] modseq (RFC 7162 section 3.1.5); a message has one modseq for all its metadata. */
static void read_modseq(struct imap_cursor *c, struct search_node *n)
{
	if (imap_peek(c) == '"') {
		(void)imap_read_string(c);
		imap_read_sp(c);
		if (!imap_try_word(c, "ALL") && !imap_try_word(c, "PRIV") &&
		    !imap_try_word(c, "SHARED"))
			imap_fail(c, "Unknown entry type");
		imap_read_sp(c);
	}
	n->size = imap_read_number64(c);
}

static void read_argument(struct imap_cursor *c, enum argument argument, struct search_node *n)
{
	if (argument != ARG_NONE)
		imap_read_sp(c);
	switch (argument) {
	case ARG_NONE:
		break;
	case ARG_DATE:
		n->day = imap_read_date(c);
		break;
	case ARG_SIZE:
		n->size = imap_read_number64(c);
		break;
	case ARG_SECONDS:
		n->size = imap_read_nz_number(c);
		break;
	case ARG_FIELD_TEXT:
		n->name = imap_read_astring(c);
		imap_read_sp(c);
		read_text(c, n);
		break;
	case ARG_TEXT:
		read_text(c, n);
		break;
	case ARG_KEYWORD:
		n->name = imap_read_atom(c);
		break;
	case ARG_UIDS:
		imap_read_set(c, &n->set);
		break;
	case ARG_MODSEQ:
		read_modseq(c, n);
		break;
	}
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static uint16_t parse_key(struct imap_cursor *c, struct search_request *r, unsigned depth);

/* Keys separated by spaces, all of which must match. */
static uint16_t parse_keys(struct imap_cursor *c, struct search_request *r, unsigned depth)
{
	uint16_t all = add_node(c, r, KEY_AND);
	do {
		uint16_t key = parse_key(c, r, depth);
		if (imap_ok(c))
			add_child(r, all, key);
	} while (imap_try(c, ' '));
	return all;
}

static uint16_t parse_group(struct imap_cursor *c, struct search_request *r, unsigned depth)
{
	uint16_t all = parse_keys(c, r, depth);
	imap_read_char(c, ')');
	return all;
}

static uint16_t parse_not(struct imap_cursor *c, struct search_request *r, unsigned depth)
{
	imap_read_sp(c);
	uint16_t key = parse_key(c, r, depth);
	if (imap_ok(c))
		r->v[key].negate = !r->v[key].negate;
	return key;
}

static uint16_t parse_or(struct imap_cursor *c, struct search_request *r, unsigned depth)
{
	uint16_t either = add_node(c, r, KEY_OR);
	for (int i = 0; i < 2; i++) {
		imap_read_sp(c);
		uint16_t key = parse_key(c, r, depth);
		if (imap_ok(c))
			add_child(r, either, key);
	}
	return either;
}

static uint16_t parse_word(struct imap_cursor *c, struct search_request *r)
{
	struct span word = imap_read_atom(c);
	for (size_t i = 0; imap_ok(c) && i < COUNT_OF(words); i++) {
		if (!span_ieq_str(word, words[i].word))
			continue;
		uint16_t at = add_node(c, r, words[i].key);
		if (!imap_ok(c))
			return 0;
		struct search_node *n = &r->v[at];
		n->negate = words[i].negate;
		n->bits = words[i].bits;
		n->name = span_str(words[i].field);
		read_argument(c, words[i].argument, n);
		r->modseq = r->modseq || n->key == KEY_MODSEQ;
		r->emailid = r->emailid || n->key == KEY_EMAILID;
		return at;
	}
	imap_fail(c, "Unknown search key");
	return 0;
}

/* RECENT UNSEEN */
static uint16_t add_new(struct imap_cursor *c, struct search_request *r)
{
	uint16_t both = add_node(c, r, KEY_AND);
	for (int i = 0; i < 2; i++) {
		uint16_t key = add_node(c, r, KEY_FLAGS);
		if (!imap_ok(c))
			return 0;
		r->v[key].bits = i == 0 ? IMAP_RECENT : STORE_SEEN;
		r->v[key].negate = i == 1;
		add_child(r, both, key);
	}
	return both;
}

static uint16_t parse_numbers(struct imap_cursor *c, struct search_request *r)
{
	uint16_t at = add_node(c, r, KEY_NUMBERS);
	if (imap_ok(c))
		imap_read_set(c, &r->v[at].set);
	return at;
}

/* After a failure its number means nothing. */
static uint16_t parse_key(struct imap_cursor *c, struct search_request *r, unsigned depth)
{
	if (++depth > SEARCH_DEPTH_MAX)
		imap_fail(c, "Search keys are nested too deep");
	if (!imap_ok(c))
		return 0;
	int next = imap_peek(c);
	if (imap_try(c, '('))
		return parse_group(c, r, depth);
	if (next == '*' || next == '$' || (next >= '0' && next <= '9'))
		return parse_numbers(c, r);
	if (imap_try_word(c, "NOT"))
		return parse_not(c, r, depth);
	if (imap_try_word(c, "OR"))
		return parse_or(c, r, depth);
	if (imap_try_word(c, "NEW"))
		return add_new(c, r);
	return parse_word(c, r);
}

static unsigned parse_result(struct imap_cursor *c)
{
	static const struct {
		const char *word;
		unsigned result;
	} results[] = { { "MIN", RESULT_MIN }, { "MAX", RESULT_MAX }, { "ALL", RESULT_ALL },
		{ "COUNT", RESULT_COUNT }, { "SAVE", RESULT_SAVE } };
	for (size_t i = 0; i < COUNT_OF(results); i++) {
		if (imap_try_word(c, results[i].word))
			return results[i].result;
	}
	imap_fail(c, "Unknown return option");
	return 0;
}

unsigned search_parse_return(struct imap_cursor *c)
{
	unsigned wanted = 0;
	if (!imap_try_word(c, "RETURN"))
		return 0;
	imap_read_sp(c);
	imap_read_char(c, '(');
	if (imap_peek(c) == ')')
		wanted = RESULT_ALL;
	while (imap_peek(c) != ')' && imap_ok(c)) {
		wanted |= parse_result(c);
		if (imap_peek(c) != ')')
			imap_read_sp(c);
	}
	imap_read_char(c, ')');
	imap_read_sp(c);
	return wanted;
}

void search_parse_in(struct imap_cursor *c, struct span charset, struct search_request *out)
{
	out->bad_charset =
	    imap_ok(c) && !span_ieq_str(charset, "US-ASCII") && !span_ieq_str(charset, "UTF-8");
	if (!out->bad_charset)
		parse_keys(c, out, 0);
}

void search_parse(struct imap_cursor *c, struct search_request *out)
{
	struct span charset = SPAN("UTF-8");
	out->charset_said = imap_try_word(c, "CHARSET");
	if (out->charset_said) {
		imap_read_sp(c);
		charset = imap_read_astring(c);
		imap_read_sp(c);
	}
	search_parse_in(c, charset, out);
}

bool search_has_numbers(const struct search_request *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].key == KEY_NUMBERS && r->v[i].set.n > 0)
			return true;
	return false;
}

void search_resolve(struct search_request *r, const struct selected *box)
{
	for (size_t i = 0; i < r->n; i++) {
		struct search_node *n = &r->v[i];
		if (n->key == KEY_NUMBERS || n->key == KEY_UIDS)
			selected_resolve(box, &n->set, n->key == KEY_UIDS);
	}
}
