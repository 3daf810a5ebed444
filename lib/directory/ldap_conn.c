/* ldap_conn.c - one connection to an LDAP server.
 *
 * dial (and TLS) -> StartTLS -> bind as bind_dn -> read the base -> ready; a connection for binds is ready after
 * TLS. Reading the base proves that the server holds our data: an empty replica answers each search with "no
 * such user" or "no such object", and must not be believed. The same read is the sign of life that is asked for
 * when a connection is idle, or carries requests and is silent. Owns the stream, the dial, and its clock; the
 * requests belong to those who asked. */
#include "directory/ldap_conn.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/stream.h"

#include "directory/ldap_query.h"
#include "directory/tables.h"

#define ldap_conn_MAGIC 0x1dac0441u

enum {
	PIPELINED_MAX = 32, /* slapd gives up a connection with more than 100 */
	SEARCH_BYTES_MAX = 256 * 1024,
	BIND_BYTES_MAX = 32 * 1024,
	OUT_BYTES_MAX = 512 * 1024,
	REQUEST_BYTES_MAX = 16 * 1024,
	PROBE_AFTER_MS = 30 * 1000,
	IDLE_CLOSE_MS = 60 * 1000,
	SHORT_LIFE_MS = 5 * 1000,
	KEEPALIVE_S = 60,
};

enum conn_state {
	CONN_DIAL,
	CONN_STARTTLS,
	CONN_SECURE,
	CONN_BIND,
	CONN_BASE,
	CONN_READY,
	CONN_RETIRING,
	CONN_LOST,
	CONN_STATES
};

struct ldap_conn {
	uint32_t magic;
	struct ldap_conn_opts o;
	const struct directory_conf *conf;
	struct loop *loop;
	enum conn_state state; /* only set_state() writes this */
	struct ticket *dial;   /* owned in CONN_DIAL */
	struct stream *io;     /* owned, from the end of CONN_DIAL to CONN_LOST */
	struct timer clock;
	uint64_t began_ms;
	uint64_t heard_ms; /* last message, or since when one is awaited */
	int32_t last_id;
	int32_t own_id; /* of a request of our own that is not answered; 0: none */
	struct list_node flight;
	size_t load;
	struct buf message; /* the one that is being read */
	struct entry entry;
};

const char *const ldap_role_names[] = { [LDAP_SEARCHES] = "search", [LDAP_BINDS] = "bind" };

typedef void own_fn(struct ldap_conn *c, const struct ldap_answer *a);
static own_fn on_starttls, on_bound, on_base, on_probe;

static const struct {
	const char *late; /* why it failed when its time is over */
	enum ldap_stage stage;
	own_fn *on_own; /* answer to own_id */
} states[CONN_STATES] = {
	[CONN_DIAL] = { "no connection in time", LDAP_CONNECTING, NULL },
	[CONN_STARTTLS] = { "no answer to StartTLS in time", LDAP_CONNECTING, on_starttls },
	[CONN_SECURE] = { "no TLS in time", LDAP_CONNECTING, NULL },
	[CONN_BIND] = { "no answer to the bind in time", LDAP_CONNECTING, on_bound },
	[CONN_BASE] = { "no answer about the base in time", LDAP_CONNECTING, on_base },
	[CONN_READY] = { "silent", LDAP_READY, on_probe },
	[CONN_RETIRING] = { "silent", LDAP_RETIRING, on_probe },
	[CONN_LOST] = { NULL, LDAP_LOST, NULL },
};

/* ---- states and the clock ---- */

static bool is_up(const struct ldap_conn *c)
{
	return c->state == CONN_READY || c->state == CONN_RETIRING;
}

/* How long it may be silent before something is done about it. Shares of the deadline of a question, so that
 * another server can still be asked in time. A bind to the only server may take all of it. */
static uint64_t patience_ms(const struct ldap_conn *c)
{
	uint64_t deadline = c->conf->deadline;
	if (c->load == 0 && c->own_id == 0)
		return c->o.role == LDAP_SEARCHES ? PROBE_AFTER_MS : IDLE_CLOSE_MS;
	if (c->o.role == LDAP_BINDS)
		return c->o.servers->n > 1 ? deadline * 3 / 5 : deadline;
	return c->own_id == 0 ? deadline * 2 / 5 : deadline / 5;
}

/* Runs from message to message: bytes that never make a whole one are silence. */
static void wind_clock(struct ldap_conn *c)
{
	uint64_t now = loop_now_ms(c->loop), due = c->heard_ms + patience_ms(c);
	if (is_up(c))
		timer_set(&c->clock, due > now ? due - now : 0);
}

static void set_state(struct ldap_conn *c, enum conn_state to)
{
	c->state = to;
	if (to == CONN_LOST)
		timer_clear(&c->clock);
	wind_clock(c);
}

/* why NULL: nobody is to blame. text may be the stream's: it is logged before anything goes. */
static void lose(struct ldap_conn *c, const char *why, struct span text)
{
	if (c->state == CONN_LOST)
		return;
	if (why != NULL) {
		struct ldap_failure f = { .began_ms = c->began_ms,
			.pool = ldap_role_names[c->o.role],
			.why = why,
			.text = text };
		ldap_server_failed(c->o.servers, c->o.server, &f);
	}
	set_state(c, CONN_LOST);
	ticket_cancel(&c->dial);
	stream_free(&c->io);
	c->o.changed(c->o.arg);
}

/* ---- writing ---- */

static int32_t new_id(struct ldap_conn *c)
{
	c->last_id = c->last_id == INT32_MAX ? 1 : c->last_id + 1;
	return c->last_id;
}

/* Sends what put() made; it may hold a secret. */
static void send_wiped(struct ldap_conn *c, struct buf *out, bool made)
{
	bool sent =
	    made && stream_space(c->io) >= buf_len(out) && stream_write_span(c->io, buf_span(out));
	buf_wipe_end(out);
	if (!sent)
		lose(
		    c, made ? "it does not read what is sent" : "a request is too long", SPAN_NONE);
}

static void send_base(struct ldap_conn *c)
{
	struct buf out = BUF_INIT(REQUEST_BYTES_MAX);
	c->own_id = new_id(c);
	bool made = ldap_query_put(&out, c->own_id, c->conf, LDAP_Q_BASE, SPAN_NONE);
	send_wiped(c, &out, made);
}

/* ---- becoming ready ---- */

static void be_ready(struct ldap_conn *c)
{
	c->heard_ms = loop_now_ms(c->loop);
	stream_keepalive(c->io, KEEPALIVE_S);
	ldap_server_ready(c->o.server, ldap_role_names[c->o.role]);
	set_state(c, CONN_READY);
	c->o.changed(c->o.arg);
}

static void read_base(struct ldap_conn *c)
{
	set_state(c, CONN_BASE);
	send_base(c);
}

/* The transport is as it shall be. */
static void introduce(struct ldap_conn *c)
{
	struct buf out = BUF_INIT(REQUEST_BYTES_MAX);
	struct span dn = span_str(c->conf->bind_dn);
	struct span secret = span_trim(c->conf->bind_password.bytes);
	if (c->o.role == LDAP_BINDS) {
		be_ready(c);
		return;
	}
	if (dn.n == 0) {
		read_base(c);
		return;
	}
	if (secret.n == 0) { /* most servers let such a bind pass, as nobody's */
		lose(c, "bind_password is empty", SPAN_NONE);
		return;
	}
	set_state(c, CONN_BIND);
	c->own_id = new_id(c);
	bool made = ldap_put_bind(&out, c->own_id, dn, secret);
	send_wiped(c, &out, made);
}

static void on_starttls(struct ldap_conn *c, const struct ldap_answer *a)
{
	const char *host = c->o.server->url.host;
	c->own_id = 0;
	if (a->kind != LDAP_A_EXTENDED || a->code != LDAP_CODE_OK) {
		lose(c, "StartTLS refused", a->text);
		return;
	}
	if (stream_input(c->io).n > 0) {
		lose(c, "bytes in the clear behind the answer to StartTLS", SPAN_NONE);
		return;
	}
	set_state(c, CONN_SECURE);
	stream_start_tls_client(c->io, c->o.servers->tls, host, NULL);
}

static void on_bound(struct ldap_conn *c, const struct ldap_answer *a)
{
	c->own_id = 0;
	if (a->kind != LDAP_A_BIND || a->code != LDAP_CODE_OK)
		lose(c, "bind_dn refused", a->text);
	else
		read_base(c);
}

/* True when the read of the base is over and was good. */
static bool base_is_read(struct ldap_conn *c, const struct ldap_answer *a)
{
	if (a->kind == LDAP_A_ENTRY || a->kind == LDAP_A_REFERENCE || a->kind == LDAP_A_OTHER)
		return false;
	c->own_id = 0;
	if (a->kind == LDAP_A_SEARCH && a->code == LDAP_CODE_OK)
		return true;
	lose(c, a->code == LDAP_CODE_NO_SUCH_OBJECT ? "no such base" : "the base cannot be read",
	    a->text);
	return false;
}

static void on_base(struct ldap_conn *c, const struct ldap_answer *a)
{
	if (base_is_read(c, a))
		be_ready(c);
}

static void on_probe(struct ldap_conn *c, const struct ldap_answer *a)
{
	(void)base_is_read(c, a);
}

/* ---- requests ---- */

void ldap_req_finish(struct ldap_req *r, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	timer_clear(&r->deadline);
	r->pool = NULL;
	r->ops->done(r, outcome, a);
}

static struct ldap_req *find_req(const struct ldap_conn *c, int32_t id)
{
	for (struct list_node *n = c->flight.next; n != &c->flight; n = n->next) {
		struct ldap_req *r = LIST_OF(struct ldap_req, link, n);
		if (r->id == id)
			return r;
	}
	return NULL;
}

static void detach(struct ldap_conn *c, struct ldap_req *r)
{
	list_remove(&r->link);
	r->conn = NULL;
	c->load--;
}

/* Answers that tell of the server, not of the question: the next server is asked. */
static const char *server_fault(const struct ldap_req *r, const struct ldap_answer *a)
{
	if (a->code == LDAP_CODE_BUSY)
		return "busy";
	if (a->code == LDAP_CODE_UNAVAILABLE)
		return "unavailable";
	bool no_base = a->code == LDAP_CODE_NO_SUCH_OBJECT && r->ops->entry != NULL && !r->own_base;
	return no_base ? "no such base" : NULL;
}

static void on_result(struct ldap_conn *c, struct ldap_req *r, const struct ldap_answer *a)
{
	const char *fault = server_fault(r, a);
	if (a->kind != (r->ops->entry != NULL ? LDAP_A_SEARCH : LDAP_A_BIND)) {
		lose(c, "an answer to another kind of question", SPAN_NONE);
		return;
	}
	if (fault != NULL) {
		lose(c, fault, a->text);
		return;
	}
	detach(c, r);
	ldap_server_answered(c->o.server);
	c->o.changed(c->o.arg);
	ldap_req_finish(r, LDAP_ANSWERED, a);
}

static void on_request(struct ldap_conn *c, struct ldap_req *r, const struct ldap_answer *a)
{
	bool search = r->ops->entry != NULL;
	if (a->kind == LDAP_A_ENTRY && search)
		r->ops->entry(r, &c->entry, a->cut);
	else if (a->kind != LDAP_A_REFERENCE && a->kind != LDAP_A_OTHER)
		on_result(c, r, a);
}

/* ---- reading ---- */

static void on_message(struct ldap_conn *c, const struct ldap_answer *a)
{
	struct ldap_req *r = find_req(c, a->id);
	c->heard_ms = loop_now_ms(c->loop);
	if (a->id == 0)
		lose(c, "the server ends the connection", a->text);
	else if (a->id == c->own_id)
		states[c->state].on_own(c, a);
	else if (r != NULL)
		on_request(c, r, a);
	/* else: late words about a search that was abandoned */
}

static size_t bytes_max(const struct ldap_conn *c)
{
	return c->o.role == LDAP_SEARCHES ? SEARCH_BYTES_MAX : BIND_BYTES_MAX;
}

/* The rest of what is on the way cannot be passed over in bounded memory and time: a new connection is
 * cheaper. The server is not to blame for a question with a large answer. */
static void on_too_long(struct ldap_conn *c)
{
	struct ldap_req *r = find_req(c, ldap_front_id(stream_input(c->io)));
	if (r != NULL)
		detach(c, r);
	lose(c, r != NULL ? NULL : "an answer is too long", SPAN_NONE);
	if (r != NULL)
		ldap_req_finish(r, LDAP_TOO_LARGE, NULL);
}

static void take_message(struct ldap_conn *c, size_t n)
{
	struct ldap_answer a;
	buf_clear(&c->message);
	CHECK(buf_add_span(&c->message, span_first(stream_input(c->io), n)));
	stream_eat(c->io, n);
	if (ldap_take(&c->message, &a, &c->entry))
		on_message(c, &a);
	else
		lose(c, "an answer is broken", SPAN_NONE);
}

static void read_messages(struct ldap_conn *c)
{
	size_t n = 0;
	while (c->state != CONN_LOST) {
		switch (ldap_frame(stream_input(c->io), bytes_max(c), &n)) {
		case LDAP_FRAME_WHOLE:
			take_message(c, n);
			break;
		case LDAP_FRAME_MORE:
			wind_clock(c);
			return;
		case LDAP_FRAME_TOO_LONG:
			on_too_long(c);
			break;
		case LDAP_FRAME_BAD:
			lose(c, "it does not speak LDAP", SPAN_NONE);
			break;
		}
	}
}

/* ---- callbacks ---- */

/* An idle connection that is closed is no failure: servers do that, but not at once. */
static void on_closed(struct ldap_conn *c, const char *why, const char *text)
{
	bool old = loop_now_ms(c->loop) - c->began_ms >= SHORT_LIFE_MS;
	bool idle = is_up(c) && c->load == 0 && c->own_id == 0 && old;
	lose(c, idle ? NULL : why, span_str(text));
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct ldap_conn *c = OBJ(ldap_conn, arg);
	switch (ev) {
	case STREAM_INPUT:
		read_messages(c);
		break;
	case STREAM_SECURED:
		introduce(c);
		break;
	case STREAM_EOF:
		on_closed(c, "closed by the server", "");
		break;
	case STREAM_FAILED:
		on_closed(c, "connection failed", stream_err_text(c->io));
		break;
	case STREAM_SENT:
		break;
	}
}

static void on_dialled(void *arg, const struct dial_result *result)
{
	struct ldap_conn *c = OBJ(ldap_conn, arg);
	struct stream_limits limits = { .in_max = bytes_max(c), .out_max = OUT_BYTES_MAX };
	const struct ldap_url *url = &c->o.server->url;
	struct buf out = BUF_INIT(REQUEST_BYTES_MAX);
	c->dial = NULL;
	if (result->err) {
		lose(c, "no connection", span_str(result->text));
		return;
	}
	c->io = result->stream;
	stream_set_owner(c->io, limits, on_stream, c);
	stream_set_secret(c->io); /* users' passwords, and the directory's copies of them */
	if (!c->conf->starttls || url->tls || url->port == 0) {
		introduce(c);
		return;
	}
	set_state(c, CONN_STARTTLS);
	c->own_id = new_id(c);
	bool made = ldap_put_starttls(&out, c->own_id);
	send_wiped(c, &out, made);
}

/* Silence. A search connection is asked for a sign of life first: the one question may just be hard. */
static void on_clock(void *arg)
{
	struct ldap_conn *c = OBJ(ldap_conn, arg);
	bool waits = c->load > 0 || c->own_id != 0;
	uint64_t silent = loop_now_ms(c->loop) - c->heard_ms;
	if (is_up(c) && silent < patience_ms(c)) {
		wind_clock(c);
	} else if (is_up(c) && c->o.role == LDAP_SEARCHES && c->own_id == 0) {
		c->heard_ms = loop_now_ms(c->loop);
		send_base(c);
		wind_clock(c);
	} else {
		lose(c, waits || !is_up(c) ? states[c->state].late : NULL, SPAN_NONE);
	}
}

/* ---- the pool's side ---- */

struct ldap_conn *ldap_conn_new(const struct ldap_conn_opts *o)
{
	struct ldap_conn *c = MEM_NEW(struct ldap_conn);
	const struct backend_env *env = &o->servers->env;
	c->magic = ldap_conn_MAGIC;
	c->o = *o;
	c->conf = env->conf;
	c->loop = env->loop;
	c->began_ms = loop_now_ms(c->loop);
	c->message = BUF_INIT(SEARCH_BYTES_MAX);
	entry_init(&c->entry);
	list_init(&c->flight);
	timer_init(&c->clock, c->loop, on_clock, c);
	timer_set(&c->clock, c->conf->connect_deadline);
	struct dial_target target = {
		.host = span_str(o->server->url.host),
		.port = o->server->url.port,
		.tls = o->server->url.tls ? o->servers->tls : NULL,
		.deadline_ms = c->conf->connect_deadline,
		.limits = { .in_max = bytes_max(c), .out_max = OUT_BYTES_MAX },
	};
	c->dial = dial_start(c->loop, env->dns, &target, on_dialled, c);
	return c;
}

void ldap_conn_free(struct ldap_conn **c)
{
	struct ldap_conn *gone = *c;
	*c = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->load == 0);
	ticket_cancel(&gone->dial);
	stream_free(&gone->io);
	timer_clear(&gone->clock);
	buf_wipe_end(&gone->message);
	entry_end(&gone->entry);
	gone->magic = 0;
	mem_free(gone);
}

enum ldap_stage ldap_conn_stage(const struct ldap_conn *c)
{
	return states[c->state].stage;
}

size_t ldap_conn_rank(const struct ldap_conn *c)
{
	return c->o.server->index;
}

size_t ldap_conn_load(const struct ldap_conn *c)
{
	return c->load;
}

size_t ldap_conn_room(const struct ldap_conn *c)
{
	size_t max = c->o.role == LDAP_SEARCHES ? PIPELINED_MAX : 1;
	if (c->state != CONN_READY || stream_space(c->io) < REQUEST_BYTES_MAX)
		return 0;
	return max - c->load;
}

void ldap_conn_retire(struct ldap_conn *c)
{
	if (c->state == CONN_READY)
		set_state(c, CONN_RETIRING);
}

void ldap_conn_send(struct ldap_conn *c, struct ldap_req *r)
{
	struct buf out = BUF_INIT(REQUEST_BYTES_MAX);
	CHECK(ldap_conn_room(c) > 0);
	directory_count(LDAP_REQUESTS);
	if (c->load == 0 && c->own_id == 0)
		c->heard_ms = loop_now_ms(c->loop);
	r->id = new_id(c);
	r->conn = c;
	r->uri = c->o.server->uri;
	r->tries++;
	list_add_tail(&c->flight, &r->link);
	c->load++;
	bool made = r->ops->put(r, &out, r->id);
	send_wiped(c, &out, made);
	wind_clock(c);
}

void ldap_conn_drop(struct ldap_conn *c, struct ldap_req *r, bool late)
{
	struct buf out = BUF_INIT(REQUEST_BYTES_MAX);
	bool search = r->ops->entry != NULL;
	detach(c, r);
	if (!is_up(c))
		return;
	if (search) {
		bool made = ldap_put_abandon(&out, new_id(c), r->id);
		send_wiped(c, &out, made);
	} else {
		lose(c, late ? "no answer to a bind in time" : NULL, SPAN_NONE);
	}
	c->o.changed(c->o.arg);
}

struct ldap_req *ldap_conn_take_back(struct ldap_conn *c)
{
	CHECK(c->state == CONN_LOST);
	if (list_empty(&c->flight))
		return NULL;
	struct ldap_req *r = LIST_OF(struct ldap_req, link, c->flight.prev);
	detach(c, r);
	return r;
}
