/* sasl_offer.h - which SASL mechanisms a program offers: made of its options once per load, immutable.
 *
 * What of it is offered to one client depends on the connection: secrets only where they may be said (under TLS,
 * as a rule), EXTERNAL only to who has shown a certificate, -PLUS only under TLS. */
#ifndef DIRECTORY_SASL_OFFER_H
#define DIRECTORY_SASL_OFFER_H

#include <stdbool.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "directory/oauth_check.h"
#include "net/stream.h"
#include "net/stream_bind.h"
#include "proto/sasl.h"

struct sasl_offer_settings {
	const struct conf_strings *mechanisms; /* best first; must live as long as the offer */
	bool asks_certificates;                /* EXTERNAL cannot be meant without */
	enum stream_name client_name;          /* of a certificate */
	struct oauth_settings oauth;           /* keys_pem empty: no tokens are taken */
};

struct sasl_offer {
	const struct conf_strings *list; /* borrowed */
	unsigned mechanisms;             /* bits of 1 << enum sasl_mech */
	enum stream_name client_name;
	struct oauth_check *oauth; /* owned; NULL: no tokens */
};

/* NULL: an option cannot be meant; a sentence is in why. */
struct sasl_offer *sasl_offer_new(const struct sasl_offer_settings *s, struct buf *why);
void sasl_offer_free(struct sasl_offer **o); /* fine on NULL */
/* A mechanism of it that does not leave the client's password in our hands; NULL: there is none. */
const char *sasl_offer_without_password(const struct sasl_offer *o);

/* A client and its connection, for the time of one call. */
struct sasl_peer {
	const struct sasl_offer *offer;
	const struct stream *stream;
	const char *hostname; /* ours */
	bool secrets;         /* they may be said now */
};

/* Would the mechanism be taken now? What is not on offer is not taken. */
bool sasl_offers(const struct sasl_peer *p, enum sasl_mech mech);
/* Appends each mechanism on offer with what stands before and behind it. */
void sasl_offer_put(
    const struct sasl_peer *p, struct buf *out, const char *before, const char *behind);
/* The name in the client's certificate. False: none. */
bool sasl_peer_certified(const struct sasl_peer *p, struct buf *out);

#endif
