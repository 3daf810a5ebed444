/* copier.c - the owner's side of copies: one link to the other host's queue process. Beside: spool_serve.c and
 * queue_move.c, which ask for them, and queue_take.c. Owns the questions' readers; their bytes and chunks are the askers'.
 *
 * The other host alone remembers what it holds. Each time the link is made it tells: what is at its end here is released
 * there, and what has been adopted there is ended here. Only behind that list the link counts as good: a peer that is
 * frozen takes connections, too. */
#include "edge/copier.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/copy_later.h"
#include "edge/copy_tls.h"
#include "edge/edge_conf.h"
#include "edge/queue_tables.h"

#define copier_MAGIC 0xc0b1e001u
#define copy_ask_MAGIC 0xc0b1e002u

enum { PING_MS = 2000, PORT = 2424, AGAIN_MS = 500 };

struct copier {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	struct queue *queue;
	struct spool_serve *serve;
	struct conf *conf;            /* owned reference */
	const struct edge_conf *edge; /* of conf */
	struct tls_ctx *tls;          /* owned; NULL: none is due, or none can be made */
	struct spool_link *link;      /* NULL until the spool could be read */
	struct copy_later *later;     /* owned */
	bool listing, listed;         /* on the link that is up now: some of it, all of it */
	struct list_node asks;        /* without an answer */
	struct timer wait, again;
};

/* A message that is to have its copy before it is written here. */
struct copy_ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct copier *copier; /* NULL: it is gone, and nobody answers any more */
	struct list_node link;
	struct ident id;
	struct span bytes;
	struct spool_body body;
	struct spool_reader *reader; /* owned: of body's chunks */
	struct ticket *put;
	struct soon refuse; /* there is no link that could be waited for */
	copied_fn *fn;
	void *arg;
};

static void log_peer(struct copier *c, const char *state)
{
	log_write(&queue_events[QUEUE_EV_COPY_PEER], NULL,
	    LOG_FIELDS(LOG_STR("peer", c->edge->copy_to.host), LOG_STR("state", state)));
}

static void release(struct copier *c, struct ident id)
{
	copy_release(c->link, id);
}

static void go(struct copier *c)
{
	timer_clear(&c->wait);
	queue_hold_all(c->queue, false);
}

/* ---- what the other host says ----------------------------------------------------------------- */

/* A question under way is no message of the queue yet, and its copy is wanted. */
static void on_held(struct copier *c, struct ident id, bool adopted)
{
	if (adopted && queue_owes(c->queue, id)) {
		metric_add(&queue_metrics[QUEUE_M_HANDED_OVER], 1);
		if (queue_hand_over(c->queue, id, c->edge->copy_to.host))
			release(c, id);
	} else if (queue_owes(c->queue, id)) {
		queue_set_copied(c->queue, id);
	} else if (!spool_link_asks(c->link, id) && queue_spool(c->queue) != NULL) {
		release(c, id);
	}
}

static void on_frame(void *arg, const struct spool_frame *f)
{
	struct copier *c = OBJ(copier, arg);
	struct ident id;
	bool adopted;
	if (!c->listing)
		queue_forget_copies(c->queue);
	c->listing = true;
	if (f->type == SPOOL_FRAME_HELD && spool_id_get(f->payload, &id, &adopted)) {
		on_held(c, id, adopted);
	} else if (f->type == SPOOL_FRAME_LISTED && queue_spool(c->queue) == NULL) {
		spool_link_reset(
		    c->link, "the spool cannot be used now"); /* the list comes again */
	} else if (f->type == SPOOL_FRAME_LISTED) {
		c->listed = true;
		log_peer(c, "up");
		go(c);
		copy_later_begin(c->later, c->link, c->edge->copy_timeout);
	}
}

static void on_down(void *arg)
{
	struct copier *c = OBJ(copier, arg);
	if (c->listed)
		log_peer(c, "away");
	c->listing = c->listed = false;
	copy_later_stop(c->later);
}

static void on_wait(void *arg)
{
	struct copier *c = OBJ(copier, arg);
	log_peer(c, "not asked");
	go(c);
}

/* ---- messages --------------------------------------------------------------------------------- */

/* What was released while the link was down is told of by its list. */
static void on_done(void *arg, struct ident id)
{
	struct copier *c = OBJ(copier, arg);
	copy_later_ended(c->later, id);
	release(c, id);
}

static void drop(void *arg, struct ident id)
{
	release(OBJ(copier, arg), id);
}

/* Nothing of the link any more. */
static void ask_stop(struct copy_ask *a)
{
	ticket_cancel(&a->put);
	soon_clear(&a->refuse);
	list_remove(&a->link);
	a->copier = NULL;
}

static void ask_cancel(struct ticket *t)
{
	struct copy_ask *a = OBJ(copy_ask, t);
	ask_stop(a);
	spool_reader_free(&a->reader);
	a->magic = 0;
	mem_free(a);
}

static void ask_answer(struct copy_ask *a, err_t err)
{
	copied_fn *fn = a->fn;
	void *arg = a->arg;
	ask_cancel(&a->ticket);
	fn(arg, err);
}

static void on_put(void *arg, err_t err)
{
	struct copy_ask *a = OBJ(copy_ask, arg);
	struct copier *c = a->copier;
	struct ident id = a->id;
	bool made = err == ERR_OK;
	a->put = NULL;
	if (err)
		release(c, id); /* it may be there all the same */
	if (err == ERR_TIMEOUT && c->listed)
		spool_link_reset(c->link, "the host that keeps copies does not answer");
	if (err && c->edge->copy_loss == EDGE_COPY_ACCEPT) {
		metric_add(&queue_metrics[QUEUE_M_UNCOPIED], 1);
		err = ERR_OK;
	}
	bool missing = !made && err == ERR_OK;
	ask_answer(a, err ? ERR_NO_COPY : ERR_OK);
	if (made)
		queue_set_copied(c->queue, id);
	else if (missing)
		copy_later_again(c->later);
}

static void on_refuse(void *arg)
{
	ask_answer(OBJ(copy_ask, arg), ERR_NO_COPY);
}

static struct span read_bytes(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct copy_ask *a = arg;
	*err_out = ERR_OK;
	return span_first(span_from(a->bytes, (size_t)at), n);
}

static struct mail_source source_of(struct copy_ask *a)
{
	if (a->body.chunks == NULL)
		return (struct mail_source){ read_bytes, a, a->bytes.n };
	a->reader = spool_reader_new(queue_spool(a->copier->queue), &a->body);
	return spool_reader_source(a->reader);
}

static struct ticket *put(struct copy_ask *a, const struct spool_message *m)
{
	const struct spool_put_opts o = {
		.message = m, .body = source_of(a), .deadline_ms = a->copier->edge->copy_timeout
	};
	return copy_put(a->copier->link, &o, on_put, a);
}

static struct ticket *ask(void *arg, const struct spool_message *m, const struct copy_body *body,
    copied_fn *fn, void *fn_arg)
{
	struct copier *c = OBJ(copier, arg);
	if (!c->listed && c->edge->copy_loss == EDGE_COPY_ACCEPT) {
		metric_add(&queue_metrics[QUEUE_M_UNCOPIED], 1);
		return NULL;
	}
	struct copy_ask *a = MEM_NEW(struct copy_ask);
	a->ticket.cancel = ask_cancel;
	a->magic = copy_ask_MAGIC;
	a->copier = c;
	a->id = m->id;
	a->bytes = body->bytes;
	a->body = (struct spool_body){
		.bytes = m->body_bytes, .chunks = body->chunks, .chunk_count = body->chunk_count
	};
	a->fn = fn;
	a->arg = fn_arg;
	list_add_tail(&c->asks, &a->link);
	soon_init(&a->refuse, on_refuse, a);
	if (c->link != NULL)
		a->put = put(a, m);
	else
		soon_set(c->loop, &a->refuse);
	return &a->ticket;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void set_conf(struct copier *c, const struct conf *conf)
{
	struct conf *old = c->conf;
	c->conf = conf_ref(conf);
	c->edge = conf_section(conf, &edge_block);
	copy_tls_client(&c->tls, conf);
	if (c->link != NULL && c->tls != NULL)
		spool_link_renew(c->link, c->tls);
	conf_unref(&old);
}

static void open_link(struct copier *c)
{
	struct buf hello = BUF_INIT(4096);
	if (queue_spool(c->queue) == NULL || (copy_tls_to(c->edge) && c->tls == NULL)) {
		timer_set(&c->again, AGAIN_MS);
		return;
	}
	struct spool_hello h = { span_str(daemon_hostname(c->conf)), c->edge->copy_secret.bytes,
		spool_identity(queue_spool(c->queue)) };
	const struct conf_hostport *to = &c->edge->copy_to;
	spool_hello_put(&hello, &h);
	c->link = spool_link_to_peer(c->loop, &(struct spool_link_peer){ .host = to->host,
						  .port = to->port != 0 ? to->port : PORT,
						  .dns = c->dns,
						  .tls = c->tls,
						  .hello = buf_span(&hello),
						  .ping_ms = PING_MS,
						  .frame = on_frame,
						  .down = on_down,
						  .arg = c });
	buf_end(&hello);
}

/* With it go the marks of what has a copy: the other host says it anew. */
static void on_queue_close(void *arg)
{
	struct copier *c = OBJ(copier, arg);
	copy_later_drop(c->later);
	if (c->link != NULL)
		spool_link_reset(c->link, "the spool is opened anew");
}

static void on_again(void *arg)
{
	open_link(OBJ(copier, arg));
}

struct copier *copier_new(struct loop *l, struct dns *dns, struct queue *q, struct spool_serve *s,
    const struct conf *conf)
{
	const struct edge_conf *e = conf_section(conf, &edge_block);
	if (e->copy_to.host == NULL)
		return NULL;
	struct copier *c = MEM_NEW(struct copier);
	c->magic = copier_MAGIC;
	c->loop = l;
	c->dns = dns;
	c->queue = q;
	c->serve = s;
	set_conf(c, conf);
	timer_init(&c->wait, l, on_wait, c);
	timer_init(&c->again, l, on_again, c);
	timer_set(&c->wait, e->copy_wait);
	queue_hold_all(q, true);
	queue_on_done(q, on_done, c);
	queue_on_close(q, QUEUE_COPIER, on_queue_close, c);
	c->later = copy_later_new(l, q);
	list_init(&c->asks);
	const struct spool_copier copier = { ask, drop, c };
	spool_serve_copy_to(s, &copier);
	queue_copy_to(q, &copier);
	open_link(c);
	return c;
}

void copier_reload(struct copier *c, const struct conf *fresh)
{
	if (c == NULL)
		return;
	set_conf(c, fresh);
	if (c->listed)
		copy_later_begin(c->later, c->link, c->edge->copy_timeout);
}

void copier_free(struct copier **pc)
{
	struct copier *c = *pc;
	if (c == NULL)
		return;
	queue_on_done(c->queue, NULL, NULL);
	queue_on_close(c->queue, QUEUE_COPIER, NULL, NULL);
	spool_serve_copy_to(c->serve, &(struct spool_copier){ 0 });
	queue_copy_to(c->queue, &(struct spool_copier){ 0 });
	while (!list_empty(&c->asks))
		ask_stop(LIST_OF(struct copy_ask, link, c->asks.next));
	timer_clear(&c->wait);
	timer_clear(&c->again);
	copy_later_free(&c->later);
	spool_link_free(&c->link);
	tls_ctx_unref(&c->tls);
	conf_unref(&c->conf);
	c->magic = 0;
	MEM_FREE(pc);
}
