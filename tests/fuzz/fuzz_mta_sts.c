/* fuzz_mta_sts.c - records and policies of hostile domains: what is taken is bounded and means the same again. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "proto/mta_sts.h"

#include "edge/sts_file.c"
#include "edge/tlsrpt_file.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_policy(const struct sts_policy *p)
{
	struct buf text = BUF_INIT(STS_POLICY_MAX);
	struct sts_policy again;
	CHECK(p->mx_n <= STS_MX_MAX && p->max_age_s <= STS_MAX_AGE_S);
	buf_printf(
	    &text, "version: STSv1\nmode: %s\nmax_age: %u\n", sts_mode_word(p->mode), p->max_age_s);
	for (size_t i = 0; i < p->mx_n; i++) {
		CHECK(p->mx[i].n <= STS_MX_LENGTH_MAX && sts_mx_ok(p->mx[i]));
		buf_printf(&text, "mx: %.*s\n", SPAN_ARG(p->mx[i]));
	}
	CHECK(sts_policy_parse(buf_span(&text), &again));
	CHECK(again.mode == p->mode && again.mx_n == p->mx_n && again.max_age_s == p->max_age_s);
	for (size_t i = 0; i < p->mx_n; i++) {
		CHECK(span_eq(again.mx[i], p->mx[i]));
		if (!span_starts(p->mx[i], SPAN("*.")))
			CHECK(sts_mx_matches(p->mx[i], p->mx[i]));
	}
	buf_end(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), id;
	struct sts_policy p;
	if (sts_record_parse(in, &id))
		CHECK(id.n > 0 && id.n <= STS_ID_MAX && sts_is_record(in));
	if (sts_policy_parse(in, &p))
		check_policy(&p);
	struct tlsrpt_uris u;
	if (tlsrpt_record_parse(in, &u))
		for (size_t i = 0; i < u.n; i++)
			CHECK(u.v[i].n <= TLSRPT_URI_MAX && span_is_ascii(u.v[i]));
	struct tlsrpt_policy p_kept;
	struct span lines = in;
	while (tlsrpt_kept_take(&lines, &p_kept)) {
		CHECK(p_kept.failure_n <= TLSRPT_FAILURES_MAX && p_kept.rules != NULL);
		tlsrpt_policy_end(&p_kept);
	}
	struct sts_kept k;
	struct span rest = in;
	while (sts_kept_take(&rest, &k))
		CHECK(k.domain.n > 0 && k.id.n <= STS_ID_MAX && k.policy.mx_n <= STS_MX_MAX);
	size_t cut = size > 0 ? data[0] % size : 0;
	sts_mx_matches(span_first(in, cut), span_from(in, cut));
	return 0;
}
