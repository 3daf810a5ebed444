/* daemon_conf.c - tables of the common sections, and what programs ask of them. */
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "daemon/daemon.h"
#include "daemon/daemon_conf.h"
#include "daemon/tickets.h"

#define CONF_BLOCK root
#define CONF_DEF "daemon/root.params.def"
#define CONF_PROSE "Options at the top level of the file, common to all programs."
#include "conf/params_table.h"

#define CONF_BLOCK tls_cert
#define CONF_DEF "daemon/tls_cert.params.def"
#define CONF_PROSE "One certificate with its key."
#include "conf/params_table.h"

#define CONF_BLOCK tls
#define CONF_DEF "daemon/tls.params.def"
#define CONF_PROSE "Certificates of this host and trust anchors."
#include "conf/params_table.h"

#define CONF_BLOCK admin
#define CONF_DEF "daemon/admin.params.def"
#define CONF_PROSE "HTTP for /metrics and /healthz, on loopback or a unix socket only."
#include "conf/params_table.h"

#define CONF_BLOCK move_store
#define CONF_DEF "daemon/move_store.params.def"
#define CONF_PROSE "How the tool of a store is run."
#include "conf/params_table.h"

#define CONF_BLOCK move
#define CONF_DEF "daemon/move.params.def"
#define CONF_PROSE "How users move between stores; for `postern user move` alone."
#include "conf/params_table.h"

static const struct conf_block *const common[] = { &tls_block, &admin_block, &move_block };

/* Of the one program that this process is. */
static void (*program_check)(const struct conf *c, struct conf_diag *d);

static void check_common(const struct conf *c, struct conf_diag *d)
{
	const struct tls_conf *t = conf_section(c, &tls_block);
	size_t n = t->ticket_key.bytes.n;
	if (n % TLS_TICKET_KEY_LEN != 0 || n / TLS_TICKET_KEY_LEN > TLS_TICKET_KEYS_MAX)
		conf_error(d, t->head.pos,
		    "ticket_key: 1 to %d keys of %d bytes each, not %zu bytes", TLS_TICKET_KEYS_MAX,
		    TLS_TICKET_KEY_LEN, n);
	if (program_check != NULL)
		program_check(c, d);
}

void daemon_schema_init(struct daemon_schema *out, const struct conf_schema *program)
{
	size_t n = 0;
	memset(out, 0, sizeof *out);
	for (size_t i = 0; i < COUNT_OF(common); i++)
		out->sections[n++] = common[i];
	for (size_t i = 0; program->sections != NULL && program->sections[i] != NULL; i++) {
		CHECK(n + 1 < DAEMON_SECTIONS_MAX);
		out->sections[n++] = program->sections[i];
	}
	out->schema.root = &root_block;
	out->schema.sections = out->sections;
	out->schema.foreign = program->foreign;
	out->schema.check = check_common;
	program_check = program->check;
}

const char *daemon_hostname(const struct conf *c)
{
	return ((const struct root_conf *)conf_section(c, &root_block))->hostname;
}

const char *daemon_run_dir(const struct conf *c)
{
	return ((const struct root_conf *)conf_section(c, &root_block))->run_dir;
}

const char *daemon_user(const struct conf *c)
{
	return ((const struct root_conf *)conf_section(c, &root_block))->user;
}

unsigned daemon_workers(const struct conf *c)
{
	const struct root_conf *root = conf_section(c, &root_block);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return root->workers > 0 ? (unsigned)root->workers : cores > 0 ? (unsigned)cores : 1;
}

struct dns *daemon_dns(struct loop *l, const struct conf *c)
{
	const struct root_conf *root = conf_section(c, &root_block);
	struct ip_port servers[8];
	struct dns_opts opts = { .servers = servers, .deadline_ms = root->dns_timeout };
	for (size_t i = 0; i < root->dns_servers.n && i < COUNT_OF(servers); i++)
		if (root->dns_servers.v[i].unix_path == NULL)
			servers[opts.server_count++] = root->dns_servers.v[i].at;
	return dns_new(l, &opts);
}

const struct conf_addresses *daemon_admin_addresses(const struct conf *c, const char *program)
{
	const struct admin_conf *a = conf_section(c, &admin_block);
	const struct {
		const char *name;
		const struct conf_addresses *at;
	} rows[] = { { "mmp", &a->mmp }, { "edge", &a->edge }, { "store", &a->store },
		{ "meter", &a->meter } };
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (strcmp(rows[i].name, program) == 0)
			return rows[i].at;
	return NULL;
}

struct tls_ctx *daemon_tls_server(const struct conf *c, const char *alpn, struct buf *why)
{
	return daemon_tls_server_asking(c, alpn, SPAN_NONE, why);
}

static struct tls_ctx *make_server(
    const struct conf *c, struct tls_server_opts opts, struct buf *why)
{
	const struct tls_conf *t = conf_section(c, &tls_block);
	struct tls_pair pairs[64];
	opts.pairs = pairs;
	for (size_t i = 0; i < t->cert_n && i < COUNT_OF(pairs); i++)
		pairs[opts.pair_count++] =
		    (struct tls_pair){ t->cert[i]->chain.bytes, t->cert[i]->key.bytes };
	if (opts.pair_count == 0) {
		if (why != NULL)
			buf_add_str(why, "section tls has no certificate");
		return NULL;
	}
	opts.tickets = daemon_tickets();
	return tls_server_new(&opts, why);
}

struct tls_ctx *daemon_tls_server_asking(
    const struct conf *c, const char *alpn, struct span client_ca_pem, struct buf *why)
{
	struct tls_server_opts opts = { .alpn = alpn, .client_ca_pem = client_ca_pem };
	return make_server(c, opts, why);
}

struct tls_ctx *daemon_tls_server_knowing(
    const struct conf *c, struct span client_ca_pem, struct buf *why)
{
	struct tls_server_opts opts = { .client_ca_pem = client_ca_pem, .ask_client = true };
	return make_server(c, opts, why);
}

struct tls_ctx *daemon_tls_client_as(
    const struct conf *c, enum tls_verify verify, const struct tls_pair *pair, struct buf *why)
{
	const struct tls_conf *t = conf_section(c, &tls_block);
	struct tls_client_opts opts = { .ca_pem = t->ca.bytes, .verify = verify, .pair = *pair };
	return tls_client_new(&opts, why);
}

struct tls_ctx *daemon_tls_client(const struct conf *c, enum tls_verify verify, struct buf *why)
{
	static const struct tls_pair none = { { NULL, 0 }, { NULL, 0 } };
	return daemon_tls_client_as(c, verify, &none, why);
}
