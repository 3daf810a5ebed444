/* spool_put.c - a question for the queue process and what becomes of it: asked, answered, refused, or withdrawn when its time
 * is over. Part of step 5 of 6; beside: spool_link.c, whose lists it is in. */
#include "edge/spool_link_internal.h"

static struct list_node *list_of(struct spool_link *k, enum put_state s)
{
	struct list_node *const lists[] = {
		[PUT_UNSENT] = &k->unsent,
		[PUT_SENT] = &k->sent,
		[PUT_REFUSED] = &k->refused,
		[PUT_WITHDRAWN] = &k->withdrawn,
	};
	return lists[s];
}

static void put_leave(struct spool_put *p)
{
	p->owner->sent_n -= p->state == PUT_SENT;
	list_remove(&p->link);
}

void put_unsend(struct spool_put *p)
{
	put_leave(p);
	p->state = PUT_UNSENT;
	p->doubtful = true;
	list_add_head(&p->owner->unsent, &p->link);
}

void put_set_state(struct spool_put *p, enum put_state to)
{
	put_leave(p);
	p->state = to;
	p->owner->sent_n += to == PUT_SENT;
	list_add_tail(list_of(p->owner, to), &p->link);
}

void put_free(struct spool_put *p)
{
	put_leave(p);
	timer_clear(&p->deadline);
	soon_clear(&p->refuse);
	if (map_get(p->owner->by_id, span_str(p->id.s)) == p)
		map_remove(p->owner->by_id, span_str(p->id.s));
	buf_end(&p->head);
	p->magic = 0;
	mem_free(p);
}

/* Is it between its first and its last byte on the wire? Then only its end, or the link's, helps. */
static bool is_half_sent(const struct spool_put *p)
{
	return p->state == PUT_UNSENT && p->head_sent && p->owner->state == LK_UP;
}

/* Last statement of whoever calls it. */
static void put_answer(struct spool_put *p, err_t err)
{
	spool_put_fn *fn = p->fn;
	spool_kick_fn *kick_fn = p->kick_fn;
	size_t kicked = p->kicked;
	bool more = p->kicked_more;
	void *arg = p->arg;
	struct spool_link *k = p->owner;
	bool half = is_half_sent(p);
	put_free(p);
	if (half)
		link_down(k, "a question was given up half sent");
	if (kick_fn != NULL)
		kick_fn(arg, err, kicked, more);
	else if (fn != NULL)
		fn(arg, err);
}

/* May the queue have it? A copy that another host has is released by who asked for it (copier.c). */
static bool may_be_there(const struct spool_put *p)
{
	return (p->state == PUT_SENT || p->doubtful) && p->kick_fn == NULL &&
	       p->owner->peer.frame == NULL;
}

void put_say_withdraw(const struct spool_put *p)
{
	struct buf frame = BUF_INIT(100);
	spool_id_put(&frame, SPOOL_FRAME_WITHDRAW, p->id, false);
	spool_link_tell(p->owner, buf_span(&frame));
	buf_end(&frame);
}

/* Its bytes are not touched any more. */
static void put_withdraw(struct spool_put *p)
{
	struct spool_link *k = p->owner;
	bool half = is_half_sent(p);
	put_set_state(p, PUT_WITHDRAWN);
	buf_end(&p->head);
	if (half)
		link_down(k, "a question was given up half sent");
	else
		put_say_withdraw(p);
	link_retry(k);
}

/* Nobody waits for the answer; the queue is told until it has one. */
static void put_forsake(struct spool_put *p)
{
	p->fn = NULL;
	timer_clear(&p->deadline);
	soon_clear(&p->refuse);
	if (p->state != PUT_WITHDRAWN)
		put_withdraw(p);
}

/* Last statement of whoever calls it. */
static void put_answer_and_forsake(struct spool_put *p, err_t err)
{
	spool_put_fn *fn = p->fn;
	void *arg = p->arg;
	put_forsake(p);
	fn(arg, err);
}

static void on_deadline(void *arg)
{
	struct spool_put *p = OBJ(spool_put, arg);
	if (p->state == PUT_WITHDRAWN) {
		put_answer_and_forsake(p, ERR_TIMEOUT);
	} else if (may_be_there(p)) {
		timer_set(&p->deadline, SPOOL_WITHDRAW_MS);
		put_withdraw(p);
	} else {
		put_answer(p, ERR_TIMEOUT);
	}
}

void put_said(struct spool_put *p, err_t err)
{
	bool late = err == ERR_OK && p->fn == NULL && p->state == PUT_WITHDRAWN;
	if (late)
		log_write(&queue_events[QUEUE_EV_SPOOL_LATE], p->id.s, NULL);
	if (p->state == PUT_WITHDRAWN)
		put_answer(p, err ? ERR_TIMEOUT : ERR_OK);
	else if (err && p->doubtful && may_be_there(p))
		put_answer_and_forsake(p, err);
	else
		put_answer(p, err);
}

void put_refuse(struct spool_put *p, err_t why)
{
	p->refusal = why;
	put_set_state(p, PUT_REFUSED);
	soon_set(p->owner->loop, &p->refuse);
}

static void on_refuse(void *arg)
{
	struct spool_put *p = OBJ(spool_put, arg);
	put_said(p, p->refusal);
}

static void put_cancel(struct ticket *t)
{
	struct spool_put *p = (struct spool_put *)t;
	struct spool_link *k = p->owner;
	CHECK(p->magic == spool_put_MAGIC);
	if (p->state == PUT_WITHDRAWN || may_be_there(p)) {
		put_forsake(p);
		return;
	}
	bool half = is_half_sent(p);
	put_free(p);
	if (half)
		link_down(k, "a question was given up half sent");
}

struct spool_put *put_new(struct spool_link *k, struct ident id, void *arg)
{
	struct spool_put *p = MEM_NEW(struct spool_put);
	p->ticket.cancel = put_cancel;
	p->magic = spool_put_MAGIC;
	p->owner = k;
	p->id = id;
	p->arg = arg;
	timer_init(&p->deadline, k->loop, on_deadline, p);
	soon_init(&p->refuse, on_refuse, p);
	return p;
}
