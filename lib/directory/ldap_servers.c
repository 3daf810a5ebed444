/* ldap_servers.c - health of replicas: failures, pauses, and one log line for each change. */
#include "directory/ldap_servers.h"

#include "base/mem.h"
#include "base/rand.h"

#include "directory/tables.h"

enum {
	PAUSE_FIRST_MS = 250,
	PAUSE_MAX_MS = 10 * 1000,
	PAUSE_DOUBLINGS_MAX = 6,
	PAUSE_URGENT_MS = 250,
};

static bool needs_tls(const struct ldap_servers *s)
{
	bool needed = s->env.conf->starttls;
	for (size_t i = 0; i < s->n; i++)
		needed = needed || s->v[i].url.tls;
	return needed;
}

static bool add_server(struct ldap_servers *s, const char *uri)
{
	struct ldap_server *v = &s->v[s->n];
	if (s->n == LDAP_URLS_MAX)
		return false;
	*v = (struct ldap_server){ .index = s->n, .uri = uri };
	if (!ldap_url_parse(span_str(uri), &v->url))
		return false;
	s->n++;
	return true;
}

static void refuse(struct ldap_servers *s, const char *what, struct span why)
{
	directory_log(SETTINGS_BAD, LOG_STR("what", what), LOG_SPAN("why", why));
	s->n = 0;
}

void ldap_servers_init(struct ldap_servers *s, const struct backend_env *env)
{
	const struct directory_conf *c = env->conf;
	struct buf why = BUF_INIT(256);
	struct tls_client_opts opts = { .ca_pem = c->tls_ca.bytes,
		.verify = (enum tls_verify)c->tls_verify };
	*s = (struct ldap_servers){ .env = *env };
	for (size_t i = 0; i < c->uri.n; i++) {
		if (!add_server(s, c->uri.v[i])) {
			refuse(s, c->uri.v[i], SPAN("not usable as a server"));
			break;
		}
	}
	if (s->n > 0 && needs_tls(s) && (s->tls = tls_client_new(&opts, &why)) == NULL)
		refuse(s, "tls_ca", buf_span(&why));
	buf_end(&why);
}

void ldap_servers_end(struct ldap_servers *s)
{
	tls_ctx_unref(&s->tls);
	s->n = 0;
}

size_t ldap_servers_best(const struct ldap_servers *s)
{
	size_t i = 0;
	while (i < s->n && s->v[i].down)
		i++;
	return i;
}

uint64_t ldap_server_due_ms(const struct ldap_server *v, bool urgent)
{
	uint64_t soon = v->failed_ms + PAUSE_URGENT_MS;
	return urgent && soon < v->retry_ms ? soon : v->retry_ms;
}

/* The pause before the next try; it doubles with each failure in a row. */
static uint64_t next_pause(const struct ldap_server *v)
{
	unsigned doublings = v->failures < PAUSE_DOUBLINGS_MAX ? v->failures : PAUSE_DOUBLINGS_MAX;
	uint64_t pause = (uint64_t)PAUSE_FIRST_MS << doublings;
	pause = pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
	return pause / 2 + rand_below(pause / 2 + 1);
}

void ldap_server_failed(struct ldap_servers *s, struct ldap_server *v, const struct ldap_failure *f)
{
	uint64_t now = loop_now_ms(s->env.loop);
	bool urgent = v->down && now < v->retry_ms; /* tried before its time: nothing is learnt */
	directory_count(LDAP_FAILURES);
	if (v->down && f->began_ms < v->failed_ms)
		return;
	if (!v->down)
		v->down_ms = now;
	v->failed_ms = now;
	v->down = true;
	if (urgent)
		return;
	uint64_t pause = next_pause(v);
	v->failures++;
	v->retry_ms = now + pause;
	if (!v->told)
		directory_log(SERVER_DOWN, LOG_STR("uri", v->uri), LOG_STR("pool", f->pool),
		    LOG_STR("why", f->why), LOG_SPAN("text", f->text), LOG_U64("retry_ms", pause));
	v->told = true;
}

void ldap_server_ready(struct ldap_server *v, const char *pool)
{
	directory_count(LDAP_CONNECTS);
	if (v->told || !v->seen)
		directory_log(SERVER_UP, LOG_STR("uri", v->uri), LOG_STR("pool", pool));
	v->down = v->told = false;
	v->seen = true;
}

void ldap_server_answered(struct ldap_server *v)
{
	v->failures = 0;
}
