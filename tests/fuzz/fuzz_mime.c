/* fuzz_mime.c - any bytes are a message: its parts nest, its texts are balanced, its cache reads back. */
#include "base/check.h"
#include "proto/mime.h"
#include "store-backend/operation.h"
#include "store-backend/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct mime *m, size_t size)
{
	CHECK(m->n >= 1 && m->n <= MIME_PARTS_MAX && m->v[0].end == size);
	for (size_t i = 0; i < m->n; i++) {
		const struct mime_part *p = &m->v[i];
		CHECK(p->header_at <= p->body_at && p->body_at <= p->end && p->end <= size);
		if (i == 0)
			continue;
		const struct mime_part *up = &m->v[p->parent];
		CHECK(p->parent < i && p->depth == up->depth + 1 && p->depth <= MIME_DEPTH_MAX);
		CHECK(p->header_at >= up->body_at && p->end <= up->end);
		CHECK(p->next == MIME_NONE || m->v[p->next].header_at >= p->end);
	}
}

/* Quotes, literals and parentheses of an answer end where they should. */
static void check_balanced(struct span s)
{
	size_t depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && quoted) {
			i++;
		} else if (s.p[i] == '"') {
			quoted = !quoted;
		} else if (!quoted && s.p[i] == '{') {
			uint64_t n;
			size_t close = i + span_find(span_from(s, i), '}');
			CHECK(span_u64(span_of(s.p + i + 1, close - i - 1), s.n, &n));
			i = close + 2 + (size_t)n;
			CHECK(i < s.n);
		} else if (!quoted && s.p[i] == '(') {
			depth++;
		} else if (!quoted && s.p[i] == ')') {
			CHECK(depth-- > 0);
		}
	}
	CHECK(depth == 0 && !quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span msg = span_of(data, size);
	struct mime m = { 0 }, kept = { 0 };
	struct buf cache = BUF_INIT(STORE_CACHE_MAX);
	struct parse_cache c;
	mime_parse(&m, msg);
	check_parts(&m, size);
	parse_message(msg, &cache);
	CHECK(buf_ok(&cache) && parse_cache_open(buf_span(&cache), &c));
	check_balanced(c.envelope);
	check_balanced(c.body);
	check_balanced(c.bodystructure);
	CHECK(parse_cache_parts(&c, size, &kept) && kept.n == m.n);
	mime_end(&kept);
	if (parse_cache_open(msg, &c))
		(void)parse_cache_parts(&c, 1000, &kept);
	mime_end(&kept);
	mime_end(&m);
	buf_end(&cache);
	return 0;
}
