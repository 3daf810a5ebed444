/* tlsrpt.h - reports of TLS to the domains we send to (RFC 8460): what became of each session is counted, and once a day
 * those that ask for it are told.
 *
 * For deliver.c (step 6 of 6); off unless tls_reports says so. The queue process, which alone sends to strangers,
 * counts and reports. Bounds: 5000 policies, whose texts come to 16 MiB, with 16 kinds of failure each; what does not fit is not
 * counted. Counts live over restarts in a file, written every five minutes and at the end: a crash or power cut costs what came since. */
#ifndef EDGE_TLSRPT_H
#define EDGE_TLSRPT_H

#include "base/buf.h"
#include "base/ident.h"
#include "base/ip.h"
#include "directory/directory.h"
#include "edge/dkim.h"
#include "edge/edge_conf.h"
#include "edge/smtp_out.h"
#include "edge/sts.h"
#include "net/dns.h"
#include "net/loop.h"

struct tlsrpt;

enum {
	TLSRPT_POLICIES_MAX = 5000,
	TLSRPT_FAILURES_MAX = 16,
	TLSRPT_RULES_MAX = 64 * 1024, /* of one policy: any that is taken fits */
	TLSRPT_RULES_SUM_MAX = 16 * 1024 * 1024,
};

/* By which policy a session was judged. */
enum tlsrpt_kind { TLSRPT_NO_POLICY, TLSRPT_STS, TLSRPT_TLSA, TLSRPT_KINDS };

enum tlsrpt_result { /* section 4.3 */
	TLSRPT_SUCCESS,
	TLSRPT_STARTTLS_NOT_SUPPORTED,
	TLSRPT_CERTIFICATE_HOST_MISMATCH,
	TLSRPT_CERTIFICATE_EXPIRED,
	TLSRPT_CERTIFICATE_NOT_TRUSTED,
	TLSRPT_VALIDATION_FAILURE,
	TLSRPT_DNSSEC_INVALID,
	TLSRPT_DANE_REQUIRED,
	TLSRPT_STS_POLICY_FETCH_ERROR,
	TLSRPT_STS_POLICY_INVALID,
	TLSRPT_STS_WEBPKI_INVALID,
	TLSRPT_RESULTS
};

struct tlsrpt_session {
	const char *domain; /* whose mail it was */
	enum tlsrpt_kind kind;
	const struct sts_rules *sts; /* TLSRPT_STS: NULL when it could not be had */
	const struct out_dane *dane; /* TLSRPT_TLSA; NULL when they could not be had */
	enum tlsrpt_result result;
	const char *mx; /* NULL: it did not come so far */
	struct ip_addr local, peer;
	bool connected; /* local and peer are known */
};

/* One failure of one kind, with one host. */
struct tlsrpt_failure {
	enum tlsrpt_result result;
	char mx[DNS_NAME_SIZE]; /* "": none */
	struct ip_addr local, peer;
	bool connected;
	uint64_t n;
};

struct tlsrpt_policy {
	char domain[DNS_NAME_SIZE];
	enum tlsrpt_kind kind;
	char base[DNS_NAME_SIZE]; /* whose policy it is */
	char *rules; /* owned: JSON members of it: "policy-string":[...] and perhaps "mx-host" */
	uint64_t good, bad;
	struct tlsrpt_failure *failures; /* owned */
	size_t failure_n;
};

/* How a report leaves: a whole message for one address; user: its account here, NULL: somewhere else. All of it lives
 * for the call. why NULL: it is in the queue; else not now. One at a time. */
struct tlsrpt_mail {
	const char *to, *user;
	struct span text;
};
typedef void tlsrpt_mailed_fn(void *arg, const char *why);
typedef struct ticket *tlsrpt_mail_fn(
    void *arg, const struct tlsrpt_mail *m, tlsrpt_mailed_fn *fn, void *fn_arg);

struct tlsrpt_opts {
	struct loop *loop;
	struct dns *dns;
	struct directory *directory;
	const char *kept; /* the file, or NULL */
	tlsrpt_mail_fn *mail;
	void *arg;
};
struct tlsrpt *tlsrpt_new(
    const struct tlsrpt_opts *opts, const struct edge_conf *c, const char *hostname);
/* May reports be signed as this configuration says? False: why says what is wrong. */
bool tlsrpt_dkim_ok(const struct edge_conf *c, struct buf *why);
void tlsrpt_set(struct tlsrpt *t, const struct edge_conf *c, const char *hostname);
void tlsrpt_free(struct tlsrpt **t); /* the file is written */

bool tlsrpt_on(const struct tlsrpt *t);
void tlsrpt_count(struct tlsrpt *t, const struct tlsrpt_session *s);

/* Reports on what was counted up to now, without waiting for the day's end. How many policies that is. */
size_t tlsrpt_send(struct tlsrpt *t);
/* Appends rows of JSON: {"domain","policy","good","bad"} of what is counted. */
void tlsrpt_show(const struct tlsrpt *t, struct buf *out);

/* ---- tlsrpt_text.c ---- */

struct tlsrpt_about {
	const char *hostname, *organisation, *contact, *from;
	const char *domain;
	uint64_t from_us, to_us; /* of the time it is about */
	struct ident id;
	struct dkim dkim; /* key NULL: reports are not signed */
};
void tlsrpt_put_rules(struct buf *out, const struct tlsrpt_session *s);
void tlsrpt_put_json(
    struct buf *out, const struct tlsrpt_about *a, const struct tlsrpt_policy *const *v, size_t n);
/* The message around a packed report, signed if there is a key; to: its recipient. False: out is full, or the key cannot
 * sign. */
bool tlsrpt_put_mail(
    struct buf *out, const struct tlsrpt_about *a, const char *to, struct span gzip);
const char *tlsrpt_result_word(enum tlsrpt_result r);
const char *tlsrpt_kind_word(enum tlsrpt_kind k);

/* ---- tlsrpt_file.c ---- */

void tlsrpt_kept_put(struct buf *out, const struct tlsrpt_policy *p);
/* The next good policy of *rest, with what it owns; false: none is left. */
bool tlsrpt_kept_take(struct span *rest, struct tlsrpt_policy *out);
void tlsrpt_policy_end(struct tlsrpt_policy *p);

#endif
