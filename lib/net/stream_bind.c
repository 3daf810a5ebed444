/* stream_bind.c - what of a TLS session is the same at both ends, and at no other session's.
 *
 * Beside stream_tls.c. */
#include "net/stream_bind.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

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

bool stream_peer_certificate(const struct stream *s, uint8_t out[STREAM_BIND_LEN])
{
	X509 *x = stream_is_tls(s) ? SSL_get0_peer_certificate(s->wire.ssl) : NULL;
	unsigned n = 0;
	bool ok = x != NULL && X509_digest(x, EVP_sha256(), out, &n) == 1;
	ERR_clear_error();
	return ok;
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

/* An ASN.1 string is a name only if it is one to the end: no NUL, nothing that is not ASCII. */
static bool put_ascii(const ASN1_STRING *text, struct buf *out)
{
	struct span s = span_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	return s.n > 0 && span_is_visible(s) && buf_add_span(out, s);
}

static bool put_email(const X509 *x, struct buf *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool ok = false;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
		if (n->type == GEN_EMAIL) {
			ok = put_ascii(n->d.rfc822Name, out);
			break;
		}
	}
	GENERAL_NAMES_free(names);
	return ok;
}

/* NULL: there is none. */
static const ASN1_STRING *common_of(const X509_NAME *name)
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	return at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
}

static bool put_common(const X509 *x, struct buf *out)
{
	const ASN1_STRING *text = common_of(X509_get_subject_name(x));
	return text != NULL && put_ascii(text, out);
}

/* NULL: none, or nobody that we trust vouches for it. */
static const X509 *good_certificate(const struct stream *s)
{
	const SSL *ssl = stream_is_tls(s) ? s->wire.ssl : NULL;
	if (ssl == NULL || !(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) ||
	    SSL_get_verify_result(ssl) != X509_V_OK)
		return NULL;
	return SSL_get0_peer_certificate(ssl);
}

bool stream_peer_common(const struct stream *s, enum stream_whose whose, struct buf *out)
{
	const X509 *x = good_certificate(s);
	const X509_NAME *name = x == NULL                ? NULL
				: whose == STREAM_ISSUER ? X509_get_issuer_name(x)
							 : X509_get_subject_name(x);
	const ASN1_STRING *text = name != NULL ? common_of(name) : NULL;
	unsigned char *utf8 = NULL;
	int n = text != NULL ? ASN1_STRING_to_UTF8(&utf8, text) : 0;
	bool ok = n > 0 && memchr(utf8, 0, (size_t)n) == NULL && buf_add(out, utf8, (size_t)n);
	OPENSSL_free(utf8);
	ERR_clear_error();
	return ok;
}

bool stream_peer_name(const struct stream *s, enum stream_name kind, struct buf *out)
{
	const X509 *x = good_certificate(s);
	if (x == NULL)
		return false;
	bool ok = kind == STREAM_NAME_EMAIL ? put_email(x, out) : put_common(x, out);
	ERR_clear_error();
	return ok;
}
