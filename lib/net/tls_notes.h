/* tls_notes.h - what must be known of an OpenSSL session to go on without it.
 *
 * OpenSSL 3.0 gives its traffic secrets to the key log only, in hex, and its record numbers to nobody:
 * both are noted as they pass. Private to lib/net. */
#ifndef NET_TLS_NOTES_H
#define NET_TLS_NOTES_H

#include <openssl/ssl.h>

struct tls_park;

/* For a connection before its handshake. The notes hang on the object and are wiped with it. */
void tls_notes_begin(SSL *ssl);
/* SSL_do_handshake(), of any object; the secrets of one that has notes are noted. */
int tls_notes_shake_hands(SSL *ssl);

enum tls_parking {
	TLS_PARK_NEVER, /* not TLS 1.3, no notes, or something unusual was seen: OpenSSL keeps it */
	TLS_PARK_LATER, /* in the middle of a record, or decrypted bytes are left */
	TLS_PARK_DONE
};
/* A parked session to go on with; the caller frees the object then, without a shutdown. Only while
 * nothing that was given to SSL_write() is left unsent: the caller knows. */
enum tls_parking tls_notes_park(const SSL *ssl, struct tls_park **park_out);

#endif
