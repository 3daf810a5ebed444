/* tlsrpt_text.c - the words of a report (RFC 8460 sections 4.4 and 5.3). Owns nothing. */
#include <inttypes.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "edge/tls_policy.h"
#include "edge/tlsrpt.h"

enum { LINE = 57, DATE_S = 20 };

/* Each pattern stands there twice; of TLSA records each byte is two digits. */
_Static_assert(128 + STS_MX_MAX * (2 * STS_MX_LENGTH_MAX + 16) <= TLSRPT_RULES_MAX, "MTA-STS");
_Static_assert(
    32 + 2 * TLS_POLICY_BYTES_MAX + TLS_POLICY_RECORDS_MAX * 16 <= TLSRPT_RULES_MAX, "DANE");

/* What a reader, or RFC 8460, goes by. A second From, To, Subject or Date spoils the signature. */
static const char signed_fields[] =
    "From:To:Subject:Date:Message-ID:TLS-Report-Domain:TLS-Report-Submitter:MIME-Version:"
    "Content-Type:From:To:Subject:Date";

const char *tlsrpt_result_word(enum tlsrpt_result r)
{
	static const char *const words[TLSRPT_RESULTS] = {
		[TLSRPT_SUCCESS] = "success",
		[TLSRPT_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
		[TLSRPT_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
		[TLSRPT_CERTIFICATE_EXPIRED] = "certificate-expired",
		[TLSRPT_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
		[TLSRPT_VALIDATION_FAILURE] = "validation-failure",
		[TLSRPT_DNSSEC_INVALID] = "dnssec-invalid",
		[TLSRPT_DANE_REQUIRED] = "dane-required",
		[TLSRPT_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
		[TLSRPT_STS_POLICY_INVALID] = "sts-policy-invalid",
		[TLSRPT_STS_WEBPKI_INVALID] = "sts-webpki-invalid",
	};
	return words[r];
}

const char *tlsrpt_kind_word(enum tlsrpt_kind k)
{
	static const char *const words[TLSRPT_KINDS] = {
		[TLSRPT_NO_POLICY] = "no-policy-found", [TLSRPT_STS] = "sts", [TLSRPT_TLSA] = "tlsa"
	};
	return words[k];
}

/* ---- policies ----------------------------------------------------------------------------------- */

static void put_sts(struct buf *out, const struct sts_policy *p)
{
	buf_printf(out,
	    "\"policy-string\":[\"version: STSv1\",\"mode: %s\",\"max_age: %" PRIu32 "\"",
	    sts_mode_word(p->mode), p->max_age_s);
	for (size_t i = 0; i < p->mx_n; i++)
		buf_printf(out, ",\"mx: %.*s\"", SPAN_ARG(p->mx[i]));
	buf_add_str(out, "],\"mx-host\":[");
	for (size_t i = 0; i < p->mx_n; i++)
		buf_printf(out, "%s\"%.*s\"", i > 0 ? "," : "", SPAN_ARG(p->mx[i]));
	buf_add_char(out, ']');
}

static void put_tlsa(struct buf *out, struct span tlsa)
{
	struct tls_dane_record v[TLS_POLICY_RECORDS_MAX];
	size_t n = tls_policy_records(tlsa, v);
	buf_add_str(out, "\"policy-string\":[");
	for (size_t i = 0; i < n; i++) {
		buf_printf(out, "%s\"%u %u %u ", i > 0 ? "," : "", v[i].usage, v[i].selector,
		    v[i].matching);
		fmt_hex(out, v[i].data);
		buf_add_char(out, '"');
	}
	buf_add_char(out, ']');
}

void tlsrpt_put_rules(struct buf *out, const struct tlsrpt_session *s)
{
	if (s->kind == TLSRPT_STS && s->sts != NULL)
		put_sts(out, &s->sts->policy);
	else if (s->kind == TLSRPT_TLSA && s->dane != NULL)
		put_tlsa(out, s->dane->tlsa);
	else
		buf_add_str(out, "\"policy-string\":[]");
}

/* ---- the report --------------------------------------------------------------------------------- */

/* Whole seconds: "2026-11-24T03:42:51Z" */
static void put_date(struct buf *out, const char *name, uint64_t wall_us)
{
	char date[CLOCK_RFC3339_SIZE];
	buf_printf(out, "\"%s\":\"%.19sZ\"", name, clock_rfc3339(wall_us, date));
}

static void put_member(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "\"%s\":", name);
	fmt_json_string(out, span_str(value));
	buf_add_char(out, ',');
}

static void put_address(struct buf *out, const char *name, struct ip_addr a)
{
	char text[IP_TEXT_SIZE];
	put_member(out, name, ip_text(a, text));
}

static void put_failure(struct buf *out, const struct tlsrpt_failure *f)
{
	buf_add_char(out, '{');
	put_member(out, "result-type", tlsrpt_result_word(f->result));
	if (f->connected)
		put_address(out, "sending-mta-ip", f->local);
	if (f->mx[0] != '\0')
		put_member(out, "receiving-mx-hostname", f->mx);
	if (f->connected)
		put_address(out, "receiving-ip", f->peer);
	buf_printf(out, "\"failed-session-count\":%" PRIu64 "}", f->n);
}

static void put_policy(struct buf *out, const struct tlsrpt_policy *p)
{
	buf_add_str(out, "{\"policy\":{");
	put_member(out, "policy-type", tlsrpt_kind_word(p->kind));
	buf_printf(out, "%s,\"policy-domain\":", p->rules);
	fmt_json_string(out, span_str(p->base));
	buf_printf(out,
	    "},\"summary\":{\"total-successful-session-count\":%" PRIu64
	    ",\"total-failure-session-count\":%" PRIu64 "}",
	    p->good, p->bad);
	if (p->failure_n > 0)
		buf_add_str(out, ",\"failure-details\":[");
	for (size_t i = 0; i < p->failure_n; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		put_failure(out, &p->failures[i]);
	}
	buf_add_str(out, p->failure_n > 0 ? "]}" : "}");
}

void tlsrpt_put_json(
    struct buf *out, const struct tlsrpt_about *a, const struct tlsrpt_policy *const *v, size_t n)
{
	buf_add_char(out, '{');
	put_member(out, "organization-name", a->organisation);
	buf_add_str(out, "\"date-range\":{");
	put_date(out, "start-datetime", a->from_us);
	buf_add_char(out, ',');
	put_date(out, "end-datetime", a->to_us);
	buf_add_str(out, "},");
	put_member(out, "contact-info", a->contact);
	buf_printf(out, "\"report-id\":\"%s@%s\",\"policies\":[", a->id.s, a->hostname);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		put_policy(out, v[i]);
	}
	buf_add_str(out, "]}\n");
}

/* ---- as a message ------------------------------------------------------------------------------- */

static void put_packed(struct buf *out, struct span bytes)
{
	while (bytes.n > 0) {
		base64_put(out, span_first(bytes, LINE));
		buf_add_str(out, "\r\n");
		bytes = span_from(bytes, bytes.n < LINE ? bytes.n : LINE);
	}
}

static void put_heading(struct buf *out, const struct tlsrpt_about *a, const char *to)
{
	char date[CLOCK_RFC5322_SIZE];
	buf_printf(out,
	    "From: <%s>\r\nTo: <%s>\r\nSubject: Report Domain: %s Submitter: %s Report-ID: "
	    "<%s@%s>\r\n"
	    "Date: %s\r\nMessage-ID: <%s@%s>\r\nTLS-Report-Domain: %s\r\nTLS-Report-Submitter: "
	    "%s\r\n"
	    "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"%s\"\r\n\r\n",
	    a->from, to, a->domain, a->hostname, a->id.s, a->hostname,
	    clock_rfc5322(clock_wall_us(), date), a->id.s, a->hostname, a->domain, a->hostname,
	    a->id.s);
}

static void put_text(
    struct buf *out, const struct tlsrpt_about *a, const char *to, struct span gzip)
{
	put_heading(out, a, to);
	buf_printf(out,
	    "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	    "This is a report about TLS towards the mail servers of %s (RFC 8460).\r\n\r\n"
	    "--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
	    "Content-Disposition: attachment;\r\n\tfilename=\"%s!%s!%" PRIu64 "!%" PRIu64
	    "!%s.json.gz\"\r\n\r\n",
	    a->id.s, a->domain, a->id.s, a->hostname, a->domain, a->from_us / 1000000,
	    a->to_us / 1000000, a->id.s);
	put_packed(out, gzip);
	buf_printf(out, "\r\n--%s--\r\n", a->id.s);
}

bool tlsrpt_put_mail(
    struct buf *out, const struct tlsrpt_about *a, const char *to, struct span gzip)
{
	struct dkim dkim = a->dkim;
	struct buf text = BUF_INIT(out->max);
	dkim.fields = signed_fields;
	put_text(&text, a, to, gzip);
	bool good = buf_ok(&text) &&
		    (dkim.key == NULL || dkim_put_signature(&dkim, buf_span(&text),
					     clock_wall_us() / 1000000, out)) &&
		    buf_add_span(out, buf_span(&text));
	buf_end(&text);
	return good;
}
