/* mta_sts.h - what a domain says of TLS towards its mail servers: the record and the policy of MTA-STS (RFC 8461), and the
 * record of who wants reports about it (TLSRPT, RFC 8460).
 *
 * Grammar only: who asks for them, and how long they are believed, is in edge/sts.c. */
#ifndef PROTO_MTA_STS_H
#define PROTO_MTA_STS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum {
	STS_ID_MAX = 32,                 /* section 3.1 */
	STS_POLICY_MAX = 64 * 1024,      /* bytes of a policy: section 3.3 */
	STS_MX_MAX = 64,                 /* patterns; a policy with more is not taken */
	STS_MX_LENGTH_MAX = 253 + 2,     /* "*." and a name */
	STS_MAX_AGE_S = 366 * 24 * 3600, /* 31557600 and a little: section 3.2 */
};

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

/* Spans point into the text. */
struct sts_policy {
	enum sts_mode mode;
	uint32_t max_age_s; /* at most STS_MAX_AGE_S: what is longer is cut */
	size_t mx_n;        /* at least one but for STS_NONE */
	struct span mx[STS_MX_MAX];
};

/* Does a TXT record begin as one of this kind: "v=STSv1;"? Others at the same name are passed over (section 3.1). */
bool sts_is_record(struct span text);
/* The id of a record that sts_is_record(); false: it is malformed, as if there were none. */
bool sts_record_parse(struct span text, struct span *id_out);

/* A whole policy (section 3.2). False: it is malformed, lacks something, or has too many patterns. Fields nobody knows
 * are passed over; of those that may stand once the first counts. */
bool sts_policy_parse(struct span text, struct sts_policy *out);
const char *sts_mode_word(enum sts_mode m); /* "none", "testing", "enforce" */
bool sts_mode_parse(struct span word, enum sts_mode *out);
/* "mail.example.org" or "*.example.org" with letters, digits, '-' and '_' in its labels. */
bool sts_mx_ok(struct span pattern);

/* Is the mail exchanger one that the pattern means? A '*' stands for exactly one label (section 4.1). Case does not
 * count, nor does a final dot of the host. */
bool sts_mx_matches(struct span pattern, struct span host);

enum { TLSRPT_URIS_MAX = 4, TLSRPT_URI_MAX = 500 };
struct tlsrpt_uris {
	size_t n;
	/* Of mailto: and https:, printable ASCII; point into the record. */
	struct span v[TLSRPT_URIS_MAX];
};
/* "v=TLSRPTv1;": RFC 8460 section 3. Others at the same name are passed over. */
bool tlsrpt_is_record(struct span text);
/* False: it is malformed, or names nobody that we could write to. Of more URIs the first ones count. */
bool tlsrpt_record_parse(struct span text, struct tlsrpt_uris *out);
/* "mailto:reports@example.org": the address; false: another scheme, or something is escaped in it. */
bool tlsrpt_mailto(struct span uri, struct span *address_out);
/* "https://example.org:444/path?query": path is "/" where there is none. */
bool tlsrpt_https(
    struct span uri, struct span *host_out, uint16_t *port_out, struct span *path_out);

#endif
