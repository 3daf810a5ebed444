/* http_reply.c - HTTP/1.1 replies; no I/O. */
#include "proto/http_reply.h"

void http_reply_init(struct http_reply_reader *r, size_t body_max)
{
	*r = (struct http_reply_reader){ .state = HTTP_AT_STATUS, .body = BUF_INIT(body_max) };
}

void http_reply_end(struct http_reply_reader *r)
{
	buf_end(&r->body);
}

static bool bad(struct http_reply_reader *r, const char *why)
{
	r->why = why;
	return false;
}

/* "HTTP/1.1 200 OK" */
static bool take_status(struct http_reply_reader *r, struct span line)
{
	uint64_t code;
	if (line.n < 12 || !span_starts(line, SPAN("HTTP/1.")) ||
	    !ascii_is_digit((unsigned char)line.p[7]) || line.p[8] != ' ' ||
	    !span_u64(span_first(span_from(line, 9), 3), 599, &code) || code < 100 ||
	    (line.n > 12 && line.p[12] != ' '))
		return bad(r, "not a reply of HTTP/1.1");
	r->status = (unsigned)code;
	r->no_body = code == 204 || code == 304;
	r->state = HTTP_AT_FIELD;
	return true;
}

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= 0x20 || c >= 0x7f || memchr("\"(),/:;<=>?@[\\]{}", c, 17) != NULL)
			return false;
	}
	return s.n > 0;
}

static bool take_length(struct http_reply_reader *r, struct span value)
{
	uint64_t n;
	if (!span_u64(value, INT64_MAX, &n) || (r->has_length && n != r->left))
		return bad(r, "a length that cannot be");
	r->has_length = true;
	r->left = n;
	return true;
}

static void take_type(struct http_reply_reader *r, struct span value)
{
	struct span type = span_trim(span_cut(&value, ';'));
	if (type.n > HTTP_TYPE_MAX || memchr(type.p != NULL ? type.p : "", '\0', type.n) != NULL)
		type.n = 0;
	span_lower_to(r->type, type);
	r->type[type.n] = '\0';
}

static bool take_field(struct http_reply_reader *r, struct span line)
{
	struct span value = line, name = span_cut(&value, ':');
	if (value.p == NULL || !is_token(name))
		return bad(r, "a malformed header field");
	value = span_trim(value);
	if (span_ieq_str(name, "Content-Length"))
		return take_length(r, value);
	if (span_ieq_str(name, "Content-Type"))
		take_type(r, value);
	if (span_ieq_str(name, "Transfer-Encoding")) {
		if (r->chunked || !span_ieq_str(value, "chunked"))
			return bad(r, "a transfer coding that nobody asked for");
		r->chunked = true;
	}
	if (span_ieq_str(name, "Content-Encoding") && !span_ieq_str(value, "identity"))
		return bad(r, "a content coding that nobody asked for");
	return true;
}

/* The empty line behind the fields. */
static bool end_head(struct http_reply_reader *r)
{
	if (r->status < 200) {
		if (r->status == 101 || ++r->interim > HTTP_INTERIM_MAX)
			return bad(r, "too many replies before the real one");
		struct buf body = r->body;
		unsigned interim = r->interim;
		size_t head = r->head;
		http_reply_init(r, body.max);
		r->interim = interim;
		r->head = head;
		return true;
	}
	if (r->chunked && r->has_length)
		return bad(r, "both a length and chunks");
	if (!r->no_body && !r->chunked && !r->has_length)
		return bad(r, "a reply that does not say how long it is");
	if (r->no_body || (r->has_length && r->left == 0))
		r->state = HTTP_AT_END;
	else
		r->state = r->chunked ? HTTP_AT_CHUNK : HTTP_AT_BODY;
	if (r->state == HTTP_AT_BODY && r->left > r->body.max)
		return bad(r, "a body that is too large");
	return true;
}

bool http_chunk_size(struct span line, uint64_t *size_out)
{
	struct span size = span_trim(span_cut(&line, ';'));
	*size_out = 0;
	for (size_t i = 0; i < size.n; i++) {
		int digit = ascii_hex(size.p[i]);
		if (digit < 0 || i >= 8)
			return false;
		*size_out = *size_out << 4 | (unsigned)digit;
	}
	return size.n > 0;
}

static bool take_chunk_size(struct http_reply_reader *r, struct span line)
{
	uint64_t n;
	if (!http_chunk_size(line, &n))
		return bad(r, "a malformed chunk");
	if (n > r->body.max - buf_len(&r->body))
		return bad(r, "a body that is too large");
	r->left = n;
	r->state = n == 0 ? HTTP_AT_TRAILER : HTTP_AT_BODY;
	return true;
}

static bool take_line(struct http_reply_reader *r, struct span line)
{
	switch (r->state) {
	case HTTP_AT_STATUS:
		return take_status(r, line);
	case HTTP_AT_FIELD:
		return line.n == 0 ? end_head(r) : take_field(r, line);
	case HTTP_AT_CHUNK:
		return take_chunk_size(r, line);
	case HTTP_AT_CHUNK_END:
		r->state = HTTP_AT_CHUNK;
		return line.n == 0 || bad(r, "a malformed chunk");
	case HTTP_AT_TRAILER:
		if (line.n == 0)
			r->state = HTTP_AT_END;
		return true;
	case HTTP_AT_BODY:
	case HTTP_AT_END:
		break;
	}
	return true;
}

static size_t take_body(struct http_reply_reader *r, struct span in)
{
	struct span piece = span_first(in, r->left < in.n ? (size_t)r->left : in.n);
	buf_add_span(&r->body, piece);
	r->left -= piece.n;
	if (r->left == 0)
		r->state = r->chunked ? HTTP_AT_CHUNK_END : HTTP_AT_END;
	return piece.n;
}

/* One line or piece of the body; 0: more is needed, or *ok_out is false. */
static size_t take_one(struct http_reply_reader *r, struct span in, bool *ok_out)
{
	if (r->state == HTTP_AT_BODY)
		return take_body(r, in);
	size_t end = span_find(in, '\n');
	size_t n = end == SIZE_MAX ? in.n : end + 1;
	*ok_out = n <= HTTP_LINE_MAX && n <= HTTP_HEAD_MAX - r->head;
	if (!*ok_out) {
		r->why = "a head that is too long";
		return 0;
	}
	if (end == SIZE_MAX)
		return 0;
	r->head += n;
	struct span line = span_first(in, end);
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	*ok_out = memchr(line.n > 0 ? line.p : "x", '\0', line.n) == NULL
		      ? take_line(r, line)
		      : bad(r, "a NUL in the head");
	return n;
}

enum http_reply_rx http_reply_take(struct http_reply_reader *r, struct span input, size_t *eat_out)
{
	bool ok = true;
	*eat_out = 0;
	while (ok && r->state != HTTP_AT_END && input.n > 0) {
		size_t n = take_one(r, input, &ok);
		if (n == 0)
			break;
		*eat_out += n;
		input = span_from(input, n);
	}
	if (!ok)
		return HTTP_REPLY_BAD;
	return r->state == HTTP_AT_END ? HTTP_REPLY_READY : HTTP_REPLY_MORE;
}
