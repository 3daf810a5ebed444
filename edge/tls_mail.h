/* tls_mail.h - a report of TLS (tlsrpt.c) becomes a message of the queue (queue_move.c), with a copy where another host keeps
 * those; step 6 of 6. */
#ifndef EDGE_TLS_MAIL_H
#define EDGE_TLS_MAIL_H

#include "edge/tlsrpt.h"

struct queue;

/* A tlsrpt_mail_fn; its first argument is the queue. It has a null sender: nobody is told when it fails. One at a time. */
struct ticket *tls_mail_start(
    void *queue, const struct tlsrpt_mail *m, tlsrpt_mailed_fn *fn, void *arg);
/* The spool is about to be closed: what is under way is answered with "not now", from the loop. */
void tls_mail_stop(struct queue *q);

#endif
