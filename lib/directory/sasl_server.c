/* sasl_server.c - one exchange: finds its mechanism, keeps what the mechanisms share.
 *
 * Owns: struct sasl_server. */
#include "directory/sasl_server.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"

#include "directory/sasl_mechanism.h"

static uint8_t salt_key[DIGEST_SHA256_LEN]; /* of the host's master and all its workers */

static const struct sasl_mechanism *const mechanisms[] = { &sasl_scram, &sasl_scram_plus,
	&sasl_cram, &sasl_apop, &sasl_oauthbearer, &sasl_xoauth2, &sasl_external };

static const struct sasl_mechanism *mechanism_of(enum sasl_mech mech)
{
	for (size_t i = 0; i < COUNT_OF(mechanisms); i++)
		if (mechanisms[i]->mech == mech)
			return mechanisms[i];
	return NULL;
}

bool sasl_server_knows(enum sasl_mech mech)
{
	return mechanism_of(mech) != NULL;
}

void sasl_server_prepare(void)
{
	rand_bytes(salt_key, sizeof salt_key);
}

void sasl_salt_of(struct span user, uint8_t out[SCRAM_SALT_LEN])
{
	uint8_t made[DIGEST_LEN_MAX];
	char lower[SASL_NAME_MAX];
	user = span_first(user, sizeof lower);
	span_lower_to(lower, user);
	digest_hmac(
	    DIGEST_SHA256, span_of(salt_key, sizeof salt_key), span_of(lower, user.n), made);
	memcpy(out, made, SCRAM_SALT_LEN);
}

struct span sasl_plain_secret(const struct record *user, bool plain_allowed)
{
	for (size_t i = 0; user != NULL && plain_allowed && i < user->password_n; i++) {
		struct span value = span_str(user->passwords[i]);
		if (span_istarts(value, SPAN("{PLAIN}")) ||
		    span_istarts(value, SPAN("{CLEARTEXT}")))
			return span_from(value, span_find(value, '}') + 1);
		if (!span_starts(value, SPAN("{")))
			return value;
	}
	return SPAN_NONE;
}

struct sasl_server *sasl_server_new(enum sasl_mech mech, const struct sasl_facts *facts)
{
	struct sasl_server *x = MEM_NEW(struct sasl_server);
	x->mechanism = mechanism_of(mech);
	CHECK(x->mechanism != NULL);
	x->hostname = mem_str(facts->hostname);
	x->plus_offered = facts->plus_offered;
	x->oauth = facts->oauth;
	x->exporter = BUF_INIT(facts->exporter.n + 1);
	x->end_point = BUF_INIT(facts->end_point.n + 1);
	x->certified = BUF_INIT(SASL_NAME_MAX);
	buf_add_span(&x->certified, facts->certified);
	buf_add_span(&x->exporter, facts->exporter);
	buf_add_span(&x->end_point, facts->end_point);
	x->user = BUF_INIT(SASL_NAME_MAX);
	x->authzid = BUF_INIT(SASL_NAME_MAX);
	x->out = BUF_INIT(SASL_MESSAGE_MAX);
	x->bound = x->nonce = x->so_far = BUF_INIT(SASL_MESSAGE_MAX);
	buf_add_span(&x->so_far, facts->challenge);
	return x;
}

void sasl_server_free(struct sasl_server **x)
{
	struct sasl_server *gone = *x;
	if (gone == NULL)
		return;
	struct buf *all[] = { &gone->exporter, &gone->end_point, &gone->certified, &gone->user,
		&gone->authzid, &gone->out, &gone->bound, &gone->nonce, &gone->so_far };
	for (size_t i = 0; i < COUNT_OF(all); i++)
		buf_wipe_end(all[i]);
	mem_free(gone->hostname);
	mem_wipe(gone, sizeof *gone);
	MEM_FREE(x);
}

enum sasl_rx sasl_server_start(struct sasl_server *x)
{
	return x->mechanism->start != NULL ? x->mechanism->start(x) : SASL_RX_BAD;
}

enum sasl_rx sasl_server_take(struct sasl_server *x, struct span message)
{
	buf_clear(&x->out);
	return x->mechanism->take(x, message);
}

enum sasl_rx sasl_server_account(
    struct sasl_server *x, const struct directory *d, const struct account *account)
{
	const struct record *user = account != NULL ? record_of_account(account) : NULL;
	struct span authzid = buf_span(&x->authzid);
	x->doomed =
	    x->doomed || user == NULL || (authzid.n > 0 && !span_ieq(authzid, buf_span(&x->user)));
	return x->mechanism->account(x, user, directory_takes_plain(d));
}

struct span sasl_server_user(const struct sasl_server *x)
{
	return buf_span(&x->user);
}

struct span sasl_server_out(const struct sasl_server *x)
{
	return buf_span(&x->out);
}
