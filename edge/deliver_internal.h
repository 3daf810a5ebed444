/* deliver_internal.h - one delivery under way, for deliver*.c only. */
#ifndef EDGE_DELIVER_INTERNAL_H
#define EDGE_DELIVER_INTERNAL_H

#include "edge/queue_internal.h"
#include "edge/sts.h"
#include "edge/tlsrpt.h"

struct q_delivery {
	uint32_t magic;
	struct list_node link; /* in queue.deliveries */
	struct queue *queue;
	struct q_dest *dest;
	struct q_entry *entry;
	struct q_item **items;
	struct out_recipient *recipients;
	struct outcome *outcomes;
	size_t n;
	struct spool_reader *reader;
	struct out_mail mail;
	bool dsn;              /* the next hop reports on what it took itself */
	struct ticket *ask;    /* store, MX, address, or the conversation */
	struct dns_mx mx;      /* DEST_DOMAIN */
	struct sts_rules *sts; /* owned reference; NULL: no policy of the domain counts */
	enum sts_fault sts_fault;
	enum tlsrpt_kind judge; /* by which policy the session under way is judged, for reports */
	bool mismatch;          /* it goes to a host that a policy under test does not name */
	bool enforced;          /* it is held to what the domain's policy wants */
	bool relaxed; /* it is the second one to this host, without such policies: not counted */
	struct out_dane dane; /* owned; with TLSRPT_TLSA */
	enum out_tls tls;     /* of this next hop; records of DNSSEC make it more */
	bool secure; /* the name of the next hop came by DNSSEC, or from the configuration */
	char host[ROUTE_HOST_SIZE]; /* while ask is about its certificate */
	uint16_t port;
	size_t mx_next;   /* the next one of mx */
	size_t mx_tried;  /* of those before it, the ones that were dialled */
	size_t mx_absent; /* and those that have no address */
	bool may_wait;    /* a host was passed over that may do another time: see deliver_wish.c */
	uint64_t began_us, talk_ms; /* when; and how long the next hop was talked to */
};

/* ---- deliver_wish.c: the sender's wish for TLS (REQUIRETLS, RFC 8689 section 4.2.1) ----
 *
 * Mail exchangers that do not keep it are passed over. When none is left that does, nor one that may do another time (it
 * could not be reached, or looked up), the sender is told at once: 5.7.10 or 5.7.30. */
#define WISH_NO_TLS "5.7.10"    /* no session under TLS that proves whose it is */
#define WISH_NOT_KNOWN "5.7.30" /* REQUIRETLS is not offered; smtp_out_talk.c says it */

/* Does it count? Not for a report: that goes under TLS to whoever proves his name, and waits for it, since nobody would hear
 * of its end (section 5). */
bool wish_holds(const struct q_delivery *dl);
/* Does DNSSEC or an MTA-STS policy, of any mode, say that this host takes the domain's mail (section 8.2)? */
bool wish_trusts(const struct q_delivery *dl, const char *host);
/* The host that was tried is passed over. */
void wish_note(struct q_delivery *dl, const struct out_result *r);
/* The same, and it was the last: its outcomes become final ones, or those that wait. Returns the end they stand for. */
enum out_end wish_settle(struct q_delivery *dl, const struct out_result *r);

/* ---- deliver_count.c ---- */

/* A report of TLS: no policy holds it up, and its sessions are not counted. */
bool is_tls_report(const struct q_delivery *dl);
/* It ends before there is a session. */
void count_failure(struct q_delivery *dl, enum tlsrpt_kind judge, enum tlsrpt_result result);
/* What became of each session with this host, judged by dl->judge. */
void count_sent(struct q_delivery *dl, const struct out_result *r);

#endif
