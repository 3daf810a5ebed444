/* deliver_count.c - what becomes of TLS on the way to a domain, as tlsrpt.c wants to hear it; see deliver.c. Owns nothing. */
#include "edge/deliver_internal.h"

/* Their own delivery is none of those that are counted, and no policy holds them up (RFC 8460 section 3). */
bool is_tls_report(const struct q_delivery *dl)
{
	return dl->entry->report == REPORT_TLS;
}

static void count_session(
    const struct q_delivery *dl, enum tlsrpt_result result, const struct out_session *where)
{
	struct tlsrpt *t = dl->queue->tlsrpt;
	if (!tlsrpt_on(t) || dl->dest->kind != DEST_DOMAIN || is_tls_report(dl) || dl->relaxed)
		return;
	struct tlsrpt_session s = { .domain = dl->dest->name,
		.kind = dl->judge,
		.sts = dl->sts,
		.dane = dl->judge == TLSRPT_TLSA && dl->dane.tlsa.n > 0 ? &dl->dane : NULL,
		.result = result,
		.mx = dl->host };
	if (where != NULL) {
		s.connected = true;
		s.local = where->local;
		s.peer = where->peer;
	}
	tlsrpt_count(t, &s);
}

void count_failure(struct q_delivery *dl, enum tlsrpt_kind judge, enum tlsrpt_result result)
{
	dl->judge = judge;
	count_session(dl, result, NULL);
}

static void count_one(struct q_delivery *dl, const struct out_session *s)
{
	static const enum tlsrpt_result results[OUT_TLS_FATES] = {
		[OUT_TLS_BROKEN] = TLSRPT_VALIDATION_FAILURE,
		[OUT_TLS_GOOD] = TLSRPT_SUCCESS,
		[OUT_TLS_NOT_OFFERED] = TLSRPT_STARTTLS_NOT_SUPPORTED,
		[OUT_TLS_WRONG_NAME] = TLSRPT_CERTIFICATE_HOST_MISMATCH,
		[OUT_TLS_EXPIRED] = TLSRPT_CERTIFICATE_EXPIRED,
		[OUT_TLS_UNTRUSTED] = TLSRPT_CERTIFICATE_NOT_TRUSTED,
		[OUT_TLS_FAILED] = TLSRPT_VALIDATION_FAILURE,
	};
	static const enum tlsrpt_result faults[] = {
		[STS_FETCH_FAILED] = TLSRPT_STS_POLICY_FETCH_ERROR,
		[STS_CERTIFICATE_BAD] = TLSRPT_STS_WEBPKI_INVALID,
		[STS_POLICY_BAD] = TLSRPT_STS_POLICY_INVALID,
	};
	enum tlsrpt_result result = results[s->tls];
	if (dl->judge != TLSRPT_TLSA && dl->sts == NULL && dl->sts_fault != STS_FINE) {
		dl->judge = TLSRPT_STS;
		result = faults[dl->sts_fault];
	} else if (dl->mismatch) {
		result = TLSRPT_VALIDATION_FAILURE;
	}
	count_session(dl, result, s);
}

void count_sent(struct q_delivery *dl, const struct out_result *r)
{
	for (size_t i = 0; i < r->session_n; i++)
		count_one(dl, &r->sessions[i]);
}
