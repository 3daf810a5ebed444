/* redis_sentinel.c - see redis_sentinel.h. Owns one connection and the question under way. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/redis_conn.h"
#include "metermaid/redis_sentinel.h"

enum { SENTINEL_PORT = 26379, PAUSE_FIRST_MS = 50, PAUSE_MAX_MS = 2000 };

#define redis_sentinel_MAGIC 0x4ed15e41u

struct redis_sentinel {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	const struct metermaid_conf *conf;
	redis_sentinel_fn *fn;
	void *arg;
	struct redis_conn *conn; /* NULL: between two of them */
	struct timer clock;      /* next connection, or next question */
	size_t at;               /* which of them */
	uint64_t pause_ms;       /* before the next connection; grows until one knows the master */
	bool urgent, asked;
	bool said; /* one log line until one knows the master again */
};

static void ask_later(struct redis_sentinel *s)
{
	timer_set(&s->clock, s->urgent ? SENTINEL_URGENT_MS : SENTINEL_CALM_MS);
}

/* A name or an address and a port, or nothing. */
static bool take_master(const struct redis_reply *r, struct buf *host, struct conf_hostport *out)
{
	uint64_t port;
	if (r->got != REDIS_VALUES || r->n != 2 || r->v[0].text.n == 0 ||
	    r->v[0].text.p[0] == '/' || !span_is_ascii(r->v[0].text) ||
	    memchr(r->v[0].text.p, '\0', r->v[0].text.n) != NULL ||
	    !span_u64(r->v[1].text, UINT16_MAX, &port) || port == 0)
		return false;
	buf_add_span(host, r->v[0].text);
	*out = (struct conf_hostport){ buf_cstr(host), (uint16_t)port };
	return buf_ok(host);
}

static void on_master(void *arg, const struct redis_reply *r)
{
	struct redis_sentinel *s = OBJ(redis_sentinel, arg);
	struct conf_hostport master;
	struct buf host = BUF_INIT(DNS_NAME_SIZE);
	s->asked = false;
	if (s->conn == NULL || !redis_conn_is_open(s->conn)) {
		buf_end(&host);
		return;
	}
	if (take_master(r, &host, &master)) {
		s->pause_ms = 0;
		s->said = false;
		ask_later(s);
		s->fn(s->arg, &master);
	} else {
		redis_conn_drop(s->conn, "it does not know the master");
	}
	buf_end(&host);
}

static void ask(struct redis_sentinel *s)
{
	const struct span words[] = { SPAN("SENTINEL"), SPAN("GET-MASTER-ADDR-BY-NAME"),
		span_str(s->conf->redis_master) };
	if (!s->asked)
		s->asked = redis_conn_call(s->conn, words, COUNT_OF(words), on_master, s);
}

static void on_auth(void *arg, const struct redis_reply *r)
{
	/* refused: the connection ends by on_error() */
}

static void on_open(void *arg)
{
	struct redis_sentinel *s = OBJ(redis_sentinel, arg);
	const char *user = s->conf->redis_sentinel_user;
	struct span password = span_trim(s->conf->redis_sentinel_password.bytes);
	const struct span words[] = { SPAN("AUTH"), user != NULL ? span_str(user) : password,
		password };
	if (password.n > 0)
		redis_conn_call(s->conn, words, user != NULL ? 3 : 2, on_auth, s);
	ask(s);
}

static void on_end(void *arg, const char *why)
{
	struct redis_sentinel *s = OBJ(redis_sentinel, arg);
	if (!s->said)
		log_write(&meter_events[METER_EV_SENTINEL_ERROR], NULL,
		    LOG_FIELDS(LOG_STR("server", s->conf->redis_sentinel.v[s->at].host),
			LOG_STR("why", why)));
	s->said = true;
	redis_conn_free(&s->conn);
	s->asked = false;
	s->at = (s->at + 1) % s->conf->redis_sentinel.n;
	s->pause_ms = s->pause_ms == 0 ? PAUSE_FIRST_MS : s->pause_ms * 2;
	if (s->pause_ms > PAUSE_MAX_MS)
		s->pause_ms = PAUSE_MAX_MS;
	timer_set(&s->clock, s->pause_ms / 2 + rand_below(s->pause_ms / 2 + 1));
}

static enum redis_got on_error(void *arg, struct span text)
{
	struct redis_sentinel *s = OBJ(redis_sentinel, arg);
	struct buf why = BUF_INIT(256);
	buf_add_span(&why, span_first(text, 250));
	redis_conn_drop(s->conn, buf_cstr(&why));
	buf_end(&why);
	return REDIS_LOST;
}

static void on_clock(void *arg)
{
	struct redis_sentinel *s = OBJ(redis_sentinel, arg);
	const struct redis_conn_owner me = { on_open, on_end, on_error, s };
	struct conf_hostport to = s->conf->redis_sentinel.v[s->at];
	if (s->conn != NULL) {
		if (redis_conn_is_open(s->conn))
			ask(s);
		return;
	}
	if (to.port == 0)
		to.port = SENTINEL_PORT;
	s->conn = redis_conn_new(s->loop, s->dns, &to, &me);
}

struct redis_sentinel *redis_sentinel_new(struct loop *l, struct dns *dns,
    const struct metermaid_conf *conf, redis_sentinel_fn *fn, void *arg)
{
	struct redis_sentinel *s = MEM_NEW(struct redis_sentinel);
	CHECK(conf->redis_sentinel.n > 0);
	*s = (struct redis_sentinel){ .magic = redis_sentinel_MAGIC,
		.loop = l,
		.dns = dns,
		.conf = conf,
		.fn = fn,
		.arg = arg,
		.urgent = true };
	s->at =
	    rand_below(conf->redis_sentinel.n); /* the workers' questions are spread over them */
	timer_init(&s->clock, l, on_clock, s);
	timer_set(&s->clock, 0);
	return s;
}

void redis_sentinel_free(struct redis_sentinel **s)
{
	struct redis_sentinel *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	redis_conn_free(&gone->conn);
	timer_clear(&gone->clock);
	gone->magic = 0;
	mem_free(gone);
}

void redis_sentinel_hurry(struct redis_sentinel *s, bool urgent)
{
	bool sooner = urgent && !s->urgent;
	s->urgent = urgent;
	if (sooner && s->conn != NULL && redis_conn_is_open(s->conn))
		timer_set(&s->clock, 0);
}

void redis_sentinel_doubt(struct redis_sentinel *s)
{
	if (s->conn != NULL)
		redis_conn_drop(s->conn, "what it named is no master");
}
