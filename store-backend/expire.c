/* expire.c - which messages are to go. Before: partition_expire.c (the committer) or tool_expire.c, which ask; after:
 * the same, with what was found. Owns nothing. */
#include "store-backend/expire.h"

#include <string.h>

#include "base/check.h"
#include "proto/mime.h"
#include "store-backend/imap/pattern.h"
#include "store-backend/parse.h"

enum {
	LOOKED_AT_ONCE = 2000,
	READ_AT_ONCE = 20, /* headers out of the log in one step */
	HEADER_BYTES = 64 * 1024,
	MS = 1000
};

/* ---- conditions ------------------------------------------------------------------------------------------ */

static const struct {
	const char *word;
	uint32_t flag;
} flag_words[] = { { "seen", STORE_SEEN }, { "answered", STORE_ANSWERED },
	{ "flagged", STORE_FLAGGED }, { "deleted", STORE_DELETED }, { "draft", STORE_DRAFT } };

/* 0: no such word. */
static uint32_t flag_of(struct span word)
{
	for (size_t i = 0; i < COUNT_OF(flag_words); i++)
		if (span_ieq_str(word, flag_words[i].word))
			return flag_words[i].flag;
	return 0;
}

static bool is_not(const char *word, struct span *rest)
{
	*rest = span_str(word);
	if (rest->n == 0 || rest->p[0] != '-')
		return false;
	*rest = span_from(*rest, 1);
	return true;
}

static bool flags_fit(const struct store_expire_conf *r, uint32_t flags)
{
	for (size_t i = 0; i < r->flags.n; i++) {
		struct span word;
		bool absent = is_not(r->flags.v[i], &word);
		if (((flags & flag_of(word)) == 0) != absent)
			return false;
	}
	return true;
}

static bool mailbox_fits(const struct store_expire_conf *r, const struct index_mailbox *m)
{
	return imap_pattern_fits_any(&r->folders, m->name) &&
	       (r->users.n == 0 || imap_pattern_fits_any(&r->users, m->user)) &&
	       (r->action != EXPIRE_MOVE || !span_eq_str(m->name, r->target));
}

static bool is_older(uint64_t now_s, int64_t then_s, uint64_t ms)
{
	return ms == 0 || then_s < (int64_t)(now_s - ms / MS);
}

static bool entry_fits(
    const struct expire *x, const struct store_expire_conf *r, const struct index_entry *e)
{
	return is_older(x->now_s, e->date_s, r->age) && is_older(x->now_s, e->saved_s, r->saved) &&
	       (r->larger == 0 || e->size > r->larger) && flags_fit(r, e->flags);
}

/* ---- headers --------------------------------------------------------------------------------------------- */

static bool find_ieq(struct span in, struct span word)
{
	for (size_t i = 0; i + word.n <= in.n; i++)
		if (span_ieq(span_first(span_from(in, i), word.n), word))
			return true;
	return false;
}

/* Any field of that name: there may be several. */
static bool header_has(struct span header, struct span name, struct span word)
{
	struct mime_field f;
	while (mime_next_field(&header, &f)) {
		struct buf line = BUF_INIT(HEADER_BYTES);
		bool found = span_ieq(f.name, name) && mime_unfold(f.value, &line) &&
			     find_ieq(buf_span(&line), word);
		buf_end(&line);
		if (found)
			return true;
	}
	return false;
}

static struct span header_name(const struct store_expire_conf *r, struct span *word_out)
{
	struct span word = span_str(r->header);
	struct span name = span_cut(&word, ':');
	*word_out = span_trim(word);
	return span_trim(name);
}

static bool header_fits(const struct store_expire_conf *r, struct span header)
{
	struct span word, type = SPAN_NONE;
	if (r->type != TYPE_ANY) {
		(void)mime_find_field(header, "Content-Type", &type);
		if (message_type_of(type) != (enum message_type)r->type)
			return false;
	}
	if (r->header == NULL || r->header[0] == '\0')
		return true;
	struct span name = header_name(r, &word);
	return header_has(header, name, word);
}

/* The beginning of the message, up to where its header ends at the latest. */
static bool read_header(const struct expire *x, const struct index_entry *e, struct buf *out)
{
	char *p;
	size_t n = e->size < HEADER_BYTES ? (size_t)e->size : HEADER_BYTES;
	if (n == 0 || buf_room(out, n, &p) < n || x->read(x->arg, e->blob, 0, p, n) != ERR_OK)
		return false;
	buf_added(out, n);
	return true;
}

static struct span header_part(struct span message)
{
	void *end = memmem(message.p, message.n, "\r\n\r\n", 4);
	return end == NULL ? message : span_first(message, (size_t)((char *)end - message.p) + 2);
}

/* ---- a step ------------------------------------------------------------------------------------------------ */

struct looking {
	const struct expire *x;
	struct index_view *view;
	const struct store_expire_conf *rule;
	struct expire_cursor *at;
	struct expire_found *out;
	size_t looked, read;
	bool full; /* the step is over though the mailbox is not */
};

static bool wants_header(const struct store_expire_conf *r)
{
	return r->type != TYPE_ANY || (r->header != NULL && r->header[0] != '\0');
}

static bool in_cache(const struct store_expire_conf *r)
{
	struct span word;
	return r->header == NULL || r->header[0] == '\0' || parse_field_kept(header_name(r, &word));
}

static bool message_fits(struct looking *k, const struct index_entry *e)
{
	struct parse_cache c;
	struct buf bytes = BUF_INIT(HEADER_BYTES);
	if (!entry_fits(k->x, k->rule, e))
		return false;
	if (!wants_header(k->rule))
		return true;
	if (in_cache(k->rule) && parse_cache_open(index_cache(k->view, e->blob), &c) &&
	    c.has_fields)
		return header_fits(k->rule, c.fields);
	k->read++;
	bool fits =
	    read_header(k->x, e, &bytes) && header_fits(k->rule, header_part(buf_span(&bytes)));
	buf_end(&bytes);
	return fits;
}

static bool is_limited(const struct store_expire_conf *r)
{
	return r->messages_max > 0 || r->bytes_max > 0;
}

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct looking *k = arg;
	struct expire_found *f = k->out;
	struct expire_cursor *at = k->at;
	k->full = f->n == EXPIRE_UIDS_MAX || k->looked == LOOKED_AT_ONCE || k->read == READ_AT_ONCE;
	if (k->full || (is_limited(k->rule) && at->over_n == 0 && at->over_bytes == 0))
		return false;
	at->uid = e->uid;
	k->looked++;
	if (!message_fits(k, e))
		return true;
	at->over_n -= at->over_n > 0;
	at->over_bytes -= e->size < at->over_bytes ? e->size : at->over_bytes;
	f->uids[f->n] = (struct uid_range){ e->uid, e->uid };
	f->entries[f->n++] = *e;
	return true;
}

/* SIZE_MAX: no rule from `from` on applies to the mailbox. */
static size_t next_rule(const struct store_conf *s, const struct index_mailbox *m, size_t from)
{
	size_t only = SIZE_MAX;
	for (size_t i = 0; i < s->expire_n; i++)
		if (s->expire[i]->exclusive && mailbox_fits(s->expire[i], m))
			only = i;
	if (only != SIZE_MAX)
		return only >= from ? only : SIZE_MAX;
	for (size_t i = from; i < s->expire_n; i++)
		if (mailbox_fits(s->expire[i], m))
			return i;
	return SIZE_MAX;
}

bool expire_least_days(const struct store_conf *s, struct span user, uint64_t *days_out)
{
	enum { DAY_MS = 24 * 3600 * MS };
	struct index_mailbox inbox = { .user = user, .name = SPAN("INBOX") };
	uint64_t least = UINT64_MAX;
	for (size_t i = 0; i < s->expire_n; i++) {
		const struct store_expire_conf *r = s->expire[i];
		uint64_t ms = r->age > r->saved ? r->age : r->saved;
		bool fits = user.n > 0 ? mailbox_fits(r, &inbox)
				       : imap_pattern_fits_any(&r->folders, inbox.name);
		if (fits && ms / DAY_MS < least)
			least = ms / DAY_MS;
	}
	*days_out = least > 0 ? least : 1;
	return least != UINT64_MAX;
}

static uint64_t above(uint64_t is, uint64_t most)
{
	return most > 0 && is > most ? is - most : 0;
}

static void begin_rule(struct looking *k, const struct index_mailbox *m, size_t rule)
{
	struct expire_cursor *at = k->at;
	k->rule = k->x->conf->expire[rule];
	if (at->uid != 0 && at->rule == rule)
		return; /* in the middle of it */
	*at = (struct expire_cursor){ .mailbox = m->id, .rule = rule };
	at->over_n = above(m->messages, (uint64_t)k->rule->messages_max);
	at->over_bytes = above(m->bytes, k->rule->bytes_max);
}

enum expire_step expire_step(const struct expire *x, struct index_view *v, struct expire_cursor *at,
    struct expire_found *out)
{
	struct looking k = { .x = x, .view = v, .at = at, .out = out };
	out->n = 0;
	while (index_mailbox_from(v, at->mailbox, &out->mailbox)) {
		const struct index_mailbox *m = &out->mailbox;
		if (m->id != at->mailbox)
			*at = (struct expire_cursor){ .mailbox = m->id };
		size_t rule = next_rule(x->conf, m, at->rule);
		if (rule == SIZE_MAX) {
			*at = (struct expire_cursor){ .mailbox = m->id + 1 };
			if (++k.looked >= LOOKED_AT_ONCE)
				return EXPIRE_MORE;
			continue;
		}
		begin_rule(&k, m, rule);
		k.full = false;
		index_entries(
		    v, m->id, (struct uid_range){ at->uid + 1, UINT32_MAX }, on_entry, &k);
		out->rule = k.rule;
		if (!k.full)
			*at = (struct expire_cursor){ .mailbox = m->id, .rule = rule + 1 };
		if (out->n > 0)
			return EXPIRE_FOUND;
		if (k.full)
			return EXPIRE_MORE;
	}
	return EXPIRE_END;
}

/* ---- the settings --------------------------------------------------------------------------------------------- */

static bool has_condition(const struct store_expire_conf *r)
{
	return r->age > 0 || r->saved > 0 || r->larger > 0 || wants_header(r) || r->flags.n > 0 ||
	       is_limited(r);
}

static void check_one(const struct store_expire_conf *r, struct conf_diag *d)
{
	struct span word;
	if (!has_condition(r))
		conf_error(d, r->head.pos,
		    "expire %s has no condition: it would empty its mailboxes", r->head.title);
	if ((r->action == EXPIRE_MOVE) != operation_name_ok(span_str(r->target)))
		conf_error(d, r->head.pos, "expire %s: target is a mailbox, and for action move",
		    r->head.title);
	if ((r->action == EXPIRE_ARCHIVE) != (r->archive_dir != NULL && r->archive_dir[0] != '\0'))
		conf_error(d, r->head.pos,
		    "expire %s: archive_dir is needed by action archive, and by no other",
		    r->head.title);
	if (r->header != NULL && r->header[0] != '\0' &&
	    (header_name(r, &word).n == 0 || word.n == 0))
		conf_error(d, r->head.pos, "expire %s: header is \"Name: words\"", r->head.title);
	for (size_t i = 0; i < r->flags.n; i++) {
		(void)is_not(r->flags.v[i], &word);
		if (flag_of(word) == 0)
			conf_error(d, r->head.pos, "expire %s: \"%s\" is no flag", r->head.title,
			    r->flags.v[i]);
	}
}

void expire_check(const struct store_conf *s, struct conf_diag *d)
{
	for (size_t i = 0; i < s->expire_n; i++)
		check_one(s->expire[i], d);
}
