/* icap.c - what an ICAP server answers; no I/O. */
#include "proto/icap.h"

#include "proto/http_reply.h"

/* ---- verdicts ---------------------------------------------------------------------------------- */

/* Words of servers for "nothing". */
static bool is_nothing(struct span s)
{
	static const char *const words[] = { "", "-", "0", "none", "no", "clean", "no threats",
		"no threats found", "not found" };
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (span_ieq_str(s, words[i]))
			return true;
	return false;
}

/* The first that was found names it. */
static void note(struct icap_head *out, struct span name)
{
	if (out->found)
		return;
	out->found = true;
	scan_name_set(out->name, name);
}

/* "Type=0; Resolution=2; Threat=Eicar;" */
static void take_infection(struct icap_head *out, struct span value)
{
	struct span name = value, rest = value;
	while (rest.n > 0) {
		struct span word = span_trim(span_cut(&rest, ';'));
		if (span_istarts(word, SPAN("Threat=")) && word.n > 7)
			name = span_from(word, 7);
	}
	if (!is_nothing(value))
		note(out, name);
}

/* A number, then four lines for each: where, what, and two numbers. */
static void take_violations(struct icap_head *out, struct span value)
{
	struct span rest = value, count = span_trim(span_cut(&rest, '\n')), name;
	span_cut(&rest, '\n');
	name = span_trim(span_cut(&rest, '\n'));
	if (!is_nothing(count))
		note(out, is_nothing(name) ? SPAN("violation") : name);
}

static void take_virus(struct icap_head *out, struct span value)
{
	if (!is_nothing(value))
		note(out, value);
}

static void take_info(struct icap_head *out, struct span value)
{
	if (span_istarts(value, SPAN("Blocked")) || span_istarts(value, SPAN("Infected")))
		note(out, value);
}

/* ---- fields ------------------------------------------------------------------------------------ */

static bool number_of(struct span value, uint64_t max, uint32_t *out)
{
	uint64_t n;
	bool ok = span_u64(value, UINT32_MAX, &n);
	*out = ok ? (uint32_t)(n < max ? n : max) : 0;
	return ok;
}

static void take_methods(struct icap_head *out, struct span value)
{
	while (value.n > 0) {
		struct span word = span_trim(span_cut(&value, ','));
		out->methods |= span_ieq_str(word, "REQMOD")    ? ICAP_REQMOD
				: span_ieq_str(word, "RESPMOD") ? ICAP_RESPMOD
								: 0u;
	}
}

/* Where the HTTP reply's head stands among the others. */
struct sections {
	bool seen, has_reply, has_body;
	size_t reply_at, reply_end, end;
};

/* "res-hdr=0, res-body=137": in ascending order, a body or its absence last (RFC 3507 section 4.4.1). */
static bool take_sections(struct sections *s, struct span value)
{
	size_t n = 0;
	bool ended = false, in_reply = false;
	if (s->seen)
		return false;
	s->seen = true;
	while (value.n > 0) {
		struct span at = span_trim(span_cut(&value, ',')), name = span_cut(&at, '=');
		uint32_t offset;
		if (ended || ++n > ICAP_SECTIONS_MAX || !number_of(at, UINT32_MAX, &offset) ||
		    offset > ICAP_HEAD_MAX || offset < s->end || (n == 1 && offset != 0))
			return false;
		s->end = offset;
		s->reply_end = in_reply ? offset : s->reply_end;
		in_reply = span_ieq_str(name, "res-hdr");
		if (in_reply) {
			s->has_reply = true;
			s->reply_at = offset;
		}
		ended = span_iends(name, SPAN("-body"));
		s->has_body = ended && !span_ieq_str(name, "null-body");
	}
	return ended;
}

static bool take_field(struct icap_head *out, struct sections *s, struct span line)
{
	struct span value = line, name = span_cut(&value, ':');
	if (value.p == NULL || name.n == 0)
		return false;
	value = span_trim(value);
	if (span_ieq_str(name, "Encapsulated"))
		return take_sections(s, value);
	if (span_ieq_str(name, "Preview"))
		out->has_preview = number_of(value, ICAP_PREVIEW_MAX, &out->preview);
	else if (span_ieq_str(name, "Options-TTL"))
		out->has_ttl = number_of(value, UINT32_MAX, &out->ttl_s);
	else if (span_ieq_str(name, "Methods"))
		take_methods(out, value);
	else if (span_ieq_str(name, "Connection"))
		out->closes = out->closes || span_ieq_str(value, "close");
	else if (span_ieq_str(name, "X-Infection-Found"))
		take_infection(out, value);
	else if (span_ieq_str(name, "X-Violations-Found"))
		take_violations(out, value);
	else if (span_ieq_str(name, "X-Virus-ID"))
		take_virus(out, value);
	else if (span_ieq_str(name, "X-Response-Info"))
		take_info(out, value);
	return true;
}

/* ---- heads ------------------------------------------------------------------------------------- */

/* "NAME/1.x 200 words"; 0: it is not. */
static unsigned status_of(struct span line, struct span protocol)
{
	uint64_t code;
	struct span rest = span_from(line, protocol.n);
	if (!span_starts(line, protocol) || rest.n < 5 ||
	    !ascii_is_digit((unsigned char)rest.p[0]) || rest.p[1] != ' ' ||
	    !span_u64(span_first(span_from(rest, 2), 3), 599, &code) || code < 100 ||
	    (rest.n > 5 && rest.p[5] != ' '))
		return 0;
	return (unsigned)code;
}

/* The next field with the lines that continue it (they begin with white space). */
static struct span cut_field(struct span *rest)
{
	size_t n = 0;
	do {
		size_t end = span_find(span_from(*rest, n), '\n');
		n = end == SIZE_MAX ? rest->n : n + end + 1;
	} while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\t'));
	struct span field = span_first(*rest, n);
	*rest = span_from(*rest, n);
	return field;
}

static bool parse_head(struct span head, struct icap_head *out, struct sections *s)
{
	struct span line = span_trim(span_cut(&head, '\n'));
	*out = (struct icap_head){ .status = status_of(line, SPAN("ICAP/1.")) };
	if (out->status == 0)
		return false;
	while (head.n > 0)
		if (!take_field(out, s, span_trim(cut_field(&head))))
			return false;
	return true;
}

enum scan_rx icap_take_head(struct span input, struct icap_head *out, size_t *eat_out)
{
	struct sections s = { 0 };
	size_t end = span_find_span(span_first(input, ICAP_HEAD_MAX + 4), SPAN("\r\n\r\n"));
	*eat_out = 0;
	if (end == SIZE_MAX)
		return input.n > ICAP_HEAD_MAX ? SCAN_BAD : SCAN_MORE;
	if (!parse_head(span_first(input, end), out, &s))
		return SCAN_BAD;
	struct span behind = span_from(input, end + 4);
	if (behind.n < s.end)
		return SCAN_MORE;
	*eat_out = end + 4 + s.end;
	out->http_n = s.end;
	out->has_body = s.has_body;
	if (s.has_reply) {
		struct span http =
		    span_first(span_from(behind, s.reply_at), s.reply_end - s.reply_at);
		out->http_status = status_of(span_trim(span_cut(&http, '\n')), SPAN("HTTP/1."));
		if (out->http_status == 0)
			return SCAN_BAD;
	}
	return SCAN_READY;
}

/* ---- chunks ------------------------------------------------------------------------------------ */

static bool take_chunk_line(struct icap_chunks *c, struct span line)
{
	switch (c->state) {
	case ICAP_AT_SIZE:
		if (!http_chunk_size(line, &c->left))
			return false;
		c->state = c->left > 0 ? ICAP_AT_BYTES : ICAP_AT_TRAILER;
		return true;
	case ICAP_AT_BYTES_END:
		c->state = ICAP_AT_SIZE;
		return line.n == 0;
	case ICAP_AT_TRAILER:
		c->trailer_n += line.n;
		if (line.n == 0)
			c->state = ICAP_AT_END;
		return c->trailer_n <= ICAP_LINE_MAX;
	case ICAP_AT_BYTES:
	case ICAP_AT_END:
		break;
	}
	return true;
}

enum icap_chunk_rx icap_chunk_take(struct icap_chunks *c, struct span *in, struct span *piece_out)
{
	while (in->n > 0 && c->state != ICAP_AT_END) {
		if (c->state == ICAP_AT_BYTES) {
			*piece_out = span_first(*in, c->left < in->n ? (size_t)c->left : in->n);
			*in = span_from(*in, piece_out->n);
			c->left -= piece_out->n;
			if (c->left == 0)
				c->state = ICAP_AT_BYTES_END;
			return ICAP_CHUNK_PIECE;
		}
		size_t end = span_find(span_first(*in, ICAP_LINE_MAX), '\n');
		if (end == SIZE_MAX)
			return in->n >= ICAP_LINE_MAX ? ICAP_CHUNK_BAD : ICAP_CHUNK_MORE;
		struct span line = span_first(*in, end);
		*in = span_from(*in, end + 1);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (!take_chunk_line(c, line))
			return ICAP_CHUNK_BAD;
	}
	return c->state == ICAP_AT_END ? ICAP_CHUNK_END : ICAP_CHUNK_MORE;
}
