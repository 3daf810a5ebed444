/* mta_sts.c - records and policies of MTA-STS; no I/O. */
#include "proto/mta_sts.h"

enum { NAME_MAX_LEN = 32, LABEL_MAX = 63, HOST_MAX = 253 };

static bool is_alnum(unsigned char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span blanks_off(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = span_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* The name of a field that nobody knows: sts-ext-name, sts-policy-ext-name. */
static bool is_name(struct span s)
{
	if (s.n == 0 || s.n > NAME_MAX_LEN || !is_alnum((unsigned char)s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alnum((unsigned char)s.p[i]) && s.p[i] != '_' && s.p[i] != '-' &&
		    s.p[i] != '.')
			return false;
	return true;
}

/* ---- the record -------------------------------------------------------------------------------- */

static bool is_id(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum((unsigned char)s.p[i]))
			return false;
	return s.n > 0 && s.n <= STS_ID_MAX;
}

static bool is_record_value(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == '=' || s.p[i] == ';')
			return false;
	return s.n > 0;
}

/* The version is the first field, and a ';' behind it. */
static bool is_version(struct span text, const char *version)
{
	struct span first = span_cut(&text, ';');
	return text.p != NULL && span_eq_str(blanks_off(first), version) && first.p[0] == 'v';
}

bool sts_is_record(struct span text)
{
	return is_version(text, "v=STSv1");
}

static bool take_field(struct span field, struct span *id_out)
{
	struct span value = field, name = span_cut(&value, '=');
	if (value.p == NULL || !is_name(name) || !is_record_value(value))
		return false;
	if (!span_eq_str(name, "id"))
		return true;
	if (id_out->n == 0)
		*id_out = value;
	return is_id(value);
}

bool sts_record_parse(struct span text, struct span *id_out)
{
	*id_out = SPAN_NONE;
	if (!sts_is_record(text))
		return false;
	span_cut(&text, ';');
	while (text.p != NULL) {
		struct span field = blanks_off(span_cut(&text, ';'));
		if (field.n == 0 && text.p == NULL)
			break; /* a ';' at the end */
		if (!take_field(field, id_out))
			return false;
	}
	return id_out->n > 0;
}

/* ---- the policy -------------------------------------------------------------------------------- */

static const char *const modes[] = {
	[STS_NONE] = "none",
	[STS_TESTING] = "testing",
	[STS_ENFORCE] = "enforce",
};

const char *sts_mode_word(enum sts_mode m)
{
	return modes[m];
}

bool sts_mode_parse(struct span word, enum sts_mode *out)
{
	for (size_t i = 0; i <= STS_ENFORCE; i++) {
		if (span_eq_str(word, modes[i])) {
			*out = (enum sts_mode)i;
			return true;
		}
	}
	return false;
}

static bool is_label(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return s.n > 0 && s.n <= LABEL_MAX;
}

bool sts_mx_ok(struct span pattern)
{
	struct span rest = span_starts(pattern, SPAN("*.")) ? span_from(pattern, 2) : pattern;
	if (rest.n == 0 || rest.n > HOST_MAX)
		return false;
	while (rest.p != NULL)
		if (!is_label(span_cut(&rest, '.')))
			return false;
	return true;
}

static bool is_policy_value(struct span s)
{
	return s.n > 0 && !span_has_control(s) && span_is_utf8(s);
}

enum { HAS_VERSION = 1, HAS_MODE = 2, HAS_MAX_AGE = 4 };

static bool take_max_age(struct span value, uint32_t *out)
{
	uint64_t n;
	if (value.n > 10 || !span_u64(value, UINT64_MAX, &n))
		return false;
	*out = n < STS_MAX_AGE_S ? (uint32_t)n : STS_MAX_AGE_S;
	return true;
}

static bool take_mx(struct span value, struct sts_policy *out)
{
	if (out->mx_n == STS_MX_MAX || !sts_mx_ok(value))
		return false;
	out->mx[out->mx_n++] = value;
	return true;
}

/* One line. Of a field that stands a second time nothing is looked at. */
static bool take_line(struct span line, struct sts_policy *out, unsigned *has)
{
	struct span value = line, name = span_cut(&value, ':');
	bool ok = value.p != NULL;
	unsigned which = 0;
	value = blanks_off(value);
	if (!ok || !is_name(name) || !is_policy_value(value))
		return false;
	if (span_eq_str(name, "mx"))
		return take_mx(value, out);
	if (span_eq_str(name, "version"))
		which = HAS_VERSION;
	else if (span_eq_str(name, "mode"))
		which = HAS_MODE;
	else if (span_eq_str(name, "max_age"))
		which = HAS_MAX_AGE;
	if (which == 0 || (*has & which) != 0)
		return true;
	*has |= which;
	if (which == HAS_VERSION)
		return span_eq_str(value, "STSv1");
	return which == HAS_MODE ? sts_mode_parse(value, &out->mode)
				 : take_max_age(value, &out->max_age_s);
}

bool sts_policy_parse(struct span text, struct sts_policy *out)
{
	unsigned has = 0;
	*out = (struct sts_policy){ .mode = STS_NONE };
	if (text.n > STS_POLICY_MAX)
		return false;
	while (text.p != NULL) {
		struct span line = span_cut(&text, '\n');
		if (text.p != NULL && line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0 && text.p == NULL)
			break; /* the end of the last line */
		if (!take_line(line, out, &has))
			return false;
	}
	return has == (HAS_VERSION | HAS_MODE | HAS_MAX_AGE) &&
	       (out->mx_n > 0 || out->mode == STS_NONE);
}

bool sts_mx_matches(struct span pattern, struct span host)
{
	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	if (!span_starts(pattern, SPAN("*.")))
		return host.n > 0 && span_ieq(pattern, host);
	size_t dot = span_find(host, '.');
	return dot != SIZE_MAX && dot > 0 &&
	       span_ieq(span_from(pattern, 2), span_from(host, dot + 1));
}

/* ---- reports ----------------------------------------------------------------------------------- */

bool tlsrpt_is_record(struct span text)
{
	return is_version(text, "v=TLSRPTv1");
}

static bool is_uri(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == '!' || s.p[i] == ';')
			return false;
	return s.n > 0 && s.n <= TLSRPT_URI_MAX;
}

static bool take_uris(struct span list, struct tlsrpt_uris *out)
{
	while (list.p != NULL) {
		struct span uri = blanks_off(span_cut(&list, ',')), host, path;
		uint16_t port;
		if (!is_uri(uri))
			return false;
		bool known = tlsrpt_mailto(uri, &host) || tlsrpt_https(uri, &host, &port, &path);
		if (known && out->n < TLSRPT_URIS_MAX)
			out->v[out->n++] = uri;
	}
	return true;
}

bool tlsrpt_record_parse(struct span text, struct tlsrpt_uris *out)
{
	*out = (struct tlsrpt_uris){ 0 };
	if (!tlsrpt_is_record(text))
		return false;
	span_cut(&text, ';');
	while (text.p != NULL) {
		struct span value = blanks_off(span_cut(&text, ';')), name = span_cut(&value, '=');
		if (name.n == 0 && value.p == NULL && text.p == NULL)
			break; /* a ';' at the end */
		if (value.p == NULL || !is_name(name))
			return false;
		bool ok = span_eq_str(name, "rua") ? take_uris(value, out) : is_record_value(value);
		if (!ok)
			return false;
	}
	return out->n > 0;
}

bool tlsrpt_mailto(struct span uri, struct span *address_out)
{
	if (!span_istarts(uri, SPAN("mailto:")))
		return false;
	struct span rest = span_from(uri, 7);
	*address_out = span_cut(&rest, '?');
	return span_find(*address_out, '@') != SIZE_MAX && span_find(*address_out, '%') == SIZE_MAX;
}

bool tlsrpt_https(struct span uri, struct span *host_out, uint16_t *port_out, struct span *path_out)
{
	uint64_t port = 443;
	if (!span_istarts(uri, SPAN("https://")))
		return false;
	uri = span_from(uri, 8);
	size_t slash = span_find(uri, '/');
	struct span at = slash == SIZE_MAX ? uri : span_first(uri, slash), rest = at;
	*path_out = slash == SIZE_MAX ? SPAN("/") : span_from(uri, slash);
	*host_out = span_cut(&rest, ':');
	if (rest.p != NULL && (!span_u64(rest, UINT16_MAX, &port) || port == 0))
		return false;
	*port_out = (uint16_t)port;
	return sts_mx_ok(*host_out) && host_out->p[0] != '*';
}
