/* store_conf.h - the `store` section: partitions, listeners, limits.
 *
 *	store {
 *	    partition primary { path /var/lib/postern/primary; }
 *	    listener imap { address 0.0.0.0:143; protocol imap; tls starttls; proxy_from 10.0.0.0/8; }
 *	    listener lmtp { address 127.0.0.1:24; protocol lmtp; }
 *	}
 *
 * Yields struct store_conf, struct store_partition_conf and struct store_listener_conf; every option,
 * with its default and its prose, is a row of one of the .params.def files. */
#ifndef STORE_STORE_CONF_H
#define STORE_STORE_CONF_H

#include "conf/conf.h"

enum { STORE_PARTITIONS_MAX = 32, STORE_LISTENERS_MAX = 32, STORE_PEERS_MAX = 32 };

/* In the order of the words in store_listener.params.def. */
enum store_protocol { STORE_IMAP, STORE_POP3, STORE_LMTP, STORE_PROTOCOL_COUNT };
enum store_tls { STORE_TLS_NONE, STORE_TLS_STARTTLS, STORE_TLS_IMPLICIT };
enum store_changes { STORE_CHANGES_CUT, STORE_CHANGES_KEEP };
enum store_over { STORE_OVER_DEFER, STORE_OVER_REFUSE };
enum store_users { STORE_USERS_ANY, STORE_USERS_DIRECTORY };

#define CONF_BLOCK store_partition
#define CONF_DEF "store-backend/store_partition.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK store_listener
#define CONF_DEF "store-backend/store_listener.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK store_peer
#define CONF_DEF "store-backend/store_peer.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK store_quota
#define CONF_DEF "store-backend/store_quota.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK store_expire
#define CONF_DEF "store-backend/store_expire.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK store
#define CONF_DEF "store-backend/store.params.def"
#include "conf/params_struct.h"

/* The peer of that mailHost; NULL: none. */
const struct store_peer_conf *store_peer_named(const struct store_conf *s, struct span name);
/* With which a store logs in at the peer. Both are there, or the configuration was refused. */
struct store_peer_login {
	const char *user;
	struct span secret;
};
struct store_peer_login store_peer_login(
    const struct store_conf *s, const struct store_peer_conf *p);

/* The committer's socket of a partition, RUN_DIR/store-NAME.sock. False: longer than a socket's path
 * may be (108 bytes). */
enum { STORE_SOCKET_PATH_SIZE = 108 };
bool store_socket_path(
    const struct conf *c, const char *partition, char out[STORE_SOCKET_PATH_SIZE]);

/* Which of n partitions gets a user that none has yet: the same for ever. */
size_t store_partition_for_new(struct span user, size_t n);

void store_conf_check(const struct conf *c, struct conf_diag *d);

bool store_wants_events(const struct store_conf *s);

#endif
