/* spf.c - SPF records: terms and macros. */
#include "proto/spf.h"

#include "base/check.h"

enum { PARTS_MAX = 128, EXPANDED_MAX = 2048 };

/* ---- macro strings ---------------------------------------------------------------------------- */

struct macro {
	char letter; /* lower case */
	bool escape; /* it was written in upper case: URL-encoded */
	bool reverse;
	uint64_t keep;      /* so many parts on the right; 0: all */
	struct span delims; /* empty: "." */
};

static bool is_delim(char c)
{
	return c != '\0' && strchr(".-+,/_=", c) != NULL;
}

static const char record_letters[] = "slodiphv", explain_letters[] = "slodiphvcrt";

/* The inside of %{...}. */
static bool parse_macro(struct span in, const char *letters, struct macro *out)
{
	size_t digits = 0;
	if (in.n == 0 || !ascii_is_alpha((unsigned char)in.p[0]))
		return false;
	*out = (struct macro){ .letter = ascii_lower(in.p[0]) };
	out->escape = out->letter != in.p[0];
	in = span_from(in, 1);
	while (digits < in.n && ascii_is_digit((unsigned char)in.p[digits]))
		digits++;
	if (digits > 0 &&
	    (!span_u64(span_first(in, digits), UINT32_MAX, &out->keep) || out->keep == 0))
		return false;
	in = span_from(in, digits);
	if (in.n > 0 && ascii_lower(in.p[0]) == 'r') {
		out->reverse = true;
		in = span_from(in, 1);
	}
	out->delims = in;
	for (size_t i = 0; i < in.n; i++)
		if (!is_delim(in.p[i]))
			return false;
	return strchr(letters, out->letter) != NULL;
}

enum piece { PIECE_END, PIECE_BAD, PIECE_TEXT, PIECE_MACRO };

/* Takes the next piece off the front of *in: bytes that stand for themselves, or a macro. */
static enum piece next_piece(
    struct span *in, const char *letters, struct span *text_out, struct macro *macro_out)
{
	if (in->n == 0)
		return PIECE_END;
	if (in->p[0] != '%') {
		size_t n = span_find(*in, '%');
		*text_out = span_first(*in, n);
		*in = span_from(*in, text_out->n);
		for (size_t i = 0; i < text_out->n; i++)
			if (text_out->p[i] < 0x21 || text_out->p[i] > 0x7e)
				return PIECE_BAD;
		return PIECE_TEXT;
	}
	char c = in->n > 1 ? in->p[1] : '\0';
	size_t end = span_find(*in, '}');
	if (c == '{') {
		bool ok =
		    end != SIZE_MAX && parse_macro(span_of(in->p + 2, end - 2), letters, macro_out);
		*in = span_from(*in, ok ? end + 1 : in->n);
		return ok ? PIECE_MACRO : PIECE_BAD;
	}
	*in = span_from(*in, 2);
	*text_out = c == '%' ? SPAN("%") : c == '_' ? SPAN(" ") : SPAN("%20");
	return c == '%' || c == '_' || c == '-' ? PIECE_TEXT : PIECE_BAD;
}

static bool macro_string_ok(struct span in)
{
	struct span text;
	struct macro m;
	enum piece p;
	while ((p = next_piece(&in, record_letters, &text, &m)) == PIECE_TEXT || p == PIECE_MACRO)
		continue;
	return p == PIECE_END;
}

static bool toplabel_ok(struct span label)
{
	bool alpha = false;
	if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++) {
		unsigned char c = (unsigned char)label.p[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-')
			return false;
		alpha = alpha || !ascii_is_digit(c);
	}
	return alpha;
}

/* domain-spec: a macro string that ends in a macro, or in "." and a label that is not a number. */
static bool domain_spec_ok(struct span in)
{
	if (in.n == 0 || !macro_string_ok(in))
		return false;
	bool macro_end =
	    in.p[in.n - 1] == '}' && span_rfind(in, '%') != SIZE_MAX &&
	    span_find(span_from(in, span_rfind(in, '%')), '}') == in.n - 1 - span_rfind(in, '%');
	if (macro_end)
		return true;
	if (in.p[in.n - 1] == '.')
		in = span_first(in, in.n - 1);
	size_t dot = span_rfind(in, '.');
	return dot != SIZE_MAX && toplabel_ok(span_from(in, dot + 1));
}

/* ---- terms ------------------------------------------------------------------------------------ */

/* "/24" and "//64" at the end of a: they are cut off. */
static bool cut_bits(struct span *in, const char *mark, unsigned max, unsigned *out)
{
	size_t n = in->n, at;
	uint64_t bits = 0;
	size_t mark_n = strlen(mark);
	while (n > 0 && ascii_is_digit((unsigned char)in->p[n - 1]))
		n--;
	if (n == in->n || n < mark_n || memcmp(in->p + n - mark_n, mark, mark_n) != 0)
		return true; /* there is none */
	at = n - mark_n;
	struct span digits = span_from(*in, n);
	if (!span_u64(digits, max, &bits) || (digits.n > 1 && digits.p[0] == '0'))
		return false;
	*out = (unsigned)bits;
	*in = span_first(*in, at);
	return true;
}

static bool take_hosts(struct spf_term *t, struct span rest)
{
	t->bits_4 = 32;
	t->bits_6 = 128;
	if (!cut_bits(&rest, "//", 128, &t->bits_6))
		return false;
	bool doubled = rest.n > 1 && rest.p[rest.n - 1] == '/';
	if (doubled || !cut_bits(&rest, "/", 32, &t->bits_4))
		return false;
	if (rest.n == 0)
		return true;
	t->domain = span_from(rest, 1);
	return rest.p[0] == ':' && domain_spec_ok(t->domain);
}

static bool take_net(struct spf_term *t, struct span rest)
{
	struct ip_addr a;
	uint64_t bits = t->kind == SPF_IP4 ? 32 : 128;
	if (rest.n == 0 || rest.p[0] != ':')
		return false;
	rest = span_from(rest, 1);
	struct span addr = span_cut(&rest, '/');
	if (!ip_parse(addr, &a) || (t->kind == SPF_IP4) != (span_find(addr, ':') == SIZE_MAX))
		return false;
	if (rest.p != NULL && (!span_u64(rest, bits, &bits) || (rest.n > 1 && rest.p[0] == '0')))
		return false;
	/* a v4-mapped address written as ip6 has its bits counted in the long form */
	bool mapped = t->kind == SPF_IP6 && ip_is_v4(a);
	if (mapped && bits < 96)
		return false;
	t->net = ip_network(a, (unsigned)bits - (mapped ? 96 : 0));
	return true;
}

static bool take_domain(struct spf_term *t, struct span rest, bool needed)
{
	if (rest.n == 0)
		return !needed;
	t->domain = span_from(rest, 1);
	return rest.p[0] == ':' && domain_spec_ok(t->domain);
}

static bool take_mechanism(struct spf_term *t, struct span name, struct span rest)
{
	static const struct {
		const char *name;
		enum spf_kind kind;
	} rows[] = { { "all", SPF_ALL }, { "include", SPF_INCLUDE }, { "a", SPF_A },
		{ "mx", SPF_MX }, { "ptr", SPF_PTR }, { "ip4", SPF_IP4 }, { "ip6", SPF_IP6 },
		{ "exists", SPF_EXISTS } };
	size_t i = 0;
	while (i < COUNT_OF(rows) && !span_ieq_str(name, rows[i].name))
		i++;
	if (i == COUNT_OF(rows))
		return false;
	t->kind = rows[i].kind;
	switch (t->kind) {
	case SPF_ALL:
		return rest.n == 0;
	case SPF_A:
	case SPF_MX:
		return take_hosts(t, rest);
	case SPF_IP4:
	case SPF_IP6:
		return take_net(t, rest);
	default:
		return take_domain(t, rest, t->kind != SPF_PTR);
	}
}

static bool take_modifier(struct spf_term *t, struct span name, struct span value)
{
	if (!ascii_is_alpha((unsigned char)name.p[0]))
		return false;
	t->kind = SPF_OTHER;
	t->domain = value;
	if (span_ieq(name, SPAN("redirect")))
		t->kind = SPF_REDIRECT;
	else if (span_ieq(name, SPAN("exp")))
		t->kind = SPF_EXP;
	return t->kind == SPF_OTHER || domain_spec_ok(value);
}

/* The name in front of ':', '/' or '=': letters, digits, '-', '_', '.'. */
static size_t name_length(struct span in)
{
	size_t n = 0;
	while (n < in.n) {
		unsigned char c = (unsigned char)in.p[n];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_' && c != '.')
			break;
		n++;
	}
	return n;
}

static bool parse_term(struct span in, struct spf_term *out)
{
	*out = (struct spf_term){ .qualifier = '+', .text = in };
	bool qualified = strchr("+-~?", in.p[0]) != NULL && in.p[0] != '\0';
	if (qualified) {
		out->qualifier = in.p[0];
		in = span_from(in, 1);
	}
	size_t n = name_length(in);
	if (n == 0)
		return false;
	struct span name = span_first(in, n), rest = span_from(in, n);
	if (!qualified && rest.n > 0 && rest.p[0] == '=')
		return take_modifier(out, name, span_from(rest, 1));
	return take_mechanism(out, name, rest);
}

bool spf_is_record(struct span text)
{
	return span_istarts(text, SPAN("v=spf1")) && (text.n == 6 || text.p[6] == ' ');
}

void spf_walk_init(struct spf_walk *w, struct span record)
{
	w->rest = span_from(record, 6);
}

bool spf_next(struct spf_walk *w, struct spf_term *out, bool *bad_out)
{
	struct span term = SPAN_NONE;
	*bad_out = false;
	while (w->rest.n > 0 && term.n == 0)
		term = span_cut(&w->rest, ' ');
	if (term.n == 0)
		return false;
	*bad_out = !parse_term(term, out);
	return !*bad_out;
}

bool spf_record_ok(struct span record, struct span *redirect_out)
{
	struct spf_walk w;
	struct spf_term t;
	bool bad;
	unsigned redirects = 0, exps = 0;
	*redirect_out = SPAN_NONE;
	if (record.n > SPF_RECORD_MAX)
		return false;
	spf_walk_init(&w, record);
	while (spf_next(&w, &t, &bad)) {
		if (t.kind == SPF_REDIRECT) {
			*redirect_out = t.domain;
			redirects++;
		}
		exps += t.kind == SPF_EXP;
	}
	return !bad && redirects <= 1 && exps <= 1;
}

struct span spf_explanation(struct span record)
{
	struct spf_walk w;
	struct spf_term t;
	bool bad;
	spf_walk_init(&w, record);
	while (spf_next(&w, &t, &bad))
		if (t.kind == SPF_EXP)
			return t.domain;
	return SPAN_NONE;
}

/* ---- expansion -------------------------------------------------------------------------------- */

/* "192.0.2.1", or the nibbles of an IPv6 address with dots between. */
static void put_client(struct ip_addr a, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	if (ip_is_v4(a)) {
		buf_add_str(out, ip_text(a, text));
		return;
	}
	for (size_t i = 0; i < sizeof a.b; i++)
		buf_printf(out, "%s%x.%x", i > 0 ? "." : "", a.b[i] >> 4, a.b[i] & 15u);
}

static void put_value(char letter, const struct spf_facts *f, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	switch (letter) {
	case 's':
		buf_printf(out, "%.*s@%.*s", SPAN_ARG(f->local), SPAN_ARG(f->sender_domain));
		break;
	case 'l':
		buf_add_span(out, f->local);
		break;
	case 'o':
		buf_add_span(out, f->sender_domain);
		break;
	case 'd':
		buf_add_span(out, f->domain);
		break;
	case 'i':
		put_client(f->client, out);
		break;
	case 'p':
		buf_add_str(out, "unknown");
		break;
	case 'c':
		buf_add_str(out, ip_text(f->client, text));
		break;
	case 'r':
		buf_add_span(out, f->receiver);
		break;
	case 't':
		buf_printf(out, "%llu", (unsigned long long)f->now_s);
		break;
	case 'v':
		buf_add_str(out, ip_is_v4(f->client) ? "in-addr" : "ip6");
		break;
	default:
		buf_add_span(out, f->helo);
	}
}

static bool put_escaped(struct buf *out, struct span in, bool escape)
{
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];
		bool plain = ascii_is_alpha(c) || ascii_is_digit(c) || strchr("-._~", c) != NULL;
		if (escape && (c == 0 || !plain))
			buf_printf(out, "%%%02X", c);
		else
			buf_add_char(out, (char)c);
	}
	return buf_ok(out);
}

/* Splits at the delimiters; more parts than fit: false. */
static bool split(struct span in, struct span delims, struct span parts[PARTS_MAX], size_t *n_out)
{
	size_t start = 0;
	*n_out = 0;
	for (size_t i = 0; i <= in.n; i++) {
		if (i < in.n && span_find(delims, in.p[i]) == SIZE_MAX)
			continue;
		if (*n_out == PARTS_MAX)
			return false;
		parts[(*n_out)++] = span_of(in.p + start, i - start);
		start = i + 1;
	}
	return true;
}

static bool put_macro(const struct macro *m, const struct spf_facts *f, struct buf *out)
{
	struct buf value = BUF_INIT(EXPANDED_MAX);
	struct span parts[PARTS_MAX];
	size_t n = 0;
	put_value(m->letter, f, &value);
	bool ok = buf_ok(&value) &&
		  split(buf_span(&value), m->delims.n > 0 ? m->delims : SPAN("."), parts, &n);
	size_t from = m->keep > 0 && m->keep < n ? n - (size_t)m->keep : 0;
	for (size_t i = from; ok && i < n; i++) {
		struct span part = parts[m->reverse ? n - 1 - i : i];
		if (i > from)
			buf_add_char(out, '.');
		ok = put_escaped(out, part, m->escape);
	}
	buf_end(&value);
	return ok;
}

static bool put_macro_string(
    struct span macro, const char *letters, const struct spf_facts *f, struct buf *all)
{
	struct span text;
	struct macro m;
	enum piece p;
	bool ok = true;
	while (ok && (p = next_piece(&macro, letters, &text, &m)) != PIECE_END) {
		ok = p != PIECE_BAD;
		if (p == PIECE_TEXT)
			ok = buf_add_span(all, text);
		else if (p == PIECE_MACRO)
			ok = put_macro(&m, f, all);
	}
	return ok;
}

bool spf_explain(struct span text, const struct spf_facts *f, struct buf *out)
{
	struct buf all = BUF_INIT(EXPANDED_MAX);
	bool ok = true;
	while (ok && text.n > 0) {
		struct span word = span_cut(&text, ' ');
		ok = put_macro_string(word, explain_letters, f, &all) &&
		     (text.p == NULL || buf_add_char(&all, ' '));
	}
	struct span said = buf_span(&all);
	for (size_t i = 0; ok && i < said.n; i++) /* section 6.2: US-ASCII, or nothing at all */
		ok = said.p[i] >= ' ' && said.p[i] <= '~';
	ok = ok && buf_add_span(out, said);
	buf_end(&all);
	return ok;
}

bool spf_expand(struct span macro, const struct spf_facts *f, struct buf *out)
{
	struct buf all = BUF_INIT(EXPANDED_MAX);
	bool ok = put_macro_string(macro, record_letters, f, &all);
	struct span name = buf_span(&all);
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	while (ok && name.n > SPF_DOMAIN_MAX) {
		size_t dot = span_find(name, '.');
		ok = dot != SIZE_MAX;
		name = span_from(name, ok ? dot + 1 : 0);
	}
	ok = ok && buf_add_span(out, name);
	buf_end(&all);
	return ok;
}
