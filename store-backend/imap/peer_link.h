/* peer_link.h - one IMAP connection to another store of the site, as a guest there: for a user who wants to see a
 * mailbox that somebody has shared there.
 *
 * It dials, makes TLS as the peer's block says, logs in as peer_user on behalf of the user (SASL PLAIN with an
 * authorization identity) and enables there what the client has enabled here, so that what comes back can be handed on
 * as it is. Then the stream is the owner's. */
#ifndef STORE_IMAP_PEER_LINK_H
#define STORE_IMAP_PEER_LINK_H

#include "base/ident.h"
#include "net/stream.h"
#include "store-backend/store.h"

enum peer_event {
	PEER_READY, /* logged in: the stream may be used */
	PEER_MOVED, /* more input, or room in the output */
	PEER_GONE /* closed, or never came: peer_link_why(); only peer_link_free() is left to do */
};
struct peer_link;
typedef void peer_link_fn(void *arg, struct peer_link *l, enum peer_event ev);

struct peer_link_opts {
	const struct store_peer_conf *peer; /* this and the next live as long as the link */
	const struct store_conf *conf;
	const char *user;            /* copied */
	const char *enable;          /* "CONDSTORE QRESYNC": words for ENABLE; "": none; copied */
	struct ip_port client;       /* whom the peer is told, as a multiplexor would, ... */
	const struct ident *session; /* ... with the id of the session; copied */
};

/* Never NULL, and answers from the loop only. */
struct peer_link *peer_link_new(
    struct store_worker *w, const struct peer_link_opts *opts, peer_link_fn *fn, void *arg);
void peer_link_free(struct peer_link **l);

bool peer_link_is_ready(const struct peer_link *l);
const struct store_peer_conf *peer_link_peer(const struct peer_link *l);
/* NULL until it is ready. */
struct stream *peer_link_stream(const struct peer_link *l);
/* For the log. */
const char *peer_link_why(const struct peer_link *l);

#endif
