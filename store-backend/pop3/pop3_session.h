/* pop3_session.h - how the worker starts a POP3 session; everything else is this folder's own. */
#ifndef STORE_POP3_SESSION_H
#define STORE_POP3_SESSION_H

#include "store-backend/store.h"

/* A store_session_start_fn: owns a->fd from here on. */
void pop3_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc);

#endif
