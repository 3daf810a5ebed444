/* metadata_parse.c - the grammar of annotations; see metadata_parse.h. Owns nothing. */
#include "store-backend/imap/metadata_parse.h"

/* ---- options ------------------------------------------------------------------------------------------------- */

static void read_depth(struct imap_cursor *c, struct metadata_request *out)
{
	if (imap_try_word(c, "infinity"))
		out->depth = METADATA_DEPTH_ALL;
	else if (imap_try_word(c, "1"))
		out->depth = 1;
	else if (!imap_try_word(c, "0"))
		imap_fail(c, "DEPTH is 0, 1 or infinity");
}

void metadata_parse_options(struct imap_cursor *c, struct metadata_request *out)
{
	out->has_maxsize = false;
	out->maxsize = 0;
	out->depth = 0;
	out->n = 0;
	if (!imap_try(c, '('))
		return;
	do {
		if (imap_try_word(c, "MAXSIZE")) {
			imap_read_sp(c);
			out->maxsize = imap_read_number(c);
			out->has_maxsize = true;
		} else if (imap_try_word(c, "DEPTH")) {
			imap_read_sp(c);
			read_depth(c, out);
		} else {
			imap_fail(c, "Unknown option");
		}
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	imap_read_sp(c);
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

static bool is_root(struct span name)
{
	return span_eq_str(name, "/private") || span_eq_str(name, "/shared");
}

/* The names of our own cannot be said. */
static struct metadata_entry *read_name(
    struct imap_cursor *c, struct metadata_request *out, bool roots)
{
	struct span sent = imap_read_astring(c);
	struct metadata_entry *e = &out->v[out->n];
	if (imap_ok(c) && out->n == METADATA_ENTRIES_MAX)
		imap_fail(c, "Too many entries");
	if (imap_ok(c) && (sent.n == 0 || sent.n > STORE_ENTRY_NAME_MAX || sent.p[0] != '/'))
		imap_fail(c, "Bad entry name");
	if (!imap_ok(c))
		return NULL;
	span_lower_to(e->name, sent);
	e->name_n = (uint8_t)sent.n;
	e->nil = false;
	e->value = SPAN_NONE;
	if (!operation_entry_ok(metadata_name(e)) && !(roots && is_root(metadata_name(e)))) {
		imap_fail(c, "Bad entry name");
		return NULL;
	}
	out->n++;
	return e;
}

void metadata_parse_names(struct imap_cursor *c, struct metadata_request *out)
{
	bool list = imap_try(c, '(');
	do {
		(void)read_name(c, out, true);
	} while (list && imap_try(c, ' '));
	if (list)
		imap_read_char(c, ')');
}

static void read_value(struct imap_cursor *c, struct metadata_entry *e)
{
	if (imap_try(c, '~'))
		e->value = imap_read_literal(c);
	else
		e->value = imap_read_nstring(c, &e->nil);
}

void metadata_parse_values(struct imap_cursor *c, struct metadata_request *out)
{
	imap_read_char(c, '(');
	do {
		struct metadata_entry *e = read_name(c, out, false);
		imap_read_sp(c);
		if (e != NULL)
			read_value(c, e);
	} while (imap_ok(c) && imap_try(c, ' '));
	imap_read_char(c, ')');
}

bool metadata_covers(
    const struct metadata_request *r, const struct metadata_entry *e, struct span name)
{
	struct span root = metadata_name(e);
	if (span_eq(name, root))
		return true;
	if (r->depth == 0 || !span_starts(name, root) || name.p[root.n] != '/')
		return false;
	return r->depth == METADATA_DEPTH_ALL ||
	       span_find(span_from(name, root.n + 1), '/') == SIZE_MAX;
}
