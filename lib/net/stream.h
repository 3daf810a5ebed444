/* stream.h - a connected byte stream over TCP, a unix socket, or TLS on either; bounded both ways.
 *
 * The stream owns its descriptor. Events come to one callback, from the loop only, never from
 * inside a stream_* call; the callback may free the stream. While no bytes are waiting the stream
 * holds no buffer, so an idle stream costs its struct (plus OpenSSL's object under TLS).
 *
 * Input is read while it is below in_max and not paused; past in_max the kernel's back-pressure
 * holds the peer. Output beyond out_max makes the stream fail with ERR_TOO_MANY: the owner either
 * asks stream_space() first or accepts to lose a peer that does not read. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"
#include "net/loop.h"

struct stream;
struct tls_ctx;
struct tls_dane;

enum stream_event {
	STREAM_INPUT,   /* stream_input() has more bytes than before */
	STREAM_SENT,    /* output has run empty */
	STREAM_SECURED, /* TLS handshake done: stream_tls() has the facts */
	STREAM_EOF,     /* the peer finished sending; unread input may remain */
	STREAM_FAILED,  /* stream_err() says why; only stream_free() is left to do */
};
typedef void stream_fn(void *arg, enum stream_event ev);

struct stream_limits {
	size_t in_max, out_max;
};

/* take_fd: connected, or about to be, non-blocking. Reading starts at once. */
struct stream *stream_new(
    struct loop *l, int take_fd, struct stream_limits limits, stream_fn *fn, void *arg);
/* The same for what listen.h accepted: such a descriptor sends without delay already. */
struct stream *stream_accepted(
    struct loop *l, int take_fd, struct stream_limits limits, stream_fn *fn, void *arg);
void stream_free(struct stream **s); /* closes now; unsent output is lost */

/* Graceful end: sends what waits, TLS close_notify, shuts down writing, swallows input until EOF
 * or until linger_ms have passed, then frees itself. No callback comes any more. */
void stream_close(struct stream **s, uint64_t linger_ms);

/* A new owner, e.g. when a dialled connection is handed over. */
void stream_set_owner(struct stream *s, struct stream_limits limits, stream_fn *fn, void *arg);

/* What passes through it is secret, as during a login: its bytes are wiped from memory when they have
 * been eaten or sent. For the rest of the stream's life. */
void stream_set_secret(struct stream *s);

struct span stream_input(const struct stream *s); /* until the next call on s */
void stream_eat(struct stream *s, size_t n);
void stream_pause(struct stream *s, bool pause); /* stop and resume reading */
bool stream_at_eof(const struct stream *s);      /* EOF seen (input may remain) */

/* Queue bytes: copied. False: over out_max, the stream will fail from the loop. Written to the
 * kernel at the end of the loop round, so many small writes become one system call. */
bool stream_write(struct stream *s, const void *p, size_t n);
bool stream_write_span(struct stream *s, struct span v);
bool stream_printf(struct stream *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t stream_pending(const struct stream *s); /* queued, not yet in the kernel */
size_t stream_space(const struct stream *s);   /* out_max less pending */
/* What it holds in this process, about: itself, what waits both ways, OpenSSL's object with its buffers. */
size_t stream_memory(const struct stream *s);

/* A range of a file in the output, in order with the rest: sendfile() when plaintext, read in
 * pieces under TLS. Counts little against out_max. The reference keeps the descriptor open. */
struct file_ref;
struct file_ref *file_ref_new(int take_fd);
struct file_ref *file_ref_get(struct file_ref *f);
void file_ref_put(struct file_ref **f);
int file_ref_fd(const struct file_ref *f);
bool stream_write_file(struct stream *s, struct file_ref *f, off_t at, size_t n);

/* TLS. Starting as server drops plaintext that is already buffered and answers how many bytes
 * that was (RFC 3207 section 4.2: nothing said before TLS counts; a count > 0 is an injection
 * attempt and the caller should end the session). STREAM_SECURED or STREAM_FAILED follows.
 * As client: name is checked against the certificate as the context says; alpn may be NULL. */
size_t stream_start_tls_server(struct stream *s, const struct tls_ctx *ctx);
size_t stream_start_tls_client(
    struct stream *s, const struct tls_ctx *ctx, const char *name, const char *alpn);

size_t stream_start_tls_dane(
    struct stream *s, const struct tls_ctx *ctx, const struct tls_dane *dane);

/* From here on bytes are raw DEFLATE both ways: what is queued already leaves as it is, what is unread was
 * packed. Files are read, not sent by the kernel. Not for a stream that is to be handed to a pipe. */
void stream_start_compress(struct stream *s);
bool stream_is_compressed(const struct stream *s);

struct stream_tls {
	const char *version; /* "TLSv1.3" */
	const char *cipher;
	int bits;
	bool resumed;
	char alpn[32];          /* "" when none was agreed */
	char server_name[256];  /* SNI the client sent, "" when none */
	char peer_subject[256]; /* verified client or server certificate, else "" */
};
bool stream_is_tls(const struct stream *s); /* handshake done */
bool stream_tls(const struct stream *s, struct stream_tls *out);

/* What was wrong with the certificate of a server, after a handshake that went well or not. */
enum stream_certificate {
	STREAM_CERT_GOOD, /* as far as the context looks: with TLS_VERIFY_NONE that means nothing */
	STREAM_CERT_NONE, /* there was none to look at: the handshake did not come so far */
	STREAM_CERT_NAME, /* for somebody else */
	STREAM_CERT_EXPIRED,
	STREAM_CERT_UNTRUSTED, /* by nobody we trust, revoked, not valid yet, or malformed */
	STREAM_CERT_DANE       /* not one that DNSSEC names */
};
enum stream_certificate stream_certificate(const struct stream *s);
err_t stream_err(const struct stream *s);
const char *stream_err_text(const struct stream *s); /* OpenSSL's or errno's words, for logs */

struct ip_port stream_peer(const struct stream *s); /* of the socket, not of a PROXY header */
struct ip_port stream_local(const struct stream *s);
uint64_t stream_bytes_in(const struct stream *s); /* application bytes */
uint64_t stream_bytes_out(const struct stream *s);
int stream_fd(const struct stream *s);

void stream_keepalive(struct stream *s, unsigned idle_s); /* TCP keepalive; 0 = off */
/* What has been read is acknowledged now. For a moment at which a peer that writes in small pieces waits for
 * it (Nagle) while we have nothing to say; else a delayed acknowledgement costs it 40 ms. */
void stream_ack_now(struct stream *s);

#endif
