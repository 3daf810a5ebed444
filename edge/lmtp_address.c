/* lmtp_address.c - the sub-address stands before the at sign. */
#include "edge/lmtp_address.h"

#include "base/buf.h"
#include "base/mem.h"

char *lmtp_address_new(const char *user, const char *detail)
{
	struct span name = span_str(user), sub = span_str(detail);
	if (sub.n == 0)
		return mem_str(user);
	size_t at = span_rfind(name, '@');
	struct span local = at == SIZE_MAX ? name : span_first(name, at);
	struct buf out = BUF_INIT(name.n + sub.n + 2);
	buf_add_span(&out, local);
	buf_add_char(&out, '+');
	buf_add_span(&out, sub);
	buf_add_span(&out, span_from(name, local.n));
	char *text = mem_str(buf_cstr(&out));
	buf_end(&out);
	return text;
}
