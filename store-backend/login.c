/* login.c - who is this, and is that their secret? One ticket for IMAP and POP3 sessions alike.
 *
 * States in order: find the account, verify the secret (not when a proxy user acts for it), make sure the
 * user's mailboxes exist, bring the limits of the domain when they are new, answer. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "directory/access_filter.h"
#include "net/digest.h"
#include "store-backend/domain_quota.h"
#include "store-backend/login.h"

enum { SECRET_MAX = 1024, NAME_MAX_BYTES = 512 };

#define login_MAGIC 0x57041061u

enum login_state {
	LOGIN_FINDING,
	LOGIN_VERIFYING,
	LOGIN_ENSURING,
	LOGIN_LIMITING,
	LOGIN_ANSWERING
};

struct login {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct store_worker *worker;
	enum login_state state;
	login_fn *fn;
	void *arg;
	char session_id[IDENT_LEN + 1];
	const char *service; /* a word of the caller's that lives for ever */
	struct ip_port client;
	bool secure, by_proxy;
	bool guest;                    /* by_proxy, by another store */
	struct buf user, secret;       /* user: as typed, or the one acted for */
	struct ticket *ask;            /* the step under way */
	const struct account *account; /* one reference once found */
	struct store_partition *partition;
	struct soon soon; /* an answer known inside login_start() */
	struct login_answer answer;
};

static void login_free(struct login *l)
{
	ticket_cancel(&l->ask);
	soon_clear(&l->soon);
	directory_account_unref(&l->account);
	buf_wipe_end(&l->secret);
	buf_end(&l->user);
	l->magic = 0;
	mem_free(l);
}

static void login_cancel(struct ticket *t)
{
	login_free(OBJ(login, t));
}

static void log_login(const struct login *l)
{
	bool ok = l->answer.result == LOGIN_OK;
	metric_add(&store_metrics[ok ? STORE_M_LOGINS : STORE_M_LOGINS_FAILED], 1);
	log_write(&store_events[ok ? STORE_EV_LOGIN_OK : STORE_EV_LOGIN_FAILED], l->session_id,
	    LOG_FIELDS(LOG_STR("service", l->service), LOG_SPAN("user", buf_span(&l->user)),
		LOG_IP("client", l->client.addr), LOG_STR("secure", l->secure ? "yes" : "no"),
		LOG_STR("why", l->answer.why)));
}

static void finish(struct login *l, enum login_result result, const char *why)
{
	login_fn *fn = l->fn;
	void *arg = l->arg;
	l->answer.result = result;
	l->answer.why = why;
	l->answer.partition = l->partition;
	l->answer.guest = l->guest;
	l->answer.user = l->account != NULL ? l->account->user : "";
	log_login(l);
	l->state = LOGIN_ANSWERING;
	/* the account must outlive the callback, the login must not: the session may end in it */
	const struct account *held = l->account;
	struct login_answer answer = l->answer;
	l->account = NULL;
	login_free(l);
	fn(arg, &answer);
	directory_account_unref(&held);
}

/* ---- the user's mailboxes ---- */

/* That new limits of a domain are not stored now is no reason to keep the user out. */
static void on_limited(void *arg, const struct operation_answer *a)
{
	struct login *l = OBJ(login, arg);
	l->ask = NULL;
	finish(l, LOGIN_OK, "ok");
}

static void limit_domain(struct login *l)
{
	struct operation op;
	l->state = LOGIN_LIMITING;
	if (domain_limits_op(l->worker, span_str(l->account->user), l->account, &op))
		l->ask = operation_ask(l->partition->link, &op, on_limited, l);
	else
		finish(l, LOGIN_OK, "ok");
}

static void on_ensured(void *arg, const struct operation_answer *a)
{
	struct login *l = OBJ(login, arg);
	l->ask = NULL;
	if (a->result == OPR_OK)
		limit_domain(l);
	else
		finish(l, LOGIN_LATER, operation_result_name(a->result));
}

static void quota_of(const struct login *l, uint64_t *bytes_out, uint64_t *messages_out)
{
	const struct store_conf *s = store_options(store_worker_conf(l->worker));
	int64_t bytes = l->account->quota_bytes, messages = l->account->quota_messages;
	*bytes_out = bytes == -2 ? s->quota_bytes : bytes > 0 ? (uint64_t)bytes : 0;
	*messages_out = messages == -2 ? (uint64_t)s->quota_messages
			: messages > 0 ? (uint64_t)messages
				       : 0;
}

static void ensure(struct login *l)
{
	struct operation op;
	struct index_user known;
	l->state = LOGIN_ENSURING;
	l->partition = store_partition_of(l->worker, span_str(l->account->user));
	operation_init(&op, OP_ENSURE_USER);
	op.user = span_str(l->account->user);
	quota_of(l, &op.quota_bytes, &op.quota_messages);
	struct index_view *v = index_view_begin(l->partition->index);
	bool there = v != NULL && index_user(v, op.user, &known) &&
		     known.quota_bytes == op.quota_bytes &&
		     known.quota_messages == op.quota_messages;
	bool unreadable = v == NULL;
	bool away = v != NULL && index_stay(v, op.user) != STAY_HERE;
	if (v != NULL)
		index_view_end(&v);
	if (away)
		finish(l, LOGIN_LATER, "moving");
	else if (there)
		limit_domain(l);
	else if (unreadable)
		finish(l, LOGIN_LATER, "store-starting");
	else
		l->ask = operation_ask(l->partition->link, &op, on_ensured, l);
}

/* ---- the secret ---- */

static void on_verified(void *arg, enum directory_status status)
{
	struct login *l = OBJ(login, arg);
	l->ask = NULL;
	if (status == DIRECTORY_FOUND)
		ensure(l);
	else if (status == DIRECTORY_ABSENT)
		finish(l, LOGIN_DENIED, "bad-secret");
	else
		finish(l, LOGIN_LATER, "directory-away");
}

/* ---- the account ---- */

static const struct {
	enum login_result result;
	const char *why;
} by_status[] = {
	[ACCOUNT_ACTIVE] = { LOGIN_OK, "ok" },
	[ACCOUNT_INACTIVE] = { LOGIN_DENIED, "inactive" },
	[ACCOUNT_DISABLED] = { LOGIN_DENIED, "disabled" },
	[ACCOUNT_DELETED] = { LOGIN_DENIED, "deleted" },
	[ACCOUNT_HOLD] = { LOGIN_LATER, "hold" },
	[ACCOUNT_OVERQUOTA] = { LOGIN_OK, "ok" },
	[ACCOUNT_DEFER] = { LOGIN_LATER, "defer" },
};

static bool may_use(const struct login *l)
{
	bool pop = strcmp(l->service, "pop3") == 0;
	const char *names[4] = { l->service, pop ? "pop" : NULL, NULL, NULL };
	if (l->secure) {
		names[2] = pop ? "pops" : "imaps";
		names[3] = pop ? "pop3s" : NULL;
	}
	return l->account->allowed_services == NULL ||
	       access_filter_allows(
		   span_str(l->account->allowed_services), &l->client.addr, names, COUNT_OF(names));
}

static void judge_account(struct login *l)
{
	enum account_status status = l->account->status;
	if (by_status[status].result != LOGIN_OK) {
		finish(l, by_status[status].result, by_status[status].why);
	} else if (!may_use(l)) {
		finish(l, LOGIN_NO_SERVICE, "service-not-allowed");
	} else if (!operation_user_ok(span_str(l->account->user))) {
		finish(l, LOGIN_DENIED, "name-not-usable");
	} else if (l->guest) {
		l->partition = store_partition_of(l->worker, span_str(l->account->user));
		finish(l, LOGIN_OK, "ok");
	} else if (l->by_proxy) {
		ensure(l);
	} else {
		l->state = LOGIN_VERIFYING;
		l->ask = directory_verify(store_worker_directory(l->worker), l->account,
		    buf_span(&l->secret), on_verified, l);
	}
}

static void on_found(void *arg, enum directory_status status, const struct account *account)
{
	struct login *l = OBJ(login, arg);
	l->ask = NULL;
	if (status == DIRECTORY_FOUND) {
		l->account = directory_account_ref(account);
		judge_account(l);
	} else if (status == DIRECTORY_ABSENT) {
		finish(l, LOGIN_DENIED, "absent");
	} else {
		finish(l, LOGIN_LATER, "directory-away");
	}
}

/* A multiplexor that logs in for a user: its own name and password, the user as authorization id. */
static bool proxy_secret_fits(const struct login *l, const struct login_ask *ask)
{
	const struct store_conf *s = store_options(store_worker_conf(l->worker));
	struct span secret = span_trim(s->proxy_secret.bytes);
	return s->proxy_user != NULL && secret.n > 0 && span_eq_str(ask->user, s->proxy_user) &&
	       digest_equal(secret, ask->secret);
}

/* Another store, for one of its users who wants to see what was shared here: over IMAP only. */
static bool peer_secret_fits(const struct login *l, const struct login_ask *ask)
{
	const struct store_conf *s = store_options(store_worker_conf(l->worker));
	struct span secret = span_trim(s->peer_secret.bytes);
	return s->peer_user != NULL && secret.n > 0 && span_eq_str(ask->user, s->peer_user) &&
	       digest_equal(secret, ask->secret) && strcmp(ask->service, "imap") == 0;
}

static void refuse_now(void *arg)
{
	finish(OBJ(login, arg), LOGIN_DENIED, "may-not-act-for");
}

struct ticket *login_start(struct store_worker *w, const char *session_id,
    const struct login_ask *ask, login_fn *fn, void *arg)
{
	struct login *l = MEM_NEW(struct login);
	bool acts_for = ask->authz.n > 0 && !span_ieq(ask->authz, ask->user);
	l->ticket.cancel = login_cancel;
	l->magic = login_MAGIC;
	l->worker = w;
	l->fn = fn;
	l->arg = arg;
	l->service = ask->service;
	l->client.addr = ask->client;
	l->secure = ask->secure;
	l->guest = acts_for && peer_secret_fits(l, ask);
	l->by_proxy = l->guest || (acts_for && proxy_secret_fits(l, ask));
	l->user = BUF_INIT(NAME_MAX_BYTES);
	l->secret = BUF_INIT(SECRET_MAX);
	memcpy(l->session_id, session_id, strnlen(session_id, IDENT_LEN));
	soon_init(&l->soon, refuse_now, l);
	bool fits = buf_add_span(&l->user, acts_for ? ask->authz : ask->user) &&
		    buf_add_span(&l->secret, ask->secret);
	if (!fits || (acts_for && !l->by_proxy))
		soon_set(store_worker_loop(w), &l->soon);
	else
		l->ask = directory_find(store_worker_directory(w), buf_span(&l->user), on_found, l);
	return &l->ticket;
}
