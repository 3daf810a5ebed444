/* fuzz_scram.c - SCRAM's messages and stored keys from hostile bytes; what was taken stands in the message. */
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "base/check.h"
#include "proto/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_name(struct buf *out, struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] == ',')
			buf_add_str(out, "=2C");
		else if (name.p[i] == '=')
			buf_add_str(out, "=3D");
		else
			buf_add_char(out, name.p[i]);
}

/* Written again from its parts it is the same, as far as the parts go. */
static void check_first(struct span in)
{
	struct scram_first m;
	struct buf out = BUF_INIT(1 << 20);
	if (scram_first_parse(&m, in) == ERR_OK) {
		CHECK(m.header.n + m.bare.n == in.n && m.nonce.n > 0 && m.user.n > 0);
		buf_add_span(&out, m.header);
		buf_add_str(&out, "n=");
		put_name(&out, m.user);
		buf_add_str(&out, ",r=");
		buf_add_span(&out, m.nonce);
		CHECK(span_starts(in, buf_span(&out)));
	}
	scram_first_end(&m);
	buf_end(&out);
}

static void check_final(struct span in)
{
	struct scram_final m;
	struct buf out = BUF_INIT(1 << 20);
	if (scram_final_parse(&m, in) == ERR_OK) {
		buf_add_span(&out, m.without_proof);
		buf_add_str(&out, ",p=");
		base64_put(&out, buf_span(&m.proof));
		CHECK(span_eq(buf_span(&out), in));
	}
	scram_final_end(&m);
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct scram_stored v;
	check_first(in);
	check_final(in);
	if (scram_stored_parse(&v, in))
		CHECK(v.rounds > 0 && buf_len(&v.salt) > 0 && buf_len(&v.stored) > 0 &&
		      buf_len(&v.server) > 0);
	scram_stored_end(&v);
	return 0;
}
