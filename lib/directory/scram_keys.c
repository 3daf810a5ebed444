/* scram_keys.c - SCRAM's key derivation (RFC 5802 section 3) with SHA-256. */
#include "directory/scram_keys.h"

#include "base/mem.h"
#include "proto/scram.h"

static const struct span scheme = SPAN("{SCRAM-SHA-256}");

bool scram_keys_read(struct span value, struct scram_keys *out)
{
	if (!span_istarts(value, scheme))
		return false;
	struct scram_stored v;
	bool good = scram_stored_parse(&v, span_from(value, scheme.n)) &&
		    buf_len(&v.stored) == SCRAM_KEY_LEN && buf_len(&v.server) == SCRAM_KEY_LEN &&
		    buf_len(&v.salt) <= SCRAM_SALT_MAX;
	if (good) {
		out->rounds = v.rounds;
		out->salt_n = buf_len(&v.salt);
		memcpy(out->salt, buf_span(&v.salt).p, out->salt_n);
		memcpy(out->stored, buf_span(&v.stored).p, SCRAM_KEY_LEN);
		memcpy(out->server, buf_span(&v.server).p, SCRAM_KEY_LEN);
	}
	scram_stored_end(&v);
	return good;
}

void scram_keys_derive(struct scram_keys *k, struct span secret)
{
	uint8_t salted[DIGEST_LEN_MAX], key[DIGEST_LEN_MAX], made[DIGEST_LEN_MAX];
	digest_pbkdf2(DIGEST_SHA256, secret, span_of(k->salt, k->salt_n), k->rounds, salted);
	struct span by = span_of(salted, SCRAM_KEY_LEN);
	digest_hmac(DIGEST_SHA256, by, SPAN("Client Key"), key);
	digest_make(DIGEST_SHA256, span_of(key, SCRAM_KEY_LEN), made);
	memcpy(k->stored, made, SCRAM_KEY_LEN);
	digest_hmac(DIGEST_SHA256, by, SPAN("Server Key"), key);
	memcpy(k->server, key, SCRAM_KEY_LEN);
	mem_wipe(salted, sizeof salted);
	mem_wipe(key, sizeof key);
}

bool scram_keys_fit(struct span value, struct span secret)
{
	struct scram_keys want, made;
	if (!scram_keys_read(value, &want))
		return false;
	made = want;
	scram_keys_derive(&made, secret);
	bool same =
	    digest_equal(span_of(made.stored, SCRAM_KEY_LEN), span_of(want.stored, SCRAM_KEY_LEN));
	mem_wipe(&made, sizeof made);
	mem_wipe(&want, sizeof want);
	return same;
}
