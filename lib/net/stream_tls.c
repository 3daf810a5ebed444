/* stream_tls.c - a stream goes under TLS, and the facts of the session afterwards.
 *
 * Beside stream.c, whose states do the handshake. */
#include "net/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#include "net/stream_internal.h"
#include "net/tls_internal.h"

/* Drops plaintext input, and has what is queued leave before the first TLS byte. OpenSSL reads the
 * descriptor itself: nothing was read ahead for it. */
static size_t start(struct stream *s, SSL *ssl)
{
	CHECK(s->wire.ssl == NULL && s->next_ssl == NULL && s->state <= ST_FAILED);
	size_t dropped = stream_input(s).n;
	stream_eat(s, dropped);
	s->due &= ~(1u << STREAM_INPUT);
	if (s->state == ST_FAILED) {
		SSL_free(ssl);
		return dropped;
	}
	if (ssl == NULL) {
		const char *reason = ERR_reason_error_string(ERR_peek_error());
		stream_fail(s, ERR_TLS_HANDSHAKE,
		    reason != NULL ? reason : "no name to verify the certificate against");
		ERR_clear_error();
		return dropped;
	}
	tls_session_attach(ssl, s->wire.fd);
	out_mark_plain(&s->out);
	s->next_ssl = ssl;
	stream_set_state(s, ST_STARTTLS);
	stream_wake(s);
	return dropped;
}

size_t stream_start_tls_server(struct stream *s, const struct tls_ctx *ctx)
{
	CHECK(ctx->server);
	return start(OBJ(stream, s), tls_session_new(ctx, NULL, NULL));
}

size_t stream_start_tls_client(
    struct stream *s, const struct tls_ctx *ctx, const char *name, const char *alpn)
{
	CHECK(!ctx->server);
	return start(OBJ(stream, s), tls_session_new(ctx, name, alpn));
}

size_t stream_start_tls_dane(
    struct stream *s, const struct tls_ctx *ctx, const struct tls_dane *dane)
{
	CHECK(!ctx->server);
	return start(OBJ(stream, s), tls_session_dane(ctx, dane));
}

bool stream_is_tls(const struct stream *s)
{
	return s->wire.ssl != NULL && SSL_is_init_finished(s->wire.ssl);
}

/* Only a certificate that was verified has a subject worth telling. */
static void put_subject(const SSL *ssl, char *out, size_t size)
{
	X509 *x = SSL_get0_peer_certificate(ssl);
	if (x == NULL || !(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) ||
	    SSL_get_verify_result(ssl) != X509_V_OK)
		return;
	BIO *b = BIO_new(BIO_s_mem());
	CHECK(b != NULL);
	X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253);
	int n = BIO_read(b, out, (int)size - 1);
	out[n > 0 ? n : 0] = '\0';
	BIO_free(b);
	ERR_clear_error();
}

bool stream_tls(const struct stream *s, struct stream_tls *out)
{
	const unsigned char *alpn = NULL;
	unsigned alpn_n = 0;
	if (!stream_is_tls(s))
		return false;
	const SSL *ssl = s->wire.ssl;
	*out = (struct stream_tls){
		.version = SSL_get_version(ssl),
		.cipher = SSL_get_cipher_name(ssl),
		.bits = SSL_get_cipher_bits(ssl, NULL),
		.resumed = SSL_session_reused(ssl) == 1,
	};
	SSL_get0_alpn_selected(ssl, &alpn, &alpn_n);
	if (alpn_n > 0 && alpn_n < sizeof out->alpn)
		memcpy(out->alpn, alpn, alpn_n);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (name != NULL)
		snprintf(out->server_name, sizeof out->server_name, "%s", name);
	put_subject(ssl, out->peer_subject, sizeof out->peer_subject);
	return true;
}

enum stream_certificate stream_certificate(const struct stream *s)
{
	const SSL *ssl = s->wire.ssl;
	if (ssl == NULL)
		return STREAM_CERT_NONE;
	switch (SSL_get_verify_result(ssl)) {
	case X509_V_OK: /* before there is one, too; one that failed is none of the session's */
		return SSL_get0_peer_certificate(ssl) != NULL ? STREAM_CERT_GOOD : STREAM_CERT_NONE;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return STREAM_CERT_NAME;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return STREAM_CERT_EXPIRED;
	case X509_V_ERR_DANE_NO_MATCH:
		return STREAM_CERT_DANE;
	default:
		return STREAM_CERT_UNTRUSTED;
	}
}
