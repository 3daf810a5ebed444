/* stream_bind.c - what of a TLS session is the same at both ends, and at no other session's.
 *
 * Beside stream_tls.c. */
#include "net/stream_bind.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/digest.h"
#include "net/stream_internal.h"

bool stream_peer_key(const struct stream *s, uint8_t out[STREAM_BIND_LEN])
{
	X509 *x = stream_is_tls(s) ? SSL_get0_peer_certificate(s->wire.ssl) : NULL;
	unsigned char *der = NULL;
	uint8_t made[DIGEST_LEN_MAX];
	if (x == NULL)
		return false;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	if (n > 0)
		digest_make(DIGEST_SHA256, span_of((char *)der, (size_t)n), made);
	OPENSSL_free(der);
	ERR_clear_error();
	if (n > 0)
		memcpy(out, made, STREAM_BIND_LEN);
	return n > 0;
}

bool stream_bind_exporter(const struct stream *s, uint8_t out[STREAM_BIND_LEN])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	if (!stream_is_tls(s))
		return false;
	SSL *ssl = s->wire.ssl;
	bool unique = SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1;
	bool ok = unique && SSL_export_keying_material(ssl, out, STREAM_BIND_LEN, label,
				sizeof label - 1, NULL, 0, 0) == 1;
	ERR_clear_error();
	return ok;
}

/* The digest of the certificate's signature; MD5 and SHA-1 are replaced by SHA-256 (section 4.1). One
 * that uses no digest has no binding. */
static const EVP_MD *end_point_digest(const X509 *x)
{
	int nid = NID_undef;
	if (X509_get_signature_info((X509 *)x, &nid, NULL, NULL, NULL) != 1 || nid == NID_undef)
		return NULL;
	return EVP_get_digestbynid(nid == NID_md5 || nid == NID_sha1 ? NID_sha256 : nid);
}

size_t stream_bind_end_point(const struct stream *s, uint8_t out[STREAM_BIND_MAX])
{
	const X509 *x = stream_is_tls(s) ? SSL_get_certificate(s->wire.ssl) : NULL;
	const EVP_MD *md = x != NULL ? end_point_digest(x) : NULL;
	unsigned n = 0;
	if (md == NULL || EVP_MD_get_size(md) > STREAM_BIND_MAX || X509_digest(x, md, out, &n) != 1)
		n = 0;
	ERR_clear_error();
	return n;
}
