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
	size_t mx_next, mx_tried;
	uint64_t began_us, talk_ms; /* when; and how long the next hop was talked to */
};

/* ---- deliver_count.c ---- */

/* A report of TLS: no policy holds it up, and its sessions are not counted. */
bool is_tls_report(const struct q_delivery *dl);
/* It ends before there is a session. */
void count_failure(struct q_delivery *dl, enum tlsrpt_kind judge, enum tlsrpt_result result);
/* What became of a session, judged by dl->judge. */
void count_sent(struct q_delivery *dl, const struct out_result *r);

#endif
