/* ip.c - addresses in one 16-byte form, with their texts, prefixes and socket forms. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/ip.h"

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const struct ip_addr none;

bool ip_is_v4(struct ip_addr a)
{
	return memcmp(a.b, mapped, sizeof mapped) == 0;
}

bool ip_is_none(struct ip_addr a)
{
	return ip_eq(a, none);
}

bool ip_is_any(struct ip_addr a)
{
	static const uint8_t zero[4];
	return ip_is_none(a) || (ip_is_v4(a) && memcmp(a.b + 12, zero, sizeof zero) == 0);
}

bool ip_is_loopback(struct ip_addr a)
{
	static const uint8_t one[16] = { [15] = 1 };
	return ip_is_v4(a) ? a.b[12] == 127 : memcmp(a.b, one, 16) == 0;
}

bool ip_eq(struct ip_addr a, struct ip_addr b)
{
	return memcmp(a.b, b.b, sizeof a.b) == 0;
}

bool ip_parse(struct span text, struct ip_addr *out)
{
	char s[INET6_ADDRSTRLEN];
	struct ip_addr a = none;
	if (text.n == 0 || text.n >= sizeof s || memchr(text.p, '\0', text.n) != NULL)
		return false;
	memcpy(s, text.p, text.n);
	s[text.n] = '\0';
	if (inet_pton(AF_INET, s, a.b + 12) == 1)
		memcpy(a.b, mapped, sizeof mapped);
	else if (inet_pton(AF_INET6, s, a.b) != 1)
		return false;
	*out = a;
	return true;
}

bool ip_parse_port(struct span text, struct ip_port *out)
{
	uint64_t port;
	struct ip_port e;
	size_t colon = span_rfind(text, ':');
	if (colon == SIZE_MAX || !span_u64(span_from(text, colon + 1), 65535, &port))
		return false;
	struct span host = span_first(text, colon);
	bool bracket = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
	if (bracket)
		host = span_of(host.p + 1, host.n - 2);
	if (!ip_parse(host, &e.addr) || bracket == ip_is_v4(e.addr))
		return false;
	e.port = (uint16_t)port;
	*out = e;
	return true;
}

bool ip_parse_prefix(struct span text, struct ip_prefix *out)
{
	struct ip_addr a;
	size_t slash = span_find(text, '/');
	if (!ip_parse(span_first(text, slash), &a))
		return false;
	uint64_t width = ip_is_v4(a) ? 32 : 128;
	uint64_t bits = width;
	if (slash != SIZE_MAX && !span_u64(span_from(text, slash + 1), width, &bits))
		return false;
	struct ip_prefix p = ip_network(a, (unsigned)bits);
	if (!ip_eq(p.addr, a))
		return false;
	*out = p;
	return true;
}

/* Digits, without a NUL; returns what is behind them. */
static char *put_number(char *out, unsigned n)
{
	char digits[10];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	memcpy(out, digits + at, sizeof digits - at);
	return out + (sizeof digits - at);
}

const char *ip_text(struct ip_addr a, char out[IP_TEXT_SIZE])
{
	if (ip_is_v4(
		a)) { /* inet_ntop() would print it with sprintf(), and this is in each log line */
		char *end = out;
		for (int i = 12; i < 16; i++) {
			end = put_number(end, a.b[i]);
			*end++ = i < 15 ? '.' : '\0';
		}
	} else {
		inet_ntop(AF_INET6, a.b, out, INET6_ADDRSTRLEN);
	}
	return out;
}

const char *ip_port_text(struct ip_port e, char out[IP_TEXT_SIZE])
{
	bool bracket = !ip_is_v4(e.addr);
	out[0] = '[';
	ip_text(e.addr, out + bracket);
	char *end = out + strlen(out);
	if (bracket)
		*end++ = ']';
	*end++ = ':';
	*put_number(end, e.port) = '\0';
	return out;
}

const char *ip_prefix_text(struct ip_prefix p, char out[IP_TEXT_SIZE])
{
	char host[IP_TEXT_SIZE];
	unsigned bits = ip_is_v4(p.addr) && p.bits >= 96 ? p.bits - 96u : p.bits;
	ip_text(p.addr, host);
	snprintf(out, IP_TEXT_SIZE, "%.46s/%u", host, bits);
	return out;
}

struct ip_prefix ip_network(struct ip_addr a, unsigned bits)
{
	unsigned width = ip_is_v4(a) ? 32 : 128;
	unsigned full = (bits < width ? bits : width) + (128 - width);
	struct ip_prefix p = { .addr = a, .bits = (uint8_t)full };
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = full > i * 8 ? full - i * 8 : 0;
		if (keep < 8)
			p.addr.b[i] = (uint8_t)(p.addr.b[i] & (0xff00u >> keep));
	}
	return p;
}

bool ip_in_prefix(struct ip_addr a, struct ip_prefix p)
{
	unsigned whole = p.bits / 8, rest = p.bits % 8;
	if (memcmp(a.b, p.addr.b, whole) != 0)
		return false;
	return rest == 0 || ((a.b[whole] ^ p.addr.b[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool ip_in_set(struct ip_addr a, const struct ip_prefixes *set)
{
	for (size_t i = 0; set != NULL && i < set->n; i++)
		if (ip_in_prefix(a, set->v[i]))
			return true;
	return false;
}

struct ip_port ip_from_sockaddr(const struct sockaddr *sa)
{
	struct ip_port e = { .addr = none };
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
		memcpy(e.addr.b, mapped, sizeof mapped);
		memcpy(e.addr.b + 12, &in->sin_addr, 4);
		e.port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
		memcpy(e.addr.b, &in6->sin6_addr, 16);
		e.port = ntohs(in6->sin6_port);
	}
	return e;
}

socklen_t ip_to_sockaddr(struct ip_port e, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (ip_is_v4(e.addr)) {
		struct sockaddr_in *in = (struct sockaddr_in *)out;
		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, e.addr.b + 12, 4);
		in->sin_port = htons(e.port);
		return sizeof *in;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, e.addr.b, 16);
	in6->sin6_port = htons(e.port);
	return sizeof *in6;
}

const char *ip_reverse(struct ip_addr a, char out[IP_REVERSE_SIZE])
{
	static const char hex[17] = "0123456789abcdef";
	if (ip_is_v4(a)) {
		char *end = out;
		for (int i = 15; i >= 12; i--) {
			end = put_number(end, a.b[i]);
			*end++ = i > 12 ? '.' : '\0';
		}
		return out;
	}
	char *p = out;
	for (int i = 15; i >= 0; i--) {
		*p++ = hex[a.b[i] & 15];
		*p++ = '.';
		*p++ = hex[a.b[i] >> 4];
		*p++ = i > 0 ? '.' : '\0';
	}
	return out;
}
