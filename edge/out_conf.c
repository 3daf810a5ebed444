/* out_conf.c - settings of outgoing connections; for commit (step 5 of 6) and the queue (step 6 of 6).
 *
 * Owns nothing. TLS contexts are made anew with each configuration, so that a new trust file counts. */
#include "edge/out_conf.h"

#include "daemon/daemon.h"
#include "edge/channel.h"
#include "edge/edge_conf.h"

enum { WHY_MAX = 512 };

/* Owned; all NULL where no TLS is wanted. */
struct contexts {
	struct tls_ctx *v[OUT_TLS_KINDS];
};

static bool wants_tls(const struct edge_conf *c)
{
	return c->lmtp_tls != (int)OUT_TLS_NONE || c->smtp_tls != (int)OUT_TLS_NONE;
}

/* Strangers' servers are vouched for by the public authorities, whoever does so for our stores. */
static struct tls_ctx *sts_context(const struct conf *conf, enum tls_verify verify, struct buf *why)
{
	const struct edge_conf *c = conf_section(conf, &edge_block);
	struct tls_client_opts o = { .ca_pem = c->mta_sts_ca.bytes, .verify = verify };
	return tls_client_new(&o, why);
}

static struct contexts contexts_new(const struct conf *conf, struct buf *why)
{
	struct contexts x = { 0 };
	const struct edge_conf *c = conf_section(conf, &edge_block);
	if (!wants_tls(c))
		return x;
	struct tls_pair own = { c->out_chain.bytes, c->out_key.bytes };
	x.v[OUT_TLS_MAY] = daemon_tls_client_as(conf, TLS_VERIFY_NONE, &own, why);
	x.v[OUT_TLS_MUST] = daemon_tls_client_as(conf, TLS_VERIFY_NAME, &own, why);
	if (x.v[OUT_TLS_MUST] != NULL)
		x.v[OUT_TLS_DANE] = tls_ctx_ref(x.v[OUT_TLS_MUST]);
	x.v[OUT_TLS_STS] = sts_context(conf, TLS_VERIFY_NAME, why);
	x.v[OUT_TLS_STS_TEST] = sts_context(conf, TLS_VERIFY_TELL, why);
	return x;
}

static void contexts_end(struct contexts *x)
{
	for (size_t k = 0; k < OUT_TLS_KINDS; k++)
		tls_ctx_unref(&x->v[k]);
}

/* Destinations keep within their channel's own limit: this one is for all. */
static size_t most_concurrent(const struct edge_conf *c)
{
	size_t most = 0;
	for (size_t k = 0; k < DEST_KINDS; k++) {
		size_t one = channel_of(c, (enum q_dest_kind)k).concurrency;
		most = one > most ? one : most;
	}
	return most;
}

static struct out_pool_opts opts_of(const struct conf *conf, enum out_user who)
{
	const struct edge_conf *c = conf_section(conf, &edge_block);
	bool queue = who == OUT_FOR_QUEUE;
	return (struct out_pool_opts){
		.helo = daemon_hostname(conf),
		.per_host_max = queue ? most_concurrent(c) : (size_t)c->out_connections,
		.connect_ms = c->connect_timeout,
		.reply_ms = c->reply_timeout,
		.final_ms = c->final_timeout,
		.idle_ms = c->out_idle,
		.dead_ms = queue ? 0 : c->dead_backoff,
	};
}

/* Its TLS settings have been tried when the configuration was loaded: why they fail now, nobody reads. */
static struct contexts opts_with_tls(
    struct out_pool_opts *opts, const struct conf *conf, enum out_user who)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct contexts x = contexts_new(conf, &why);
	buf_end(&why);
	*opts = opts_of(conf, who);
	for (size_t k = 0; k < OUT_TLS_KINDS; k++)
		opts->tls[k] = x.v[k];
	return x;
}

/* What never leaves this host needs no TLS. */
static bool is_this_host(const char *host)
{
	struct ip_addr a;
	return host[0] == '/' || (ip_parse(span_str(host), &a) && ip_is_loopback(a));
}

enum out_tls out_conf_tls(const struct edge_conf *c, const struct out_target *to, bool require_tls)
{
	bool store = to->kind == OUT_LMTP;
	if (require_tls && !(store && is_this_host(to->host)))
		return OUT_TLS_MUST;
	return (enum out_tls)(store ? c->lmtp_tls : c->smtp_tls);
}

struct out_pool *out_conf_new(
    struct loop *l, struct dns *dns, const struct conf *conf, enum out_user who)
{
	struct out_pool_opts opts;
	struct contexts x = opts_with_tls(&opts, conf, who);
	struct out_pool *p = out_pool_new(l, dns, &opts);
	contexts_end(&x);
	return p;
}

void out_conf_set(struct out_pool *p, const struct conf *conf, enum out_user who)
{
	struct out_pool_opts opts;
	struct contexts x = opts_with_tls(&opts, conf, who);
	out_pool_set(p, &opts);
	contexts_end(&x);
}

bool out_conf_tls_ok(const struct conf *conf, struct buf *why)
{
	struct contexts x = contexts_new(conf, why);
	bool ok = true;
	for (size_t k = OUT_TLS_MAY; k < OUT_TLS_KINDS; k++)
		ok = ok && x.v[k] != NULL;
	ok = ok || !wants_tls(conf_section(conf, &edge_block));
	contexts_end(&x);
	return ok;
}
