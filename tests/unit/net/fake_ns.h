/* fake_ns.h - a name server on loopback, UDP and TCP, whose answers a test's function makes. */
#ifndef TESTS_NET_FAKE_NS_H
#define TESTS_NET_FAKE_NS_H

#include "net_test.h"

#include "net/dns.h"

enum {
	RR_A = 1,
	RR_CNAME = 5,
	RR_SOA = 6,
	RR_PTR = 12,
	RR_MX = 15,
	RR_TXT = 16,
	RR_AAAA = 28,
	RR_TLSA = 52
};

struct ns_reply {
	const char *name; /* asked for, as text */
	unsigned type;
	bool tcp;
	bool drop, truncated, secure;
	bool asked; /* with the AD bit */
	unsigned rcode, answers, authorities;
	struct buf records; /* all sections */
	struct buf raw;     /* when not empty: sent instead of a message */
};
typedef void ns_fn(struct ns_reply *r);

struct fake_ns {
	int udp, door, conn;
	struct watch *on_udp, *on_door, *on_conn;
	struct ip_port at;
	unsigned udp_n, tcp_n; /* questions */
	unsigned from_port;    /* of the last one by UDP */
	ns_fn *fn;
};

static void put_u16(struct buf *b, unsigned v)
{
	buf_add_char(b, (char)(v >> 8));
	buf_add_char(b, (char)(v & 0xff));
}

static void put_dns_name(struct buf *b, const char *name)
{
	struct span rest = span_str(name);
	while (rest.n > 0) {
		struct span label = span_cut(&rest, '.');
		buf_add_char(b, (char)label.n);
		buf_add_span(b, label);
	}
	buf_add_char(b, 0);
}

__attribute__((unused)) static void put_rr(
    struct ns_reply *r, const char *name, unsigned type, unsigned ttl, struct span data)
{
	put_dns_name(&r->records, name);
	put_u16(&r->records, type);
	put_u16(&r->records, 1);
	put_u16(&r->records, ttl >> 16);
	put_u16(&r->records, ttl & 0xffff);
	put_u16(&r->records, (unsigned)data.n);
	buf_add_span(&r->records, data);
	if (type == RR_SOA)
		r->authorities++;
	else
		r->answers++;
}

/* The address as text: A or AAAA of it. */
__attribute__((unused)) static void put_addr(
    struct ns_reply *r, const char *name, unsigned ttl, const char *text)
{
	struct ip_addr a;
	assert_true(ip_parse(span_str(text), &a));
	if (ip_is_v4(a) && r->type == RR_A)
		put_rr(r, name, RR_A, ttl, span_of(a.b + 12, 4));
	else if (!ip_is_v4(a) && r->type == RR_AAAA)
		put_rr(r, name, RR_AAAA, ttl, span_of(a.b, 16));
}

/* A record whose data is a name behind `before` (a preference). */
__attribute__((unused)) static void put_named(
    struct ns_reply *r, unsigned type, unsigned ttl, int before, const char *name)
{
	struct buf data = BUF_INIT(300);
	if (before >= 0)
		put_u16(&data, (unsigned)before);
	put_dns_name(&data, name);
	put_rr(r, r->name, type, ttl, buf_span(&data));
	buf_end(&data);
}

__attribute__((unused)) static void put_soa(struct ns_reply *r, unsigned ttl, unsigned least)
{
	struct buf data = BUF_INIT(300);
	put_dns_name(&data, "ns.test");
	put_dns_name(&data, "root.test");
	for (int i = 0; i < 4; i++) {
		put_u16(&data, 0);
		put_u16(&data, 1);
	}
	put_u16(&data, 0);
	put_u16(&data, least);
	put_rr(r, "test", RR_SOA, ttl, buf_span(&data));
	buf_end(&data);
}

/* Appends the reply to the query; false: none. */
static bool ns_answer(struct fake_ns *ns, struct span query, bool tcp, struct buf *out)
{
	char name[300];
	size_t at = 12, n = 0;
	assert_true(query.n > 16);
	for (size_t len; (len = (unsigned char)query.p[at]) != 0; at += len + 1)
		n += (size_t)snprintf(name + n, sizeof name - n, "%s%.*s", n > 0 ? "." : "",
		    (int)len, query.p + at + 1);
	name[n] = '\0';
	struct span question = span_of(query.p + 12, at + 5 - 12);
	struct ns_reply r = {
		.name = name, .tcp = tcp, .records = BUF_INIT(60000), .raw = BUF_INIT(60000)
	};
	r.type = (unsigned char)query.p[at + 2];
	r.asked = (query.p[3] & 0x20) != 0;
	ns->fn(&r);
	if (buf_len(&r.raw) > 0) {
		buf_add(out, query.p, 2);
		buf_add_span(out, buf_span(&r.raw));
	} else if (!r.drop) {
		buf_add(out, query.p, 2);
		put_u16(out, 0x8180 | (r.truncated ? 0x0200 : 0) | (r.secure ? 0x20 : 0) | r.rcode);
		put_u16(out, 1);
		put_u16(out, r.answers);
		put_u16(out, r.authorities);
		put_u16(out, 0);
		buf_add_span(out, question);
		buf_add_span(out, buf_span(&r.records));
	}
	buf_end(&r.records);
	buf_end(&r.raw);
	return !r.drop;
}

static void on_ns_udp(void *arg, unsigned events)
{
	struct fake_ns *ns = arg;
	struct sockaddr_storage from;
	socklen_t n = sizeof from;
	struct buf out = BUF_INIT(65000);
	char query[600];
	ssize_t got = recvfrom(ns->udp, query, sizeof query, 0, (struct sockaddr *)&from, &n);
	if (got < 0)
		return;
	ns->udp_n++;
	ns->from_port = ip_from_sockaddr((struct sockaddr *)&from).port;
	if (ns_answer(ns, span_of(query, (size_t)got), false, &out))
		sendto(ns->udp, buf_span(&out).p, buf_len(&out), 0, (struct sockaddr *)&from, n);
	buf_end(&out);
}

static void ns_hang_up(struct fake_ns *ns)
{
	watch_free(&ns->on_conn);
	if (ns->conn >= 0)
		close(ns->conn);
	ns->conn = -1;
}

static void on_ns_conn(void *arg, unsigned events)
{
	struct fake_ns *ns = arg;
	struct buf out = BUF_INIT(65000), framed = BUF_INIT(65000);
	char query[600];
	ssize_t got = recv(ns->conn, query, sizeof query, MSG_PEEK);
	if (got == 0) {
		ns_hang_up(ns);
		return;
	}
	if (got < 2)
		return;
	size_t n = (size_t)(unsigned char)query[0] << 8 | (unsigned char)query[1];
	if ((size_t)got < n + 2)
		return;
	assert_int_equal(recv(ns->conn, query, n + 2, 0), n + 2);
	ns->tcp_n++;
	if (ns_answer(ns, span_of(query + 2, n), true, &out)) {
		put_u16(&framed, (unsigned)buf_len(&out));
		buf_add_span(&framed, buf_span(&out));
		raw_send(ns->conn, buf_span(&framed));
	}
	buf_end(&out);
	buf_end(&framed);
}

static void on_ns_door(void *arg, unsigned events)
{
	struct fake_ns *ns = arg;
	ns_hang_up(ns);
	ns->conn = accept4(ns->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(ns->conn >= 0);
	ns->on_conn = watch_new(loop, ns->conn, on_ns_conn, ns);
	watch_set(ns->on_conn, WATCH_READ);
}

/* UDP: begins, and ends. */
static void fake_ns_hear(struct fake_ns *ns)
{
	struct sockaddr_storage sa;
	socklen_t n = ip_to_sockaddr(ns->at, &sa);
	ns->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(ns->udp, (struct sockaddr *)&sa, n), 0);
	ns->on_udp = watch_new(loop, ns->udp, on_ns_udp, ns);
	watch_set(ns->on_udp, WATCH_READ);
}

static void fake_ns_go_deaf(struct fake_ns *ns)
{
	watch_free(&ns->on_udp);
	close(ns->udp);
}

__attribute__((unused)) static void fake_ns_begin(struct fake_ns *ns, ns_fn *fn)
{
	*ns = (struct fake_ns){ .fn = fn, .conn = -1 };
	ns->door = door_open(&ns->at);
	ns->on_door = watch_new(loop, ns->door, on_ns_door, ns);
	watch_set(ns->on_door, WATCH_READ);
	fake_ns_hear(ns);
}

/* With one that asks it. */
__attribute__((unused)) static struct dns *fake_ns_begin_asked(struct fake_ns *ns, ns_fn *fn)
{
	fake_ns_begin(ns, fn);
	return dns_new(
	    loop, &(struct dns_opts){ .servers = &ns->at, .server_count = 1, .deadline_ms = 3000 });
}

__attribute__((unused)) static void fake_ns_end(struct fake_ns *ns)
{
	ns_hang_up(ns);
	watch_free(&ns->on_door);
	close(ns->door);
	fake_ns_go_deaf(ns);
}

#endif
