/* sasl_mechanism.h - what a mechanism is to sasl_server.c; private to the folder. */
#ifndef DIRECTORY_SASL_MECHANISM_H
#define DIRECTORY_SASL_MECHANISM_H

#include "directory/record.h"
#include "directory/sasl_server.h"
#include "directory/scram_keys.h"

enum { SASL_STEP_BEGIN };

struct sasl_mechanism {
	enum sasl_mech mech;
	enum sasl_rx (*start)(struct sasl_server *x); /* NULL: the client speaks first */
	enum sasl_rx (*take)(struct sasl_server *x, struct span message);
	enum sasl_rx (*account)(
	    struct sasl_server *x, const struct record *user, bool plain_allowed);
};

struct sasl_server {
	const struct sasl_mechanism *mechanism;
	int step; /* the mechanism's own enum */
	char *hostname;
	bool plus_offered;
	struct buf exporter, end_point, certified;
	struct buf user, authzid, out;
	const struct oauth_check *oauth; /* borrowed */
	bool doomed;                     /* goes on as if, and fails at its end */
	/* SCRAM */
	struct scram_keys keys;
	struct buf bound;  /* what the client must repeat: its header and the channel's binding */
	struct buf nonce;  /* both halves */
	struct buf so_far; /* the beginning of the message that is signed */
};

/* The password itself, where it may be read. NULL span: the user has none of that kind. */
struct span sasl_plain_secret(const struct record *user, bool plain_allowed);

extern const struct sasl_mechanism sasl_scram, sasl_scram_plus, sasl_cram, sasl_apop, sasl_external,
    sasl_oauthbearer, sasl_xoauth2;
/* SCRAM of another nonce than a random one: for tests. */
extern const char *sasl_scram_nonce;

/* 16 bytes that are always the same for a name. */
void sasl_salt_of(struct span user, uint8_t out[SCRAM_SALT_LEN]);

#endif
