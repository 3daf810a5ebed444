/* fuzz_imap_search.c - any keys of SEARCH on any message: the arguments, an empty byte, the message. The parse
 * cache must not change the answer; and a body in one piece is the same text as byte by byte. */
#include "base/check.h"
#include "store-backend/imap/search.h"
#include "store-backend/operation.h"
#include "tests/unit/store/memory_message.h"

enum { STEPS_MAX = 100000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan(struct search_node *key, struct message *m)
{
	struct search_scan s;
	search_scan_begin(&s, key);
	for (int i = 0; key->learned == ANSWER_UNKNOWN; i++) {
		CHECK(i < STEPS_MAX);
		key->learned = search_scan_step(&s, m);
	}
	search_scan_end(&s);
}

static enum search_answer ask(struct search_request *r, struct span bytes, struct span cache)
{
	struct selected_message known = { .uid = 5, .bits = STORE_SEEN };
	struct selected box = { .v = &known, .n = 1, .told_n = 1 };
	struct search_subject of = { .box = &box };
	struct search_node *key;
	enum search_answer a;
	search_forget(r);
	while ((a = search_match(r, &of, &key)) == ANSWER_UNKNOWN) {
		CHECK((key == NULL) == !of.has_entry);
		if (key != NULL) {
			scan(key, &of.message);
			continue;
		}
		of.has_entry = true;
		of.entry = (struct index_entry){ .size = bytes.n };
		memory_message_init(&of.message, &bytes, cache);
	}
	CHECK(of.message.err == ERR_OK);
	message_end(&of.message);
	return a;
}

static void ask_both(struct search_request *r, struct span bytes)
{
	struct buf cache = BUF_INIT(STORE_CACHE_MAX);
	struct selected box = { .told_n = 1, .n = 1, .v = &(struct selected_message){ .uid = 5 } };
	parse_message(bytes, &cache);
	search_resolve(r, &box);
	CHECK(ask(r, bytes, buf_span(&cache)) == ask(r, bytes, SPAN_NONE));
	buf_end(&cache);
}

static void decode(
    struct span in, size_t piece, enum mime_transfer how, struct span charset, struct buf *out)
{
	struct text_body b;
	text_body_begin(&b, how, charset);
	for (; in.n > 0; in = span_from(in, piece))
		text_body_put(&b, span_first(in, piece), out);
	text_body_end(&b, out);
	CHECK(buf_ok(out) && span_is_utf8(buf_span(out)));
}

static void decode_twice(struct span name, struct span in)
{
	struct buf whole = BUF_INIT(1 << 22), bytes = BUF_INIT(1 << 22), words = BUF_INIT(1 << 22);
	enum mime_transfer how = (enum mime_transfer)(in.n % 3);
	decode(in, TEXT_PIECE_MAX, how, name, &whole);
	decode(in, 1, how, name, &bytes);
	CHECK(span_eq(buf_span(&whole), buf_span(&bytes)));
	text_fold_field(in, &words);
	CHECK(buf_ok(&words) && span_is_utf8(buf_span(&words)));
	buf_end(&whole);
	buf_end(&bytes);
	buf_end(&words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span message = span_of(data, size), args = span_cut(&message, '\0');
	struct search_request r = { 0 };
	struct buf scratch = BUF_INIT(args.n + 1);
	struct imap_cursor c;
	imap_cursor_init(&c, args, &scratch);
	(void)search_parse_return(&c);
	search_parse(&c, &r);
	imap_read_end(&c);
	CHECK(r.n <= SEARCH_KEYS_MAX);
	if (imap_ok(&c) && !r.bad_charset && message.p != NULL)
		ask_both(&r, message);
	else
		decode_twice(args, message);
	search_end(&r);
	buf_end(&scratch);
	return 0;
}
