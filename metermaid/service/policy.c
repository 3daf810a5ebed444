/* policy.c - connections of mail servers: one question after the other, each answered when MeterMaid has.
 *
 * A request stays in the stream's input until it is answered and is read again when it is needed: nothing is
 * copied, and a mail server that does not wait is held by the kernel when the input is full. Owns: struct asker, one a
 * connection. */
#include "metermaid/service/policy.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "daemon/doors.h"
#include "metermaid/rule.h"
#include "net/listen.h"
#include "net/stream.h"

#include "metermaid/service/question.h"
#include "metermaid/service/service_tables.h"

#define policy_MAGIC 0x9011c001u
#define asker_MAGIC 0x9011c002u

enum {
	OUT_MAX = 64 * 1024,
	INSTANCE_MAX = 128,
	LINGER_MS = 1000,
	PROXY_MS = 1000,
	ACTION_MAX = 512,
	ASK_MS = 15000, /* longer than any deadline of MeterMaid */
};

static const char milter_name[] = "milter"; /* for rules and the log */

struct policy {
	uint32_t magic;
	struct loop *loop;
	struct metermaid *meter;
	struct conf *conf; /* one reference */
	const struct meter_conf *settings;
	struct doors *doors;
	struct listener *milter; /* NULL: there is none */
	struct list_node askers;
	size_t asker_n;
	bool leaves;                /* who waits for nothing is sent away */
	bool refuses;               /* so is who comes */
	void (*drained)(void *arg); /* until it was called */
	void *drained_arg;
};

enum asker_state {
	AS_IDLE,  /* the next request begins, or is coming in */
	AS_ASK,   /* MeterMaid is asked */
	AS_HOLD,  /* the answer is known and held back */
	AS_STATES /* their number */
};

struct asker {
	uint32_t magic;
	struct policy *policy;
	struct list_node link;
	struct stream *io;
	struct ip_port peer;
	char *listener; /* NULL: our milter's session */
	enum asker_state state;
	bool begun; /* the first bytes of a request are here: its time runs */
	struct timer clock;
	size_t scanned;                /* of the request that is coming in */
	struct ticket *ask;            /* in AS_ASK */
	struct meter_lease *held;      /* of our milter's session */
	struct policy_request request; /* that is being answered; into the input, see again() */
	size_t request_size;
	struct question question; /* what of it is asked; ditto */
	struct buf tags;          /* of the request that is being answered */
	struct buf action;        /* what is held back */
	uint64_t delay_ms;        /* ... for so long */
	/* the mail whose sender has passed, with the tags that it got */
	char instance[INSTANCE_MAX + 1];
	struct buf given;
};

static void asker_step(struct asker *a);

/* ---- life ------------------------------------------------------------------------------------- */

static void policy_went(struct policy *p)
{
	void (*drained)(void *arg) = p->drained;
	if (drained == NULL || p->asker_n > 0)
		return;
	p->drained = NULL;
	drained(p->drained_arg);
}

/* The only destructor. linger: what was answered leaves first. */
static void asker_end(struct asker *a, bool linger)
{
	struct policy *p = a->policy;
	ticket_cancel(&a->ask);
	meter_release(&a->held);
	timer_clear(&a->clock);
	if (linger)
		stream_close(&a->io, LINGER_MS);
	else
		stream_free(&a->io);
	list_remove(&a->link);
	p->asker_n--;
	metric_set(&service_metrics[SERVICE_M_OPEN], p->asker_n);
	buf_end(&a->tags);
	buf_end(&a->action);
	buf_end(&a->given);
	mem_free(a->listener);
	a->magic = 0;
	mem_free(a);
	policy_went(p);
}

static const char *name_of(const struct asker *a)
{
	return a->listener != NULL ? a->listener : milter_name;
}

/* The only way to another state; its clock starts. ms: how long it may last. */
static void set_state(struct asker *a, enum asker_state to, uint64_t ms)
{
	a->state = to;
	timer_set(&a->clock, ms);
}

static void bad_request(struct asker *a, const char *why)
{
	metric_add(&service_metrics[SERVICE_M_BAD], 1);
	log_write(&service_events[SERVICE_EV_BAD_REQUEST], NULL,
	    LOG_FIELDS(
		LOG_STR("listener", name_of(a)), LOG_ADDR("peer", a->peer), LOG_STR("why", why)));
	asker_end(a, false);
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void answer(struct asker *a, struct span action)
{
	struct buf text = BUF_INIT(POLICY_ANSWER_MAX);
	policy_answer_put(&text, action);
	stream_write_span(a->io, buf_span(&text));
	buf_end(&text);
	stream_eat(a->io, a->request_size);
	buf_clear(&a->tags);
	buf_clear(&a->action);
	a->delay_ms = 0;
	a->scanned = 0;
	a->begun = false;
	set_state(a, AS_IDLE, a->policy->settings->idle_timeout);
}

/* Where Postfix takes PREPEND: see access(5). Our milter keeps a tag until the message is there. */
static bool can_tag(const struct asker *a)
{
	return a->listener == NULL || a->question.moment == METER_MAIL ||
	       a->question.moment == METER_RCPT ||
	       (a->question.moment == METER_MESSAGE &&
		   a->policy->settings->message_at == MESSAGE_AT_DATA);
}

/* A mail has a mark once, however many recipients it has. True: there is something new in action. */
static bool put_tags(struct asker *a, struct buf *action)
{
	struct span rest = buf_span(&a->tags);
	struct buf fresh = BUF_INIT(METER_TAGS_MAX);
	while (rest.n > 0 && can_tag(a)) {
		struct span tag = span_cut(&rest, ',');
		size_t before = buf_len(&a->given);
		meter_add_tags(&a->given, tag);
		if (buf_len(&a->given) > before || a->instance[0] == '\0')
			meter_add_tags(&fresh, tag);
	}
	if (buf_len(&fresh) > 0)
		buf_printf(action, "PREPEND %s: %.*s", meter_tag_field, SPAN_ARG(buf_span(&fresh)));
	buf_end(&fresh);
	return buf_len(action) > 0;
}

static void pass(struct asker *a)
{
	metric_add(&service_metrics[SERVICE_M_PASSED], 1);
	if (!put_tags(a, &a->action))
		buf_add_str(&a->action, "DUNNO");
}

/* What is asked about this request: the sender before its first recipient, for Postfix with a policy service in
 * smtpd_recipient_restrictions only. */
static bool sender_first(const struct asker *a)
{
	const struct policy_request *r = &a->request;
	return a->listener != NULL && span_eq_str(r->v[POLICY_STATE], "RCPT") &&
	       r->v[POLICY_INSTANCE].n > 0 && !span_eq_str(r->v[POLICY_INSTANCE], a->instance);
}

static bool read_question(struct asker *a)
{
	struct policy_request as = a->request;
	if (sender_first(a))
		as.v[POLICY_STATE] = SPAN("MAIL");
	return question_read(&as, name_of(a),
	    a->listener != NULL ? (enum meter_message_at)a->policy->settings->message_at
				: MESSAGE_AT_END,
	    &a->question);
}

/* After a wait: the input may have moved. It is the same request, which was read before. */
static void again(struct asker *a)
{
	size_t at = 0;
	const char *why;
	struct span input = stream_input(a->io);
	CHECK(policy_take(&at, input, &a->request, &a->request_size, &why) == POLICY_READY);
	CHECK(read_question(a));
}

static void log_refused(struct asker *a, const struct meter_answer *m, struct ident id)
{
	const struct policy_request *r = &a->request;
	const struct meter_facts *f = &a->question.facts;
	const char *action = m->disconnect              ? "disconnect"
			     : m->action == METER_DEFER ? "defer"
							: "refuse";
	log_write(&service_events[SERVICE_EV_REFUSED], id.s,
	    LOG_FIELDS(LOG_STR("listener", name_of(a)),
		LOG_STR("moment", rule_moments[a->question.moment]), LOG_STR("rule", m->rule),
		LOG_STR("action", action), LOG_IP("client", f->client), LOG_SPAN("user", f->user),
		LOG_SPAN("sender", f->sender), LOG_SPAN("recipient", f->recipient),
		LOG_SPAN("instance", r->v[POLICY_INSTANCE]),
		LOG_SPAN("queue_id", r->v[POLICY_QUEUE_ID]), LOG_U64("retry_ms", m->retry_ms),
		LOG_STR("degraded", m->degraded ? "yes" : "no")));
}

static void refuse(struct asker *a, const struct meter_answer *m)
{
	struct ident id = ident_new();
	metric_add(&service_metrics[SERVICE_M_REFUSED], 1);
	log_refused(a, m, id);
	buf_clear(&a->action);
	question_put_refusal(&a->action, a->question.moment, m, id);
}

static void note_tag(struct asker *a, const char *tag)
{
	const struct policy_request *r = &a->request;
	const struct meter_facts *f = &a->question.facts;
	log_write(&service_events[SERVICE_EV_TAGGED], NULL,
	    LOG_FIELDS(LOG_STR("listener", name_of(a)),
		LOG_STR("moment", rule_moments[a->question.moment]), LOG_STR("tag", tag),
		LOG_IP("client", f->client), LOG_SPAN("user", f->user),
		LOG_SPAN("sender", f->sender), LOG_SPAN("recipient", f->recipient),
		LOG_SPAN("instance", r->v[POLICY_INSTANCE]),
		LOG_SPAN("queue_id", r->v[POLICY_QUEUE_ID])));
	meter_add_tag(&a->tags, tag);
}

/* ---- questions -------------------------------------------------------------------------------- */

static void ask_next(struct asker *a);

/* The answer to a question passed: a sender that came with its first recipient is followed by that. */
static void passed(struct asker *a)
{
	const struct meter_conf *c = a->policy->settings;
	const struct policy_request *r = &a->request;
	if (a->question.moment == METER_MAIL && span_eq_str(r->v[POLICY_STATE], "RCPT")) {
		snprintf(a->instance, sizeof a->instance, "%.*s", SPAN_ARG(r->v[POLICY_INSTANCE]));
		ask_next(a);
		return;
	}
	if (a->question.moment == METER_MAIL && r->v[POLICY_INSTANCE].n > 0)
		snprintf(a->instance, sizeof a->instance, "%.*s", SPAN_ARG(r->v[POLICY_INSTANCE]));
	pass(a);
	uint64_t wait = a->delay_ms < (uint64_t)c->delay_max ? a->delay_ms : (uint64_t)c->delay_max;
	if (wait == 0) {
		answer(a, buf_span(&a->action));
		return;
	}
	metric_add(&service_metrics[SERVICE_M_DELAYED], 1);
	set_state(a, AS_HOLD, wait);
}

/* What MeterMaid says: the asker is answered, holds its answer back, or asks the next question. */
static void take_answer(struct asker *a, const struct meter_answer *m)
{
	struct meter_lease *lease = m->lease;
	if (a->listener == NULL && a->question.moment == METER_CONNECT && meter_lets_in(m)) {
		meter_release(&a->held);
		a->held = lease;
	} else {
		meter_release(&lease);
	}
	if (m->tag != NULL)
		note_tag(a, m->tag);
	if (m->action == METER_DELAY)
		a->delay_ms += m->retry_ms;
	if (meter_lets_in(m)) {
		passed(a);
	} else {
		refuse(a, m);
		answer(a, buf_span(&a->action));
	}
}

static void on_meter(void *arg, const struct meter_answer *m)
{
	struct asker *a = OBJ(asker, arg);
	a->ask = NULL;
	again(a);
	take_answer(a, m);
	asker_step(a);
}

/* Leaves the asker in AS_ASK, or answered. */
static void ask_next(struct asker *a)
{
	struct meter_answer known;
	if (!read_question(a)) {
		metric_add(&service_metrics[SERVICE_M_PASSED], 1);
		answer(a, SPAN("DUNNO"));
	} else if (meter_ask_now(
		       a->policy->meter, a->question.moment, &a->question.facts, &known)) {
		take_answer(a, &known);
	} else {
		set_state(a, AS_ASK, ASK_MS);
		a->ask = meter_ask(
		    a->policy->meter, a->question.moment, &a->question.facts, on_meter, a);
		if (a->ask == NULL)
			passed(a);
	}
}

/* A whole request is here. */
static void take_request(struct asker *a)
{
	const struct policy_request *r = &a->request;
	metric_add(&service_metrics[SERVICE_M_REQUESTS], 1);
	if (!span_eq_str(r->v[POLICY_INSTANCE], a->instance)) { /* another mail */
		buf_clear(&a->given);
		if (!span_eq_str(r->v[POLICY_STATE], "RCPT"))
			a->instance[0] = '\0';
	}
	ask_next(a);
}

/* ---- the connection --------------------------------------------------------------------------- */

/* When the service is drained, mail servers ask elsewhere; our milter's sessions end by themselves. */
static bool goes_away(const struct asker *a)
{
	return a->policy->leaves && a->listener != NULL;
}

/* The only driver; may free a. */
static void asker_step(struct asker *a)
{
	const char *why;
	while (a->state == AS_IDLE) {
		struct span input = stream_input(a->io);
		enum policy_rx rx =
		    policy_take(&a->scanned, input, &a->request, &a->request_size, &why);
		if (rx == POLICY_BAD) {
			bad_request(a, why);
			return;
		}
		if (rx == POLICY_MORE) {
			if (input.n > 0 && !a->begun) {
				a->begun = true;
				timer_set(&a->clock, a->policy->settings->request_timeout);
			}
			if (stream_at_eof(a->io) || (goes_away(a) && input.n == 0))
				asker_end(a, true);
			return;
		}
		take_request(a);
	}
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct asker *a = OBJ(asker, arg);
	if (ev == STREAM_FAILED)
		asker_end(a, false);
	else if (ev == STREAM_INPUT || ev == STREAM_EOF)
		asker_step(a);
}

static void on_clock(void *arg)
{
	struct asker *a = OBJ(asker, arg);
	if (a->state == AS_HOLD) {
		answer(a, buf_span(&a->action));
		asker_step(a);
	} else if (a->begun && a->state == AS_IDLE) {
		bad_request(a, "a question came too slowly");
	} else {
		asker_end(a, true);
	}
}

static void shed(enum service_event event, const char *name, const struct accepted *at)
{
	metric_add(&service_metrics[SERVICE_M_SHED], 1);
	log_write(&service_events[event], NULL,
	    LOG_FIELDS(LOG_STR("listener", name), LOG_ADDR("peer", at->peer)));
	close(at->fd);
}

static void asker_new(struct policy *p, const char *name, const struct accepted *at)
{
	static const struct stream_limits limits = { .in_max = 2 * POLICY_REQUEST_MAX,
		.out_max = OUT_MAX };
	struct asker *a = MEM_NEW(struct asker);
	a->magic = asker_MAGIC;
	a->policy = p;
	a->peer = at->peer;
	a->listener = mem_str(name);
	a->tags = a->given = BUF_INIT(METER_TAGS_MAX);
	a->action = BUF_INIT(ACTION_MAX);
	timer_init(&a->clock, p->loop, on_clock, a);
	list_add_tail(&p->askers, &a->link);
	p->asker_n++;
	metric_set(&service_metrics[SERVICE_M_OPEN], p->asker_n);
	a->io = stream_new(p->loop, at->fd, limits, on_stream, a);
	set_state(a, AS_IDLE, p->settings->idle_timeout);
}

/* name NULL: our milter. */
static void take_connection(struct policy *p, const char *name, const struct accepted *at)
{
	const char *shown = name != NULL ? name : milter_name;
	metric_add(&service_metrics[SERVICE_M_CONNECTIONS], 1);
	if (p->asker_n >= (size_t)p->settings->connections_max)
		shed(SERVICE_EV_TOO_BUSY, shown, at);
	else
		asker_new(p, name, at);
}

static void on_accepted(void *arg, const char *name, const struct accepted *at)
{
	struct policy *p = OBJ(policy, arg);
	const struct meter_listener_conf *c = service_conf_listener(p->settings, name);
	/* a unix socket has no address */
	if (p->refuses)
		close(at->fd); /* the mail server asks elsewhere */
	else if (c == NULL || (!ip_is_none(at->peer.addr) && !ip_in_set(at->peer.addr, &c->allow)))
		shed(SERVICE_EV_UNLISTED, name, at);
	else
		take_connection(p, name, at);
}

static void on_milter_accepted(void *arg, const struct accepted *at)
{
	take_connection(OBJ(policy, arg), NULL, at);
}

/* ---- the service ------------------------------------------------------------------------------ */

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct policy *p = OBJ(policy, arg);
	*out = (struct door_settings){ .proxy_ms = PROXY_MS };
	return service_conf_listener(p->settings, name) != NULL;
}

const char *policy_milter_path(const char *run_dir, char out[POLICY_PATH_SIZE])
{
	snprintf(out, POLICY_PATH_SIZE, "%s/meter-milter.sock", run_dir);
	return out;
}

struct policy *policy_new(struct loop *l, struct metermaid *meter, const struct conf *conf)
{
	struct policy *p = MEM_NEW(struct policy);
	p->magic = policy_MAGIC;
	p->loop = l;
	p->meter = meter;
	p->conf = conf_ref(conf);
	p->settings = conf_section(conf, &meter_block);
	list_init(&p->askers);
	p->doors = doors_new(&(struct doors_opts){
	    .loop = l, .settings = settings_of, .accepted = on_accepted, .arg = p });
	return p;
}

void policy_reload(struct policy *p, const struct conf *fresh)
{
	conf_unref(&p->conf);
	p->conf = conf_ref(fresh);
	p->settings = conf_section(fresh, &meter_block);
	doors_reload(p->doors);
}

void policy_listen(struct policy *p, const char *name, int fd)
{
	struct listener_opts opts = { .proxy_ms = PROXY_MS };
	if (name != NULL)
		doors_add(p->doors, name, fd);
	else if (p->milter == NULL)
		p->milter = listener_new(p->loop, fd, &opts, on_milter_accepted, p);
}

static void leave(struct policy *p, void (*drained)(void *arg), void *arg)
{
	p->drained = drained;
	p->drained_arg = arg;
	p->leaves = true;
	for (struct list_node *n = p->askers.next, *next; n != &p->askers; n = next) {
		next = n->next;
		struct asker *a = LIST_OF(struct asker, link, n);
		if (goes_away(a) && a->state == AS_IDLE && !a->begun)
			asker_end(a, true);
	}
	policy_went(p);
}

void policy_drain(struct policy *p, void (*drained)(void *arg), void *arg)
{
	p->refuses = true;
	leave(p, drained, arg);
}

void policy_retire(struct policy *p, void (*drained)(void *arg), void *arg)
{
	doors_close(p->doors);
	listener_free(&p->milter);
	leave(p, drained, arg);
}

void policy_free(struct policy **pp)
{
	struct policy *p = *pp;
	*pp = NULL;
	if (p == NULL)
		return;
	p->drained = NULL;
	doors_free(&p->doors);
	listener_free(&p->milter);
	while (!list_empty(&p->askers))
		asker_end(LIST_OF(struct asker, link, p->askers.next), false);
	conf_unref(&p->conf);
	p->magic = 0;
	mem_free(p);
}
