/* store_conf.c - tables of the store's settings, events and metrics. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "daemon/daemon.h"
#include "metermaid/metermaid.h"
#include "metermaid/redis_stream.h"
#include "store-backend/expire.h"
#include "store-backend/quota.h"
#include "store-backend/store.h"

#define CONF_BLOCK store_partition
#define CONF_DEF "store-backend/store_partition.params.def"
#define CONF_PROSE "A folder that holds users' messages, with one writer."
#include "conf/params_table.h"

#define CONF_BLOCK store_listener
#define CONF_DEF "store-backend/store_listener.params.def"
#define CONF_PROSE "A socket and what is spoken on it."
#include "conf/params_table.h"

#define CONF_BLOCK store_peer
#define CONF_DEF "store-backend/store_peer.params.def"
#define CONF_PROSE "Another store of the site, by the name that mailHost has for it."
#include "conf/params_table.h"

#define CONF_BLOCK store_quota
#define CONF_DEF "store-backend/store_quota.params.def"
#define CONF_PROSE                                                                                 \
	"Limits of mailboxes, of kinds of messages, or of domains, beside those of users."
#include "conf/params_table.h"

#define CONF_BLOCK store_expire
#define CONF_DEF "store-backend/store_expire.params.def"
#define CONF_PROSE "Conditions that all must hold of a message, and what becomes of it then."
#include "conf/params_table.h"

#define CONF_BLOCK store
#define CONF_DEF "store-backend/store.params.def"
#define CONF_PROSE "A message store node: partitions, listeners, limits."
#include "conf/params_table.h"

const struct log_event store_events[] = {
#define EVENT LOG_TABLE_ROW
#include "store-backend/store.events.def"
#undef EVENT
};

struct metric store_metrics[] = {
#define METRIC METRIC_TABLE_ROW
#include "store-backend/store.metrics.def"
#undef METRIC
};

size_t store_partition_for_new(struct span user, size_t n)
{
	/* a constant key: every worker and every start must choose alike */
	static const struct hash_key key = { 0x706f737465726e31u, 0x7061727469746e31u };
	return (size_t)(hash_sip(&key, user) % n);
}

const struct store_conf *store_options(const struct conf *c)
{
	return conf_section(c, &store_block);
}

bool store_wants_events(const struct store_conf *s)
{
	return s->events_stream != NULL && s->events_stream[0] != '\0';
}

bool store_socket_path(
    const struct conf *c, const char *partition, char out[STORE_SOCKET_PATH_SIZE])
{
	int n =
	    snprintf(out, STORE_SOCKET_PATH_SIZE, "%s/store-%s.sock", daemon_run_dir(c), partition);
	return n > 0 && n < STORE_SOCKET_PATH_SIZE;
}

const struct store_peer_conf *store_peer_named(const struct store_conf *s, struct span name)
{
	for (size_t i = 0; i < s->peer_n; i++)
		if (span_ieq_str(name, s->peer[i]->head.title))
			return s->peer[i];
	return NULL;
}

struct store_peer_login store_peer_login(
    const struct store_conf *s, const struct store_peer_conf *p)
{
	struct store_peer_login l = { p->user, span_trim(p->secret.bytes) };
	if (l.user == NULL || l.user[0] == '\0')
		l.user = s->peer_user;
	if (l.secret.n == 0)
		l.secret = span_trim(s->peer_secret.bytes);
	return l;
}

static void check_peers(const struct store_conf *s, struct conf_diag *d)
{
	for (size_t i = 0; i < s->peer_n; i++) {
		struct store_peer_login l = store_peer_login(s, s->peer[i]);
		if (l.user == NULL || l.user[0] == '\0' || l.secret.n == 0)
			conf_error(d, s->peer[i]->head.pos,
			    "peer %s: peer_user and peer_secret are needed to log in there",
			    s->peer[i]->head.title);
	}
}

static void check_listeners(const struct store_conf *s, struct conf_diag *d)
{
	for (size_t i = 0; i < s->listener_n; i++) {
		const struct store_listener_conf *l = s->listener[i];
		if (l->lmtp_names.n > 0 && (l->protocol != STORE_LMTP || l->tls == STORE_TLS_NONE ||
					       s->lmtp_ca.bytes.n == 0))
			conf_error(d, l->head.pos,
			    "listener %s: lmtp_names is for LMTP with TLS and needs lmtp_ca",
			    l->head.title);
	}
}

/* What no single row can see. */
void store_conf_check(const struct conf *c, struct conf_diag *d)
{
	directory_check(c, d);
	metermaid_check(c, d);
	expire_check(store_options(c), d);
	quota_check(store_options(c), d);
	check_peers(store_options(c), d);
	const struct store_conf *s = store_options(c);
	char path[STORE_SOCKET_PATH_SIZE];
	if (!conf_has_section(c, &store_block))
		conf_error(d, s->head.pos, "there is no section store");
	else if (s->partition_n == 0)
		conf_error(d, s->head.pos, "store needs at least one partition");
	if (store_wants_events(s) && !redis_stream_wanted(c))
		conf_error(d, s->head.pos, "events_stream needs a Redis in section metermaid");
	check_listeners(s, d);
	for (size_t i = 0; i < s->partition_n; i++) {
		if (!store_socket_path(c, s->partition[i]->head.title, path))
			conf_error(d, s->partition[i]->head.pos,
			    "partition %s: the path of its socket in run_dir is too long",
			    s->partition[i]->head.title);
		for (size_t k = 0; k < i; k++)
			if (strcmp(s->partition[i]->path, s->partition[k]->path) == 0)
				conf_error(d, s->partition[i]->head.pos,
				    "partitions %s and %s have the same path",
				    s->partition[k]->head.title, s->partition[i]->head.title);
	}
}
