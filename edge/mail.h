/* mail.h - reception's view of a transaction: there between MAIL and its answer, and no longer. */
#ifndef EDGE_MAIL_H
#define EDGE_MAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/smtp_body.h"
#include "proto/smtp_chunk.h"
#include "proto/smtp_ext.h"
#include "proto/smtp_path.h"

#include "edge/session.h"
#include "edge/transaction.h"

struct mime_binary;
struct ruling;
struct sender;

struct filter_answer;
/* The message may come, or may not. */
typedef enum verdict mail_begin_fn(struct session *s);
typedef enum verdict mail_no_fn(struct session *s, const struct filter_answer *a);

enum { MAIL_BCC_MAX = 8, MAIL_PREPEND_MAX = 8192 };

struct mail {
	struct transaction *t;  /* owned */
	char *origin;           /* owned; what XFORWARD said of it, or NULL */
	struct sender *sender;  /* owned; what the DNS says of the sender, or NULL */
	struct record record;   /* of the transaction */
	const char *discard_by; /* whose wish it is that nobody gets it, or NULL; of the setup */
	/* By a policy service: what is taken, or refused for good, is for later: the recipient under way, or all. */
	bool defer_if_ok, defer_if_bad, defer_all_ok, defer_all_bad;
	mail_begin_fn *begin; /* while it is asked whether the message may come */
	mail_no_fn *no;
	struct buf prepend; /* header fields of policy services */
	uint64_t size;      /* SIZE of MAIL, 0: not given */
	char *redirect;     /* owned; gets it in the place of its recipients, or NULL */
	struct mail_bcc {
		char *v[MAIL_BCC_MAX]; /* owned; get it too */
		size_t n;
	} bcc;
	struct ruling *ruling; /* owned; the access rules at work, or NULL */
	char *hold_why;        /* owned; why a rule wants the recipient's mail held, or NULL */
	char *filters;         /* owned; what filters the recipient under way wants, or NULL */
	bool redirected;       /* by a rule of ours: it may go anywhere */
	unsigned discarded;    /* recipients that are taken for nobody */
	struct buf tags;       /* names of rules, for X-Postern-Tag */
	struct smtp_path to;   /* the recipient that is being looked up */
	char *params;          /* owned; of MAIL, until filters have heard them */
	bool to_new;        /* it was added to the transaction, and no filter has refused it yet */
	bool to_postmaster; /* it stands for the postmaster already */
	unsigned expanded;  /* recipients whose members get copies of their own */
	unsigned notify;    /* what its sender wants to hear of it */
	char orcpt[SMTP_ORCPT_MAX + 1]; /* "": not given */
	uint64_t memory;                /* promised to the body, of edge->body_memory */
	struct smtp_body_decoder decoder;
	struct smtp_chunk_scan chunks; /* of BDAT */
	bool chunk_cr;                 /* of smtp_chunk_normalize() */
	bool chunked;                  /* it comes by BDAT */
	struct mime_binary *binary;    /* owned; it is BINARYMIME: on its way in it ceases to be */
	bool utf8;                     /* SMTPUTF8 was said */
	err_t err;                     /* what the body could not take */
	uint64_t begun_ms;             /* of the data */
	uint64_t block_at;             /* bytes received when the clock was last restarted */
};

/* A mail of the session with its sender. */
struct mail *mail_new(const struct session *s, const struct smtp_path *sender, bool body_8bit);
/* Makes the body, as much of it in memory as the worker can spare. */
void mail_open_body(struct session *s);
/* Its end, whatever became of it. Fine when there is none. */
void mail_end(struct session *s);
const char *mail_id(const struct mail *m);

#endif
