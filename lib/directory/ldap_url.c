/* ldap_url.c - the `uri` option taken apart. Pure. */
#include "directory/ldap_url.h"

/* Percent-decodes into host; false: too long, empty, or a byte that stands in no host name or path. */
static bool put_host(struct span text, struct ldap_url *out)
{
	size_t n = 0;
	while (text.n > 0) {
		char c;
		if (!span_cut_escaped(&text, &c) || (unsigned char)c <= ' ' ||
		    (unsigned char)c >= 0x7f || n + 1 >= sizeof out->host)
			return false;
		out->host[n++] = c;
	}
	out->host[n] = '\0';
	return n > 0;
}

static bool parse_unix(struct span rest, struct ldap_url *out)
{
	return put_host(rest, out) && out->host[0] == '/';
}

static bool parse_tcp(struct span rest, struct ldap_url *out)
{
	struct span host = rest;
	uint64_t port = out->tls ? 636 : 389;
	size_t close = span_find(rest, ']');
	bool literal = rest.n > 0 && rest.p[0] == '[';
	if (literal && close == SIZE_MAX)
		return false;
	size_t colon = span_find(literal ? span_from(rest, close) : rest, ':');
	if (colon != SIZE_MAX) {
		colon += literal ? close : 0;
		if (!span_u64(span_from(rest, colon + 1), 65535, &port) || port == 0)
			return false;
		host = span_first(rest, colon);
	}
	if (literal) {
		if (host.n != close + 1)
			return false;
		host = span_from(span_first(host, close), 1);
	}
	out->port = (uint16_t)port;
	return put_host(host, out) && out->host[0] != '/';
}

bool ldap_url_parse(struct span text, struct ldap_url *out)
{
	static const struct {
		struct span scheme;
		bool tls;
		bool (*parse)(struct span rest, struct ldap_url *out);
	} schemes[] = {
		{ { "ldap://", 7 }, false, parse_tcp },
		{ { "ldaps://", 8 }, true, parse_tcp },
		{ { "ldapi://", 8 }, false, parse_unix },
	};
	*out = (struct ldap_url){ 0 };
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		if (!span_istarts(text, schemes[i].scheme))
			continue;
		struct span rest = span_from(text, schemes[i].scheme.n);
		if (rest.n > 0 && rest.p[rest.n - 1] == '/')
			rest.n--;
		out->tls = schemes[i].tls;
		return schemes[i].parse(rest, out);
	}
	return false;
}
