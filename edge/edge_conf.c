/* edge_conf.c - settings of the edge and the TLS context made from them.
 *
 * Owns: the expansion of the option tables; snapshots (struct edge_setup). */
#include "edge/edge_conf.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/span.h"
#include "daemon/daemon.h"
#include "directory/directory.h"
#include "directory/sasl_offer.h"
#include "metermaid/metermaid.h"
#include "proto/smtp_path.h"

#include "edge/access.h"
#include "edge/channel.h"
#include "edge/copy_tls.h"
#include "edge/dnsbl.h"
#include "edge/etrn.h"
#include "edge/filter_conf.h"
#include "edge/out_conf.h"
#include "edge/relay_cert.h"
#include "edge/rewrite.h"
#include "edge/spool_wire.h"
#include "edge/tlsrpt.h"
#include "edge/verdict.h"

#define CONF_BLOCK edge_listener
#define CONF_DEF "edge/edge_listener.params.def"
#define CONF_PROSE "Addresses that take mail in one role."
#include "conf/params_table.h"

#define CONF_BLOCK edge_access
#define CONF_DEF "edge/edge_access.params.def"
#define CONF_PROSE "A rule of who may write to whom."
#include "conf/params_table.h"

#define CONF_BLOCK edge_rewrite
#define CONF_DEF "edge/edge_rewrite.params.def"
#define CONF_PROSE "A rule by which addresses become others."
#include "conf/params_table.h"

#define CONF_BLOCK edge_dnsbl
#define CONF_DEF "edge/edge_dnsbl.params.def"
#define CONF_PROSE "A DNS list that clients are looked up in."
#include "conf/params_table.h"

#define CONF_BLOCK edge_part
#define CONF_DEF "edge/edge_part.params.def"
#define CONF_PROSE "Parts of messages that a conversion is about."
#include "conf/params_table.h"

#define CONF_BLOCK edge_channel
#define CONF_DEF "edge/edge_channel.params.def"
#define CONF_PROSE "How mail goes out to one kind of destination."
#include "conf/params_table.h"

#define CONF_BLOCK edge_next_hop
#define CONF_DEF "edge/edge_next_hop.params.def"
#define CONF_PROSE "TLS towards one domain."
#include "conf/params_table.h"

#define CONF_BLOCK edge
#define CONF_DEF "edge/edge.params.def"
#define CONF_PROSE "The edge: takes mail by SMTP, gives it to stores or the spool, and delivers it."
#include "conf/params_table.h"

enum { WHY_MAX = 512, DAY_MS = 24 * 60 * 60 * 1000 };

static bool wants_tls(const struct edge_conf *e)
{
	for (size_t i = 0; i < e->listener_n; i++)
		if (e->listener[i]->tls != EDGE_TLS_NONE)
			return true;
	return false;
}

static void check_titles(const struct edge_conf *e, struct conf_diag *d)
{
	for (size_t i = 0; i < e->listener_n; i++) {
		const struct conf_head *head = &e->listener[i]->head;
		if (head->title[0] == '\0')
			conf_error(d, head->pos, "a listener needs a name: listener NAME { ... }");
		for (size_t j = 0; j < i; j++)
			if (span_eq_str(span_str(head->title), e->listener[j]->head.title))
				conf_error(d, head->pos, "second listener with the name \"%s\"",
				    head->title);
	}
}

static void check_auth(const struct edge_conf *e, struct conf_diag *d)
{
	for (size_t i = 0; i < e->listener_n; i++) {
		const struct edge_listener_conf *l = e->listener[i];
		if (edge_is_submission(l) && !edge_has_auth(l))
			conf_error(
			    d, l->head.pos, "role submission without AUTH would take no mail");
		if (edge_has_auth(l) && l->tls == EDGE_TLS_NONE && !l->allow_plaintext_auth)
			conf_error(d, l->head.pos, "AUTH needs tls, or allow_plaintext_auth");
	}
}

static bool make_contexts(struct edge_setup *s, const struct conf *c, struct buf *why)
{
	if (!wants_tls(s->edge))
		return true;
	struct span ca = s->edge->client_ca.bytes;
	s->tls = daemon_tls_server(c, NULL, why);
	if (s->tls != NULL && ca.n > 0)
		s->tls_auth = daemon_tls_server_asking(c, NULL, ca, why);
	return s->tls != NULL && (ca.n == 0 || s->tls_auth != NULL);
}

static bool make_sasl(struct edge_setup *s, struct buf *why)
{
	const struct edge_conf *e = s->edge;
	struct sasl_offer_settings o = {
		.mechanisms = &e->auth_mechanisms,
		.asks_certificates = e->client_ca.bytes.n > 0,
		.client_name = e->client_name == 0 ? STREAM_NAME_EMAIL : STREAM_NAME_COMMON,
		.oauth = {
		    .keys_pem = e->oauth_keys.bytes,
		    .issuer = e->oauth_issuer,
		    .audience = e->oauth_audience,
		    .user = e->oauth_user,
		    .scope = e->oauth_scope,
		},
	};
	s->sasl = sasl_offer_new(&o, why);
	return s->sasl != NULL;
}

static void drop_contexts(struct edge_setup *s)
{
	tls_ctx_unref(&s->tls);
	tls_ctx_unref(&s->tls_auth);
	tls_ctx_unref(&s->tls_relay);
	sasl_offer_free(&s->sasl);
}

static void check_tls(const struct conf *c, const struct edge_conf *e, struct conf_diag *d)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct edge_setup trial = { .edge = e };
	if (!make_contexts(&trial, c, &why))
		conf_error(d, e->head.pos, "TLS of the edge section: %s", buf_cstr(&why));
	buf_clear(&why);
	if (!make_sasl(&trial, &why))
		conf_error(d, e->head.pos, "section edge: %s", buf_cstr(&why));
	buf_clear(&why);
	if (!relay_cert_setup(&trial, c, &why))
		conf_error(d, e->head.pos, "relay_ca: %s", buf_cstr(&why));
	drop_contexts(&trial);
	buf_clear(&why);
	if (!out_conf_tls_ok(c, &why))
		conf_error(d, e->head.pos, "TLS towards other servers: %s", buf_cstr(&why));
	buf_clear(&why);
	if (!tlsrpt_dkim_ok(e, &why))
		conf_error(d, e->head.pos, "tls_report_dkim_key: %s", buf_cstr(&why));
	buf_end(&why);
}

bool edge_srs(struct srs *s, const struct edge_conf *e)
{
	*s = (struct srs){ .domain = e->srs_domain, .days = e->srs_lifetime / DAY_MS };
	return e->srs_domain == NULL || srs_set_keys(s, e->srs_keys.bytes);
}

static void check_srs(const struct edge_conf *e, struct conf_diag *d)
{
	struct srs s;
	if (!edge_srs(&s, e))
		conf_error(d, e->head.pos,
		    "srs_domain needs srs_keys: 1 to %d lines of at least %d bytes", SRS_KEYS_MAX,
		    SRS_KEY_BYTES_MIN);
	if (e->srs_domain != NULL && !smtp_domain_ok(span_str(e->srs_domain), false))
		conf_error(d, e->head.pos, "srs_domain: this is no domain");
}

void edge_conf_check(const struct conf *c, struct conf_diag *d)
{
	const struct edge_conf *e = conf_section(c, &edge_block);
	if (!conf_has_section(c, &edge_block))
		conf_error(d, e->head.pos, "there is no section edge");
	check_titles(e, d);
	check_auth(e, d);
	check_tls(c, e, d);
	filter_conf_check(e, d);
	struct smtp_path path;
	const char *bad = NULL;
	if (e->postmaster != NULL && smtp_address_parse(span_str(e->postmaster), 0, &path, &bad))
		conf_error(d, e->head.pos, "postmaster: %s", bad);
	if (e->double_bounce != NULL &&
	    smtp_address_parse(span_str(e->double_bounce), 0, &path, &bad))
		conf_error(d, e->head.pos, "double_bounce: %s", bad);
	if (e->queue_retry_max < e->queue_retry_first)
		conf_error(d, e->head.pos, "queue_retry_max is less than queue_retry_first");
	else
		channel_check(e, d);
	if (e->body_memory_all < e->body_memory)
		conf_error(d, e->head.pos, "body_memory_all is less than body_memory");
	check_srs(e, d);
	if ((e->copy_to.host != NULL || e->copy_listen.n > 0) && e->copy_secret.bytes.n == 0)
		conf_error(d, e->head.pos, "copy_to and copy_listen need copy_secret");
	if (e->copy_secret.bytes.n > SPOOL_SECRET_MAX)
		conf_error(d, e->head.pos, "copy_secret is longer than %d bytes", SPOOL_SECRET_MAX);
	copy_tls_check(c, e, d);
	access_check(e, d);
	table_check(&(struct tables_opts){ .conf = c, .blocks = e->table, .n = e->table_n }, d);
	etrn_check(e, d);
	verdict_check(e, d);
	relay_cert_check(e, d);
	rewrite_check(e, d);
	dnsbl_check(e, d);
	directory_check(c, d);
	metermaid_check(c, d);
}

static void setup_free(struct edge_setup *s)
{
	access_free(&s->access);
	rewrite_free(&s->rewrite);
	drop_contexts(s);
	conf_unref(&s->conf);
	mem_free(s);
}

struct edge_setup *edge_setup_new(const struct conf *conf, struct buf *why)
{
	struct edge_setup *s = MEM_NEW(struct edge_setup);
	s->refs = 1;
	s->conf = conf_ref(conf);
	s->edge = conf_section(conf, &edge_block);
	s->access = access_new(s->edge);
	s->rewrite = rewrite_new(s->edge);
	edge_srs(&s->srs, s->edge);
	s->hostname = daemon_hostname(conf);
	if (make_contexts(s, conf, why) && make_sasl(s, why) && relay_cert_setup(s, conf, why))
		return s;
	setup_free(s);
	return NULL;
}

struct edge_setup *edge_setup_ref(struct edge_setup *s)
{
	CHECK(s->refs > 0);
	s->refs++;
	return s;
}

void edge_setup_unref(struct edge_setup **s)
{
	struct edge_setup *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->refs > 0);
	if (--gone->refs == 0)
		setup_free(gone);
}

/* Hosts that are no users of ours are not asked for certificates: some cannot bear it. */
const struct tls_ctx *edge_setup_tls(
    const struct edge_setup *s, const struct edge_listener_conf *listener)
{
	if (s->tls_relay != NULL && relay_cert_wanted(listener))
		return s->tls_relay;
	return s->tls_auth != NULL && edge_has_auth(listener) ? s->tls_auth : s->tls;
}

const struct edge_listener_conf *edge_listener(const struct edge_conf *c, const char *name)
{
	for (size_t i = 0; i < c->listener_n; i++)
		if (span_eq_str(span_str(name), c->listener[i]->head.title))
			return c->listener[i];
	return NULL;
}

const struct edge_listener_conf *edge_setup_listener(const struct edge_setup *s, const char *name)
{
	return edge_listener(s->edge, name);
}

bool edge_names_listener(const struct conf_strings *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (span_eq_str(span_str(names->v[i]), name))
			return true;
	return names->n == 0;
}
