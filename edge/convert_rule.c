/* convert_rule.c - what a part says of itself, and which rule is about it; part of convert.c. */
#include <stdio.h>
#include <string.h>

#include "edge/convert_internal.h"
#include "edge/pattern.h"

/* ---- facts -------------------------------------------------------------------------------------- */

/* Parsed on one line; spans point into scratch, which has room for all of them from the start. */
static bool parse_field(
    struct span header, const char *name, struct buf *scratch, struct mime_value *out)
{
	struct buf line = BUF_INIT(CONVERT_VALUE_MAX);
	struct span raw;
	bool ok = mime_find_field(header, name, &raw) && mime_unfold(raw, &line);
	size_t at = buf_len(scratch);
	if (ok)
		ok = buf_add_span(scratch, buf_span(&line)) &&
		     mime_parse_value(span_from(buf_span(scratch), at), scratch, out);
	buf_end(&line);
	return ok;
}

/* RFC 2046: what does not say is text/plain. */
static void put_type(struct part_facts *f, struct span header)
{
	struct mime_value v;
	f->type = SPAN("text");
	f->subtype = SPAN("plain");
	if (!parse_field(header, "Content-Type", &f->scratch, &v) || v.subtype.n == 0)
		return;
	f->type = v.type;
	f->subtype = v.subtype;
	f->name = mime_param(&v, "name");
}

static void put_disposition(struct part_facts *f, struct span header)
{
	struct mime_value v;
	if (!parse_field(header, "Content-Disposition", &f->scratch, &v))
		return;
	f->disposition = v.type;
	struct span name = mime_param(&v, "filename");
	if (name.p != NULL)
		f->name = name;
}

static unsigned place_among(const struct mime *m, size_t part)
{
	unsigned n = 1;
	for (size_t i = m->v[m->v[part].parent].first_child; i != part; i = m->v[i].next)
		n++;
	return n;
}

/* From the part up to the message: a multipart counts its children, a message inside has one. */
static void put_number(const struct mime *m, size_t part, char out[CONVERT_NUMBER_SIZE])
{
	unsigned path[MIME_DEPTH_MAX + 1];
	size_t n = 0, len = 0;
	for (size_t i = part; m->v[i].parent != MIME_NONE && n < MIME_DEPTH_MAX; i = m->v[i].parent)
		if (m->v[m->v[i].parent].kind == MIME_MULTIPART)
			path[n++] = place_among(m, i);
		else if (m->v[i].kind != MIME_MULTIPART)
			path[n++] = 1;
	if (n == 0)
		path[n++] = 1;
	while (n > 0 && len < CONVERT_NUMBER_SIZE) {
		n--;
		int w = snprintf(
		    out + len, CONVERT_NUMBER_SIZE - len, "%u%s", path[n], n > 0 ? "." : "");
		len += w > 0 ? (size_t)w : CONVERT_NUMBER_SIZE;
	}
}

void part_facts_of(const struct conversion *c, size_t part, struct part_facts *out)
{
	const struct mime_part *p = &c->mime.v[part];
	struct span header = mime_header(c->message, p), raw;
	char *room;
	*out = (struct part_facts){ .scratch = BUF_INIT(6 * CONVERT_VALUE_MAX) };
	(void)buf_room(&out->scratch, 6 * CONVERT_VALUE_MAX, &room);
	put_type(out, header);
	put_disposition(out, header);
	if (mime_find_field(header, "Content-Transfer-Encoding", &raw))
		out->encoding = mime_token(raw);
	put_number(&c->mime, part, out->number);
	out->size = p->end - p->body_at;
	for (size_t i = 0; i <= part; i++)
		out->attachment +=
		    c->mime.v[i].kind == MIME_LEAF || c->mime.v[i].kind == MIME_OPAQUE;
}

void part_facts_end(struct part_facts *f)
{
	buf_end(&f->scratch);
}

/* ---- rules -------------------------------------------------------------------------------------- */

static bool any_fits(const struct conf_strings *patterns, struct span text)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (span_is_like(text, span_str(patterns->v[i])))
			return true;
	return patterns->n == 0;
}

static bool any_means(const struct conf_strings *patterns, struct span address)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (pattern_means(patterns->v[i], address))
			return true;
	return patterns->n == 0;
}

static bool is_about(
    const struct edge_part_conf *r, const struct conversion *c, const struct part_facts *f)
{
	struct buf type = BUF_INIT(2 * CONVERT_VALUE_MAX);
	buf_printf(&type, "%.*s/%.*s", SPAN_ARG(f->type), SPAN_ARG(f->subtype));
	bool fitting = any_fits(&r->type, buf_span(&type));
	buf_end(&type);
	if (r->client != PART_ANY && (r->client == PART_OURS) != c->ask->ours)
		return false;
	return fitting && any_fits(&r->disposition, f->disposition) &&
	       any_fits(&r->name, f->name) && f->size >= r->size_min &&
	       (r->size_max == 0 || f->size <= r->size_max) &&
	       any_means(&r->sender, c->ask->sender) && any_fits(&r->to, c->ask->to);
}

const struct edge_part_conf *part_rule(const struct conversion *c, const struct part_facts *f)
{
	for (size_t i = 0; i < c->ask->channel->part_n; i++)
		if (is_about(c->ask->channel->part[i], c, f))
			return c->ask->channel->part[i];
	return NULL;
}
