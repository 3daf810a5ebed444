/* pipe.c - what is left of a session after its login (step 5 of 5; before: route.c; at an upgrade it goes on in another
 * worker: handover.h).
 *
 * Bytes are moved by lib/net. Owns: one small record per session, for `who` and the last log line. */
#include "mmp/pipe.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "mmp/authenticate.h"
#include "mmp/crowd.h"
#include "mmp/handover.h"
#include "mmp/session.h"
#include "mmp/store_load.h"

#define piped_MAGIC 0x6d6d7034u

enum { QUIET_MS = 500, IDLE_MS = 3000, PARTING_MAX = 128 };

struct piped {
	uint32_t magic;
	bool tls;
	bool ending;   /* its end is on its way ... */
	bool kicked;   /* ... by an operator's order */
	bool verified; /* the directory has accepted the secret */
	struct ident id;
	struct ip_port client;
	struct list_node link; /* in mmp->piped */
	struct mmp *mmp;
	struct pipe *pipe;           /* owned */
	struct piped **offer;        /* give.c's pointer to this, while it is offered; else NULL */
	struct store_slot *slot;     /* owned: its connection is counted */
	struct meter_lease *held[2]; /* owned; what limits count of the connection, of the user */
	const struct front *front;
	uint64_t since_us;          /* wall clock, for people */
	uint64_t since_ms;          /* of the connection */
	uint16_t user_at, store_at; /* in words */
	char words[];               /* listener, user and store, each with its NUL */
};

static const enum reason reason_of[] = {
	[PIPE_CLIENT_CLOSED] = WHY_PIPE_CLIENT_CLOSED,
	[PIPE_STORE_CLOSED] = WHY_PIPE_STORE_CLOSED,
	[PIPE_CLIENT_FAILED] = WHY_PIPE_CLIENT_FAILED,
	[PIPE_STORE_FAILED] = WHY_PIPE_STORE_FAILED,
	[PIPE_IDLE] = WHY_PIPE_IDLE,
	[PIPE_STOPPED] = WHY_PIPE_STOPPED,
};

static const char *user_of(const struct piped *p)
{
	return p->words + p->user_at;
}

static const char *store_of(const struct piped *p)
{
	return p->words + p->store_at;
}

static void piped_free(struct piped *p)
{
	struct mmp *m = p->mmp;
	if (p->offer != NULL)
		*p->offer = NULL;
	pipe_free(&p->pipe);
	meter_release(&p->held[0]);
	meter_release(&p->held[1]);
	store_slot_drop(&p->slot);
	list_remove(&p->link);
	m->piped_n--;
	metric_set(&mmp_metrics[MMP_M_PIPED], m->piped_n);
	p->magic = 0;
	mem_free(p);
	mmp_session_gone(m);
}

static void log_end(const struct piped *p, const struct pipe_done *done)
{
	const struct reason_row *row = &reasons[reason_of[done->end]];
	if (p->kicked && done->end == PIPE_STOPPED)
		row = &reasons[WHY_PIPE_KICKED];
	log_write(&mmp_events[MMP_EV_SESSION_END], p->id.s,
	    LOG_FIELDS(LOG_ADDR("client", p->client), LOG_STR("protocol", p->front->name),
		LOG_STR("listener", p->words), LOG_STR("tls", p->tls ? "yes" : "no"),
		LOG_STR("why", row->word), LOG_STR("fault", row->fault),
		LOG_STR("user", user_of(p)), LOG_STR("store", store_of(p)),
		LOG_U64("bytes_in", done->client_bytes), LOG_U64("bytes_out", done->store_bytes),
		LOG_U64("ms", loop_now_ms(p->mmp->loop) - p->since_ms)));
}

static void piped_end(struct piped *p, const struct pipe_done *done)
{
	log_end(p, done);
	metric_add(&mmp_metrics[MMP_M_BYTES_IN], done->client_bytes);
	metric_add(&mmp_metrics[MMP_M_BYTES_OUT], done->store_bytes);
	piped_free(p);
}

static void on_end(void *arg, const struct pipe_done *done)
{
	struct piped *p = OBJ(piped, arg);
	p->pipe = NULL;
	piped_end(p, done);
}

/* A client that was busy waits for an answer: it hears at once that none will come. A connection to the store is
 * free again, whenever its client hears of it. */
static uint64_t on_lost(void *arg)
{
	struct piped *p = OBJ(piped, arg);
	size_t crowd;
	if (pipe_idle_ms(p->pipe) < IDLE_MS || p->ending)
		return 0;
	uint64_t window_ms = p->mmp->setup->mmp->store_lost_spread;
	uint64_t ms = store_slot_lost(p->slot, window_ms, &crowd);
	if (crowd > 0)
		log_write(&mmp_events[MMP_EV_STORE_LOST], NULL,
		    LOG_FIELDS(LOG_STR("store", store_of(p)), LOG_U64("sessions", crowd),
			LOG_U64("window_ms", window_ms)));
	if (ms > 0) {
		store_slot_drop(&p->slot);
		metric_add(&mmp_metrics[MMP_M_STORE_LOST], 1);
	}
	return ms;
}

/* It comes to a client that was idle, and nothing with it. In the midst of something else it could be a part of
 * that; then the store goes on. */
static bool is_goodbye(void *arg, struct span bytes)
{
	struct piped *p = OBJ(piped, arg);
	struct span begins = span_str(p->front->goodbye);
	return !p->ending && pipe_idle_ms(p->pipe) >= IDLE_MS && bytes.n > begins.n &&
	       span_ieq(span_first(bytes, begins.n), begins) && bytes.p[bytes.n - 1] == '\n';
}

/* A command line is short; in the midst of a burst the words would be a part of something else. */
static bool is_parting(void *arg, struct span bytes)
{
	struct span ends = span_str(OBJ(piped, arg)->front->parting);
	return bytes.n <= PARTING_MAX && span_iends(bytes, ends);
}

static const struct pipe_lost when_lost = {
	.ms = on_lost, .is_goodbye = is_goodbye, .is_parting = is_parting
};

static struct piped *piped_new(
    struct mmp *m, struct span listener, struct span user, struct span store)
{
	size_t user_at = listener.n + 1, store_at = user_at + user.n + 1;
	CHECK(store_at + store.n < UINT16_MAX);
	struct piped *p = mem_alloc(sizeof *p + store_at + store.n + 1);
	p->magic = piped_MAGIC;
	p->mmp = m;
	p->user_at = (uint16_t)user_at;
	p->store_at = (uint16_t)store_at;
	memcpy(p->words, listener.p, listener.n);
	memcpy(p->words + user_at, user.p, user.n);
	memcpy(p->words + store_at, store.p, store.n);
	return p;
}

static void enter(struct piped *p)
{
	struct mmp *m = p->mmp;
	list_add_tail(&m->piped, &p->link);
	m->piped_n++;
	metric_set(&mmp_metrics[MMP_M_PIPED], m->piped_n);
}

static struct pipe_owner owner_of(struct piped *p, const struct mmp_conf *c)
{
	uint16_t keepalive_s = (uint16_t)(c->tcp_keepalive / 1000);
	return (struct pipe_owner){ c->idle_timeout, on_end, p, keepalive_s };
}

void pipe_session(struct session *s, struct stream **take_store)
{
	struct mmp *m = s->mmp;
	struct attempt *a = s->attempt;
	struct piped *p = piped_new(
	    m, span_str(s->listener->head.title), span_str(a->account->user), span_str(a->store));
	p->id = s->id;
	p->client = s->from;
	p->slot = a->slot;
	a->slot = NULL;
	store_slot_settle(p->slot);
	p->tls = stream_is_tls(s->client);
	p->verified = a->verified;
	p->front = s->front;
	p->since_us = clock_wall_us();
	p->since_ms = s->begun_ms;
	p->held[0] = s->held;
	p->held[1] = a->held;
	s->held = a->held = NULL;
	enter(p);
	const struct pipe_owner owner = owner_of(p, s->setup->mmp);
	p->pipe = pipe_start(m->loop, &s->client, take_store, &owner);
	pipe_on_lost(p->pipe, &when_lost);
}

/* ---- to another worker ------------------------------------------------------------------------ */

struct piped *pipe_of_node(struct list_node *n)
{
	return LIST_OF(struct piped, link, n);
}

/* One that is offered is on its way. */
static enum pipe_stay why_stays(const struct piped *p)
{
	if (p->offer != NULL)
		return PIPE_MAY_LEAVE;
	return p->ending ? PIPE_STAYS_ENDING : pipe_why_stays(p->pipe);
}

void pipe_count_stays(const struct mmp *m, size_t n_out[PIPE_STAYS])
{
	memset(n_out, 0, PIPE_STAYS * sizeof n_out[0]);
	for (const struct list_node *at = m->piped.next; at != &m->piped; at = at->next)
		n_out[why_stays(LIST_OF(const struct piped, link, at))]++;
}

bool pipe_offer(struct piped *p, struct piped **slot, struct buf *out, int fds_out[2])
{
	const struct session_card card = {
		.id = p->id,
		.client = p->client,
		.since_us = p->since_us,
		.since_ms = p->since_ms,
		.tls = p->tls,
		.verified = p->verified,
		.protocol = span_str(p->front->name),
		.listener = span_str(p->words),
		.user = span_str(user_of(p)),
		.store = span_str(store_of(p)),
	};
	if (p->ending || p->offer != NULL || !pipe_may_leave(p->pipe))
		return false;
	pipe_freeze(p->pipe);
	session_card_put(out, &card);
	if (!pipe_save(p->pipe, out, fds_out)) {
		pipe_thaw(p->pipe);
		return false;
	}
	p->offer = slot;
	*slot = p;
	return true;
}

void pipe_keep(struct piped *p)
{
	*p->offer = NULL;
	p->offer = NULL;
	pipe_thaw(p->pipe);
}

void pipe_give(struct piped *p)
{
	CHECK(p->offer != NULL);
	piped_free(p);
}

static const struct front *front_named(struct span name)
{
	for (int i = 0; i < MMP_PROTOCOLS; i++)
		if (span_eq_str(name, front_of((enum mmp_protocol)i)->name))
			return front_of((enum mmp_protocol)i);
	return NULL;
}

struct piped *pipe_take(struct mmp *m, struct span record, const int fds[2])
{
	struct bytes_reader in = bytes_reader_of(record);
	struct session_card card;
	if (!session_card_get(&in, &card) || front_named(card.protocol) == NULL)
		return NULL;
	struct piped *p = piped_new(m, card.listener, card.user, card.store);
	p->id = card.id;
	p->client = card.client;
	p->tls = card.tls;
	p->verified = card.verified;
	p->front = front_named(card.protocol);
	p->since_us = card.since_us;
	p->since_ms = card.since_ms < loop_now_ms(m->loop) ? card.since_ms : loop_now_ms(m->loop);
	const struct pipe_owner owner = owner_of(p, m->setup->mmp);
	p->slot = store_load_add(m->load, store_of(p));
	if (p->slot != NULL)
		p->pipe = pipe_load(m->loop, &in, fds, &owner);
	if (p->pipe == NULL)
		pipe_drop(&p);
	return p;
}

void pipe_drop(struct piped **p)
{
	struct piped *gone = *p;
	*p = NULL;
	if (gone == NULL)
		return;
	pipe_free(&gone->pipe);
	store_slot_drop(&gone->slot);
	gone->magic = 0;
	mem_free(gone);
}

/* What limits of connections count of it is counted here now: the other worker's lease ends. */
static void hold_leases(struct piped *p)
{
	struct meter_facts facts = {
		.client = p->client.addr,
		.listener = span_str(p->words),
	};
	p->held[0] = meter_hold(p->mmp->meter, METER_CONNECT, &facts);
	facts.user = span_str(user_of(p));
	facts.authenticated = p->verified;
	p->held[1] = meter_hold(p->mmp->meter, METER_SESSION, &facts);
}

void pipe_go_on(struct piped *p)
{
	hold_leases(p);
	enter(p);
	pipe_on_lost(p->pipe, &when_lost);
	pipe_thaw(p->pipe);
	crowd_settle(p->mmp);
}

/* ---- orders ----------------------------------------------------------------------------------- */

static bool is_meant(const struct piped *p, const struct pipe_match *match)
{
	struct span value = span_str(match->value);
	if (p->ending)
		return false;
	switch (match->key) {
	case PIPE_BY_USER:
		return span_ieq_str(value, user_of(p));
	case PIPE_BY_CLIENT:
		return ip_in_prefix(p->client.addr, match->net);
	case PIPE_BY_STORE:
		return span_ieq_str(value, store_of(p));
	case PIPE_BY_ID:
		break;
	}
	return span_eq_str(value, p->id.s);
}

size_t pipe_count(const struct mmp *m, const struct pipe_match *match)
{
	size_t n = 0;
	for (const struct list_node *at = m->piped.next; at != &m->piped; at = at->next)
		n += is_meant(LIST_OF(const struct piped, link, at), match);
	return n;
}

static bool is_quiet(const struct piped *p)
{
	return pipe_idle_ms(p->pipe) >= QUIET_MS;
}

/* Words in the middle of what the store sends would be taken for a part of it. */
static void end_one(struct piped *p)
{
	bool quiet = is_quiet(p);
	if (p->offer != NULL)
		pipe_keep(p); /* it ends here */
	p->ending = true;
	pipe_stop(p->pipe, span_str(quiet ? p->front->last_words : ""));
}

void pipe_kick(struct mmp *m, const struct pipe_match *match, size_t most)
{
	for (struct list_node *at = m->piped.next; at != &m->piped && most > 0; at = at->next) {
		struct piped *p = LIST_OF(struct piped, link, at);
		if (!is_meant(p, match))
			continue;
		p->kicked = true;
		end_one(p);
		most--;
	}
}

void pipe_end_some(struct mmp *m, size_t most, bool busy_too)
{
	for (struct list_node *at = m->piped.next; at != &m->piped && most > 0; at = at->next) {
		struct piped *p = LIST_OF(struct piped, link, at);
		if (p->ending || (!busy_too && !is_quiet(p)))
			continue;
		end_one(p);
		most--;
	}
}

/* ---- who -------------------------------------------------------------------------------------- */

static const char *former_of(const struct piped *p)
{
	static const char *const words[] = { "moves", "tls", "half_closed", "ending" };
	return p->mmp->retired ? words[why_stays(p)] : "no";
}

static void put_piped(const struct piped *p, struct buf *out)
{
	char addr[IP_TEXT_SIZE], since[CLOCK_RFC3339_SIZE];
	uint64_t in, sent;
	pipe_counts(p->pipe, &in, &sent);
	buf_printf(out, "{\"id\":\"%s\",\"user\":", p->id.s);
	fmt_json_string(out, span_str(user_of(p)));
	buf_printf(out,
	    ",\"client\":\"%s\",\"protocol\":\"%s\",\"store\":", ip_port_text(p->client, addr),
	    p->front->name);
	fmt_json_string(out, span_str(store_of(p)));
	buf_printf(out,
	    ",\"since\":\"%s\",\"bytes_in\":%llu,\"bytes_out\":%llu,\"tls\":%s"
	    ",\"former\":\"%s\"}",
	    clock_rfc3339(p->since_us, since), (unsigned long long)in, (unsigned long long)sent,
	    p->tls ? "true" : "false", former_of(p));
}

void pipe_who(const struct mmp *m, struct buf *out)
{
	buf_add_char(out, '[');
	for (const struct list_node *n = m->piped.next; n != &m->piped; n = n->next) {
		if (n != m->piped.next)
			buf_add_char(out, ',');
		put_piped(LIST_OF(const struct piped, link, n), out);
	}
	buf_add_char(out, ']');
}

void pipe_end_all(struct mmp *m)
{
	for (struct list_node *n = m->piped.next, *next; n != &m->piped; n = next) {
		next = n->next;
		struct piped *p = LIST_OF(struct piped, link, n);
		struct pipe_done done = { .end = PIPE_STOPPED };
		pipe_counts(p->pipe, &done.client_bytes, &done.store_bytes);
		piped_end(p, &done);
	}
}
