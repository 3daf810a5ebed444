/* tls_park.h - a TLS 1.3 session without its OpenSSL object: traffic secrets and record numbers.
 *
 * What kernel TLS does, in user space. OpenSSL shakes hands and carries the session through its
 * login; a session that only moves bytes afterwards is parked, and costs a few hundred bytes while
 * it is idle. Records are sealed and opened in buffers that all sessions of the process share; only
 * a record that is not whole yet, or that the kernel has not taken whole, has memory of its own.
 * Before: tls_notes.c, which takes a session from OpenSSL. Private to lib/net: wire.c makes a
 * parked session look like any other. */
#ifndef NET_TLS_PARK_H
#define NET_TLS_PARK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/span.h"
#include "net/tls_record.h"
#include "net/wire.h"

struct tls_park;

struct tls_facts {
	enum tls_suite suite;
	bool client; /* our side of the session */
	/* Bytes of content in a record of ours: what was agreed, or TLS_PLAIN_MAX. */
	size_t record_max;
	uint8_t secret_in[TLS_SECRET_MAX], secret_out[TLS_SECRET_MAX];
	uint64_t seq_in, seq_out; /* of the next record */
};

struct tls_park *tls_park_new(const struct tls_facts *facts); /* the caller wipes its facts */
void tls_park_free(struct tls_park **p); /* secrets are wiped; nothing is sent */

/* The contracts of wire_read() and wire_write(). n of a read is at least WIRE_SCRATCH. An end or a
 * failure that was found behind bytes is answered by the next read: tls_park_has_end() tells that
 * one is due. A record that is refused is answered with its alert. */
enum wire_result tls_park_read(struct tls_park *p, int fd, char *out, size_t n, size_t *got_out);
enum wire_result tls_park_write(struct tls_park *p, int fd, struct span bytes, size_t *put_out);
/* close_notify; the descriptor stays open for writing. OK, WANT_WRITE or FAILED. */
enum wire_result tls_park_finish(struct tls_park *p, int fd);
bool tls_park_has_end(const struct tls_park *p);

/* All of it, secrets too, for another process that has the descriptor: what was not read or sent goes on there.
 * False: it ends here, nothing was added. Of the two only one may go on. */
bool tls_park_save(const struct tls_park *p, struct buf *out);
/* NULL: that is not what tls_park_save() wrote. */
struct tls_park *tls_park_load(struct bytes_reader *in);

#endif
