/* proxy_hdr.c - PROXY protocol headers, both versions, both ways.
 *
 * Owns nothing. */
#include "proto/proxy_hdr.h"

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
enum { V2_HEAD = 16, V2_IP4 = 12, V2_IP6 = 36 };

static enum proxy_rx bad(struct proxy_hdr *h, const char *why)
{
	h->why = why;
	return PROXY_BAD;
}

/* ---- version 1 -------------------------------------------------------------------------------- */

static bool parse_port(struct span s, uint16_t *out)
{
	uint64_t v;
	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0') || !span_u64(s, UINT16_MAX, &v))
		return false;
	*out = (uint16_t)v;
	return true;
}

static bool parse_addr(struct span s, bool v6, struct ip_addr *out)
{
	return (span_find(s, ':') != SIZE_MAX) == v6 && ip_parse(s, out);
}

static enum proxy_rx parse_v1_line(struct span line, struct proxy_hdr *out)
{
	struct span rest = span_from(line, 6), family = span_cut(&rest, ' ');
	if (span_eq_str(family, "UNKNOWN")) {
		out->kind = PROXY_LOCAL;
		return PROXY_DONE;
	}
	bool v6 = span_eq_str(family, "TCP6");
	if (!v6 && !span_eq_str(family, "TCP4"))
		return bad(out, "unknown protocol in a PROXY line");
	struct span client = span_cut(&rest, ' '), local = span_cut(&rest, ' ');
	struct span client_port = span_cut(&rest, ' ');
	if (!parse_addr(client, v6, &out->client.addr) || !parse_addr(local, v6, &out->local.addr))
		return bad(out, "bad address in a PROXY line");
	if (!parse_port(client_port, &out->client.port) || !parse_port(rest, &out->local.port))
		return bad(out, "bad port in a PROXY line");
	out->kind = PROXY_CLIENT;
	return PROXY_DONE;
}

static enum proxy_rx parse_v1(struct span input, struct proxy_hdr *out)
{
	struct span head = span_first(input, PROXY_V1_MAX);
	size_t end = span_find(head, '\n');
	for (size_t i = 0; i < head.n && i < end; i++)
		if ((head.p[i] < 0x20 && head.p[i] != '\r') || head.p[i] == 0x7f)
			return bad(out, "control character in a PROXY line");
	if (end == SIZE_MAX)
		return head.n < PROXY_V1_MAX ? PROXY_MORE : bad(out, "PROXY line too long");
	if (head.p[end - 1] != '\r' || span_find(head, '\r') != end - 1)
		return bad(out, "PROXY line without CRLF");
	out->len = end + 1;
	return parse_v1_line(span_first(head, end - 1), out);
}

/* ---- version 2 -------------------------------------------------------------------------------- */

static unsigned get_u8(struct span s, size_t at)
{
	return (unsigned char)s.p[at];
}

static uint16_t get_u16(struct span s, size_t at)
{
	return (uint16_t)(get_u8(s, at) << 8 | get_u8(s, at + 1));
}

static struct ip_addr get_addr(struct span s, size_t at, bool v6)
{
	struct ip_addr a = { .b = { [10] = 0xff, [11] = 0xff } };
	if (v6)
		memcpy(a.b, s.p + at, 16);
	else
		memcpy(a.b + 12, s.p + at, 4);
	return a;
}

/* Every TLV must end inside the header; their meaning is not ours. */
static bool tlvs_ok(struct span s)
{
	while (s.n >= 3) {
		size_t whole = 3u + get_u16(s, 1);
		if (whole > s.n)
			return false;
		s = span_from(s, whole);
	}
	return s.n == 0;
}

static enum proxy_rx parse_v2_addresses(struct span body, unsigned family, struct proxy_hdr *out)
{
	bool v6 = family == 0x21;
	size_t addr = v6 ? 16 : 4, need = v6 ? V2_IP6 : V2_IP4;
	if (body.n < need)
		return bad(out, "PROXY header too short for its addresses");
	if (!tlvs_ok(span_from(body, need)))
		return bad(out, "PROXY TLV beyond the header");
	out->kind = PROXY_CLIENT;
	out->client = (struct ip_port){ get_addr(body, 0, v6), get_u16(body, 2 * addr) };
	out->local = (struct ip_port){ get_addr(body, addr, v6), get_u16(body, 2 * addr + 2) };
	return PROXY_DONE;
}

static enum proxy_rx parse_v2(struct span input, struct proxy_hdr *out)
{
	if (input.n < V2_HEAD)
		return PROXY_MORE;
	unsigned command = get_u8(input, 12), family = get_u8(input, 13);
	size_t len = get_u16(input, 14);
	if (command != 0x20 && command != 0x21)
		return bad(out, "unknown PROXY version or command");
	if (len > PROXY_V2_MAX - V2_HEAD)
		return bad(out, "PROXY header too long");
	if (input.n < V2_HEAD + len)
		return PROXY_MORE;
	out->len = V2_HEAD + len;
	if (command == 0x21 && (family == 0x11 || family == 0x21))
		return parse_v2_addresses(span_of(input.p + V2_HEAD, len), family, out);
	if (command == 0x21 && (family == 0x12 || family == 0x22))
		return bad(out, "PROXY header for UDP");
	out->kind = PROXY_LOCAL;
	return PROXY_DONE;
}

enum proxy_rx proxy_hdr_parse(struct span input, struct proxy_hdr *out)
{
	*out = (struct proxy_hdr){ .kind = PROXY_LOCAL };
	struct span v1 = SPAN("PROXY "), v2 = span_of(signature, sizeof(signature));
	if (span_starts(input, v1))
		return parse_v1(input, out);
	if (span_starts(input, v2))
		return parse_v2(input, out);
	if (span_starts(v1, input) || span_starts(v2, input))
		return PROXY_MORE;
	return bad(out, "no PROXY header");
}

bool proxy_hdr_looks_like(struct span input)
{
	return span_starts(input, span_of(signature, sizeof(signature))) ||
	       span_starts(input, SPAN("PROXY TCP4 ")) || span_starts(input, SPAN("PROXY TCP6 ")) ||
	       span_starts(input, SPAN("PROXY UNKNOWN"));
}

static void put_u16(struct buf *out, size_t v)
{
	buf_add_char(out, (char)(v >> 8));
	buf_add_char(out, (char)(v & 0xff));
}

static void put_head(struct buf *out, char command, char family, size_t len)
{
	buf_add(out, signature, sizeof(signature));
	buf_add_char(out, command);
	buf_add_char(out, family);
	put_u16(out, len);
}

bool proxy_hdr_put(struct buf *out, struct ip_port client, struct ip_port local)
{
	bool v4 = ip_is_v4(client.addr) && ip_is_v4(local.addr);
	size_t skip = v4 ? 12 : 0;
	put_head(out, 0x21, v4 ? 0x11 : 0x21, v4 ? V2_IP4 : V2_IP6);
	buf_add(out, client.addr.b + skip, 16 - skip);
	buf_add(out, local.addr.b + skip, 16 - skip);
	put_u16(out, client.port);
	put_u16(out, local.port);
	return buf_ok(out);
}

bool proxy_hdr_put_local(struct buf *out)
{
	put_head(out, 0x20, 0, 0);
	return buf_ok(out);
}
