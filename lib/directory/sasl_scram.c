/* sasl_scram.c - SCRAM-SHA-256 and -PLUS (RFC 5802, 7677; channel bindings of RFC 9266 and 5929).
 *
 * client-first -> account -> server-first -> client-final -> server-final -> an empty message. */
#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/scram.h"

#include "directory/sasl_mechanism.h"

enum step { STEP_FIRST = SASL_STEP_BEGIN, STEP_FINAL, STEP_LAST };
enum { NONCE_BYTES = 18 };

const char *sasl_scram_nonce; /* NULL: random */

/* Does what the client says of channel binding fit the mechanism that it chose and what we offered? */
static bool binding_fits(struct sasl_server *x, const struct scram_first *m)
{
	struct span own = SPAN_NONE;
	if ((x->mechanism == &sasl_scram_plus) != (m->gs2 == SCRAM_GS2_BOUND))
		return false;
	if (m->gs2 == SCRAM_GS2_UNASKED && x->plus_offered) /* somebody took it out of our list */
		return false;
	if (m->gs2 == SCRAM_GS2_BOUND) {
		if (span_eq_str(m->binding, "tls-exporter"))
			own = buf_span(&x->exporter);
		else if (span_eq_str(m->binding, "tls-server-end-point"))
			own = buf_span(&x->end_point);
		if (own.n == 0)
			return false;
	}
	return buf_add_span(&x->bound, m->header) && buf_add_span(&x->bound, own);
}

static enum sasl_rx take_first(struct sasl_server *x, struct span message)
{
	struct scram_first m;
	enum sasl_rx rx = SASL_RX_BAD;
	if (scram_first_parse(&m, message) == ERR_OK && binding_fits(x, &m)) {
		buf_add_span(&x->user, m.user);
		buf_add_span(&x->authzid, m.authzid);
		buf_add_span(&x->nonce, m.nonce);
		buf_add_span(&x->so_far, m.bare);
		rx = buf_ok(&x->so_far) ? SASL_RX_ACCOUNT : SASL_RX_BAD;
	}
	scram_first_end(&m);
	return rx;
}

/* Keys for one who has none cost as much as those of one whose password is known. */
static void set_keys(struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	for (size_t i = 0; user != NULL && i < user->password_n; i++)
		if (scram_keys_read(span_str(user->passwords[i]), &x->keys))
			return;
	struct span secret = sasl_plain_secret(user, plain_allowed);
	x->doomed = x->doomed || secret.n == 0;
	x->keys.rounds = SCRAM_ROUNDS;
	x->keys.salt_n = SCRAM_SALT_LEN;
	sasl_salt_of(buf_span(&x->user), x->keys.salt);
	if (plain_allowed)
		scram_keys_derive(&x->keys, secret.n > 0 ? secret : SPAN("nobody"));
}

static void add_own_nonce(struct sasl_server *x)
{
	uint8_t raw[NONCE_BYTES];
	if (sasl_scram_nonce != NULL) {
		buf_add_str(&x->nonce, sasl_scram_nonce);
		return;
	}
	rand_bytes(raw, sizeof raw);
	base64_put(&x->nonce, span_of(raw, sizeof raw));
}

static enum sasl_rx on_account(struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	set_keys(x, user, plain_allowed);
	add_own_nonce(x);
	scram_put_server_first(
	    &x->out, buf_span(&x->nonce), span_of(x->keys.salt, x->keys.salt_n), x->keys.rounds);
	buf_add_char(&x->so_far, ',');
	buf_add_span(&x->so_far, buf_span(&x->out));
	buf_add_char(&x->so_far, ',');
	x->step = STEP_FINAL;
	return SASL_RX_CHALLENGE;
}

static bool proof_fits(const struct sasl_server *x, struct span proof)
{
	uint8_t key[DIGEST_LEN_MAX], stored[DIGEST_LEN_MAX];
	if (proof.n != SCRAM_KEY_LEN)
		return false;
	digest_hmac(
	    DIGEST_SHA256, span_of(x->keys.stored, SCRAM_KEY_LEN), buf_span(&x->so_far), key);
	for (size_t i = 0; i < SCRAM_KEY_LEN; i++)
		key[i] = (uint8_t)(key[i] ^ (unsigned char)proof.p[i]);
	digest_make(DIGEST_SHA256, span_of(key, SCRAM_KEY_LEN), stored);
	bool same =
	    digest_equal(span_of(stored, SCRAM_KEY_LEN), span_of(x->keys.stored, SCRAM_KEY_LEN));
	mem_wipe(key, sizeof key);
	return same && !x->doomed;
}

static enum sasl_rx check_final(struct sasl_server *x, const struct scram_final *m)
{
	uint8_t signature[DIGEST_LEN_MAX];
	buf_add_span(&x->so_far, m->without_proof);
	if (!span_eq(m->nonce, buf_span(&x->nonce)) ||
	    !span_eq(buf_span(&m->binding), buf_span(&x->bound)) || !buf_ok(&x->so_far) ||
	    !proof_fits(x, buf_span(&m->proof)))
		return SASL_RX_FAILED;
	digest_hmac(
	    DIGEST_SHA256, span_of(x->keys.server, SCRAM_KEY_LEN), buf_span(&x->so_far), signature);
	scram_put_server_final(&x->out, span_of(signature, SCRAM_KEY_LEN));
	x->step = STEP_LAST;
	return SASL_RX_CHALLENGE;
}

static enum sasl_rx take_final(struct sasl_server *x, struct span message)
{
	struct scram_final m;
	enum sasl_rx rx = SASL_RX_BAD;
	if (scram_final_parse(&m, message) == ERR_OK)
		rx = check_final(x, &m);
	scram_final_end(&m);
	return rx;
}

static enum sasl_rx on_message(struct sasl_server *x, struct span message)
{
	switch ((enum step)x->step) {
	case STEP_FIRST:
		return take_first(x, message);
	case STEP_FINAL:
		return take_final(x, message);
	case STEP_LAST:
		break;
	}
	return message.n == 0 ? SASL_RX_DONE : SASL_RX_BAD;
}

const struct sasl_mechanism sasl_scram = {
	.mech = SASL_SCRAM_SHA_256,
	.take = on_message,
	.account = on_account,
};

const struct sasl_mechanism sasl_scram_plus = {
	.mech = SASL_SCRAM_SHA_256_PLUS,
	.take = on_message,
	.account = on_account,
};
