/* spool_serve.h - the queue process's side of the workers' links: messages come in and become durable. */
#ifndef EDGE_SPOOL_SERVE_H
#define EDGE_SPOOL_SERVE_H

#include "edge/queue.h"
#include "net/loop.h"

struct spool_serve;

struct spool_serve *spool_serve_new(struct loop *l, struct queue *q);
/* Accepts workers on fd (a listening unix socket), which stays the caller's. */
void spool_serve_listen(struct spool_serve *s, int fd);
void spool_serve_free(struct spool_serve **s);

#endif
