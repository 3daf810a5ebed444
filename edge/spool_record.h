/* spool_record.h - the records of the spool's log: what a message is, and what became of it.
 *
 * A message is one MESSAGE record: envelope and, when it is small, its bytes; larger ones stand in BODY
 * records written before it, so that a message exists exactly when its MESSAGE record does. Progress
 * is appended, never rewritten. DONE ends it and is kept a while as a memory of the id, so that a
 * question that is asked again gets the same answer and no second copy.
 *
 * A notification names the message it reports on (parent): its MESSAGE record is at the same time the
 * fact that the parent's refused recipients have been told, so a crash between the two cannot be. */
#ifndef EDGE_SPOOL_RECORD_H
#define EDGE_SPOOL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ident.h"
#include "base/ip.h"
#include "base/span.h"
#include "proto/smtp_ext.h"

enum spool_type { SPOOL_MESSAGE = 1, SPOOL_BODY = 2, SPOOL_PROGRESS = 3, SPOOL_DONE = 4 };

enum {
	SPOOL_INLINE_MAX = 64 * 1024, /* larger bodies go to BODY records ... */
	SPOOL_CHUNK = 256 * 1024,     /* ... of this size, the last one shorter */
	SPOOL_CHUNKS_MAX = 16384,     /* 4 GiB */
	SPOOL_STRING_MAX = 1024,
	SPOOL_RECORD_MAX = 4 * 1024 * 1024 /* of everything but body bytes */
};

enum { SPOOL_STAGES = 4 };

enum spool_fate {
	SPOOL_WAITING,
	SPOOL_DELIVERED,
	SPOOL_REFUSED, /* for good; the sender is to be told */
	SPOOL_TOLD,    /* ended, and the sender was told or is not to be told */
	SPOOL_SENT,    /* delivered or relayed; the sender is to be told, for it asked for it */
	SPOOL_FATES
};

/* What a notification reports of its parent. */
enum spool_report {
	REPORT_NONE,
	REPORT_END,    /* all recipients that were REFUSED or SENT then */
	REPORT_DELAY,  /* it waits */
	REPORT_DOUBLE, /* the parent is a notification that was refused */
	REPORT_TLS, /* no notification: counts of TLS sessions (RFC 8460), which no policy holds up */
	REPORTS
};

struct spool_recipient {
	struct span address;
	struct span user;          /* local: login name at the store; empty: to be relayed */
	struct span detail, store; /* of a local one, may be empty */
	enum spool_fate fate;
	unsigned notify;   /* SMTP_NOTIFY_*; 0: the sender did not say */
	struct span orcpt; /* as it came; may be empty */
	uint16_t code;     /* with the two below: why */
	struct span enhanced, text;
	struct span remote; /* the host whose words they are; empty: ours */
};

struct spool_message {
	struct ident id, session;
	struct ident parent; /* "" unless this is a notification */
	enum spool_report report;
	unsigned notices; /* REPORT_DELAY: the how manieth it is */
	bool body_8bit, smtputf8;
	int priority; /* -9 to 9 */
	struct ip_addr client;
	uint64_t arrived_us;
	struct span sender;    /* empty: null sender */
	struct span auth_user; /* empty: not authenticated */
	bool hold;             /* its recipients begin held */
	bool require_tls;      /* goes on by REQUIRETLS or not at all (RFC 8689) */
	/* TLS-Required: no: policies of the next hop's domain do not hold it up. */
	bool tls_optional;
	bool trusted;   /* the sender is who it says: reports may go there */
	bool aligned;   /* SPF says that of its domain: reports may go there, too, and no more */
	bool disowned;  /* SPF says that it is not: none goes there */
	unsigned stage; /* the last station that it has passed: below SPOOL_STAGES */
	enum smtp_ret ret;
	struct span envid; /* as it came; may be empty */
	struct spool_recipient *recipients;
	size_t recipient_count; /* at least 1 */
	uint64_t body_bytes;
	uint64_t *chunks; /* positions of the BODY records; NULL: the bytes follow */
	size_t chunk_count;
	size_t body_at; /* after _get: where in the payload they begin */
};

/* Everything but the bytes themselves, which the caller puts behind it. */
bool spool_message_put(struct buf *out, const struct spool_message *m);
/* Spans point into payload; the arrays are owned by *out: spool_message_end() in every case.
 * ERR_CORRUPT: not such a record. */
err_t spool_message_get(struct span payload, struct spool_message *out);
void spool_message_end(struct spool_message *m);
/* Does a record with this payload hold the whole message? */
bool spool_message_is_whole(const struct spool_message *m, struct span payload);

struct spool_step {
	uint16_t recipient; /* index in the message */
	enum spool_fate fate;
	uint32_t attempts;
	uint64_t due_us; /* of the next attempt, wall clock */
	uint16_t code;
	struct span enhanced, text;
	bool on_hold;       /* by an operator */
	struct span route;  /* by an operator; may be empty */
	struct span remote; /* as of a recipient */
};
struct spool_progress {
	struct ident id;
	bool is_snapshot; /* has every recipient: older progress is not needed */
	unsigned notices; /* of delay, sent so far */
	struct spool_step *steps;
	size_t step_count;
};
bool spool_progress_put(struct buf *out, const struct spool_progress *p);
err_t spool_progress_get(struct span payload, struct spool_progress *out);
void spool_progress_end(struct spool_progress *p);

struct spool_done {
	struct ident id;
	uint64_t at_us;
	bool withdrawn; /* nobody had been promised it: it is not known as taken */
};
bool spool_done_put(struct buf *out, const struct spool_done *d);
err_t spool_done_get(struct span payload, struct spool_done *out);

#endif
