/* lmtp_session.h - how the worker starts an LMTP session; everything else is this folder's own. */
#ifndef STORE_LMTP_SESSION_H
#define STORE_LMTP_SESSION_H

#include "store-backend/store.h"

/* A store_session_start_fn: owns a->fd from here on. */
void lmtp_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc);

#endif
