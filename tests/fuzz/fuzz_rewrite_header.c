/* fuzz_rewrite_header.c - addresses in header fields replaced: the fields stay as many and as they are called, the
 * body stays, and a second turn finds nothing. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/rewrite_header.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stand-in for the rules: everybody of a domain moves. */
const char *rewrite_address(const struct rewrite *r, enum rewrite_kind kind,
    const struct rewrite_facts *f, struct smtp_path *address)
{
	struct buf made = BUF_INIT(SMTP_ADDRESS_MAX);
	struct smtp_path next;
	bool ok = span_eq_str(smtp_path_domain(address), "o.test") &&
		  buf_printf(&made, "%.*s@new.test", SPAN_ARG(smtp_path_local(address))) &&
		  !smtp_address_parse(buf_span(&made), SMTP_PATH_UTF8_OK, &next, NULL);
	buf_end(&made);
	if (ok)
		*address = next;
	return ok ? "rule" : NULL;
}

static void check_fields(struct span in, struct span out)
{
	struct header_walk a, b;
	struct header_field f, g;
	enum header_rx rx;
	header_walk_init(&a, in);
	header_walk_init(&b, out);
	do {
		rx = header_next(&a, &f);
		CHECK(header_next(&b, &g) == rx);
		CHECK(rx != HEADER_FIELD || span_eq(f.name, g.name));
	} while (rx == HEADER_FIELD);
	CHECK(span_eq(span_from(in, a.at), span_from(out, b.at)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct rewrite_facts facts = { "mx", true };
	struct span in = span_of(data, size);
	struct buf out = BUF_INIT(1024 * 1024), again = BUF_INIT(1024 * 1024);
	size_t n = rewrite_header(NULL, &facts, in, &out);
	CHECK(buf_ok(&out));
	if (n == 0) {
		CHECK(span_eq(in, buf_span(&out)));
	} else {
		check_fields(in, buf_span(&out));
		(void)rewrite_header(NULL, &facts, buf_span(&out), &again);
		check_fields(in, buf_span(&again));
	}
	buf_end(&out);
	buf_end(&again);
	return 0;
}
