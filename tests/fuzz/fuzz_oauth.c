/* fuzz_oauth.c - messages with tokens, tokens, and claims from hostile bytes. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/json.h"
#include "proto/oauth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_json(struct span in)
{
	struct json_value v, again;
	uint64_t n;
	if (!json_get(in, "k", &v))
		return;
	CHECK(span_starts(span_trim(in), SPAN("{")) && json_get(in, "k", &again));
	CHECK(v.type == again.type && v.text.p == again.text.p && v.text.n == again.text.n);
	CHECK(v.type != JSON_STRING || span_find(v.text, '\\') == SIZE_MAX);
	if (v.type == JSON_ARRAY)
		json_array_has(v.text, SPAN("x"));
	json_u64(&v, &n);
}

/* What was taken is in the message as RFC 7628 writes it. */
static void check_message(struct span in)
{
	struct oauth_message m;
	if (oauth_bearer_parse(&m, in) == ERR_OK)
		CHECK(m.token.n > 0 && m.token.p > m.user.p &&
		      span_find_span(in, m.token) != SIZE_MAX);
	if (oauth_xoauth2_parse(&m, in) == ERR_OK)
		CHECK(m.token.n > 0 && m.user.n > 0 && span_istarts(in, SPAN("user=")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct jws j;
	check_message(in);
	check_json(in);
	if (jws_parse(&j, in) == ERR_OK)
		CHECK(j.signing_input.n < in.n && in.p[j.signing_input.n] == '.');
	jws_end(&j);
	return 0;
}
