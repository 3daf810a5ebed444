/* tls_tickets.c - session tickets: sealed under the newest key, opened with any (RFC 5077 section 4,
 * RFC 8446 section 4.6.1).
 *
 * Beside tls_ctx.c, whose contexts call tickets_use(). Owns the keys. */
#include "net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"

#include "net/tls_internal.h"

enum { KEY_NAME_LEN = 16, KEY_MAC_LEN = 32, KEY_AES_LEN = 32, IV_LEN = 16 };

struct key {
	unsigned char name[KEY_NAME_LEN], mac[KEY_MAC_LEN], aes[KEY_AES_LEN];
};
_Static_assert(sizeof(struct key) == TLS_TICKET_KEY_LEN, "ticket key");

struct tls_tickets {
	unsigned refs;
	size_t n; /* at least 1 */
	struct key keys[TLS_TICKET_KEYS_MAX];
};

struct tls_tickets *tls_tickets_new(void)
{
	struct tls_tickets *t = MEM_NEW(struct tls_tickets);
	t->refs = 1;
	t->n = 1;
	rand_bytes(&t->keys[0], sizeof t->keys[0]);
	return t;
}

bool tls_tickets_set(struct tls_tickets *t, struct span keys)
{
	size_t n = keys.n / TLS_TICKET_KEY_LEN;
	if (n == 0 || n > TLS_TICKET_KEYS_MAX || keys.n % TLS_TICKET_KEY_LEN != 0)
		return false;
	mem_wipe(t->keys, sizeof t->keys);
	memcpy(t->keys, keys.p, keys.n);
	t->n = n;
	return true;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
	CHECK(t->refs > 0);
	t->refs++;
	return t;
}

void tls_tickets_unref(struct tls_tickets **t)
{
	struct tls_tickets *gone = *t;
	*t = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->refs > 0);
	if (--gone->refs > 0)
		return;
	mem_wipe(gone, sizeof *gone);
	mem_free(gone);
}

/* ---- one ticket ------------------------------------------------------------------------------------ */

static int mac_init(EVP_MAC_CTX *mac, struct key *key)
{
	char sha256[] = "SHA256";
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_MAC_CTX_set_params(mac, p);
}

static struct key *find(struct tls_tickets *t, const unsigned char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (memcmp(name, t->keys[i].name, KEY_NAME_LEN) == 0) /* names are no secret */
			return &t->keys[i];
	return NULL;
}

int tickets_seal(struct tls_tickets *t, const struct ticket_parts *p)
{
	struct key *key = &t->keys[0];
	memcpy(p->key_name, key->name, KEY_NAME_LEN);
	if (RAND_bytes(p->iv, IV_LEN) != 1 ||
	    EVP_EncryptInit_ex(p->cipher, EVP_aes_256_cbc(), NULL, key->aes, p->iv) != 1)
		return -1;
	return mac_init(p->mac, key) == 1 ? 1 : -1;
}

int tickets_open(struct tls_tickets *t, const struct ticket_parts *p)
{
	struct key *key = find(t, p->key_name);
	if (key == NULL)
		return 0;
	if (EVP_DecryptInit_ex(p->cipher, EVP_aes_256_cbc(), NULL, key->aes, p->iv) != 1 ||
	    mac_init(p->mac, key) != 1)
		return -1;
	return key == &t->keys[0] ? 1 : 2;
}
