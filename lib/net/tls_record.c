/* tls_record.c - TLS 1.3 records sealed and opened, key schedule of a traffic secret.
 *
 * Below tls_park.c. Owns one cipher object of OpenSSL per suite and direction; each holds the key
 * that was used last, so that a burst of one session sets its key once. Owns one HMAC per suite, without a secret. */
#include "net/tls_record.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/digest.h"
#include "net/tls_kdf.h"

enum { TAG_LEN = 16, INNER_MAX = TLS_PLAIN_MAX + 1 };

static const struct {
	const char *cipher;
	enum digest_kind digest;
	size_t key_len, secret_len;
} suites[TLS_SUITES] = {
	[TLS_AES_128_GCM] = { "AES-128-GCM", DIGEST_SHA256, 16, 32 },
	[TLS_AES_256_GCM] = { "AES-256-GCM", DIGEST_SHA384, 32, 48 },
	[TLS_CHACHA20_POLY1305] = { "ChaCha20-Poly1305", DIGEST_SHA256, 32, 32 },
};

enum way { OPENING, SEALING, WAYS };

static struct engine {
	EVP_CIPHER_CTX *ctx; /* owned for good */
	uint64_t id;         /* of the keys that are set; 0: none */
} engines[TLS_SUITES][WAYS];

size_t tls_secret_len(enum tls_suite suite)
{
	return suites[suite].secret_len;
}

/* ---- keys ---- */

/* HMAC under the secret, until digest_mac_forget(). */
static struct digest_mac *take_secret(const struct tls_keys *k)
{
	static struct digest_mac *macs[TLS_SUITES]; /* owned for good */
	struct span secret = span_of(k->secret, suites[k->suite].secret_len);
	if (macs[k->suite] == NULL)
		macs[k->suite] = digest_mac_new(suites[k->suite].digest, secret);
	else
		digest_mac_set_key(macs[k->suite], secret);
	return macs[k->suite];
}

static void expand(struct digest_mac *mac, const char *label, uint8_t *out, size_t n)
{
	tls_expand_label(mac, span_str(label), SPAN_NONE, out, n);
}

static void derive(struct tls_keys *k, uint64_t next_seq)
{
	static uint64_t last_id;
	struct digest_mac *mac = take_secret(k);
	expand(mac, "tls13 key", k->key, suites[k->suite].key_len);
	expand(mac, "tls13 iv", k->iv, sizeof k->iv);
	digest_mac_forget(mac);
	k->id = ++last_id;
	k->seq = next_seq;
}

void tls_keys_begin(
    struct tls_keys *k, enum tls_suite suite, const uint8_t *secret, uint64_t next_seq)
{
	k->suite = (uint8_t)suite;
	memcpy(k->secret, secret, suites[suite].secret_len);
	derive(k, next_seq);
}

/* Keys that nobody has any more are not left in an engine. */
static void forget(const struct tls_keys *k)
{
	static const uint8_t nothing[TLS_KEY_MAX];
	for (int way = 0; way < WAYS; way++) {
		struct engine *e = &engines[k->suite][way];
		if (e->id != k->id || k->id == 0)
			continue;
		CHECK(EVP_CipherInit_ex(e->ctx, NULL, NULL, nothing, NULL, -1) == 1);
		e->id = 0;
	}
}

void tls_keys_update(struct tls_keys *k)
{
	uint8_t next[TLS_SECRET_MAX];
	forget(k);
	struct digest_mac *mac = take_secret(k);
	expand(mac, "tls13 traffic upd", next, suites[k->suite].secret_len);
	digest_mac_forget(mac);
	memcpy(k->secret, next, sizeof next);
	mem_wipe(next, sizeof next);
	derive(k, 0);
}

void tls_keys_end(struct tls_keys *k)
{
	forget(k);
	mem_wipe(k, sizeof *k);
}

/* ---- one record ---- */

static struct engine *engine_of(const struct tls_keys *k, enum way way)
{
	struct engine *e = &engines[k->suite][way];
	if (e->ctx != NULL)
		return e;
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, suites[k->suite].cipher, NULL);
	e->ctx = EVP_CIPHER_CTX_new();
	CHECK(cipher != NULL && e->ctx != NULL);
	CHECK(EVP_CipherInit_ex(e->ctx, cipher, NULL, NULL, NULL, way == SEALING) == 1);
	EVP_CIPHER_free(cipher); /* the context holds it */
	return e;
}

/* Ready for the record of number k->seq, whose header is authenticated beside it. */
static EVP_CIPHER_CTX *set_up(const struct tls_keys *k, enum way way, const uint8_t *head)
{
	struct engine *e = engine_of(k, way);
	uint8_t nonce[TLS_IV_LEN];
	int n;
	memcpy(nonce, k->iv, sizeof nonce);
	for (int i = 0; i < 8; i++)
		nonce[TLS_IV_LEN - 1 - i] ^= (uint8_t)(k->seq >> (8 * i));
	const uint8_t *key = e->id == k->id ? NULL : k->key;
	CHECK(EVP_CipherInit_ex(e->ctx, NULL, NULL, key, nonce, -1) == 1);
	e->id = k->id;
	CHECK(EVP_CipherUpdate(e->ctx, NULL, &n, head, TLS_HEAD_LEN) == 1);
	return e->ctx;
}

static void update(EVP_CIPHER_CTX *ctx, const void *in, size_t in_n, uint8_t *out)
{
	int n = 0;
	CHECK(EVP_CipherUpdate(ctx, out, &n, in, (int)in_n) == 1 && (size_t)n == in_n);
}

size_t tls_seal(struct tls_keys *k, enum tls_type type, struct span plain, char *out)
{
	size_t length = plain.n + 1 + TAG_LEN;
	uint8_t *head = (uint8_t *)out, *body = head + TLS_HEAD_LEN, inner = (uint8_t)type;
	int n;
	CHECK(plain.n <= TLS_PLAIN_MAX && k->seq < UINT64_MAX);
	head[0] = TLS_TYPE_DATA;
	head[1] = head[2] = 3;
	head[3] = (uint8_t)(length >> 8);
	head[4] = (uint8_t)length;
	EVP_CIPHER_CTX *ctx = set_up(k, SEALING, head);
	if (plain.n > 0)
		update(ctx, plain.p, plain.n, body);
	update(ctx, &inner, 1, body + plain.n);
	CHECK(EVP_CipherFinal_ex(ctx, body + plain.n + 1, &n) == 1);
	CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, body + plain.n + 1) == 1);
	k->seq++;
	return TLS_HEAD_LEN + length;
}

size_t tls_record_len(struct span in, enum tls_alert *wrong_out)
{
	const uint8_t *head = (const uint8_t *)in.p;
	*wrong_out = TLS_FINE;
	/* After the handshake all is protected: neither alert nor change_cipher_spec in the clear. */
	if (in.n >= 1 && head[0] != TLS_TYPE_DATA)
		*wrong_out = TLS_UNEXPECTED_MESSAGE;
	if (in.n < TLS_HEAD_LEN)
		return 0;
	size_t length = (size_t)head[3] << 8 | head[4];
	if (*wrong_out == TLS_FINE && length > INNER_MAX + TAG_LEN)
		*wrong_out = TLS_RECORD_OVERFLOW;
	if (*wrong_out == TLS_FINE && length < 1 + TAG_LEN)
		*wrong_out = TLS_BAD_RECORD_MAC; /* as what cannot be opened */
	return TLS_HEAD_LEN + length;
}

enum tls_alert tls_open(
    struct tls_keys *k, struct span record, char *out, struct tls_opened *opened_out)
{
	const uint8_t *head = (const uint8_t *)record.p, *body = head + TLS_HEAD_LEN;
	size_t inner = record.n - TLS_HEAD_LEN - TAG_LEN;
	uint8_t tag[TAG_LEN];
	int n;
	CHECK(record.n > TLS_HEAD_LEN + TAG_LEN && k->seq < UINT64_MAX);
	EVP_CIPHER_CTX *ctx = set_up(k, OPENING, head);
	update(ctx, body, inner, (uint8_t *)out);
	memcpy(tag, body + inner, TAG_LEN);
	CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1);
	if (EVP_CipherFinal_ex(ctx, (uint8_t *)out + inner, &n) != 1) {
		ERR_clear_error();
		mem_wipe(out, inner);
		return TLS_BAD_RECORD_MAC;
	}
	k->seq++;
	/* Padding is zeros behind the type (section 5.4). */
	while (inner > 0 && out[inner - 1] == 0)
		inner--;
	if (inner == 0)
		return TLS_UNEXPECTED_MESSAGE;
	opened_out->type = (uint8_t)out[inner - 1];
	opened_out->n = inner - 1;
	return TLS_FINE;
}
