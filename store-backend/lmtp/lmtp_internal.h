/* lmtp_internal.h - the session and its transaction, shared by the files of this folder. */
#ifndef STORE_LMTP_INTERNAL_H
#define STORE_LMTP_INTERNAL_H

#include "net/stream.h"
#include "proto/line.h"
#include "proto/mime_binary.h"
#include "proto/smtp_body.h"
#include "proto/smtp_cmd.h"
#include "proto/smtp_path.h"
#include "store-backend/incoming.h"
#include "store-backend/store.h"

enum {
	LMTP_IN_MAX = 64 * 1024,
	LMTP_OUT_MAX = 512 * 1024,
	LMTP_ERRORS_MAX = 20,
	LMTP_LINGER_MS = 5000,
	LMTP_HELLO_MAX = 255,
};

#define lmtp_session_MAGIC 0x57041197u
#define lmtp_transaction_MAGIC 0x57041198u

struct lmtp_recipient {
	char *user, *folder; /* owned; folder "" for none */
	struct store_partition *partition;
	enum operation_result result;
};

/* One operation to one partition, for the recipients that live there. */
struct lmtp_part {
	struct lmtp_transaction *t;
	struct store_partition *partition;
	struct ticket *ask;
	size_t *which; /* indexes of its recipients */
	size_t n;
};

struct lmtp_transaction {
	uint32_t magic;
	struct lmtp_session *session;
	bool exempt; /* limits do not count for this sender */
	char *sender;
	uint64_t size;                     /* MAIL said SIZE; 0: it did not */
	char delivery_id[IDENT_LEN + 1];   /* "" when the peer sent none */
	struct lmtp_recipient *recipients; /* owned */
	size_t recipient_n;
	struct incoming *in; /* owned, from DATA or the first BDAT on */
	struct smtp_body_decoder decoder;
	struct mime_binary *binary; /* owned; NULL unless MAIL said BODY=BINARYMIME */
	bool utf8;                  /* MAIL said SMTPUTF8 */
	bool chunk_broken;          /* BDAT: bare CR, bare LF or NUL */
	char chunk_last_byte;       /* of what came by BDAT */
	struct lmtp_part parts[STORE_PARTITIONS_MAX];
	size_t part_n, waiting;
};

enum lmtp_state {
	LMTP_ST_TLS, /* handshake under way */
	LMTP_ST_COMMAND,
	LMTP_ST_LOOKUP, /* RCPT: the directory is asked */
	LMTP_ST_DATA,
	LMTP_ST_CHUNK,
	LMTP_ST_COMMIT,
	LMTP_ST_COUNT
};
enum lmtp_verdict { LMTP_READ, LMTP_WAIT, LMTP_CLOSE };

struct lmtp_session {
	struct store_session base; /* first */
	uint32_t magic;
	struct stream *io; /* owned */
	struct ip_port client;
	enum lmtp_state state; /* only lmtp_set_state() writes it */
	struct timer clock;
	struct line_scan scan;
	char *hello; /* LHLO's name, NULL before */
	bool secure;
	unsigned errors;
	const char *why; /* why it ended; the first writer wins */
	uint64_t since_us;
	struct ticket *lookup;      /* owned in LMTP_ST_LOOKUP */
	struct smtp_path rcpt;      /* the path that is looked up */
	struct lmtp_transaction *t; /* owned; NULL outside a transaction */
	/* LMTP_ST_CHUNK: */
	uint64_t chunk_size, chunk_left;
	bool chunk_last, chunk_refused; /* refused: read for nothing */
};

/* lmtp_session.c */
void lmtp_set_state(struct lmtp_session *s, enum lmtp_state to);
void lmtp_resume(struct lmtp_session *s, enum lmtp_verdict v); /* may free s */
enum lmtp_verdict lmtp_say(
    struct lmtp_session *s, unsigned code, const char *enhanced, const char *text);
enum lmtp_verdict lmtp_refuse(struct lmtp_session *s, const char *why, const char *text);

/* lmtp_command.c */
enum lmtp_verdict lmtp_command(struct lmtp_session *s, struct span line);

/* lmtp_deliver.c */
struct lmtp_transaction *lmtp_transaction_new(
    struct lmtp_session *s, const struct smtp_path *sender);
void lmtp_transaction_free(struct lmtp_transaction **t);
/* False: the list is full. */
bool lmtp_add_recipient(struct lmtp_transaction *t, struct span user, struct span folder);
void lmtp_begin_message(struct lmtp_session *s);
/* The message is whole: commits, or refuses it for each recipient. */
enum lmtp_verdict lmtp_end_of_message(struct lmtp_session *s, bool broken);
enum lmtp_verdict lmtp_begin_data(struct lmtp_session *s);
enum lmtp_verdict lmtp_data(struct lmtp_session *s); /* takes input in LMTP_ST_DATA */
enum lmtp_verdict lmtp_say_result(struct lmtp_session *s, enum operation_result r);

/* lmtp_room.c */
/* At RCPT: OPR_OK, OPR_AWAY, OPR_OVER_QUOTA, OPR_OVER_GRACE. size: as MAIL said; 0: it did not. */
enum operation_result lmtp_recipient_room(
    struct lmtp_session *s, struct span user, struct span folder, uint64_t size);
/* OPR_OVER_GRACE if the user has had no room for too long, else OPR_OVER_QUOTA. */
enum operation_result lmtp_no_room(struct lmtp_session *s, struct index_view *v, struct span user);
/* The message is whole: recipients of mailboxes, kinds and domains that are full get OPR_OVER_QUOTA or OPR_OVER_GRACE. */
void lmtp_refuse_full(struct lmtp_session *s, const struct message_source *message);

/* lmtp_chunk.c */
enum lmtp_verdict lmtp_begin_chunk(struct lmtp_session *s, const struct smtp_cmd *c);
enum lmtp_verdict lmtp_chunk(struct lmtp_session *s); /* takes input in LMTP_ST_CHUNK */

#endif
