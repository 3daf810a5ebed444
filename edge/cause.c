/* cause.c - status codes as a few words; see cause.h. Owns nothing. */
#include "edge/cause.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "base/span.h"

const char *cause_word(enum cause r)
{
	static const char *const words[CAUSES] = {
		[CAUSE_NONE] = "none",
		[CAUSE_CONNECT] = "connect",
		[CAUSE_CONNECTION] = "connection",
		[CAUSE_DNS] = "dns",
		[CAUSE_TLS] = "tls",
		[CAUSE_ADDRESS] = "address",
		[CAUSE_QUOTA] = "quota",
		[CAUSE_MAILBOX] = "mailbox",
		[CAUSE_SIZE] = "size",
		[CAUSE_SYSTEM] = "system",
		[CAUSE_ROUTE] = "route",
		[CAUSE_EXPIRED] = "expired",
		[CAUSE_PROTOCOL] = "protocol",
		[CAUSE_CONTENT] = "content",
		[CAUSE_POLICY] = "policy",
		[CAUSE_OTHER] = "other",
	};
	return words[r];
}

/* What stands behind the class: whole details first, then subjects. */
static const struct {
	const char *detail;
	enum cause reason;
} by_detail[] = {
	{ "4.1", CAUSE_CONNECT },
	{ "4.2", CAUSE_CONNECTION },
	{ "4.3", CAUSE_DNS },
	{ "4.4", CAUSE_DNS },
	{ "4.7", CAUSE_EXPIRED },
	{ "1.2", CAUSE_DNS },
	{ "2.2", CAUSE_QUOTA },
	{ "2.3", CAUSE_SIZE },
	{ "3.4", CAUSE_SIZE },
	{ "7.4", CAUSE_TLS },
	{ "7.5", CAUSE_TLS },
	{ "7.10", CAUSE_TLS },
	{ "7.11", CAUSE_TLS },
};

static enum cause by_subject(char subject)
{
	static const enum cause subjects[] = { CAUSE_OTHER, CAUSE_ADDRESS, CAUSE_MAILBOX,
		CAUSE_SYSTEM, CAUSE_ROUTE, CAUSE_PROTOCOL, CAUSE_CONTENT, CAUSE_POLICY };
	size_t at = (size_t)(unsigned char)subject - '0';
	return at < COUNT_OF(subjects) ? subjects[at] : CAUSE_OTHER;
}

static enum cause by_code(unsigned code)
{
	switch (code) {
	case 0:
		return CAUSE_NONE;
	case 421:
		return CAUSE_SYSTEM;
	case 450:
		return CAUSE_MAILBOX;
	case 452:
	case 552:
		return CAUSE_QUOTA;
	case 530:
	case 535:
		return CAUSE_POLICY;
	case 550:
	case 551:
	case 553:
		return CAUSE_ADDRESS;
	default:
		return code / 10 % 10 == 0 ? CAUSE_PROTOCOL : CAUSE_OTHER;
	}
}

enum cause cause_of(unsigned code, const char *enhanced)
{
	struct span all = span_str(enhanced);
	if (all.n < 5 || all.p[1] != '.' || all.p[2] == '0')
		return by_code(code);
	struct span detail = span_from(all, 2);
	for (size_t i = 0; i < COUNT_OF(by_detail); i++)
		if (span_eq_str(detail, by_detail[i].detail))
			return by_detail[i].reason;
	return by_subject(detail.p[0]);
}
