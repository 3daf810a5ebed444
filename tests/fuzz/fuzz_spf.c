/* fuzz_spf.c - SPF records from hostile zones: every term is read, every macro expanded and bounded. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/spf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expand(struct span macro, struct span local)
{
	struct spf_facts f = {
		.local = local,
		.sender_domain = SPAN("mail.far.example"),
		.domain = SPAN("far.example"),
		.helo = local,
	};
	struct buf out = BUF_INIT(SPF_DOMAIN_MAX);
	bool ok = spf_expand(macro, &f, &out);
	CHECK(!ok || (buf_ok(&out) && buf_len(&out) <= SPF_DOMAIN_MAX));
	buf_clear(&out);
	if (spf_explain(macro, &f, &out))
		for (size_t i = 0; i < buf_len(&out); i++)
			CHECK(buf_span(&out).p[i] >= ' ' && buf_span(&out).p[i] <= '~');
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), redirect;
	struct span first = span_cut(&in, '\n');
	struct spf_walk w;
	struct spf_term t;
	bool bad = false;
	expand(first, in);
	if (!spf_is_record(first))
		return 0;
	bool ok = spf_record_ok(first, &redirect);
	spf_walk_init(&w, first);
	while (spf_next(&w, &t, &bad)) {
		CHECK(t.text.n > 0 && t.text.p >= first.p &&
		      t.text.p + t.text.n <= first.p + first.n);
		CHECK(t.bits_4 <= 32 && t.bits_6 <= 128 && t.net.bits <= 128);
		if (ok && t.kind != SPF_OTHER)
			expand(t.domain, in);
	}
	CHECK(!ok || !bad);
	return 0;
}
