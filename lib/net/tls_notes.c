/* tls_notes.c - secrets and record numbers of OpenSSL's sessions, noted for parking them.
 *
 * Beside tls_ctx.c, which asks for notes; after them tls_park.c. The secrets are those that tls_kdf.c
 * derives while hands are shaken. OpenSSL tells the message callback the header of each record and the
 * type inside it. What is counted: headers and whole records since the peer's Finished, records written
 * since ours. With the last whole record opened and nothing decrypted left over, the numbers are those of
 * the next records. Whatever else happens than bytes of the application and tickets (an alert, a key
 * update, a second handshake) is unusual: such a session stays with OpenSSL. Owns the notes, one record
 * per connection, freed with it. */
#include "net/tls_notes.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/tls_kdf.h"
#include "net/tls_park.h"

struct notes {
	bool finished_in, finished_out; /* the Finished messages have passed */
	bool odd;
	uint8_t secret_n[2];
	uint8_t secret[2][TLS_SECRET_MAX]; /* of the client, of the server */
	uint64_t headers_in, records_in, records_out;
	uint64_t ticket_records, tickets; /* read; alike: no ticket has begun and not ended */
};

enum { OF_CLIENT, OF_SERVER };

static void on_freed(void *parent, void *held, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	if (held == NULL)
		return;
	mem_wipe(held, sizeof(struct notes));
	mem_free(held);
}

static int notes_index(void)
{
	static int index = -1;
	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_freed);
	CHECK(index >= 0);
	return index;
}

/* ---- secrets ---- */

static void on_secret(void *arg, struct span label, struct span secret)
{
	struct notes *t = arg;
	int whose = span_eq_str(label, "c ap traffic")   ? OF_CLIENT
		    : span_eq_str(label, "s ap traffic") ? OF_SERVER
							 : -1;
	if (whose < 0 || secret.n > TLS_SECRET_MAX)
		return;
	t->secret_n[whose] = (uint8_t)secret.n;
	memcpy(t->secret[whose], secret.p, secret.n);
}

int tls_notes_shake_hands(SSL *ssl)
{
	struct notes *t = SSL_get_ex_data(ssl, notes_index());
	if (t != NULL)
		tls_kdf_watch(on_secret, t);
	int ret = SSL_do_handshake(ssl);
	tls_kdf_watch(NULL, NULL);
	return ret;
}

/* ---- record numbers ---- */

/* Keys change behind a Finished: numbers begin again. */
static void on_finished(struct notes *t, bool written)
{
	if (written) {
		t->odd |= t->finished_out;
		t->finished_out = true;
		t->records_out = 0;
		return;
	}
	t->odd |= t->finished_in;
	t->finished_in = true;
	t->headers_in = t->records_in = t->ticket_records = t->tickets = 0;
}

static void on_handshake(struct notes *t, bool written, int kind)
{
	if (kind == SSL3_MT_FINISHED)
		on_finished(t, written);
	else if (t->finished_in && t->finished_out && kind != SSL3_MT_NEWSESSION_TICKET)
		t->odd = true;
	else if (t->finished_in && !written && kind == SSL3_MT_NEWSESSION_TICKET)
		t->tickets++;
}

static void on_inner_type(struct notes *t, int type)
{
	t->records_in++;
	if (type == SSL3_RT_HANDSHAKE)
		t->ticket_records++;
	else if (type != SSL3_RT_APPLICATION_DATA && t->finished_in)
		t->odd = true;
}

static void on_message(
    int written, int version, int type, const void *bytes, size_t n, SSL *ssl, void *arg)
{
	struct notes *t = arg;
	int first = n > 0 ? *(const uint8_t *)bytes : -1;
	switch (type) {
	case SSL3_RT_HEADER:
		*(written ? &t->records_out : &t->headers_in) += 1;
		break;
	case SSL3_RT_INNER_CONTENT_TYPE:
		if (!written)
			on_inner_type(t, first);
		break;
	case SSL3_RT_HANDSHAKE:
		on_handshake(t, written, first);
		break;
	case SSL3_RT_ALERT:
		t->odd |= t->finished_in && t->finished_out;
		break;
	default:
		break;
	}
}

void tls_notes_begin(SSL *ssl)
{
	struct notes *t = MEM_NEW(struct notes);
	CHECK(SSL_set_ex_data(ssl, notes_index(), t) == 1);
	SSL_set_msg_callback(ssl, on_message);
	SSL_set_msg_callback_arg(ssl, t);
}

/* ---- parking ---- */

static bool suite_of(const SSL *ssl, enum tls_suite *suite_out)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);
	switch (c != NULL ? SSL_CIPHER_get_id(c) : 0) {
	case TLS1_3_CK_AES_128_GCM_SHA256:
		*suite_out = TLS_AES_128_GCM;
		return true;
	case TLS1_3_CK_AES_256_GCM_SHA384:
		*suite_out = TLS_AES_256_GCM;
		return true;
	case TLS1_3_CK_CHACHA20_POLY1305_SHA256:
		*suite_out = TLS_CHACHA20_POLY1305;
		return true;
	default:
		return false;
	}
}

/* RFC 6066 section 4: codes 1 to 4 are 512 to 4096. */
static size_t record_max(const SSL *ssl)
{
	unsigned code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));
	return code >= 1 && code <= 4 ? 256u << code : TLS_PLAIN_MAX;
}

static struct tls_park *park(const SSL *ssl, const struct notes *t, enum tls_suite suite)
{
	bool client = !SSL_is_server(ssl);
	struct tls_facts f = { .suite = suite,
		.client = client,
		.record_max = record_max(ssl),
		.seq_in = t->records_in,
		.seq_out = t->records_out };
	memcpy(f.secret_in, t->secret[client ? OF_SERVER : OF_CLIENT], sizeof f.secret_in);
	memcpy(f.secret_out, t->secret[client ? OF_CLIENT : OF_SERVER], sizeof f.secret_out);
	struct tls_park *p = tls_park_new(&f);
	mem_wipe(&f, sizeof f);
	return p;
}

enum tls_parking tls_notes_park(const SSL *ssl, struct tls_park **park_out)
{
	const struct notes *t = SSL_get_ex_data(ssl, notes_index());
	enum tls_suite suite;
	if (t == NULL || t->odd || SSL_version(ssl) != TLS1_3_VERSION || !suite_of(ssl, &suite) ||
	    SSL_get_shutdown(ssl) != 0)
		return TLS_PARK_NEVER;
	if (!SSL_is_init_finished(ssl) || !t->finished_in || !t->finished_out ||
	    t->headers_in != t->records_in || t->tickets != t->ticket_records ||
	    SSL_pending(ssl) > 0 || SSL_has_pending(ssl))
		return TLS_PARK_LATER;
	if (t->secret_n[OF_CLIENT] != tls_secret_len(suite) ||
	    t->secret_n[OF_SERVER] != tls_secret_len(suite))
		return TLS_PARK_NEVER;
	*park_out = park(ssl, t, suite);
	return TLS_PARK_DONE;
}
