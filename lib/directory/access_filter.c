/* access_filter.c - the service filter of an account. Pure. */
#include "directory/access_filter.h"

#include "base/buf.h"

struct asked {
	const struct ip_addr *client; /* NULL: not known */
	const char *const *names;
	size_t n;
	bool broken; /* something is not understood */
};

typedef bool word_fn(struct asked *a, struct span word);

/* ---- words ------------------------------------------------------------------------------------- */

static bool is_all(struct span word)
{
	return span_eq_str(word, "*") || span_ieq_str(word, "ALL");
}

static bool is_service(struct asked *a, struct span word)
{
	bool match = is_all(word);
	for (size_t i = 0; i < a->n; i++)
		match = match || (a->names[i] != NULL && span_ieq_str(word, a->names[i]));
	return match;
}

/* "255.255.240.0": 20. */
static bool mask_bits(struct span text, unsigned *bits_out)
{
	struct ip_addr mask;
	if (!ip_parse(text, &mask) || !ip_is_v4(mask))
		return false;
	uint32_t m = (uint32_t)mask.b[12] << 24 | (uint32_t)mask.b[13] << 16 |
		     (uint32_t)mask.b[14] << 8 | mask.b[15];
	for (*bits_out = 0; *bits_out < 32 && (m >> 31) == 1; m <<= 1)
		++*bits_out;
	return m == 0;
}

/* "192.0.2.": the network of the parts that are there. */
static bool parse_parts(struct buf *text, struct ip_prefix *out)
{
	struct ip_addr addr;
	struct span rest = buf_span(text);
	unsigned parts = 0;
	for (; rest.n > 0; parts++)
		span_cut(&rest, '.');
	for (unsigned i = parts; i < 4; i++)
		buf_add_str(text, i < 3 ? "0." : "0");
	if (parts > 3 || !ip_parse(buf_span(text), &addr))
		return false;
	*out = ip_network(addr, 8 * parts);
	return true;
}

static bool parse_masked(struct span text, struct ip_prefix *out)
{
	struct ip_addr addr;
	unsigned bits;
	struct span net = span_cut(&text, '/');
	if (!ip_parse(net, &addr) || !ip_is_v4(addr) || !mask_bits(text, &bits))
		return false;
	*out = ip_network(addr, bits);
	return ip_eq(out->addr, addr);
}

static bool parse_network(struct buf *text, struct ip_prefix *out)
{
	struct ip_addr addr;
	struct span s = buf_span(text);
	if (s.n > 0 && s.p[s.n - 1] == '.')
		return parse_parts(text, out);
	if (ip_parse_prefix(s, out) || parse_masked(s, out))
		return true;
	if (!ip_parse(s, &addr))
		return false;
	*out = ip_network(addr, ip_is_v4(addr) ? 32 : 128);
	return true;
}

static bool is_client(struct asked *a, struct span word)
{
	struct ip_prefix net;
	struct buf text = BUF_INIT(IP_TEXT_SIZE);
	bool match = is_all(word);
	for (size_t i = 0; i < word.n && !match; i++)
		if (word.p[i] != '[' && word.p[i] != ']')
			buf_add_char(&text, word.p[i]);
	if (!match && a->client != NULL && buf_ok(&text) && parse_network(&text, &net))
		match = ip_in_prefix(*a->client, net);
	else
		a->broken = a->broken || !match;
	buf_end(&text);
	return match;
}

/* ---- lists and rules --------------------------------------------------------------------------- */

static bool is_between(char c)
{
	return c == ',' || c == ' ' || c == '\t';
}

static struct span next_word(struct span *list)
{
	size_t n = 0;
	while (list->n > 0 && is_between(list->p[0]))
		*list = span_from(*list, 1);
	while (n < list->n && !is_between(list->p[n]))
		n++;
	struct span word = span_first(*list, n);
	*list = span_from(*list, n);
	return word;
}

/* "a EXCEPT b EXCEPT c" is a without (b without c): in as many lists from the left on as make an odd number. */
static bool list_has(struct asked *a, struct span list, word_fn *is)
{
	size_t lists = 0, words = 0;
	bool in = false, go_on = true;
	for (;;) {
		struct span word = next_word(&list);
		bool ends = word.n == 0;
		if (!ends && !span_ieq_str(word, "EXCEPT")) {
			in = is(a, word) || in;
			words++;
			continue;
		}
		a->broken = a->broken || words == 0;
		go_on = go_on && in;
		lists += go_on;
		if (ends)
			return lists % 2 == 1;
		words = 0;
		in = false;
	}
}

static bool line_allows(struct asked *a, struct span filter)
{
	bool allowed = false, denied = false, has_deny = false;
	for (size_t rules = 0; filter.p != NULL; rules++) {
		struct span rule = span_trim(span_cut(&filter, '$'));
		bool deny = rule.n > 0 && rule.p[0] == '-';
		if (deny || (rule.n > 0 && rule.p[0] == '+'))
			rule = span_from(rule, 1);
		struct span services = span_cut(&rule, ':');
		bool service = list_has(a, services, is_service);
		bool match = list_has(a, rule, is_client) && service;
		allowed = allowed || (match && !deny);
		denied = denied || (match && deny);
		has_deny = has_deny || deny;
		if (a->broken || rules >= ACCESS_FILTER_RULES_MAX)
			return false;
	}
	return allowed || (!denied && has_deny);
}

bool access_filter_allows(
    struct span filter, const struct ip_addr *client, const char *const *names, size_t n)
{
	struct asked a = { client, names, n, false };
	bool allows = true;
	while (filter.p != NULL && allows) {
		struct span line = span_trim(span_cut(&filter, '\n'));
		allows = line.n == 0 || line_allows(&a, line);
	}
	return allows;
}
