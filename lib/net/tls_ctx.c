/* tls_ctx.c - TLS contexts: options, choice of the certificate by SNI, ALPN.
 *
 * Before: the configuration (PEM bytes). Below: tls_pem.c, tls_tickets.c. After: stream_tls.c makes one object per
 * connection from a context. Owns the SSL_CTX objects, one per certificate. */
#include "net/tls_ctx.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/ip.h"
#include "base/mem.h"

#include "net/digest.h"
#include "net/tls_internal.h"
#include "net/tls_kdf.h"
#include "net/tls_notes.h"

/* ---- memory ---- */

static void *ssl_take(size_t n, const char *file, int line)
{
	return mem_resize(NULL, n);
}

/* With nothing wanted it is to be given back. */
static void *ssl_resize(void *p, size_t n, const char *file, int line)
{
	if (n > 0)
		return mem_resize(p, n);
	mem_free(p);
	return NULL;
}

static void ssl_give(void *p, const char *file, int line)
{
	mem_free(p);
}

void tls_count_memory(void)
{
	CHECK(CRYPTO_set_mem_functions(ssl_take, ssl_resize, ssl_give) == 1);
}

/* ---- life ---- */

struct tls_ctx *tls_ctx_ref(const struct tls_ctx *c)
{
	struct tls_ctx *mine = (struct tls_ctx *)(uintptr_t)c; /* counting is not changing it */
	OBJ(tls_ctx, mine)->refs++;
	return mine;
}

void tls_ctx_unref(struct tls_ctx **c)
{
	struct tls_ctx *dying = *c;
	*c = NULL;
	if (dying == NULL)
		return;
	CHECK(OBJ(tls_ctx, dying)->refs > 0);
	if (--dying->refs > 0)
		return;
	for (size_t i = 0; i < dying->pair_count; i++)
		SSL_CTX_free(dying->pairs[i]);
	mem_free(dying->pairs);
	map_free(&dying->by_name);
	mem_free(dying->alpn);
	tls_tickets_unref(&dying->tickets);
	dying->magic = 0;
	mem_free(dying);
}

static struct tls_ctx *ctx_new(bool server, size_t pairs)
{
	struct tls_ctx *c = MEM_NEW(struct tls_ctx);
	c->magic = tls_ctx_MAGIC;
	c->refs = 1;
	c->server = server;
	c->pairs = mem_array(pairs, sizeof(SSL_CTX *));
	return c;
}

void tls_ctx_set_park(struct tls_ctx *c)
{
	OBJ(tls_ctx, c)->park = true;
}

/* What both ends have in common. The context is owned by c from here on. */
static SSL_CTX *ssl_ctx_add(struct tls_ctx *c)
{
	tls_kdf_begin();
	SSL_CTX *ctx = SSL_CTX_new_ex(
	    NULL, TLS_KDF_PROPERTIES, c->server ? TLS_server_method() : TLS_client_method());
	CHECK(ctx != NULL);
	c->pairs[c->pair_count++] = ctx;
	SSL_CTX_set_app_data(ctx, c);
	CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
	/* Half of all mail clients close without close_notify. The mail protocols frame what they
	 * send, so nothing is decided by a mere end; it is treated as one. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_IGNORE_UNEXPECTED_EOF |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1); /* a record with one recv() instead of two */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (!c->server)
		CHECK(SSL_CTX_dane_enable(ctx) == 1);
	return ctx;
}

/* ---- session tickets ---- */

static int on_ticket(SSL *ssl, unsigned char *key_name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int sealing)
{
	const struct tls_ctx *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct ticket_parts parts = { key_name, iv, cipher, mac };
	return sealing ? tickets_seal(c->tickets, &parts) : tickets_open(c->tickets, &parts);
}

/* ---- ALPN ---- */

static unsigned char *alpn_wire(const char *name)
{
	if (name == NULL || name[0] == '\0')
		return NULL;
	size_t n = strlen(name);
	CHECK(n <= 31);
	unsigned char *w = mem_alloc(n + 1);
	w[0] = (unsigned char)n;
	memcpy(w + 1, name, n);
	return w;
}

/* Called only when the client offers some: then ours must be among them (RFC 7301). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *offer, unsigned offer_n, void *arg)
{
	const struct tls_ctx *c = arg;
	for (unsigned at = 0; at < offer_n && offer[at] < offer_n - at; at += offer[at] + 1u) {
		if (offer[at] == c->alpn[0] && memcmp(offer + at, c->alpn, c->alpn[0] + 1u) == 0) {
			*out = c->alpn + 1;
			*out_n = c->alpn[0];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- SNI ---- */

/* "a.b.c" by itself, else by "*.b.c": one label, as browsers and RFC 9525 have it. */
static SSL_CTX *find_name(const struct tls_ctx *c, struct span name)
{
	char text[256];
	if (name.n == 0 || name.n >= sizeof text)
		return NULL;
	span_lower_to(text, name);
	name.p = text;
	if (text[name.n - 1] == '.')
		name.n--;
	SSL_CTX *found = map_get(c->by_name, name);
	size_t dot = span_find(name, '.');
	if (found != NULL || dot == SIZE_MAX || dot == 0)
		return found;
	text[dot - 1] = '*';
	return map_get(c->by_name, span_from(name, dot - 1));
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_ctx *c = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	SSL_CTX *found = name != NULL ? find_name(c, span_str(name)) : NULL;
	if (found != NULL && SSL_get_SSL_CTX(ssl) != found)
		SSL_set_SSL_CTX(ssl, found);
	/* An unknown name gets the default certificate: the client judges it. */
	return SSL_TLSEXT_ERR_OK;
}

struct naming {
	struct tls_ctx *c;
	SSL_CTX *ctx;
};

static void on_pair_name(void *arg, struct span name)
{
	const struct naming *n = arg;
	if (map_get(n->c->by_name, name) == NULL)
		map_set(n->c->by_name, name, n->ctx, NULL);
}

/* ---- server ---- */

/* A client certificate that does not verify counts as none: it is asked for, not demanded. */
static int on_client_cert(int ok, X509_STORE_CTX *x)
{
	return 1;
}

/* A resumed session is not asked for its certificate again: tickets hold among contexts that trust the same
 * client authorities, and not beyond. */
static void set_session_context(SSL_CTX *ctx, struct span client_ca_pem)
{
	uint8_t context[DIGEST_LEN_MAX];
	size_t n = digest_make(DIGEST_SHA256, client_ca_pem, context);
	CHECK(SSL_CTX_set_session_id_context(ctx, context, (unsigned)n));
}

static bool add_pair(struct tls_ctx *c, const struct tls_server_opts *o,
    const struct tls_pair *pair, struct buf *why)
{
	SSL_CTX *ctx = ssl_ctx_add(c);
	if (!tls_use_pair(ctx, pair, why))
		return false;
	if (o->client_ca_pem.n > 0) {
		if (!tls_use_authorities(ctx, o->client_ca_pem, true, why))
			return false;
	}
	if (o->client_ca_pem.n > 0 || o->ask_client)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_client_cert);
	set_session_context(ctx, o->client_ca_pem);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	/* Each connection brings a new one, and ours may be used again: one is enough. */
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, c);
	if (c->alpn != NULL)
		SSL_CTX_set_alpn_select_cb(ctx, on_alpn, c);
	struct naming naming = { c, ctx };
	tls_each_name(ctx, on_pair_name, &naming);
	return true;
}

struct tls_ctx *tls_server_new(const struct tls_server_opts *opts, struct buf *why)
{
	if (opts->pair_count == 0) {
		ERR_clear_error();
		tls_say(why, "a TLS server needs at least one certificate");
		return NULL;
	}
	struct tls_ctx *c = ctx_new(true, opts->pair_count);
	c->by_name = map_new(TLS_NAMES_MAX);
	c->alpn = alpn_wire(opts->alpn);
	c->tickets = opts->tickets != NULL ? tls_tickets_ref(opts->tickets) : tls_tickets_new();
	bool ok = true;
	for (size_t i = 0; ok && i < opts->pair_count; i++)
		ok = add_pair(c, opts, &opts->pairs[i], why);
	if (!ok)
		tls_ctx_unref(&c);
	return c;
}

/* ---- client ---- */

/* The system's trust anchors, read once for all contexts, and again when their file is another one: there are many, and
 * each reading of them takes tens of milliseconds. */
static X509_STORE *system_anchors(void)
{
	static X509_STORE *anchors; /* stays until the process ends */
	static struct timespec read_at;
	const char *path = getenv(X509_get_default_cert_file_env());
	struct stat st = { 0 };
	if (stat(path != NULL ? path : X509_get_default_cert_file(), &st) != 0)
		st.st_mtim = (struct timespec){ 0 };
	if (anchors != NULL && st.st_mtim.tv_sec == read_at.tv_sec &&
	    st.st_mtim.tv_nsec == read_at.tv_nsec)
		return anchors;
	X509_STORE *fresh = X509_STORE_new();
	if (fresh == NULL || X509_STORE_set_default_paths(fresh) != 1) {
		X509_STORE_free(fresh);
		return NULL;
	}
	X509_STORE_free(anchors); /* contexts have references of their own */
	anchors = fresh;
	read_at = st.st_mtim;
	return anchors;
}

static bool use_system_anchors(SSL_CTX *ctx)
{
	X509_STORE *anchors = system_anchors();
	if (anchors != NULL)
		SSL_CTX_set1_cert_store(ctx, anchors);
	return anchors != NULL;
}

static bool set_up_client(struct tls_ctx *c, const struct tls_client_opts *o, struct buf *why)
{
	SSL_CTX *ctx = ssl_ctx_add(c);
	bool is_free = o->verify == TLS_VERIFY_NONE || o->verify == TLS_VERIFY_TELL;
	SSL_CTX_set_verify(ctx, is_free ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (o->pair.chain_pem.n > 0 && !tls_use_pair(ctx, &o->pair, why))
		return false;
	if (o->ca_pem.n > 0)
		return tls_use_authorities(ctx, o->ca_pem, false, why);
	ERR_clear_error();
	return o->verify == TLS_VERIFY_NONE || use_system_anchors(ctx) ||
	       tls_say(why, "the system's trust anchors cannot be read");
}

struct tls_ctx *tls_client_new(const struct tls_client_opts *opts, struct buf *why)
{
	struct tls_ctx *c = ctx_new(false, 1);
	c->verify = opts->verify;
	if (!set_up_client(c, opts, why))
		tls_ctx_unref(&c);
	return c;
}

/* ---- one connection's object ---- */

static void on_ssl_freed(
    void *parent, void *held, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	struct tls_ctx *c = held;
	tls_ctx_unref(&c);
}

/* The callbacks above use the context for as long as the connection lives, reload or not. */
static void hold(SSL *ssl, const struct tls_ctx *c)
{
	static int index = -1;
	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_freed);
	CHECK(index >= 0 && SSL_set_ex_data(ssl, index, tls_ctx_ref(c)) == 1);
}

static bool aim(SSL *ssl, const struct tls_ctx *c, const char *name)
{
	struct ip_addr a;
	bool literal = ip_parse(span_str(name), &a);
	if (!literal && SSL_set_tlsext_host_name(ssl, name) != 1)
		return false;
	if (c->verify != TLS_VERIFY_NAME && c->verify != TLS_VERIFY_TELL)
		return true;
	if (literal)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1;
}

/* RFC 6066 and certificates write names without the final dot that DNS allows. */
static bool aim_at(SSL *ssl, const struct tls_ctx *c, struct span name)
{
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	char *bare = mem_span_str(name);
	bool ok = aim(ssl, c, bare);
	mem_free(bare);
	return ok;
}

SSL *tls_session_new(const struct tls_ctx *c, const char *name, const char *alpn)
{
	ERR_clear_error();
	SSL *ssl = SSL_new(c->pairs[0]);
	CHECK(ssl != NULL);
	hold(ssl, c);
	if (c->park)
		tls_notes_begin(ssl);
	if (c->server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	unsigned char *wire = alpn_wire(alpn);
	/* SSL_set_alpn_protos() answers 0 for success. */
	bool ok = wire == NULL || SSL_set_alpn_protos(ssl, wire, wire[0] + 1u) == 0;
	mem_free(wire);
	/* Without a name there is nothing to check the certificate against. */
	ok = ok && (name != NULL ? aim_at(ssl, c, span_str(name)) : c->verify != TLS_VERIFY_NAME);
	if (!ok) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

/* How many of the records can be used. */
static size_t add_records(SSL *ssl, const struct tls_dane_record *v, size_t n)
{
	enum { DANE_TA = 2, DANE_EE = 3 };
	size_t usable = 0;
	for (size_t i = 0; i < n; i++)
		if (v[i].usage == DANE_TA || v[i].usage == DANE_EE)
			usable += SSL_dane_tlsa_add(ssl, v[i].usage, v[i].selector, v[i].matching,
				      (const unsigned char *)v[i].data.p, v[i].data.n) > 0;
	ERR_clear_error(); /* of records that make no sense */
	return usable;
}

bool tls_dane_is_usable(const struct tls_dane_record *v, size_t n)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	CHECK(ctx != NULL && SSL_CTX_dane_enable(ctx) == 1);
	SSL *ssl = SSL_new(ctx);
	CHECK(ssl != NULL);
	bool usable = SSL_dane_enable(ssl, NULL) == 1 && add_records(ssl, v, n) > 0;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return usable;
}

SSL *tls_session_dane(const struct tls_ctx *c, const struct tls_dane *dane)
{
	SSL *ssl = tls_session_new(c, dane->name, NULL);
	if (ssl == NULL)
		return NULL;
	bool ok = SSL_dane_enable(ssl, dane->name) == 1;
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 0; i < COUNT_OF(dane->others); i++)
		if (dane->others[i] != NULL)
			ok = ok && SSL_add1_host(ssl, dane->others[i]) == 1;
	size_t usable = ok ? add_records(ssl, dane->v, dane->n) : 0;
	SSL_set_verify(ssl, usable > 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (!ok)
		SSL_free(ssl);
	return ok ? ssl : NULL;
}
