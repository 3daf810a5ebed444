/* sasl_offer.c - the mechanisms of a program's options, and what of them a client is offered.
 *
 * Owns: struct sasl_offer. */
#include "directory/sasl_offer.h"

#include "base/mem.h"

#include "directory/sasl_server.h"

#define BIT(mech) (1u << (mech))

static bool take_mechanisms(struct sasl_offer *o, struct buf *why)
{
	for (size_t i = 0; i < o->list->n; i++) {
		enum sasl_mech mech = sasl_mech_find(span_str(o->list->v[i]));
		if (mech != SASL_PLAIN && mech != SASL_LOGIN && !sasl_server_knows(mech)) {
			buf_printf(why, "auth_mechanisms: %s cannot be offered", o->list->v[i]);
			return false;
		}
		o->mechanisms |= BIT(mech);
	}
	if (o->mechanisms == 0)
		buf_add_str(why, "auth_mechanisms: nothing cannot be offered");
	return o->mechanisms != 0;
}

static bool take_tokens(struct sasl_offer *o, const struct oauth_settings *s, struct buf *why)
{
	if (s->keys_pem.n == 0) {
		bool wanted = (o->mechanisms & (BIT(SASL_OAUTHBEARER) | BIT(SASL_XOAUTH2))) != 0;
		if (wanted)
			buf_add_str(why, "auth_mechanisms: tokens need oauth_keys");
		return !wanted;
	}
	if (s->issuer == NULL) {
		buf_add_str(why, "oauth_keys needs oauth_issuer");
		return false;
	}
	o->oauth = oauth_check_new(s, why);
	return o->oauth != NULL;
}

struct sasl_offer *sasl_offer_new(const struct sasl_offer_settings *s, struct buf *why)
{
	struct sasl_offer *o = MEM_NEW(struct sasl_offer);
	o->list = s->mechanisms;
	o->client_name = s->client_name;
	bool good = take_mechanisms(o, why) && take_tokens(o, &s->oauth, why);
	if (good && (o->mechanisms & BIT(SASL_EXTERNAL)) != 0 && !s->asks_certificates) {
		buf_add_str(why, "auth_mechanisms: EXTERNAL needs client_ca");
		good = false;
	}
	if (!good)
		sasl_offer_free(&o);
	return o;
}

void sasl_offer_free(struct sasl_offer **o)
{
	if (*o == NULL)
		return;
	oauth_check_free(&(*o)->oauth);
	MEM_FREE(o);
}

const char *sasl_offer_without_password(const struct sasl_offer *o)
{
	for (size_t i = 0; i < o->list->n; i++) {
		enum sasl_mech mech = sasl_mech_find(span_str(o->list->v[i]));
		if (mech != SASL_PLAIN && mech != SASL_LOGIN)
			return o->list->v[i];
	}
	return NULL;
}

bool sasl_peer_certified(const struct sasl_peer *p, struct buf *out)
{
	return stream_peer_name(p->stream, p->offer->client_name, out);
}

static bool is_certified(const struct sasl_peer *p)
{
	struct buf name = BUF_INIT(SASL_NAME_MAX);
	bool certified = sasl_peer_certified(p, &name);
	buf_end(&name);
	return certified;
}

bool sasl_offers(const struct sasl_peer *p, enum sasl_mech mech)
{
	if ((p->offer->mechanisms & BIT(mech)) == 0 || !p->secrets)
		return false;
	if (mech == SASL_EXTERNAL)
		return is_certified(p);
	return mech != SASL_SCRAM_SHA_256_PLUS || stream_is_tls(p->stream);
}

void sasl_offer_put(
    const struct sasl_peer *p, struct buf *out, const char *before, const char *behind)
{
	for (size_t i = 0; i < p->offer->list->n; i++) {
		enum sasl_mech mech = sasl_mech_find(span_str(p->offer->list->v[i]));
		if (sasl_offers(p, mech))
			buf_printf(out, "%s%s%s", before, sasl_mech_name(mech), behind);
	}
}
