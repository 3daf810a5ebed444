/* scram.h - the messages of SCRAM (RFC 5802, 7677) as a server reads and writes them. No cryptography.
 *
 * Messages are raw bytes, out of their base64. */
#ifndef PROTO_SCRAM_H
#define PROTO_SCRAM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum {
	SCRAM_NAME_MAX = 255,
	SCRAM_NONCE_MAX = 256,
	SCRAM_PROOF_MAX = 64,
	SCRAM_BINDING_MAX = 1024
};

/* What the client says of channel binding. */
enum scram_gs2 {
	SCRAM_GS2_NO,      /* "n": it cannot */
	SCRAM_GS2_UNASKED, /* "y": it can, and believes that we cannot */
	SCRAM_GS2_BOUND    /* "p": it does, in the way of `binding` */
};

/* Spans without a buffer of their own point into the message. */
struct scram_first {
	enum scram_gs2 gs2;
	struct span binding;       /* name of the way, when bound */
	struct span header;        /* gs2-header, with its last comma */
	struct span bare;          /* client-first-message-bare */
	struct span nonce;         /* never empty */
	struct span authzid, user; /* decoded, in names; authzid may be empty */
	struct buf names;          /* owned */
};

/* ERR_SYNTAX, ERR_TOO_LONG; ERR_PROTOCOL: a mandatory extension. Call scram_first_end() in every case. */
err_t scram_first_parse(struct scram_first *m, struct span message);
void scram_first_end(struct scram_first *m);

struct scram_final {
	struct span nonce;
	struct span without_proof;
	struct buf binding, proof; /* owned, decoded */
};

err_t scram_final_parse(struct scram_final *m, struct span message);
void scram_final_end(struct scram_final *m);

/* "r=...,s=...,i=..."; false: out is full. */
bool scram_put_server_first(struct buf *out, struct span nonce, struct span salt, unsigned rounds);
/* "v=..." */
bool scram_put_server_final(struct buf *out, struct span signature);

/* A stored value: "rounds,salt,stored key,server key" as Dovecot writes it, or "rounds:salt$stored:server" as
 * RFC 5803; the last three in base64. */
struct scram_stored {
	unsigned rounds;
	struct buf salt, stored, server; /* owned */
};
bool scram_stored_parse(struct scram_stored *v, struct span text);
void scram_stored_end(struct scram_stored *v); /* wipes; in every case */

#endif
