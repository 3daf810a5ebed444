/* dnsbl_codes.h - patterns of the answers of a DNS list: 127.0.0.2, 127.0.0.4-7, 127.0.*.1-3. */
#ifndef EDGE_DNSBL_CODES_H
#define EDGE_DNSBL_CODES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/span.h"

struct dnsbl_code {
	uint8_t low[4], high[4];
};

/* Four numbers, ranges or stars with dots between, the first of them 127. */
bool dnsbl_code_parse(struct span text, struct dnsbl_code *out);
bool dnsbl_code_matches(const struct dnsbl_code *c, struct ip_addr answer);

enum dnsbl_kind {
	DNSBL_CODE,    /* may be a hit */
	DNSBL_ERROR,   /* 127.255.255.*: the list refuses to serve us */
	DNSBL_FOREIGN, /* not in 127.0.0.0/8: not a list at all, or not any more */
};
enum dnsbl_kind dnsbl_kind_of(struct ip_addr answer);

#endif
