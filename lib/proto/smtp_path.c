/* smtp_path.c - reads a path, strips what is obsolete, and writes it anew in canonical form.
 *
 * Owns nothing. */
#include "base/buf.h"
#include "base/ip.h"
#include "proto/smtp_path.h"

static err_t fail(const char **why_out, const char *why)
{
	if (why_out != NULL)
		*why_out = why;
	return ERR_SYNTAX;
}

static err_t fail_long(const char **why_out, const char *why)
{
	if (why_out != NULL)
		*why_out = why;
	return ERR_TOO_LONG;
}

static bool is_8bit(char c)
{
	return ((unsigned char)c & 0x80u) != 0;
}

/* RFC 5322 atext; bytes above 0x7f are decided for the address as a whole. */
static bool is_atext(char c)
{
	unsigned char u = (unsigned char)c;
	return ascii_is_alpha(u) || ascii_is_digit(u) || is_8bit(c) ||
	       (u != 0 && memchr("!#$%&'*+-/=?^_`{|}~", u, 19) != NULL);
}

static bool dot_string_ok(struct span s)
{
	bool at_start = true;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' ? at_start : !is_atext(s.p[i]))
			return false;
		at_start = s.p[i] == '.';
	}
	return s.n > 0 && !at_start;
}

static bool label_ok(struct span label)
{
	if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++) {
		unsigned char u = (unsigned char)label.p[i];
		if (!ascii_is_alpha(u) && !ascii_is_digit(u) && u != '-' && u != '_' && u < 0x80)
			return false;
	}
	return true;
}

bool smtp_domain_ok(struct span domain, bool utf8_ok)
{
	if (domain.n == 0 || domain.n > SMTP_DOMAIN_MAX)
		return false;
	if (!span_is_ascii(domain) && (!utf8_ok || !span_is_utf8(domain)))
		return false;
	struct span rest = domain;
	while (rest.p != NULL)
		if (!label_ok(span_cut(&rest, '.')))
			return false;
	return true;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" */
bool smtp_literal_parse(struct span s, struct ip_addr *out)
{
	if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	struct span in = span_of(s.p + 1, s.n - 2);
	if (span_istarts(in, SPAN("IPv6:")))
		return span_find(span_from(in, 5), ':') != SIZE_MAX &&
		       ip_parse(span_from(in, 5), out);
	return span_find(in, ':') == SIZE_MAX && ip_parse(in, out);
}

bool smtp_literal_ok(struct span literal)
{
	struct ip_addr a;
	return smtp_literal_parse(literal, &a);
}

size_t smtp_path_scan(struct span in)
{
	bool quoted = false;
	if (in.n == 0 || in.p[0] != '<')
		return 0;
	for (size_t i = 1; i < in.n; i++) {
		char c = in.p[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (c == '>' && !quoted)
			return i + 1;
		else if ((c == ' ' || c == '<') && !quoted)
			return 0;
	}
	return 0;
}

/* The bytes inside a quoted string, escapes resolved. *used_out: its length with both quotes. */
static bool parse_quoted(struct span s, struct buf *raw, size_t *used_out)
{
	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '"') {
			*used_out = i + 1;
			return buf_ok(raw);
		}
		if (s.p[i] == '\\' && ++i == s.n)
			return false;
		unsigned char u = (unsigned char)s.p[i];
		if (u < 0x20 || u == 0x7f)
			return false;
		buf_add_char(raw, s.p[i]);
	}
	return false;
}

/* Appends text to the address; false when it does not fit. */
static bool put_text(struct smtp_path *p, struct span text)
{
	if (text.n > (size_t)(SMTP_ADDRESS_MAX - p->len))
		return false;
	if (text.n > 0)
		memcpy(p->address + p->len, text.p, text.n);
	p->len = (uint16_t)(p->len + text.n);
	return true;
}

static bool put_quoted(struct smtp_path *p, struct span raw)
{
	bool ok = put_text(p, SPAN("\""));
	for (size_t i = 0; ok && i < raw.n; i++) {
		if (raw.p[i] == '"' || raw.p[i] == '\\')
			ok = put_text(p, SPAN("\\"));
		ok = ok && put_text(p, span_of(raw.p + i, 1));
	}
	return ok && put_text(p, SPAN("\""));
}

/* The local part at the start of s in canonical form; *used_out: its length as sent. */
static err_t parse_local(
    struct span s, unsigned flags, struct smtp_path *out, size_t *used_out, const char **why_out)
{
	size_t max = flags & SMTP_PATH_LONG_LOCAL_OK ? SMTP_ADDRESS_MAX : SMTP_LOCAL_MAX;
	bool fits;
	if (s.n > 0 && s.p[0] == '"') {
		struct buf raw = BUF_INIT(SMTP_LOCAL_MAX);
		bool ok = parse_quoted(s, &raw, used_out);
		struct span text = buf_span(&raw);
		fits = dot_string_ok(text) ? put_text(out, text) : put_quoted(out, text);
		bool over = !buf_ok(&raw);
		buf_end(&raw);
		if (over)
			return fail_long(why_out, "local part longer than 64 bytes");
		if (!ok)
			return fail(why_out, "bad quoted local part");
	} else {
		size_t at = span_find(s, '@');
		*used_out = at == SIZE_MAX ? s.n : at;
		struct span text = span_first(s, *used_out);
		if (!dot_string_ok(text))
			return fail(why_out, "bad local part");
		fits = put_text(out, text);
	}
	if (!fits || out->len > max)
		return fail_long(why_out, "local part longer than 64 bytes");
	out->local_len = out->len;
	return ERR_OK;
}

static err_t put_literal(struct span domain, struct smtp_path *out, const char **why_out)
{
	struct ip_addr a;
	char text[IP_TEXT_SIZE];
	if (!smtp_literal_parse(domain, &a))
		return fail(why_out, "bad address literal");
	bool ok = put_text(out, ip_is_v4(a) ? SPAN("[") : SPAN("[IPv6:")) &&
		  put_text(out, span_str(ip_text(a, text))) && put_text(out, SPAN("]"));
	return ok ? ERR_OK : fail_long(why_out, "address longer than 254 bytes");
}

static err_t parse_domain(
    struct span domain, unsigned flags, struct smtp_path *out, const char **why_out)
{
	if (!put_text(out, SPAN("@")))
		return fail_long(why_out, "address longer than 254 bytes");
	if (domain.n > 0 && domain.p[0] == '[')
		return put_literal(domain, out, why_out);
	if (domain.n > 1 && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (domain.n > SMTP_DOMAIN_MAX)
		return fail_long(why_out, "domain longer than 255 bytes");
	if (!smtp_domain_ok(domain, (flags & SMTP_PATH_UTF8_OK) != 0))
		return fail(why_out, "bad domain");
	size_t start = out->len;
	if (!put_text(out, domain))
		return fail_long(why_out, "address longer than 254 bytes");
	span_lower_to(out->address + start, domain);
	return ERR_OK;
}

err_t smtp_address_parse(
    struct span address, unsigned flags, struct smtp_path *out, const char **why_out)
{
	*out = (struct smtp_path){ .kind = SMTP_PATH_MAILBOX };
	out->utf8 = !span_is_ascii(address);
	if (out->utf8 && !(flags & SMTP_PATH_UTF8_OK))
		return fail(why_out, "address needs SMTPUTF8");
	if (out->utf8 && !span_is_utf8(address))
		return fail(why_out, "address is not UTF-8");
	size_t used = 0;
	err_t err = parse_local(address, flags, out, &used, why_out);
	if (err)
		return err;
	struct span rest = span_from(address, used);
	if (rest.n == 0) {
		out->kind = SMTP_PATH_POSTMASTER;
		if ((flags & SMTP_PATH_POSTMASTER_OK) &&
		    span_ieq_str(smtp_path_text(out), "postmaster"))
			return ERR_OK;
		return fail(why_out, "address without domain");
	}
	if (rest.p[0] != '@')
		return fail(why_out, "bad local part");
	return parse_domain(span_from(rest, 1), flags, out, why_out);
}

/* "@a,@b:user@c": the route is checked and dropped (RFC 5321 appendix C). */
static bool skip_route(struct span *in)
{
	struct span rest = *in, route = span_cut(&rest, ':');
	if (rest.p == NULL)
		return false;
	while (route.p != NULL) {
		struct span hop = span_cut(&route, ',');
		if (hop.n < 2 || hop.p[0] != '@' || !smtp_domain_ok(span_from(hop, 1), true))
			return false;
	}
	*in = rest;
	return true;
}

err_t smtp_path_parse(struct span path, unsigned flags, struct smtp_path *out, const char **why_out)
{
	*out = (struct smtp_path){ .kind = SMTP_PATH_NULL };
	if (path.n < 2 || path.p[0] != '<' || path.p[path.n - 1] != '>')
		return fail(why_out, "address is not in <>");
	struct span in = span_of(path.p + 1, path.n - 2);
	if (in.n == 0)
		return flags & SMTP_PATH_NULL_OK ? ERR_OK : fail(why_out, "empty address");
	if (in.p[0] == '@' && !skip_route(&in))
		return fail(why_out, "bad source route");
	return smtp_address_parse(in, flags, out, why_out);
}

bool smtp_path_split(
    const struct smtp_path *p, char separator, struct span *user_out, struct span *detail_out)
{
	struct span local = smtp_path_local(p);
	*user_out = local;
	*detail_out = SPAN_NONE;
	size_t at = span_find(local, separator);
	if (at == SIZE_MAX || at == 0 || local.p[0] == '"')
		return false;
	*user_out = span_first(local, at);
	*detail_out = span_from(local, at + 1);
	return true;
}

bool smtp_helo_ok(struct span name)
{
	if (name.n == 0 || name.n > SMTP_DOMAIN_MAX)
		return false;
	if (name.p[0] == '[')
		return smtp_literal_ok(name);
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		bool mark = c == '.' || c == '-' || c == '_';
		if (!mark && !ascii_is_alpha(c) && !ascii_is_digit(c))
			return false;
	}
	return true;
}
