/* sasl_cram.c - CRAM-MD5 (RFC 2195): the server's challenge, answered with its HMAC under the password; and POP3's
 * APOP (RFC 1939), which is a digest of both. Only for passwords that can be read; old, and off unless configured. */
#include "base/fmt.h"
#include "base/ident.h"
#include "base/mem.h"

#include "directory/sasl_mechanism.h"

enum { HEX_LEN = 2 * DIGEST_MD5_LEN };

static enum sasl_rx start(struct sasl_server *x)
{
	struct ident once = ident_new();
	buf_printf(&x->so_far, "<%s@%s>", once.s, x->hostname);
	buf_add_span(&x->out, buf_span(&x->so_far));
	return buf_ok(&x->out) ? SASL_RX_CHALLENGE : SASL_RX_BAD;
}

/* "name digest": names may have spaces in them. The digest waits for the account in `nonce`. */
static enum sasl_rx take(struct sasl_server *x, struct span message)
{
	size_t space = span_rfind(message, ' ');
	if (buf_len(&x->so_far) == 0 || space == SIZE_MAX || space == 0 || space > SASL_NAME_MAX)
		return SASL_RX_BAD;
	struct span digest = span_from(message, space + 1);
	if (digest.n != HEX_LEN)
		return SASL_RX_BAD;
	char lower[HEX_LEN];
	span_lower_to(lower, digest);
	buf_add(&x->nonce, lower, sizeof lower);
	buf_add_span(&x->user, span_first(message, space));
	return SASL_RX_ACCOUNT;
}

/* Who has no password that can be read costs as much as who has one, and fails. */
static enum sasl_rx compare(struct sasl_server *x, struct span secret, const uint8_t *made)
{
	struct buf hex = BUF_INIT(HEX_LEN);
	fmt_hex(&hex, span_of(made, DIGEST_MD5_LEN));
	bool same = digest_equal(buf_span(&hex), buf_span(&x->nonce));
	buf_wipe_end(&hex);
	return same && secret.n > 0 && !x->doomed ? SASL_RX_DONE : SASL_RX_FAILED;
}

static enum sasl_rx on_account(struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	struct span secret = sasl_plain_secret(user, plain_allowed);
	uint8_t made[DIGEST_LEN_MAX];
	digest_hmac(DIGEST_MD5, secret.n > 0 ? secret : SPAN("nobody"), buf_span(&x->so_far), made);
	enum sasl_rx rx = compare(x, secret, made);
	mem_wipe(made, sizeof made);
	return rx;
}

/* The digest of the greeting's challenge and the password behind it. */
static enum sasl_rx on_apop_account(
    struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	struct span secret = sasl_plain_secret(user, plain_allowed);
	uint8_t made[DIGEST_LEN_MAX];
	struct buf whole = BUF_INIT(SASL_MESSAGE_MAX + SASL_SECRET_MAX);
	buf_add_span(&whole, buf_span(&x->so_far));
	buf_add_span(&whole, secret.n > 0 ? secret : SPAN("nobody"));
	bool fits = buf_ok(&whole);
	digest_make(DIGEST_MD5, buf_span(&whole), made);
	buf_wipe_end(&whole);
	enum sasl_rx rx = compare(x, secret, made);
	mem_wipe(made, sizeof made);
	return fits ? rx : SASL_RX_FAILED;
}

const struct sasl_mechanism sasl_cram = {
	.mech = SASL_CRAM_MD5,
	.start = start,
	.take = take,
	.account = on_account,
};

const struct sasl_mechanism sasl_apop = {
	.mech = SASL_APOP,
	.take = take,
	.account = on_apop_account,
};
