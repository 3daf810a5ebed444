/* dnsbl_codes.c - patterns of the answers of DNS lists (part of step 2; used by dnsbl.c). */
#include "edge/dnsbl_codes.h"

enum { V4_AT = 12 }; /* where an IPv4 address begins in the 16 bytes */

static bool parse_octet(struct span text, uint8_t *low_out, uint8_t *high_out)
{
	uint64_t low = 0, high = UINT8_MAX;
	if (!span_eq(text, SPAN("*"))) {
		struct span from = span_cut(&text, '-');
		if (!span_u64(from, UINT8_MAX, &low))
			return false;
		high = low;
		if (text.p != NULL && (!span_u64(text, UINT8_MAX, &high) || high < low))
			return false;
	}
	*low_out = (uint8_t)low;
	*high_out = (uint8_t)high;
	return true;
}

bool dnsbl_code_parse(struct span text, struct dnsbl_code *out)
{
	for (size_t i = 0; i < sizeof out->low; i++) {
		if (text.p == NULL ||
		    !parse_octet(span_cut(&text, '.'), &out->low[i], &out->high[i]))
			return false;
	}
	return text.p == NULL && out->low[0] == 127 && out->high[0] == 127;
}

bool dnsbl_code_matches(const struct dnsbl_code *c, struct ip_addr answer)
{
	if (!ip_is_v4(answer))
		return false;
	for (size_t i = 0; i < sizeof c->low; i++) {
		uint8_t octet = answer.b[V4_AT + i];
		if (octet < c->low[i] || octet > c->high[i])
			return false;
	}
	return true;
}

enum dnsbl_kind dnsbl_kind_of(struct ip_addr answer)
{
	const uint8_t *v4 = answer.b + V4_AT;
	if (!ip_is_v4(answer) || v4[0] != 127)
		return DNSBL_FOREIGN;
	return v4[1] == 255 && v4[2] == 255 ? DNSBL_ERROR : DNSBL_CODE;
}
