/* wire.c - reading and writing a descriptor, plain or through OpenSSL, without waiting.
 *
 * Below stream.c and pipe.c. OpenSSL's error queue is per thread and must be empty before a call
 * whose result SSL_get_error() judges; every call here clears it first. */
#include "net/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

#include "net/net_facts.h"
#include "net/tls_notes.h"
#include "net/tls_park.h"

enum { SHORT_RECORD = 4096, KEEPALIVE_PROBES = 4, KEEPALIVE_BETWEEN_S = 15 };

static struct wire_fault fault;

char *wire_scratch(void)
{
	static char scratch[WIRE_SCRATCH];
	return scratch;
}

/* ---- faults ---- */

const struct wire_fault *wire_fault(void)
{
	return &fault;
}

enum wire_result wire_fail(err_t err, const char *text)
{
	fault.err = err;
	snprintf(fault.text, sizeof fault.text, "%s", text);
	return WIRE_FAILED;
}

bool wire_is_later(int errnum)
{
	return errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR;
}

enum wire_result wire_fail_errno(int errnum)
{
	return wire_fail(err_from_errno(errnum), strerror(errnum));
}

/* The certificate's fault is worth more than "certificate verify failed". */
static enum wire_result fail_unverified(const SSL *ssl)
{
	fault.err = ERR_TLS_UNVERIFIED;
	snprintf(fault.text, sizeof fault.text, "certificate: %s",
	    X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	return WIRE_FAILED;
}

static enum wire_result fail_ssl(const SSL *ssl)
{
	unsigned long e = ERR_peek_error();
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return fail_unverified(ssl);
	const char *reason = ERR_reason_error_string(e);
	return wire_fail(ERR_PROTOCOL, reason != NULL ? reason : "TLS failure without a reason");
}

static enum wire_result judge_plain(ssize_t n, enum wire_result again, size_t *moved_out)
{
	if (n > 0) {
		*moved_out = (size_t)n;
		return WIRE_OK;
	}
	if (n < 0 && wire_is_later(errno))
		return again;
	return wire_fail_errno(n < 0 ? errno : EPIPE);
}

/* ret <= 0 of an SSL_* call made with an empty error queue and errno 0. */
static enum wire_result judge_ssl(const SSL *ssl, int ret)
{
	int saved = errno;
	switch (SSL_get_error(ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return WIRE_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return WIRE_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return WIRE_EOF;
	case SSL_ERROR_SYSCALL:
		if (saved != 0)
			return wire_fail_errno(saved);
		return wire_fail(ERR_CONN_CLOSED, "closed in the middle of TLS");
	default:
		return fail_ssl(ssl);
	}
}

static void before_ssl(void)
{
	ERR_clear_error();
	errno = 0;
}

/* ---- reading ---- */

static enum wire_result read_plain(struct wire *w, char *p, size_t n, size_t *got_out)
{
	ssize_t got = recv(w->fd, p, n, 0);
	if (got == 0)
		return WIRE_EOF;
	return judge_plain(got, WIRE_WANT_READ, got_out);
}

static enum wire_result read_tls(struct wire *w, char *p, size_t n, size_t *got_out)
{
	enum wire_result r = WIRE_OK;
	size_t total = 0;
	while (total < n && r == WIRE_OK) {
		size_t got = 0;
		before_ssl();
		int ret = SSL_read_ex(w->ssl, p + total, n - total, &got);
		if (ret == 1)
			total += got;
		else
			r = judge_ssl(w->ssl, ret);
		if (got > 0 && got < SHORT_RECORD && !SSL_has_pending(w->ssl))
			break; /* most likely the last there is: else the descriptor tells */
	}
	w->dry = r == WIRE_WANT_READ;
	*got_out = total;
	/* EOF and failures show again at the next call. */
	return total > 0 ? WIRE_OK : r;
}

enum wire_result wire_read(struct wire *w, char *p, size_t n, size_t *got_out)
{
	*got_out = 0;
	if (w->park != NULL)
		return tls_park_read(w->park, w->fd, p, n, got_out);
	return w->ssl != NULL ? read_tls(w, p, n, got_out) : read_plain(w, p, n, got_out);
}

bool wire_has_pending(const struct wire *w)
{
	if (w->park != NULL)
		return tls_park_has_end(w->park);
	return w->ssl != NULL && ((!w->dry && SSL_has_pending(w->ssl)) || SSL_pending(w->ssl) > 0 ||
				     (SSL_get_shutdown(w->ssl) & SSL_RECEIVED_SHUTDOWN));
}

enum wire_result wire_swallow(struct wire *w)
{
	size_t got;
	return read_plain(w, wire_scratch(), WIRE_SCRATCH, &got);
}

/* ---- writing ---- */

enum wire_result wire_write(struct wire *w, struct span bytes, bool more, size_t *put_out)
{
	*put_out = 0;
	if (w->park != NULL)
		return tls_park_write(w->park, w->fd, bytes, put_out);
	if (w->ssl == NULL)
		return judge_plain(
		    send(w->fd, bytes.p, bytes.n, MSG_NOSIGNAL | (more ? MSG_MORE : 0)),
		    WIRE_WANT_WRITE, put_out);
	before_ssl();
	int ret = SSL_write_ex(w->ssl, bytes.p, bytes.n, put_out);
	return ret == 1 ? WIRE_OK : judge_ssl(w->ssl, ret);
}

enum wire_result wire_send(struct wire *w, const struct msghdr *m, bool more, size_t *put_out)
{
	*put_out = 0;
	CHECK(wire_is_plain(w));
	int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
	const struct iovec *one = m->msg_iov;
	/* a single piece is the rule, and a list of one costs the kernel more */
	ssize_t put = m->msg_iovlen == 1 ? send(w->fd, one->iov_base, one->iov_len, flags)
					 : sendmsg(w->fd, m, flags);
	return judge_plain(put, WIRE_WANT_WRITE, put_out);
}

enum wire_result wire_write_file(struct wire *w, int fd, off_t at, size_t n, size_t *put_out)
{
	static char piece[WIRE_RECORD];
	ssize_t got;
	*put_out = 0;
	if (wire_is_plain(w)) {
		got = sendfile(w->fd, fd, &at, n);
	} else {
		got = pread(fd, piece, n < sizeof piece ? n : sizeof piece, at);
		if (got > 0)
			return wire_write(w, span_of(piece, (size_t)got), false, put_out);
	}
	if (got == 0)
		return wire_fail(ERR_CORRUPT, "file is shorter than what was to be sent of it");
	return judge_plain(got, WIRE_WANT_WRITE, put_out);
}

/* ---- TLS phases and the end ---- */

enum wire_result wire_handshake(struct wire *w)
{
	before_ssl();
	int ret = tls_notes_shake_hands(w->ssl);
	if (ret == 1)
		return WIRE_OK;
	enum wire_result r = judge_ssl(w->ssl, ret);
	if (r == WIRE_EOF)
		return wire_fail(ERR_CONN_CLOSED, "closed during the TLS handshake");
	/* SSL_is_init_finished() would not tell: it says no after any fatal error. */
	if (r == WIRE_FAILED && fault.err == ERR_PROTOCOL)
		fault.err = ERR_TLS_HANDSHAKE;
	return r;
}

static void drop_ssl(struct wire *w)
{
	/* Freed without a shutdown, OpenSSL drops the session from resumption. */
	if (SSL_is_init_finished(w->ssl))
		SSL_set_shutdown(w->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(w->ssl);
	w->ssl = NULL;
	ERR_clear_error();
}

bool wire_park(struct wire *w)
{
	if (w->ssl == NULL)
		return false;
	enum tls_parking now = tls_notes_park(w->ssl, &w->park);
	if (now == TLS_PARK_DONE) {
		drop_ssl(w);
		metric_add(&net_metrics[NET_TLS_PARKED], 1);
	}
	return now == TLS_PARK_LATER;
}

enum wire_result wire_say_goodbye(struct wire *w)
{
	if (w->park != NULL && tls_park_finish(w->park, w->fd) == WIRE_WANT_WRITE)
		return WIRE_WANT_WRITE;
	if (w->ssl != NULL && SSL_is_init_finished(w->ssl) &&
	    !(SSL_get_shutdown(w->ssl) & SSL_SENT_SHUTDOWN)) {
		before_ssl();
		int ret = SSL_shutdown(w->ssl);
		enum wire_result r = ret < 0 ? judge_ssl(w->ssl, ret) : WIRE_OK;
		if (r == WIRE_WANT_WRITE)
			return r;
	}
	return WIRE_OK;
}

enum wire_result wire_finish(struct wire *w)
{
	if (wire_say_goodbye(w) == WIRE_WANT_WRITE)
		return WIRE_WANT_WRITE;
	if (shutdown(w->fd, SHUT_WR) < 0)
		return wire_fail_errno(errno);
	return WIRE_OK;
}

void wire_close(struct wire *w)
{
	if (w->ssl != NULL)
		drop_ssl(w);
	tls_park_free(&w->park);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

/* ---- names ---- */

static struct ip_port name_of(
    int fd, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	struct sockaddr_storage sa = { 0 };
	socklen_t n = sizeof sa;
	if (get(fd, (struct sockaddr *)&sa, &n) < 0)
		return (struct ip_port){ 0 };
	return ip_from_sockaddr((const struct sockaddr *)&sa);
}

struct ip_port wire_local(int fd)
{
	return name_of(fd, getsockname);
}

struct ip_port wire_peer(int fd)
{
	return name_of(fd, getpeername);
}

/* ---- a peer that is gone without a word ---- */

void wire_keepalive(int fd, unsigned idle_s)
{
	int on = idle_s > 0, probes = KEEPALIVE_PROBES, between = KEEPALIVE_BETWEEN_S;
	int idle = idle_s < 32767 ? (int)idle_s : 32767;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 || !on)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}
