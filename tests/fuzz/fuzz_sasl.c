/* fuzz_sasl.c - PLAIN and LOGIN from hostile base64; what PLAIN accepts is written back the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "base/check.h"
#include "proto/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plain(struct span text)
{
	struct sasl_plain p;
	struct buf out = BUF_INIT(2 * SASL_TEXT_MAX);
	if (sasl_plain_parse(&p, text) == ERR_OK) {
		CHECK(sasl_plain_put(&out, p.authzid, p.authcid, p.secret));
		CHECK(span_eq(buf_span(&out), text));
	}
	sasl_plain_end(&p);
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct buf text = BUF_INIT(1 << 20);
	struct sasl_login s;
	check_plain(in);
	if (base64_put(&text, in))
		check_plain(buf_span(&text));
	sasl_login_init(&s);
	if (sasl_login_take(&s, in) == ERR_OK)
		sasl_login_take(&s, buf_span(&text));
	sasl_login_end(&s);
	sasl_mech_find(in);
	buf_end(&text);
	return 0;
}
