/* copy_tls.c - TLS between hosts that keep copies for each other. Beside: copier.c, copies.c. Owns nothing. */
#include "edge/copy_tls.h"

#include "daemon/daemon.h"
#include "edge/queue_tables.h"

static bool is_near(struct span host)
{
	struct ip_addr a;
	if (host.n > 0 && host.p[0] == '/')
		return true;
	return span_ieq(host, SPAN("localhost")) || (ip_parse(host, &a) && ip_is_loopback(a));
}

bool copy_tls_to(const struct edge_conf *e)
{
	if (e->copy_tls == EDGE_COPY_TLS_AUTO)
		return !is_near(span_str(e->copy_to.host));
	return e->copy_tls == EDGE_COPY_TLS_YES;
}

bool copy_tls_at(const struct edge_conf *e, struct ip_addr local)
{
	if (e->copy_tls == EDGE_COPY_TLS_AUTO)
		return !ip_is_loopback(local) && !ip_is_none(local);
	return e->copy_tls == EDGE_COPY_TLS_YES;
}

/* Of a wildcard address, too: who comes to it may come over a network. */
static bool listens_so(const struct edge_conf *e)
{
	for (size_t i = 0; i < e->copy_listen.n; i++) {
		bool near = e->copy_listen.v[i].unix_path != NULL ||
			    ip_is_loopback(e->copy_listen.v[i].at.addr);
		if (e->copy_tls == EDGE_COPY_TLS_YES ||
		    (e->copy_tls == EDGE_COPY_TLS_AUTO && !near))
			return true;
	}
	return false;
}

static void take(struct tls_ctx **ctx, struct tls_ctx *fresh, struct buf *why)
{
	if (fresh == NULL) {
		log_write(&queue_events[QUEUE_EV_COPY_TLS], NULL,
		    LOG_FIELDS(LOG_STR("why", buf_cstr(why))));
		return;
	}
	tls_ctx_unref(ctx);
	*ctx = fresh;
}

void copy_tls_client(struct tls_ctx **ctx, const struct conf *conf)
{
	struct buf why = BUF_INIT(1000);
	if (copy_tls_to(conf_section(conf, &edge_block)))
		take(ctx, daemon_tls_client(conf, TLS_VERIFY_NAME, &why), &why);
	buf_end(&why);
}

void copy_tls_server(struct tls_ctx **ctx, const struct conf *conf)
{
	struct buf why = BUF_INIT(1000);
	if (listens_so(conf_section(conf, &edge_block)))
		take(ctx, daemon_tls_server(conf, NULL, &why), &why);
	buf_end(&why);
}

void copy_tls_check(const struct conf *conf, const struct edge_conf *e, struct conf_diag *d)
{
	struct buf why = BUF_INIT(1000);
	struct tls_ctx *ctx = NULL;
	if (listens_so(e) && (ctx = daemon_tls_server(conf, NULL, &why)) == NULL)
		conf_error(d, e->head.pos, "copy_listen with TLS (copy_tls): %s", buf_cstr(&why));
	if (e->copy_tls == EDGE_COPY_TLS_YES && e->copy_to.host != NULL &&
	    e->copy_to.host[0] == '/')
		conf_error(d, e->head.pos,
		    "copy_tls yes: a unix socket (copy_to) has no name that a certificate is for");
	tls_ctx_unref(&ctx);
	buf_end(&why);
}
