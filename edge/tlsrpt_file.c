/* tlsrpt_file.c - counts of TLS reports as lines of a file; for tlsrpt.c. Owns nothing.
 *
 *	P DOMAIN KIND BASE GOOD BAD RULES(base64)
 *	F RESULT MX|- LOCAL|- PEER|- N		one for each failure of the policy above it
 *
 * Disks lie: each line is checked as if it came from the network. */
#include <inttypes.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/mem.h"
#include "edge/tlsrpt.h"

static const char *address_or_none(bool known, struct ip_addr a, char text[IP_TEXT_SIZE])
{
	return known ? ip_text(a, text) : "-";
}

void tlsrpt_kept_put(struct buf *out, const struct tlsrpt_policy *p)
{
	buf_printf(out, "P %s %u %s %" PRIu64 " %" PRIu64 " ", p->domain, (unsigned)p->kind,
	    p->base, p->good, p->bad);
	base64_put(out, span_str(p->rules));
	buf_add_char(out, '\n');
	for (size_t i = 0; i < p->failure_n; i++) {
		const struct tlsrpt_failure *f = &p->failures[i];
		char local[IP_TEXT_SIZE], peer[IP_TEXT_SIZE];
		buf_printf(out, "F %u %s %s %s %" PRIu64 "\n", (unsigned)f->result,
		    f->mx[0] != '\0' ? f->mx : "-", address_or_none(f->connected, f->local, local),
		    address_or_none(f->connected, f->peer, peer), f->n);
	}
}

void tlsrpt_policy_end(struct tlsrpt_policy *p)
{
	MEM_FREE(&p->rules);
	MEM_FREE(&p->failures);
	p->failure_n = 0;
}

static bool take_name(struct span word, char out[DNS_NAME_SIZE])
{
	if (!sts_mx_ok(word) || word.n >= DNS_NAME_SIZE || word.p[0] == '*')
		return false;
	memcpy(out, word.p, word.n);
	out[word.n] = '\0';
	return true;
}

static bool take_number(struct span word, uint64_t most, uint64_t *out)
{
	return span_u64(word, most, out);
}

/* What stands in a report as it is must be text of ours: it is looked at once more. */
static bool rules_ok(struct span rules)
{
	return span_starts(rules, SPAN("\"policy-string\":[")) && rules.p[rules.n - 1] == ']' &&
	       span_is_ascii(rules) && span_find(rules, '\n') == SIZE_MAX &&
	       span_find(rules, '{') == SIZE_MAX && span_find(rules, '\\') == SIZE_MAX;
}

static bool take_policy(struct span line, struct tlsrpt_policy *out)
{
	struct buf rules = BUF_INIT(TLSRPT_RULES_MAX);
	uint64_t kind;
	*out = (struct tlsrpt_policy){ 0 };
	bool ok = span_eq_str(span_cut(&line, ' '), "P") &&
		  take_name(span_cut(&line, ' '), out->domain) &&
		  take_number(span_cut(&line, ' '), TLSRPT_KINDS - 1, &kind) &&
		  take_name(span_cut(&line, ' '), out->base) &&
		  take_number(span_cut(&line, ' '), UINT32_MAX, &out->good) &&
		  take_number(span_cut(&line, ' '), UINT32_MAX, &out->bad) &&
		  base64_get(line, &rules) && rules_ok(buf_span(&rules));
	if (ok) {
		out->kind = (enum tlsrpt_kind)kind;
		out->rules = mem_span_str(buf_span(&rules));
	}
	buf_end(&rules);
	return ok;
}

static bool take_failure(struct span line, struct tlsrpt_failure *out)
{
	uint64_t result;
	*out = (struct tlsrpt_failure){ 0 };
	if (!span_eq_str(span_cut(&line, ' '), "F") ||
	    !take_number(span_cut(&line, ' '), TLSRPT_RESULTS - 1, &result))
		return false;
	struct span mx = span_cut(&line, ' '), local = span_cut(&line, ' ');
	struct span peer = span_cut(&line, ' ');
	out->result = (enum tlsrpt_result)result;
	out->connected = !span_eq_str(local, "-");
	if (!span_eq_str(mx, "-") && !take_name(mx, out->mx))
		return false;
	if (out->connected && (!ip_parse(local, &out->local) || !ip_parse(peer, &out->peer)))
		return false;
	return take_number(line, UINT32_MAX, &out->n);
}

bool tlsrpt_kept_take(struct span *rest, struct tlsrpt_policy *out)
{
	bool found = false;
	while (!found && span_find(*rest, '\n') != SIZE_MAX)
		found = take_policy(span_cut(rest, '\n'), out);
	struct span ahead = *rest;
	while (found && span_starts(ahead, SPAN("F ")) && span_find(ahead, '\n') != SIZE_MAX) {
		struct tlsrpt_failure f;
		if (take_failure(span_cut(&ahead, '\n'), &f) &&
		    out->failure_n < TLSRPT_FAILURES_MAX) {
			out->failures =
			    mem_grow(out->failures, out->failure_n + 1, sizeof(*out->failures));
			out->failures[out->failure_n++] = f;
		}
		*rest = ahead;
	}
	return found;
}
