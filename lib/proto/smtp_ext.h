/* smtp_ext.h - parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152, 3030), SMTPUTF8 (6531), RET
 * ENVID NOTIFY ORCPT (DSN, 3461), AUTH (4954), REQUIRETLS (8689), MT-PRIORITY (6710), and XDELIVERYID, private to Postern: the id under which
 * a store knows a delivery again after a lost reply. */
#ifndef PROTO_SMTP_EXT_H
#define PROTO_SMTP_EXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ident.h"
#include "base/span.h"

enum smtp_param {
	SMTP_PARAM_SIZE = 1 << 0,
	SMTP_PARAM_BODY = 1 << 1,
	SMTP_PARAM_SMTPUTF8 = 1 << 2,
	SMTP_PARAM_RET = 1 << 3,
	SMTP_PARAM_ENVID = 1 << 4,
	SMTP_PARAM_AUTH = 1 << 5,
	SMTP_PARAM_XDELIVERYID = 1 << 6,
	SMTP_PARAM_NOTIFY = 1 << 7,
	SMTP_PARAM_ORCPT = 1 << 8,
	SMTP_PARAM_REQUIRETLS = 1 << 9,
	SMTP_PARAM_MT_PRIORITY = 1 << 10
};

enum smtp_body_kind { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };
enum {
	SMTP_NOTIFY_NEVER = 1,
	SMTP_NOTIFY_SUCCESS = 2,
	SMTP_NOTIFY_FAILURE = 4,
	SMTP_NOTIFY_DELAY = 8
};
enum { SMTP_ENVID_MAX = 100, SMTP_ORCPT_MAX = 500 };

struct smtp_ext_error {
	/* The parameter at fault, as sent (clean it before it goes into a reply). */
	struct span name;
	const char *why; /* a sentence */
	bool unknown;    /* not a parameter we offer: 555 5.5.4; else 501 5.5.4 */
};

/* Spans point into the command line; xtext is not decoded. */
struct smtp_mail_ext {
	unsigned seen; /* SMTP_PARAM_* */
	uint64_t size;
	enum smtp_body_kind body;
	enum smtp_ret ret;
	struct span envid;
	struct span auth; /* "<>" or an address, xtext */
	struct ident delivery_id;
	int priority; /* MT-PRIORITY, -9 to 9 (RFC 6710) */
	struct smtp_ext_error error;
};
struct smtp_rcpt_ext {
	unsigned seen;
	unsigned notify;   /* SMTP_NOTIFY_*; 0: not given */
	struct span orcpt; /* "rfc822;xtext", or "utf-8;" and a form of utf8_addr.h */
	struct smtp_ext_error error;
};

/* offered: SMTP_PARAM_* that this session announced; all others are unknown. Of a recipient SMTPUTF8 means that MAIL said it:
 * ORCPT may be UTF-8 then (RFC 6533 section 3). A parameter given twice is an error. ERR_OK, or ERR_SYNTAX with out->error filled. */
err_t smtp_ext_mail(struct span params, unsigned offered, struct smtp_mail_ext *out);
err_t smtp_ext_rcpt(struct span params, unsigned offered, struct smtp_rcpt_ext *out);

/* The value of NOTIFY for these bits; false: there are none. */
bool smtp_notify_put(struct buf *out, unsigned notify);

/* The address in ORCPT, decoded. False: of a type that is not known here, or out is full. */
bool smtp_orcpt_get(struct span orcpt, struct buf *out);
/* ORCPT for a next hop; utf8: SMTPUTF8 is said there, else UTF-8 becomes utf-8-addr-xtext. False: that is longer than a server
 * has to take, or out is full: then it is not to be sent. */
bool smtp_orcpt_put(struct buf *out, struct span orcpt, bool utf8);

/* xtext (RFC 3461 section 4): "+" and two upper-case hex digits for what is not plain. */
bool smtp_xtext_put(struct buf *out, struct span raw);
bool smtp_xtext_get(struct span text, struct buf *out); /* false: not xtext, or out is full */

#endif
