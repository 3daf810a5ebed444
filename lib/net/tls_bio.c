/* tls_bio.c - the socket below an OpenSSL session.
 *
 * Beside stream_tls.c, which attaches it. OpenSSL's own BIO of a socket but for one thing: a session ticket (RFC 8446
 * section 4.6.1) is no reason for a packet. It waits in the kernel for the bytes of the application, and leaves alone
 * after 200 ms if there are none (MSG_MORE, tcp(7)). Owns its method, for good. */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/check.h"

#include "net/tls_internal.h"
#include "net/wire.h"

static int put_ticket(BIO *b, const char *p, int n)
{
	ssize_t put = send((int)BIO_get_fd(b, NULL), p, (size_t)n, MSG_NOSIGNAL | MSG_MORE);
	BIO_clear_retry_flags(b);
	if (put < 0 && wire_is_later(errno))
		BIO_set_retry_write(b);
	return (int)put;
}

static int on_write(BIO *b, const char *p, int n)
{
	const SSL *ssl = BIO_get_data(b);
	if (SSL_get_state(ssl) == TLS_ST_SW_SESSION_TICKET && n > 0)
		return put_ticket(b, p, n);
	return BIO_meth_get_write(BIO_s_socket())(b, p, n);
}

static const BIO_METHOD *method(void)
{
	static BIO_METHOD *m;
	const BIO_METHOD *base = BIO_s_socket();
	if (m != NULL)
		return m;
	m = BIO_meth_new(BIO_TYPE_SOCKET, "socket, tickets wait");
	CHECK(m != NULL && BIO_meth_set_write(m, on_write) == 1);
	CHECK(BIO_meth_set_read(m, BIO_meth_get_read(base)) == 1);
	CHECK(BIO_meth_set_puts(m, BIO_meth_get_puts(base)) == 1);
	CHECK(BIO_meth_set_ctrl(m, BIO_meth_get_ctrl(base)) == 1);
	CHECK(BIO_meth_set_create(m, BIO_meth_get_create(base)) == 1);
	CHECK(BIO_meth_set_destroy(m, BIO_meth_get_destroy(base)) == 1);
	return m;
}

void tls_session_attach(SSL *ssl, int fd)
{
	BIO *b = BIO_new(method());
	CHECK(b != NULL);
	BIO_set_fd(b, fd, BIO_NOCLOSE);
	BIO_set_data(b, ssl);
	SSL_set_bio(ssl, b, b);
}
