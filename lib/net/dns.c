/* dns.c - the resolver: c-ares' channel on our loop, questions in flight, the cache.
 *
 * dns_ask.c asks, dns_msg.c decodes. Everything is answered from a deferred call, never out of
 * c-ares' callback: so an answer may free the resolver, and a cached or failed question looks like
 * any other. Equal questions in flight are sent once. Owns the channel and its watches. */
#include "net/dns.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <limits.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"

#include "net/dns_internal.h"
#include "net/net_facts.h"

#define dns_MAGIC 0xd4500001u
#define question_MAGIC 0xd4500002u
#define dns_sock_MAGIC 0xd4500003u

enum {
	QUESTIONS_MAX = 4096, /* in flight */
	CACHE_MAX = 4096,     /* entries, of at most: */
	CACHE_DATA_MAX = 2048,
	TRIES = 3, /* the time for one doubles with each */
	TICK_MS = 100,
	EDNS_SIZE = 1232,
	KEY_SIZE = DNS_NAME_SIZE + 1
};

struct dns {
	uint32_t magic;
	struct loop *loop;
	ares_channel channel; /* owned; NULL: it could not be set up */
	uint64_t deadline_ms;
	bool trusts;
	struct timer tick; /* c-ares' timeouts; walking them on each event would cost more */
	struct list_node socks, questions, askers;
	struct map *in_flight;
	struct map *cache;
	struct list_node recent; /* cached, most recently used first */
};

struct dns_sock {
	uint32_t magic;
	struct list_node link;
	struct dns *dns;
	struct watch *watch;
	int fd; /* c-ares' own */
};

struct question {
	uint32_t magic;
	struct list_node link; /* in dns->questions, until it is being answered */
	struct dns *dns;
	enum dns_type type;
	char key[KEY_SIZE];
	struct list_node waits;
	struct dns_msg *msg; /* owned; NULL while in flight */
	struct soon answer;
};

struct cached {
	struct list_node link;
	char key[KEY_SIZE];
	struct dns_msg *msg; /* owned */
};

/* ---- keys: the type, as a byte, and the name ---- */

static void make_key(char key[KEY_SIZE], enum dns_type type, const char *name)
{
	CHECK(type > 0 && type <= CHAR_MAX && strlen(name) < DNS_NAME_SIZE);
	key[0] = (char)type;
	memcpy(key + 1, name, strlen(name) + 1);
}

static void copy_key(char to[KEY_SIZE], const char *key)
{
	memcpy(to, key, strlen(key) + 1);
}

/* ---- the cache ---- */

static void cached_end(struct dns *d, struct cached *e)
{
	map_remove(d->cache, span_str(e->key));
	list_remove(&e->link);
	dns_msg_unref(&e->msg);
	mem_free(e);
}

static bool is_stale(const struct dns *d, const struct dns_msg *m)
{
	return loop_now_ms(d->loop) >= m->born_ms + (uint64_t)m->ttl_s * 1000;
}

static struct dns_msg *cache_find(struct dns *d, const char *key)
{
	struct cached *e = map_get(d->cache, span_str(key));
	if (e == NULL)
		return NULL;
	if (is_stale(d, e->msg)) {
		cached_end(d, e);
		return NULL;
	}
	list_remove(&e->link);
	list_add_head(&d->recent, &e->link);
	return e->msg;
}

static void cache_put(struct dns *d, const char *key, struct dns_msg *m)
{
	if (m->status == DNS_FAILED || m->ttl_s == 0 || buf_len(&m->data) > CACHE_DATA_MAX)
		return;
	struct cached *old = map_get(d->cache, span_str(key));
	if (old == NULL && map_count(d->cache) >= CACHE_MAX)
		old = LIST_OF(struct cached, link, d->recent.prev);
	if (old != NULL)
		cached_end(d, old);
	struct cached *e = MEM_NEW(struct cached);
	copy_key(e->key, key);
	e->msg = dns_msg_ref(m);
	list_add_head(&d->recent, &e->link);
	CHECK(map_set(d->cache, span_str(e->key), e, NULL));
}

/* ---- questions ---- */

static struct question *question_new(struct dns *d, const char *key, enum dns_type type);

static void question_end(struct question *q)
{
	list_remove(&q->link);
	soon_clear(&q->answer);
	dns_msg_unref(&q->msg);
	q->magic = 0;
	mem_free(q);
}

static void on_answer(void *arg)
{
	struct question *q = OBJ(question, arg);
	struct list_node *n;
	/* Out of the resolver's list first: a callback may free the resolver. */
	list_remove(&q->link);
	while ((n = list_pop(&q->waits)) != NULL) {
		struct dns_wait *w = LIST_OF(struct dns_wait, link, n);
		w->fn(w->arg, q->msg);
	}
	question_end(q);
}

static struct question *question_new(struct dns *d, const char *key, enum dns_type type)
{
	struct question *q = MEM_NEW(struct question);
	q->magic = question_MAGIC;
	q->dns = d;
	q->type = type;
	copy_key(q->key, key);
	list_init(&q->waits);
	list_add_tail(&d->questions, &q->link);
	soon_init(&q->answer, on_answer, q);
	return q;
}

/* take_msg: the answer, given from the loop. */
static void question_settle(struct question *q, struct dns_msg *take_msg)
{
	q->msg = take_msg;
	soon_set(q->dns->loop, &q->answer);
}

/* c-ares: a reply, or none. It may come inside ares_query(). A server that fails or refuses is passed
 * over for the next one; what is left when all have is no reply. */
static void on_reply(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
	struct question *q = OBJ(question, arg);
	struct dns *d = q->dns;
	if (d->channel == NULL)
		return; /* dns_free() is under way and ends the question itself */
	struct dns_msg *m = packet != NULL && len > 0
				? dns_msg_parse(span_of(packet, (size_t)len), q->type)
				: dns_msg_new(DNS_FAILED);
	m->born_ms = loop_now_ms(d->loop);
	if (m->status == DNS_FAILED)
		metric_add(&net_metrics[NET_DNS_FAILURES], 1);
	map_remove(d->in_flight, span_str(q->key));
	cache_put(d, q->key, m);
	question_settle(q, m);
}

/* As ares_query(), but with the AD bit: "tell me whether you have validated it" (RFC 6840 section 5.7). */
static void ask_server(struct dns *d, struct question *q, const char *name)
{
	enum { FLAGS_AT = 3, AD = 0x20 };
	unsigned char *packet = NULL;
	int len = 0;
	int rc = ares_create_query(name, ns_c_in, (int)q->type, (unsigned short)rand_below(65536),
	    1, &packet, &len, EDNS_SIZE);
	if (rc == ARES_SUCCESS && len > FLAGS_AT) {
		packet[FLAGS_AT] |= AD;
		ares_send(d->channel, packet, len, on_reply, q);
	} else {
		on_reply(q, rc, 0, NULL, 0);
	}
	ares_free_string(packet);
}

static void send_question(struct dns *d, struct question *q, const char *name)
{
	if (d->channel == NULL || !map_set(d->in_flight, span_str(q->key), q, NULL)) {
		metric_add(&net_metrics[NET_DNS_FAILURES], 1);
		question_settle(q, dns_msg_new(DNS_FAILED));
		return;
	}
	metric_add(&net_metrics[NET_DNS_QUERIES], 1);
	ask_server(d, q, name);
	if (!timer_armed(&d->tick))
		timer_set(&d->tick, TICK_MS);
}

void dns_question(struct dns *d, const char *name, enum dns_type type, struct dns_wait *w)
{
	char key[KEY_SIZE];
	OBJ(dns, d);
	make_key(key, type, name);
	struct dns_msg *known = cache_find(d, key);
	struct question *q = known == NULL ? map_get(d->in_flight, span_str(key)) : NULL;
	if (q == NULL) {
		q = question_new(d, key, type);
		if (known != NULL) {
			metric_add(&net_metrics[NET_DNS_CACHED], 1);
			question_settle(q, dns_msg_ref(known));
		} else {
			send_question(d, q, name);
		}
	}
	list_add_tail(&q->waits, &w->link);
}

void dns_wait_cancel(struct dns_wait *w)
{
	list_remove(&w->link);
}

void dns_asker_add(struct dns *d, struct dns_asker *a, struct ticket *t)
{
	a->ticket = t;
	list_add_tail(&d->askers, &a->link);
}

void dns_asker_remove(struct dns_asker *a)
{
	list_remove(&a->link);
}

struct loop *dns_loop(struct dns *d)
{
	return OBJ(dns, d)->loop;
}

bool dns_trusts(const struct dns *d)
{
	return d->trusts;
}

uint64_t dns_deadline_ms(const struct dns *d)
{
	return d->deadline_ms;
}

/* ---- the channel on the loop ---- */

static void on_tick(void *arg)
{
	struct dns *d = OBJ(dns, arg);
	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (map_count(d->in_flight) > 0)
		timer_set(&d->tick, TICK_MS);
}

static void on_sock(void *arg, unsigned events)
{
	struct dns_sock *s = OBJ(dns_sock, arg);
	ares_channel channel = s->dns->channel;
	int fd = s->fd;
	ares_process_fd(channel, events & WATCH_READ ? fd : ARES_SOCKET_BAD,
	    events & WATCH_WRITE ? fd : ARES_SOCKET_BAD);
}

static struct dns_sock *find_sock(struct dns *d, int fd)
{
	for (struct list_node *n = d->socks.next; n != &d->socks; n = n->next) {
		struct dns_sock *s = LIST_OF(struct dns_sock, link, n);
		if (s->fd == fd)
			return s;
	}
	return NULL;
}

static void sock_end(struct dns_sock *s)
{
	list_remove(&s->link);
	watch_free(&s->watch);
	s->magic = 0;
	mem_free(s);
}

/* c-ares: what it waits for on a descriptor; nothing at all means it is about to be closed. */
static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *d = OBJ(dns, arg);
	struct dns_sock *s = find_sock(d, fd);
	unsigned events = (readable ? WATCH_READ : 0u) | (writable ? WATCH_WRITE : 0u);
	if (events == 0) {
		if (s != NULL)
			sock_end(s);
		return;
	}
	if (s == NULL) {
		s = MEM_NEW(struct dns_sock);
		s->magic = dns_sock_MAGIC;
		s->dns = d;
		s->fd = fd;
		s->watch = watch_new(d->loop, fd, on_sock, s);
		list_add_tail(&d->socks, &s->link);
	}
	watch_set(s->watch, events);
}

/* ---- life ---- */

/* Only what never leaves this host can be believed when it says that it is secure. */
static bool all_local(ares_channel channel)
{
	struct ares_addr_port_node *v = NULL, *at;
	bool local = ares_get_servers_ports(channel, &v) == ARES_SUCCESS && v != NULL;
	for (at = v; at != NULL && local; at = at->next) {
		struct ip_addr a = { { [10] = 0xff, [11] = 0xff } };
		if (at->family == AF_INET)
			memcpy(a.b + 12, &at->addr, 4);
		else
			memcpy(a.b, &at->addr, 16);
		local = ip_is_loopback(a);
	}
	if (v != NULL)
		ares_free_data(v);
	return local;
}

static int set_servers(ares_channel channel, const struct dns_opts *o)
{
	struct ares_addr_port_node *v = mem_array(o->server_count, sizeof *v);
	for (size_t i = 0; i < o->server_count; i++) {
		const struct ip_port *at = &o->servers[i];
		bool v4 = ip_is_v4(at->addr);
		v[i].next = i + 1 < o->server_count ? &v[i + 1] : NULL;
		v[i].family = v4 ? AF_INET : AF_INET6;
		v[i].udp_port = v[i].tcp_port = at->port;
		memcpy(&v[i].addr, at->addr.b + (v4 ? 12 : 0), v4 ? 4 : 16);
	}
	int rc = ares_set_servers_ports(channel, v);
	mem_free(v);
	return rc;
}

static int open_channel(struct dns *d, const struct dns_opts *o, int flags)
{
	char lookups[] = "b"; /* DNS only: /etc/hosts would be read while everybody waits */
	struct ares_options a = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS | flags,
		.timeout = (int)(o->deadline_ms / ((1 << TRIES) - 1)) + 1,
		.tries = TRIES,
		.ednspsz = EDNS_SIZE,
		.lookups = lookups,
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = d,
	};
	int rc = ares_init_options(&d->channel, &a,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
		ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
	if (rc == ARES_SUCCESS && o->server_count > 0)
		rc = set_servers(d->channel, o);
	return rc;
}

/* c-ares takes a new socket, with a port that nobody can guess, whenever nothing is in flight. Where no stranger can send
 * to it, its socket stays. */
static int set_up(struct dns *d, const struct dns_opts *o)
{
	int rc = ares_library_init(ARES_LIB_INIT_ALL);
	if (rc == ARES_SUCCESS)
		rc = open_channel(d, o, 0);
	d->trusts = rc == ARES_SUCCESS && all_local(d->channel);
	if (d->trusts) {
		ares_destroy(d->channel);
		rc = open_channel(d, o, ARES_FLAG_STAYOPEN);
	}
	return rc;
}

static void channel_end(struct dns *d)
{
	ares_channel channel = d->channel;
	d->channel = NULL;
	if (channel != NULL)
		ares_destroy(channel); /* calls on_reply() for what is in flight */
}

struct dns *dns_new(struct loop *l, const struct dns_opts *opts)
{
	struct dns *d = MEM_NEW(struct dns);
	CHECK(opts->deadline_ms > 0 && opts->deadline_ms < INT32_MAX);
	d->magic = dns_MAGIC;
	d->loop = l;
	d->deadline_ms = opts->deadline_ms;
	d->in_flight = map_new(QUESTIONS_MAX);
	d->cache = map_new(CACHE_MAX);
	list_init(&d->socks);
	list_init(&d->questions);
	list_init(&d->askers);
	list_init(&d->recent);
	timer_init(&d->tick, l, on_tick, d);
	int rc = set_up(d, opts);
	if (rc != ARES_SUCCESS) {
		log_write(&net_events[NET_EV_DNS_SETUP], NULL,
		    LOG_FIELDS(LOG_STR("text", ares_strerror(rc))));
		channel_end(d);
	}
	return d;
}

void dns_free(struct dns **d)
{
	struct dns *dying = *d;
	if (dying == NULL)
		return;
	OBJ(dns, dying);
	while (!list_empty(&dying->askers)) {
		struct ticket *t = LIST_OF(struct dns_asker, link, dying->askers.next)->ticket;
		ticket_cancel(&t);
	}
	channel_end(dying);
	while (!list_empty(&dying->questions))
		question_end(LIST_OF(struct question, link, dying->questions.next));
	while (!list_empty(&dying->recent))
		cached_end(dying, LIST_OF(struct cached, link, dying->recent.next));
	while (!list_empty(&dying->socks))
		sock_end(LIST_OF(struct dns_sock, link, dying->socks.next));
	timer_clear(&dying->tick);
	map_free(&dying->in_flight);
	map_free(&dying->cache);
	dying->magic = 0;
	MEM_FREE(d);
}
