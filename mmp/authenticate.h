/* authenticate.h - step 3: one login attempt, from the whole command to its answer. */
#ifndef MMP_AUTHENTICATE_H
#define MMP_AUTHENTICATE_H

#include <stdint.h>

#include "base/buf.h"
#include "directory/directory.h"

#include "mmp/front.h"
#include "mmp/worker.h"

struct attempt {
	struct buf user;   /* as typed */
	struct buf secret; /* wiped at the end */
	char user_room[64], secret_room[64], key_room[64];
	const struct account *account; /* referenced; NULL until found */
	uint64_t begun_ms;
	uint32_t secret_hash;     /* so that the same wrong one counts once */
	struct meter_lease *held; /* owned; what limits of sessions count, or NULL */
	uint64_t extra_ms;        /* MeterMaid's delay for a failure's answer */
	bool verified;            /* the directory has confirmed the secret */
	enum reason refused;      /* the outcome while its answer is held back */
	/* route.c: where it goes */
	size_t next_host;  /* of account->hosts, or of submission_relays */
	const char *store; /* that is being tried: of account->hosts, or of the setup */
	char *host;        /* owned: its host name ... */
	uint16_t port;     /* ... and port */
	struct buf key;    /* HOST:PORT: by which records of stores are found */
	const struct store_policy *policy; /* of the session's setup */
	struct store_slot *slot;           /* owned: its connection is counted */
	enum reason failed;  /* why the last store was not used, WHY_NONE: none was tried */
	struct ip_port addr; /* the address that answered */
};

/* A front has a whole login command. Both spans are copied. */
enum verdict authenticate_start(struct session *s, struct span user, struct span secret);
/* The command was understood but the attempt is refused before it starts. */
enum verdict authenticate_deny(struct session *s, struct span user, enum reason why);

/* The session's SASL exchange has a name: the attempt that it is part of begins. The account goes to
 * sasl_turn_account(); the exchange ends in one of the next two, or is given up. */
enum verdict authenticate_exchange(struct session *s, struct span user);
enum verdict authenticate_proven(struct session *s);
enum verdict authenticate_unproven(struct session *s);
void authenticate_drop(struct session *s); /* no answer, no charge: no proof was tried */

/* The attempt has failed: log, charge, count, and answer now or when the penalty is over. detail:
 * static words or words that live as long as this call, or NULL. */
enum verdict authenticate_refuse(struct session *s, enum reason why, const char *detail);

/* Deadlines of the session's states: a held back answer is due; a helper took too long. */
enum verdict authenticate_answer(struct session *s);
enum verdict authenticate_late(struct session *s);

/* For dry.c, too. May the account log in at all, once it has shown its secret? WHY_NONE: yes. */
enum reason authenticate_may(const struct mmp *m, const struct front *f, bool tls,
    const struct account *a, struct ip_addr client);
/* A failure is answered at a multiple of this, when there were so many lately. */
uint64_t authenticate_step_ms(const struct mmp_conf *c, unsigned failures);

void attempt_free(struct attempt **a);

#endif
