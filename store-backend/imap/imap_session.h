/* imap_session.h - how the worker starts an IMAP session; everything else is this folder's own. */
#ifndef STORE_IMAP_SESSION_H
#define STORE_IMAP_SESSION_H

#include "store-backend/store.h"

/* A store_session_start_fn: owns a->fd from here on. */
void imap_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc);

#endif
