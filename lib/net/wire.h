/* wire.h - a connected descriptor, plain or under TLS: reading and writing without waiting.
 *
 * What a stream and a pipe have in common. Private to lib/net. Nothing here keeps bytes: what the
 * kernel or OpenSSL does not take stays with the caller. */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"

struct ssl_st;
struct tls_park;
struct msghdr;

/* Neither ssl nor park: plaintext. */
struct wire {
	struct ssl_st *ssl;    /* owned */
	struct tls_park *park; /* owned; instead of ssl, once wire_park() has been done */
	int fd;                /* owned; -1: none */
	bool dry;              /* what OpenSSL holds is not yet a whole record */
};

enum wire_result {
	WIRE_OK,         /* some bytes moved, or the step is done */
	WIRE_WANT_READ,  /* nothing moved: try again when readable */
	WIRE_WANT_WRITE, /* nothing moved: try again when writable */
	WIRE_EOF,        /* the peer finished sending (reading only) */
	WIRE_FAILED      /* wire_fault() says why */
};

enum { WIRE_SCRATCH = 65536, WIRE_RECORD = 16384 };

/* One buffer per process to read into: borrowed until control returns to the loop. */
char *wire_scratch(void);

static inline bool wire_is_plain(const struct wire *w)
{
	return w->ssl == NULL && w->park == NULL;
}

/* Plain: one system call. TLS: until n bytes, or nothing more is there; several records. Parked:
 * n is at least WIRE_SCRATCH. */
enum wire_result wire_read(struct wire *w, char *p, size_t n, size_t *got_out);
/* TLS: some records of it; repeat after WANT_* with the same bytes first. more: something follows at once, plaintext need not
 * leave in a short packet yet. */
enum wire_result wire_write(struct wire *w, struct span bytes, bool more, size_t *put_out);
/* Plain only: several pieces at once. */
enum wire_result wire_send(struct wire *w, const struct msghdr *m, bool more, size_t *put_out);
/* sendfile() when plain, else through pread(). A file that is too short is a failure. */
enum wire_result wire_write_file(struct wire *w, int fd, off_t at, size_t n, size_t *put_out);
/* Decrypted bytes or the end wait inside TLS: the descriptor will not tell. */
bool wire_has_pending(const struct wire *w);
enum wire_result wire_handshake(struct wire *w);
/* Does without the OpenSSL object, if the context allows it and the session is an ordinary one: for
 * one that only moves bytes from here on. Nothing given to wire_write() may be unsent. True: it may
 * become possible later. */
bool wire_park(struct wire *w);
/* close_notify when TLS: WANT_WRITE, or all that can be done is done. */
enum wire_result wire_say_goodbye(struct wire *w);
/* The same, then shutdown(SHUT_WR). */
enum wire_result wire_finish(struct wire *w);
/* Reads and drops raw bytes: OK, WANT_READ, EOF or FAILED. */
enum wire_result wire_swallow(struct wire *w);
/* Frees the TLS object so that its session stays resumable, and closes. Fine when closed. */
void wire_close(struct wire *w);

/* The addresses of a socket's ends; none when it is not an IP socket, or not connected. */
struct ip_port wire_local(int fd);
struct ip_port wire_peer(int fd);

/* TCP probes a peer that was silent for so long, also if it is silent already; 0: it does not. */
void wire_keepalive(int fd, unsigned idle_s);

/* Of the last WIRE_FAILED in this process. */
struct wire_fault {
	err_t err;
	char text[200];
};
const struct wire_fault *wire_fault(void);
/* Of a system call on a descriptor: it is to be tried again when the descriptor is ready. */
bool wire_is_later(int errnum);
/* Sets the fault from errno / from words of ours. */
enum wire_result wire_fail_errno(int errnum);
enum wire_result wire_fail(err_t err, const char *text);

#endif
