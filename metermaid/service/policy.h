/* policy.h - answers the questions of mail servers: Postfix's policy delegation on sockets, and the same for our own
 * milter on a private one. */
#ifndef METERMAID_SERVICE_POLICY_H
#define METERMAID_SERVICE_POLICY_H

#include "metermaid/metermaid.h"
#include "net/loop.h"

struct policy;

/* The meter is the caller's and outlives it. */
struct policy *policy_new(struct loop *l, struct metermaid *meter, const struct conf *conf);
void policy_reload(struct policy *p, const struct conf *fresh);
/* A listening socket, which stays the caller's. name NULL: the milter's private one. There a connection is one
 * SMTP session: what concurrency counts at connect is held until it closes. */
void policy_listen(struct policy *p, const char *name, int fd);
/* New connections are closed at once; those that wait for nothing are closed, the others when they were answered. Our milter may
 * go on until its sessions have ended. */
void policy_drain(struct policy *p, void (*drained)(void *arg), void *arg);
/* The same, but new connections are a newer process's, also those of a milter. */
void policy_retire(struct policy *p, void (*drained)(void *arg), void *arg);
void policy_free(struct policy **p); /* fine on NULL */

/* Where the milter asks: the socket in run_dir. */
enum { POLICY_PATH_SIZE = 512 };
const char *policy_milter_path(const char *run_dir, char out[POLICY_PATH_SIZE]);

#endif
