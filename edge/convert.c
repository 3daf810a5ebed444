/* convert.c - see convert.h (part of step 6; before: run_child.c). Owns the map of the message and the tree of its parts. */
#include "edge/convert.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/fd.h"
#include "edge/convert_internal.h"

enum { RAW_LINE = 57, RULE_TEXT_MAX = 400, OUT_MIN = 1024 * 1024, FLUSH = 256 * 1024 };

static const char removed[] = "A part of this message was removed.";

struct writer {
	int fd;
	struct buf out;
	bool failed;
};

static void put(struct writer *w, struct span s)
{
	while (s.n > 0 && !w->failed) {
		struct span piece = span_first(s, FLUSH - buf_len(&w->out));
		buf_add_span(&w->out, piece);
		s = span_from(s, piece.n);
		if (buf_len(&w->out) == FLUSH) {
			w->failed = fd_write_all(w->fd, buf_span(&w->out)) != ERR_OK;
			buf_clear(&w->out);
		}
	}
}

static void put_str(struct writer *w, const char *s)
{
	put(w, span_str(s));
}

static void put_base64(struct writer *w, struct span raw)
{
	while (raw.n > 0) {
		struct buf line = BUF_INIT(2 * RAW_LINE);
		struct span piece = span_first(raw, RAW_LINE);
		base64_put(&line, piece);
		raw = span_from(raw, piece.n);
		if (raw.n > 0)
			buf_add_str(&line, "\r\n");
		put(w, buf_span(&line));
		buf_end(&line);
	}
}

/* ---- a part that changes ------------------------------------------------------------------------ */

/* Fields of the old header that do not hold for the new body. */
static bool is_replaced(struct span name, const struct part_result *r)
{
	if (r->end == PART_END_DELETE)
		return span_istarts(name, SPAN("Content-"));
	return span_ieq_str(name, "Content-Transfer-Encoding") ||
	       span_ieq_str(name, "Content-MD5") || span_ieq_str(name, "Content-Length") ||
	       (r->type[0] != '\0' && span_ieq_str(name, "Content-Type")) ||
	       (r->disposition[0] != '\0' && span_ieq_str(name, "Content-Disposition")) ||
	       (r->description[0] != '\0' && span_ieq_str(name, "Content-Description"));
}

static void put_field(struct writer *w, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	put_str(w, name);
	put_str(w, value);
	put_str(w, "\r\n");
}

static void put_header(
    struct writer *w, struct span header, const struct part_result *r, bool is_message)
{
	struct mime_field f;
	bool has_version = !is_message;
	while (mime_next_field(&header, &f)) {
		has_version = has_version || span_ieq_str(f.name, "MIME-Version");
		if (!is_replaced(f.name, r))
			put(w, f.whole);
	}
	if (!has_version)
		put_str(w, "MIME-Version: 1.0\r\n");
	if (r->end == PART_END_DELETE) {
		put_str(w, "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
		return;
	}
	put_field(w, "Content-Type: ", r->type);
	put_field(w, "Content-Disposition: ", r->disposition);
	put_field(w, "Content-Description: ", r->description);
	put_str(w, "Content-Transfer-Encoding: base64\r\n\r\n");
}

/* The line end in front of a delimiter is the delimiter's: one stands behind the part, or it is the last thing. */
static void put_part(
    struct writer *w, const struct conversion *c, size_t part, const struct part_result *r)
{
	const struct mime_part *p = &c->mime.v[part];
	struct span behind = span_from(c->message, p->end);
	bool is_message = part == 0 || c->mime.v[p->parent].kind == MIME_MESSAGE;
	put_header(w, mime_header(c->message, p), r, is_message);
	if (r->end == PART_END_DELETE)
		put_str(w, r->text[0] != '\0' ? r->text : removed);
	else
		put_base64(w, buf_span(&r->out));
	if (behind.n == 0 || (behind.p[0] != '\r' && behind.p[0] != '\n'))
		put_str(w, "\r\n");
}

/* ---- all parts ---------------------------------------------------------------------------------- */

static void say(struct buf *why, const struct part_result *r, const char *instead)
{
	buf_add_str(why, r->text[0] != '\0' ? r->text : instead);
}

/* The status that ends the whole conversion; -1: it goes on. */
static int whole_end(const struct part_result *r, struct buf *why)
{
	switch (r->end) {
	case PART_END_HOLD:
		say(why, r, "held by a conversion");
		return CONVERT_HOLD;
	case PART_END_BOUNCE:
		buf_add_str(why, "5.6.0 ");
		say(why, r, "the message is not taken with such a part");
		return EX_UNAVAILABLE;
	case PART_END_DROP:
		return CONVERT_DROP;
	case PART_END_LATER:
		buf_add_str(why, "4.6.0 ");
		say(why, r, "the message cannot be converted now");
		return EX_TEMPFAIL;
	default:
		return -1;
	}
}

static void act(struct conversion *c, size_t part, struct part_result *r)
{
	static const enum part_end ends[] = { [PART_KEEP] = PART_END_KEEP,
		[PART_DELETE] = PART_END_DELETE,
		[PART_HOLD] = PART_END_HOLD,
		[PART_BOUNCE] = PART_END_BOUNCE,
		[PART_DROP] = PART_END_DROP };
	struct part_facts f;
	part_facts_of(c, part, &f);
	const struct edge_part_conf *rule = part_rule(c, &f);
	r->end = PART_END_KEEP;
	if (rule != NULL && rule->action == PART_PROGRAM)
		convert_run(c, part, &f, rule, r);
	else if (rule != NULL)
		r->end = ends[rule->action];
	if (rule != NULL && rule->text != NULL && r->text[0] == '\0')
		snprintf(r->text, sizeof r->text, "%.*s", RULE_TEXT_MAX, rule->text);
	if (rule != NULL && rule->out_type != NULL && r->type[0] == '\0')
		snprintf(r->type, sizeof r->type, "%.150s", rule->out_type);
	part_facts_end(&f);
}

static bool is_body(const struct mime_part *p)
{
	return p->kind == MIME_LEAF || p->kind == MIME_OPAQUE;
}

static int convert_all(struct conversion *c, struct writer *w, struct buf *why)
{
	size_t at = 0;
	bool changed = false;
	for (size_t i = 0; i < c->mime.n; i++) {
		const struct mime_part *p = &c->mime.v[i];
		struct part_result r = { .out = BUF_INIT(c->out_max) };
		if (!is_body(p) || p->header_at < at)
			continue;
		act(c, i, &r);
		int status = whole_end(&r, why);
		if (r.end == PART_END_CHANGE || r.end == PART_END_DELETE) {
			put(w, span_first(span_from(c->message, at), p->header_at - at));
			put_part(w, c, i, &r);
			at = p->end;
			changed = true;
		}
		buf_end(&r.out);
		if (status >= 0)
			return status;
	}
	put(w, span_from(c->message, at));
	if (changed && !w->failed)
		w->failed = fd_write_all(w->fd, buf_span(&w->out)) != ERR_OK;
	if (w->failed)
		buf_add_str(why, "4.3.1 there is no room for the message");
	return w->failed ? EX_TEMPFAIL : changed ? EX_OK : CONVERT_SAME;
}

int convert(const struct convert_ask *a, struct buf *why)
{
	struct conversion c = { .ask = a, .until_ms = clock_mono_ms() + a->channel->time };
	struct writer w = { .fd = a->result, .out = BUF_INIT(FLUSH) };
	struct stat st;
	void *map = MAP_FAILED;
	if (fstat(a->message, &st) == 0 && st.st_size > 0)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, a->message, 0);
	if (map == MAP_FAILED) {
		buf_add_str(why, "4.3.0 the message cannot be read");
		return EX_TEMPFAIL;
	}
	c.message = span_of(map, (size_t)st.st_size);
	c.out_max =
	    a->channel->file_size != 0 ? a->channel->file_size : 2 * (uint64_t)st.st_size + OUT_MIN;
	mime_parse(&c.mime, c.message);
	int status = convert_all(&c, &w, why);
	convert_dir_end(&c);
	mime_end(&c.mime);
	buf_end(&w.out);
	munmap(map, c.message.n);
	return status;
}
