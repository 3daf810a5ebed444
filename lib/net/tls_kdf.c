/* tls_kdf.c - the secrets of TLS 1.3, and a provider of OpenSSL that derives them.
 *
 * Below tls_ctx.c, whose contexts ask for it, tls_notes.c, which watches, and tls_record.c. What a handshake asks for
 * is answered here; any other request (another digest, a longer output, parameters that were set before) goes whole
 * to the implementation of OpenSSL's own. Owns one HMAC per digest, without a secret between requests. */
#include "net/tls_kdf.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

enum { LABEL_MAX = 255, CONTEXT_MAX = 255 };

static struct hash {
	const char *name; /* as OpenSSL calls it towards a provider */
	enum digest_kind kind;
	size_t len;
	struct digest_mac *mac; /* owned for good */
	uint8_t of_nothing[DIGEST_LEN_MAX];
} hashes[] = {
	{ .name = "SHA2-256", .kind = DIGEST_SHA256, .len = DIGEST_SHA256_LEN },
	{ .name = "SHA2-384", .kind = DIGEST_SHA384, .len = DIGEST_SHA384_LEN },
};

static const uint8_t zeros[DIGEST_LEN_MAX];

static struct {
	tls_secret_fn *fn;
	void *arg;
} watcher;

/* ---- HKDF ---- */

void tls_expand_label(
    struct digest_mac *mac, struct span label, struct span context, uint8_t *out, size_t n)
{
	uint8_t info[2 + 1 + LABEL_MAX + 1 + CONTEXT_MAX + 1], block[DIGEST_LEN_MAX];
	size_t at = 0;
	CHECK(label.n <= LABEL_MAX && context.n <= CONTEXT_MAX);
	info[at++] = 0;
	info[at++] = (uint8_t)n;
	info[at++] = (uint8_t)label.n;
	memcpy(info + at, label.p, label.n);
	at += label.n;
	info[at++] = (uint8_t)context.n;
	if (context.n > 0)
		memcpy(info + at, context.p, context.n);
	at += context.n;
	info[at++] = 1; /* the first block */
	CHECK(n <= digest_mac_make(mac, span_of(info, at), block));
	memcpy(out, block, n);
	mem_wipe(block, sizeof block);
}

static struct digest_mac *mac_under(struct hash *h, struct span key)
{
	if (h->mac == NULL) {
		h->mac = digest_mac_new(h->kind, key);
		digest_make(h->kind, SPAN_NONE, h->of_nothing);
	} else {
		digest_mac_set_key(h->mac, key);
	}
	return h->mac;
}

/* ---- a request ---- */

struct request {
	int mode;
	struct hash *hash;
	struct span key, salt, prefix, label, data; /* borrowed; absent: NULL */
};

static const struct {
	const char *name;
	size_t at;
} octets[] = {
	{ OSSL_KDF_PARAM_KEY, offsetof(struct request, key) },
	{ OSSL_KDF_PARAM_PREFIX, offsetof(struct request, prefix) },
	{ OSSL_KDF_PARAM_LABEL, offsetof(struct request, label) },
	{ OSSL_KDF_PARAM_DATA, offsetof(struct request, data) },
	{ OSSL_KDF_PARAM_SALT, offsetof(struct request, salt) },
};

static bool take_octets(struct request *q, const OSSL_PARAM *p)
{
	for (size_t i = 0; i < COUNT_OF(octets); i++) {
		struct span *to = (struct span *)(void *)((char *)q + octets[i].at);
		if (strcmp(p->key, octets[i].name) != 0)
			continue;
		if (to->p != NULL)
			return false;
		*to = span_of(p->data, p->data_size);
		return true;
	}
	return false;
}

static bool take_digest(struct request *q, const OSSL_PARAM *p)
{
	if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) != 0 || q->hash != NULL)
		return false;
	struct span name = span_of(p->data, p->data_size);
	for (size_t i = 0; i < COUNT_OF(hashes); i++)
		if (span_eq_str(name, hashes[i].name))
			q->hash = &hashes[i];
	return q->hash != NULL;
}

static bool take_mode(struct request *q, const OSSL_PARAM *p)
{
	return strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0 && q->mode < 0 &&
	       p->data_size == sizeof q->mode && OSSL_PARAM_get_int(p, &q->mode) == 1;
}

/* False: there is something in it that is not ours to judge. */
static bool read_request(const OSSL_PARAM *p, struct request *q)
{
	bool known = true;
	*q = (struct request){ .mode = -1 };
	for (; p != NULL && p->key != NULL && known; p++) {
		bool present = p->data != NULL && p->data_size > 0;
		if (!present)
			known = false;
		else if (p->data_type == OSSL_PARAM_OCTET_STRING)
			known = take_octets(q, p);
		else if (p->data_type == OSSL_PARAM_UTF8_STRING)
			known = take_digest(q, p);
		else
			known = p->data_type == OSSL_PARAM_INTEGER && take_mode(q, p);
	}
	return known && q->hash != NULL && q->prefix.n > 0 && q->label.n > 0 &&
	       q->prefix.n <= LABEL_MAX && q->label.n <= LABEL_MAX - q->prefix.n;
}

static void expand(
    const struct request *q, struct digest_mac *mac, struct span context, uint8_t *out, size_t n)
{
	char label[LABEL_MAX];
	memcpy(label, q->prefix.p, q->prefix.n);
	memcpy(label + q->prefix.n, q->label.p, q->label.n);
	tls_expand_label(mac, span_of(label, q->prefix.n + q->label.n), context, out, n);
}

/* Of a secret, all that is derived from it. */
static bool answer_expand(const struct request *q, uint8_t *out, size_t n)
{
	if (q->key.n != q->hash->len || q->salt.p != NULL || q->data.n > CONTEXT_MAX || n == 0 ||
	    n > q->hash->len)
		return false;
	struct digest_mac *mac = mac_under(q->hash, q->key);
	expand(q, mac, q->data, out, n);
	digest_mac_forget(mac);
	if (watcher.fn != NULL)
		watcher.fn(watcher.arg, q->label, span_of(out, n));
	return true;
}

/* The next secret of the schedule, from the one before (salt; the first has none) and what comes in (key; or none). */
static bool answer_extract(const struct request *q, uint8_t *out, size_t n)
{
	uint8_t salt[DIGEST_LEN_MAX] = { 0 };
	size_t len = q->hash->len;
	if (n != len || q->data.p != NULL || (q->salt.p != NULL && q->salt.n != len))
		return false;
	if (q->salt.p != NULL) {
		struct digest_mac *mac = mac_under(q->hash, q->salt);
		expand(q, mac, span_of(q->hash->of_nothing, len), salt, len);
	}
	struct digest_mac *mac = mac_under(q->hash, span_of(salt, len));
	digest_mac_make(mac, q->key.p != NULL ? q->key : span_of(zeros, len), out);
	digest_mac_forget(mac);
	mem_wipe(salt, sizeof salt);
	return true;
}

static bool answer(const struct request *q, uint8_t *out, size_t n)
{
	if (q->mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY)
		return answer_expand(q, out, n);
	return q->mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY && answer_extract(q, out, n);
}

/* ---- what OpenSSL calls ---- */

/* One use of the algorithm. */
struct use {
	EVP_KDF_CTX *theirs; /* owned; does it all, once there was something unusual */
};

static void *kdf_new(void *provider)
{
	return MEM_NEW(struct use);
}

static void kdf_free(void *arg)
{
	struct use *u = arg;
	if (u == NULL)
		return;
	EVP_KDF_CTX_free(u->theirs);
	mem_free(u);
}

/* OpenSSL's own; NULL: there is none, and its error is set. */
static EVP_KDF_CTX *theirs_of(struct use *u)
{
	if (u->theirs != NULL)
		return u->theirs;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, "provider!=postern");
	if (kdf != NULL)
		u->theirs = EVP_KDF_CTX_new(kdf);
	EVP_KDF_free(kdf); /* the context holds it */
	return u->theirs;
}

static void kdf_reset(void *arg)
{
	struct use *u = arg;
	if (u->theirs != NULL)
		EVP_KDF_CTX_reset(u->theirs);
}

static int kdf_derive(void *arg, unsigned char *out, size_t n, const OSSL_PARAM params[])
{
	struct use *u = arg;
	struct request q;
	if (u->theirs == NULL && read_request(params, &q) && answer(&q, out, n))
		return 1;
	return theirs_of(u) != NULL && EVP_KDF_derive(u->theirs, out, n, params) == 1;
}

static const OSSL_PARAM *kdf_settable(void *arg, void *provider)
{
	static const OSSL_PARAM settable[] = { OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_MODE, NULL, 0),
		OSSL_PARAM_int(OSSL_KDF_PARAM_MODE, NULL),
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_PROPERTIES, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_PREFIX, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_LABEL, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_DATA, NULL, 0), OSSL_PARAM_END };
	return settable;
}

static int kdf_set(void *arg, const OSSL_PARAM params[])
{
	EVP_KDF_CTX *theirs = theirs_of(arg);
	return theirs != NULL && EVP_KDF_CTX_set_params(theirs, params) == 1;
}

static const OSSL_PARAM *kdf_gettable(void *arg, void *provider)
{
	static const OSSL_PARAM gettable[] = { OSSL_PARAM_size_t(OSSL_KDF_PARAM_SIZE, NULL),
		OSSL_PARAM_END };
	return gettable;
}

static int kdf_get(void *arg, OSSL_PARAM params[])
{
	EVP_KDF_CTX *theirs = theirs_of(arg);
	return theirs != NULL && EVP_KDF_CTX_get_params(theirs, params) == 1;
}

/* ---- the provider ---- */

#define CALL(number, fn)                                                                           \
	{                                                                                          \
		OSSL_FUNC_##number, (void (*)(void))(fn)                                           \
	}

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache_out)
{
	static const OSSL_DISPATCH kdf[] = { CALL(KDF_NEWCTX, kdf_new), CALL(KDF_FREECTX, kdf_free),
		CALL(KDF_RESET, kdf_reset), CALL(KDF_DERIVE, kdf_derive),
		CALL(KDF_SETTABLE_CTX_PARAMS, kdf_settable), CALL(KDF_SET_CTX_PARAMS, kdf_set),
		CALL(KDF_GETTABLE_CTX_PARAMS, kdf_gettable), CALL(KDF_GET_CTX_PARAMS, kdf_get),
		{ 0, NULL } };
	static const OSSL_ALGORITHM kdfs[] = { { OSSL_KDF_NAME_TLS1_3_KDF, "provider=postern", kdf,
						   NULL },
		{ NULL, NULL, NULL, NULL } };
	*no_cache_out = 0;
	return operation == OSSL_OP_KDF ? kdfs : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
    const OSSL_DISPATCH **out, void **provider_out)
{
	static const OSSL_DISPATCH calls[] = { CALL(PROVIDER_QUERY_OPERATION, provider_query),
		{ 0, NULL } };
	*provider_out = hashes; /* something that is not NULL */
	*out = calls;
	return 1;
}

void tls_kdf_begin(void)
{
	static OSSL_PROVIDER *loaded; /* stays until the process ends */
	if (loaded != NULL)
		return;
	/* 1: beside what is loaded when nobody asks for a provider. */
	CHECK(OSSL_PROVIDER_add_builtin(NULL, "postern", provider_init) == 1);
	loaded = OSSL_PROVIDER_try_load(NULL, "postern", 1);
	CHECK(loaded != NULL);
}

void tls_kdf_watch(tls_secret_fn *fn, void *arg)
{
	watcher.fn = fn;
	watcher.arg = arg;
}
