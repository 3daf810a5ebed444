/* fuzz_imap_fetch.c - any arguments of FETCH on any message: the arguments, an empty byte, the message.
 * What the parse cache answers and what the bytes answer must be the same, and fit the message. */
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/fetch.h"
#include "store-backend/operation.h"
#include "tests/unit/store/memory_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "... {n}" CRLF at the end announces the range, otherwise a literal's bytes end the text. */
static void check_announced(struct span text, uint64_t n)
{
	char line[32];
	int len = snprintf(line, sizeof line, " {%llu}\r\n", (unsigned long long)n);
	CHECK(text.n > (size_t)len);
	CHECK(span_eq(span_from(text, text.n - (size_t)len), span_of(line, (size_t)len)));
}

static void put(struct span bytes, struct span cache, const struct fetch_request *req, size_t i,
    struct buf *out)
{
	struct selected_message known = { .uid = 1, .bits = STORE_SEEN };
	struct selected box = { .v = &known, .n = 1 };
	struct message m;
	struct message_range r;
	struct fetch_subject of = { .box = &box, .message = &m, .entry = { .size = bytes.n } };
	memory_message_init(&m, &bytes, cache);
	switch (fetch_put_item(out, req, &req->v[i], &of, &r)) {
	case PUT_DONE:
		break;
	case PUT_RANGE:
		CHECK(r.n > FETCH_INLINE_MAX && r.at <= bytes.n && r.n <= bytes.n - r.at);
		check_announced(buf_span(out), r.n);
		break;
	case PUT_UNREADABLE:
		BUG("memory can be read");
	}
	CHECK(buf_ok(out) && buf_len(out) > 0);
	message_end(&m);
}

/* The announced size is that of what follows. */
static void put_binary(struct span bytes, const struct fetch_item *it)
{
	struct message m;
	struct fetch_binary b;
	struct buf out = BUF_INIT(2 * FETCH_TEXT_MAX);
	enum fetch_binary_step next = BINARY_GOES_ON;
	memory_message_init(&m, &bytes, SPAN_NONE);
	if (fetch_binary_start(&b, &m, it) == BINARY_STARTED) {
		while (next == BINARY_GOES_ON)
			next = fetch_binary_step(&b, &m, "", &out);
		CHECK(next == BINARY_DONE && buf_ok(&out));
		size_t line = span_find(buf_span(&out), '\n');
		CHECK(it->kind == FETCH_BINARY_SIZE || buf_len(&out) - line - 1 == b.count);
	}
	CHECK(m.err == ERR_OK);
	buf_end(&out);
	message_end(&m);
}

static void put_both(struct span bytes, const struct fetch_request *req)
{
	struct buf cache = BUF_INIT(STORE_CACHE_MAX);
	parse_message(bytes, &cache);
	for (size_t i = 0; i < req->n; i++) {
		if (req->v[i].kind >= FETCH_BINARY) {
			put_binary(bytes, &req->v[i]);
			continue;
		}
		struct buf with = BUF_INIT(2 * FETCH_TEXT_MAX), without = with;
		put(bytes, buf_span(&cache), req, i, &with);
		put(bytes, SPAN_NONE, req, i, &without);
		CHECK(span_eq(buf_span(&with), buf_span(&without)));
		buf_end(&with);
		buf_end(&without);
	}
	buf_end(&cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span message = span_of(data, size), args = span_cut(&message, '\0');
	struct fetch_request *req = MEM_NEW(struct fetch_request);
	struct buf scratch = BUF_INIT(args.n + 1);
	struct imap_cursor c;
	imap_cursor_init(&c, args, &scratch);
	fetch_parse(&c, args.n % 2 != 0, req);
	fetch_parse_modifiers(&c, req);
	imap_read_end(&c);
	CHECK(req->n <= FETCH_ITEMS_MAX && req->name_n <= FETCH_NAMES_MAX);
	if (imap_ok(&c) && message.p != NULL)
		put_both(message, req);
	buf_end(&scratch);
	mem_free(req);
	return 0;
}
