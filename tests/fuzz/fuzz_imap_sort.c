/* fuzz_imap_sort.c - any keys of SORT on any message: the keys, an empty byte, the message. The parse cache must not change
 * what a message sorts by, and a reversed key is the plain one turned round. */
#include "base/check.h"
#include "store-backend/imap/sort_key.h"
#include "store-backend/operation.h"
#include "tests/unit/store/memory_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_key(
    const struct sort_request *r, struct span bytes, struct span cache, struct buf *out)
{
	struct search_subject of = { .has_entry = true,
		.entry = { .size = bytes.n, .date_s = 1700000000 } };
	memory_message_init(&of.message, &bytes, cache);
	CHECK(sort_put_key(r, &of, out) && of.message.err == ERR_OK);
	message_end(&of.message);
}

static void check_keys(struct sort_request *r, struct span message)
{
	struct buf cache = BUF_INIT(STORE_CACHE_MAX), with = BUF_INIT(1 << 20), without = with,
		   other = with;
	parse_message(message, &cache);
	put_key(r, message, buf_span(&cache), &with);
	put_key(r, message, SPAN_NONE, &without);
	CHECK(span_eq(buf_span(&with), buf_span(&without)));
	for (size_t i = 0; i < r->n; i++)
		r->v[i].reverse = !r->v[i].reverse;
	put_key(r, message, SPAN_NONE, &other);
	CHECK(buf_len(&other) == buf_len(&with));
	for (size_t i = 0; i < buf_len(&with); i++)
		CHECK((char)~other.p[other.head + i] == with.p[with.head + i]);
	buf_end(&cache);
	buf_end(&with);
	buf_end(&without);
	buf_end(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span message = span_of(data, size), args = span_cut(&message, '\0');
	struct sort_request r;
	struct buf scratch = BUF_INIT(args.n + 1);
	struct imap_cursor c;
	imap_cursor_init(&c, args, &scratch);
	sort_parse(&c, &r);
	CHECK(r.n <= SORT_KEYS_MAX);
	if (imap_ok(&c) && message.p != NULL)
		check_keys(&r, message);
	buf_end(&scratch);
	return 0;
}
