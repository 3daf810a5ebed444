/* dns_msg.c - decodes a DNS reply into at most DNS_RECORDS_MAX records (RFC 1035 section 4).
 *
 * Below dns.c. Replies are hostile: every read is checked against the packet's end by a cursor with
 * a sticky error, and names go through c-ares, which bounds compression. */
#include <ares.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/dns_internal.h"

enum {
	HEADER_LEN = 12,
	CLASS_IN = 1,
	RCODE_OK = 0,
	RCODE_NXDOMAIN = 3,
	FLAG_AD = 0x20,
	NEGATIVE_TTL_S = 30, /* without an SOA */
	NEGATIVE_TTL_MAX_S = 300,
	TTL_MAX_S = 3600
};

struct cursor {
	const unsigned char *p; /* the packet */
	size_t n, at;
	bool bad;
};

struct record {
	char owner[DNS_NAME_SIZE]; /* "": not a name that we may look up */
	unsigned type, class;
	uint32_t ttl;
	size_t data, len; /* in the packet */
};

/* ---- messages ---- */

struct dns_msg *dns_msg_new(enum dns_status status)
{
	struct dns_msg *m = MEM_NEW(struct dns_msg);
	m->refs = 1;
	m->status = status;
	m->data = BUF_INIT(DNS_DATA_MAX);
	return m;
}

struct dns_msg *dns_msg_ref(struct dns_msg *m)
{
	m->refs++;
	return m;
}

void dns_msg_unref(struct dns_msg **m)
{
	if (*m != NULL && --(*m)->refs == 0) {
		buf_end(&(*m)->data);
		mem_free(*m);
	}
	*m = NULL;
}

struct span dns_msg_data(const struct dns_msg *m, size_t i)
{
	CHECK(i < m->n);
	return span_first(span_from(buf_span(&m->data), m->v[i].at), m->v[i].len);
}

struct span dns_msg_alias(const struct dns_msg *m)
{
	return span_first(span_from(buf_span(&m->data), m->alias_at), m->alias_len);
}

bool dns_name_check(struct span name, char out[DNS_NAME_SIZE])
{
	/* No '/' for one: a host that begins with it is a unix socket to dial_start(). */
	size_t label = 0;
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	if (name.n == 0 || name.n > DNS_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (c == '.' && label == 0)
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > 63 ||
		    !(ascii_is_alpha(c) || ascii_is_digit(c) || c == '.' || c == '-' || c == '_'))
			return false;
	}
	if (label == 0)
		return false;
	span_lower_to(out, name);
	out[name.n] = '\0';
	return true;
}

/* ---- the cursor ---- */

static unsigned take_u16(struct cursor *c)
{
	if (c->bad || c->n - c->at < 2) {
		c->bad = true;
		return 0;
	}
	c->at += 2;
	return (unsigned)(c->p[c->at - 2] << 8 | c->p[c->at - 1]);
}

static uint32_t take_u32(struct cursor *c)
{
	uint32_t high = take_u16(c);
	return high << 16 | take_u16(c);
}

static void skip(struct cursor *c, size_t n)
{
	if (c->bad || c->n - c->at < n)
		c->bad = true;
	else
		c->at += n;
}

/* A name at the cursor; out (NULL: skip it) gets it as text, "" for the root. False: not one that
 * our tables may hold; the cursor is behind it all the same. */
static bool take_name(struct cursor *c, char out[DNS_NAME_SIZE])
{
	char *text = NULL;
	long len = 0;
	bool ok = true;
	if (c->bad || c->at >= c->n ||
	    ares_expand_name(c->p + c->at, c->p, (int)c->n, &text, &len) != ARES_SUCCESS) {
		c->bad = true;
		return false;
	}
	skip(c, (size_t)len);
	if (out != NULL && text[0] == '\0')
		out[0] = '\0';
	else if (out != NULL)
		ok = dns_name_check(span_str(text), out);
	ares_free_string(text);
	return ok;
}

static struct record take_record(struct cursor *c)
{
	struct record r;
	if (!take_name(c, r.owner))
		r.owner[0] = '\0';
	r.type = take_u16(c);
	r.class = take_u16(c);
	r.ttl = take_u32(c);
	r.len = take_u16(c);
	r.data = c->at;
	skip(c, r.len);
	return r;
}

/* ---- records ---- */

static bool put(struct dns_msg *m, uint16_t preference, struct span data)
{
	size_t at = buf_len(&m->data);
	if (m->n == DNS_RECORDS_MAX || data.n > DNS_DATA_MAX - at)
		return false; /* more than anybody needs: what fits is used */
	CHECK(buf_add_span(&m->data, data));
	m->v[m->n].preference = preference;
	m->v[m->n].at = (uint32_t)at;
	m->v[m->n++].len = (uint32_t)data.n;
	return true;
}

static void put_text(struct dns_msg *m, struct span strings)
{
	struct buf joined = BUF_INIT(DNS_DATA_MAX);
	while (strings.n > 0) {
		size_t n = (unsigned char)strings.p[0];
		strings = span_from(strings, 1);
		buf_add_span(&joined, span_first(strings, n));
		strings = span_from(strings, n);
	}
	if (buf_ok(&joined))
		put(m, 0, buf_span(&joined));
	buf_end(&joined);
}

/* One answer of the wanted type; a record of the wrong shape is passed over. */
static void put_record(struct dns_msg *m, const struct cursor *packet, const struct record *r)
{
	struct cursor c = { packet->p, packet->n, r->data, false };
	char name[DNS_NAME_SIZE];
	struct span raw = span_of(packet->p + r->data, r->len);
	unsigned preference = 0;
	switch (r->type) {
	case DNS_TYPE_A:
		if (r->len == 4)
			put(m, 0, raw);
		break;
	case DNS_TYPE_AAAA:
		if (r->len == 16)
			put(m, 0, raw);
		break;
	case DNS_TYPE_TLSA:
		if (r->len > 3)
			put(m, 0, raw);
		break;
	case DNS_TYPE_TXT:
		put_text(m, raw);
		break;
	case DNS_TYPE_MX:
		preference = take_u16(&c);
		/* fallthrough */
	case DNS_TYPE_CNAME:
	case DNS_TYPE_PTR:
		if (take_name(&c, name) && c.at == r->data + r->len)
			put(m, (uint16_t)preference, span_str(name));
		break;
	default:
		break;
	}
}

/* The name asked for is another one's, whose records these are. */
static void put_alias(struct dns_msg *m, const char *asked, const char *owner)
{
	size_t n = strlen(owner), at = buf_len(&m->data);
	if (m->alias_len > 0 || n == 0 || strcmp(asked, owner) == 0 || n > DNS_DATA_MAX - at)
		return;
	CHECK(buf_add(&m->data, owner, n));
	m->alias_at = (uint32_t)at;
	m->alias_len = (uint32_t)n;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* How long to believe that there is nothing: RFC 2308 section 5. */
static uint32_t negative_ttl(struct cursor *c, unsigned authorities)
{
	while (authorities-- > 0 && !c->bad) {
		struct record r = take_record(c);
		if (r.type != DNS_TYPE_SOA || r.len < 20 || c->bad)
			continue;
		struct cursor last = { c->p, c->n, r.data + r.len - 4, false };
		return least(least(r.ttl, take_u32(&last)), NEGATIVE_TTL_MAX_S);
	}
	return NEGATIVE_TTL_S;
}

struct dns_msg *dns_msg_parse(struct span packet, enum dns_type type)
{
	struct cursor c = { (const unsigned char *)packet.p, packet.n, 0, false };
	struct dns_msg *m = dns_msg_new(DNS_FAILED);
	skip(&c, 2);
	unsigned flags = take_u16(&c), rcode = flags & 0x0f;
	unsigned questions = take_u16(&c), answers = take_u16(&c), authorities = take_u16(&c);
	skip(&c, 2);
	if (c.bad || packet.n > UINT16_MAX || (rcode != RCODE_OK && rcode != RCODE_NXDOMAIN))
		return m;
	char asked[DNS_NAME_SIZE] = "";
	for (unsigned i = 0; i < questions && !c.bad; i++) {
		take_name(&c, i == 0 ? asked : NULL);
		skip(&c, 4);
	}
	m->secure = (flags & FLAG_AD) != 0;
	m->ttl_s = TTL_MAX_S;
	for (unsigned i = 0; i < answers && !c.bad; i++) {
		struct record r = take_record(&c);
		if (c.bad || r.class != CLASS_IN)
			continue;
		/* Aliases on the way count for the time to live; the resolver has followed them. */
		m->ttl_s = least(m->ttl_s, r.ttl);
		if (r.type != type)
			continue;
		put_record(m, &c, &r);
		put_alias(m, asked, r.owner);
	}
	if (c.bad)
		m->n = 0;
	else
		m->status = m->n > 0 ? DNS_FOUND : DNS_ABSENT;
	if (m->status == DNS_ABSENT)
		m->ttl_s = negative_ttl(&c, authorities);
	return m;
}
