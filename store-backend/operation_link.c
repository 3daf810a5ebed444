/* operation_link.c - step 3 of 6: a worker's connection to a committer. Before: the sessions; after:
 * committer.c. Owns the connection, every operation that waits for its answer, and (watch.c) the watches.
 *
 * Operations go out in the order they were asked and keep their sequence number. When the connection is
 * lost all that are unanswered go out again, in the same order, as soon as the committer is back: it
 * knows by (client, sequence) what it has done already. */
#include "store-backend/operation_link.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/dial.h"

enum {
	REDIAL_MS = 50,
	REDIAL_MAX_MS = 2000,
	DIAL_MS = 5000,
	LINK_OUT_MAX = 4 * 1024 * 1024,
	LINK_IN_MAX = ANSWER_MAX + 65536
};

static const struct stream_limits link_limits = { .in_max = LINK_IN_MAX, .out_max = LINK_OUT_MAX };

struct request {
	struct ticket ticket;        /* first member */
	struct operation_link *link; /* borrowed */
	struct list_node place;      /* in link->waiting, by sequence */
	uint64_t sequence;
	struct buf head;       /* owned: the encoded operation */
	char *bytes;           /* owned: the message, when not in a file */
	struct file_ref *file; /* owned reference, or NULL */
	uint64_t file_at, size;
	struct timer deadline;
	operation_fn *fn; /* NULL: cancelled or told LATER; only the answer is awaited */
	void *arg;
	bool sent; /* over the connection that is up now */
};

/* ---- requests --------------------------------------------------------------------------------------------- */

static void request_free(struct request *r)
{
	struct operation_link *k = r->link;
	list_remove(&r->place);
	timer_clear(&r->deadline);
	if (k->sending == r)
		k->sending = NULL;
	k->waiting_n--;
	k->waiting_bytes -= buf_len(&r->head) + (r->bytes != NULL ? r->size : 0);
	buf_end(&r->head);
	mem_free(r->bytes);
	if (r->file != NULL)
		file_ref_put(&r->file);
	mem_free(r);
}

static void request_answer(struct request *r, const struct operation_answer *a)
{
	operation_fn *fn = r->fn;
	void *arg = r->arg;
	request_free(r);
	if (fn != NULL)
		fn(arg, a);
}

/* What was never sent will not happen. What was sent stays known by its number until the answer comes,
 * but is not sent once more. */
static void request_orphan(struct request *r)
{
	r->fn = NULL;
	timer_clear(&r->deadline);
	if (!r->sent && r->link->sending != r)
		request_free(r);
}

static void on_cancel(struct ticket *t)
{
	request_orphan((struct request *)t);
}

static void on_deadline(void *arg)
{
	struct request *r = arg;
	operation_fn *fn = r->fn;
	void *fn_arg = r->arg;
	struct operation_answer late = { .result = OPR_LATER };
	request_orphan(r);
	if (fn != NULL)
		fn(fn_arg, &late);
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

static struct request *next_unsent(struct operation_link *k)
{
	for (struct list_node *n = k->waiting.next; n != &k->waiting; n = n->next) {
		struct request *r = LIST_OF(struct request, place, n);
		if (!r->sent)
			return r;
	}
	return NULL;
}

static bool start_frame(struct operation_link *k, struct request *r)
{
	struct buf b = BUF_INIT(64);
	uint64_t oldest = LIST_OF(struct request, place, k->waiting.next)->sequence;
	size_t mark = frame_begin(&b, FRAME_OPERATION);
	wire_put_u64(&b, r->sequence);
	wire_put_u64(&b, oldest);
	wire_put_u32(&b, (uint32_t)buf_len(&r->head));
	frame_end(&b, mark, buf_len(&r->head) + r->size);
	bool ok = stream_write_span(k->stream, buf_span(&b)) &&
		  stream_write_span(k->stream, buf_span(&r->head));
	buf_end(&b);
	r->sent = true;
	k->sending = r;
	k->sent_bytes = 0;
	return ok;
}

/* Feeds the message of k->sending into the stream as space allows; false: the stream failed. */
static bool send_on(struct operation_link *k)
{
	struct request *r = k->sending;
	if (r->file != NULL && k->sent_bytes < r->size) {
		k->sent_bytes = r->size;
		return stream_write_file(k->stream, r->file, (off_t)r->file_at, r->size);
	}
	while (k->sent_bytes < r->size) {
		size_t space = stream_space(k->stream);
		size_t left = r->size - k->sent_bytes;
		size_t n = left < space ? left : space;
		if (n == 0)
			return true;
		if (!stream_write(k->stream, r->bytes + k->sent_bytes, n))
			return false;
		k->sent_bytes += n;
	}
	return true;
}

void operation_link_pump(struct operation_link *k)
{
	while (k->state == LINK_UP) {
		if (k->sending != NULL) {
			if (!send_on(k) || k->sent_bytes < k->sending->size)
				return;
			k->sending = NULL;
			(void)stream_write_span(k->stream, buf_span(&k->behind));
			buf_clear(&k->behind);
		}
		struct request *r = next_unsent(k);
		if (r == NULL || stream_space(k->stream) < buf_len(&r->head) + 64)
			return;
		if (!start_frame(k, r))
			return;
	}
}

void operation_link_say(struct operation_link *k, enum frame_kind kind, uint64_t value)
{
	struct buf b = BUF_INIT(32);
	size_t mark = frame_begin(&b, kind);
	wire_put_u64(&b, value);
	frame_end(&b, mark, 0);
	if (k->sending != NULL)
		buf_add_span(&k->behind, buf_span(&b));
	else
		(void)stream_write_span(k->stream, buf_span(&b));
	buf_end(&b);
}

/* ---- the connection ------------------------------------------------------------------------------------------ */

static void link_down(struct operation_link *k)
{
	struct list_node *next;
	ticket_cancel(&k->dialing);
	if (k->stream != NULL)
		stream_free(&k->stream);
	if (k->state == LINK_UP)
		log_write(&store_events[STORE_EV_LINK_LOST], NULL,
		    LOG_FIELDS(LOG_STR("path", k->path), LOG_U64("waiting", k->waiting_n)));
	k->state = LINK_DOWN;
	k->sending = NULL;
	buf_clear(&k->behind);
	for (struct list_node *n = k->waiting.next; n != &k->waiting; n = next) {
		struct request *r = LIST_OF(struct request, place, n);
		next = n->next;
		r->sent = false;
		if (r->fn == NULL)
			request_free(r);
	}
	timer_set(&k->redial, k->redial_ms + rand_below(k->redial_ms));
	k->redial_ms = k->redial_ms * 2 < REDIAL_MAX_MS ? k->redial_ms * 2 : REDIAL_MAX_MS;
}

static bool on_ready(struct operation_link *k, struct wire_in *w)
{
	uint64_t epoch = wire_get_u64(w);
	if (w->bad || k->state == LINK_UP)
		return false;
	k->state = LINK_UP;
	k->redial_ms = REDIAL_MS;
	log_write(&store_events[STORE_EV_LINK_UP], NULL,
	    LOG_FIELDS(LOG_STR("path", k->path), LOG_U64("resent", k->waiting_n)));
	if (k->ready_fn != NULL)
		k->ready_fn(k->arg, epoch);
	watch_again(k);
	return true;
}

static struct request *find_request(struct operation_link *k, uint64_t sequence)
{
	for (struct list_node *n = k->waiting.next; n != &k->waiting; n = n->next) {
		struct request *r = LIST_OF(struct request, place, n);
		if (r->sequence == sequence)
			return r->sent && r != k->sending ? r : NULL;
	}
	return NULL;
}

static bool on_answer(struct operation_link *k, struct wire_in *w)
{
	struct operation_answer ans;
	struct operation_arena a = { 0 };
	uint64_t sequence = wire_get_u64(w);
	if (w->bad || !answer_decode(w->rest, &ans, &a)) {
		operation_arena_end(&a);
		return false;
	}
	struct request *r = find_request(k, sequence);
	if (r != NULL)
		request_answer(r, &ans);
	operation_arena_end(&a);
	return true;
}

static bool on_frame(struct operation_link *k, enum frame_kind kind, struct span body)
{
	struct wire_in w = { .rest = body };
	if (kind == FRAME_READY)
		return on_ready(k, &w);
	if (kind == FRAME_ANSWER)
		return on_answer(k, &w);
	if (kind == FRAME_NEWS) {
		struct mailbox_news news = { .mailbox = wire_get_u64(&w) };
		news.modseq = wire_get_u64(&w);
		news.gone = wire_get_u8(&w) != 0;
		if (!w.bad)
			watch_tell(k, &news);
		return !w.bad;
	}
	return false;
}

static void on_input(struct operation_link *k)
{
	for (;;) {
		enum frame_kind kind;
		struct span body;
		size_t used;
		enum frame_result f =
		    frame_take(stream_input(k->stream), ANSWER_MAX, &kind, &body, &used);
		if (f == FRAME_MORE)
			break;
		if (f == FRAME_BAD || !on_frame(k, kind, body)) {
			link_down(k);
			return;
		}
		stream_eat(k->stream, used);
	}
	operation_link_pump(k);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct operation_link *k = OBJ(operation_link, arg);
	if (ev == STREAM_INPUT)
		on_input(k);
	else if (ev == STREAM_SENT)
		operation_link_pump(k);
	else if (ev == STREAM_EOF || ev == STREAM_FAILED)
		link_down(k);
}

static void on_dialed(void *arg, const struct dial_result *d)
{
	struct operation_link *k = OBJ(operation_link, arg);
	k->dialing = NULL;
	if (d->err) {
		link_down(k);
		return;
	}
	struct buf b = BUF_INIT(32);
	size_t mark = frame_begin(&b, FRAME_HELLO);
	wire_put_u32(&b, WIRE_VERSION);
	wire_put_u64(&b, k->client);
	frame_end(&b, mark, 0);
	k->stream = d->stream;
	k->state = LINK_GREETING;
	stream_set_owner(k->stream, link_limits, on_stream, k);
	(void)stream_write_span(k->stream, buf_span(&b));
	buf_end(&b);
}

static void on_redial(void *arg)
{
	struct operation_link *k = OBJ(operation_link, arg);
	struct dial_target t = {
		.host = span_str(k->path), .deadline_ms = DIAL_MS, .limits = link_limits
	};
	k->state = LINK_DIALING;
	k->dialing = dial_start(k->loop, NULL, &t, on_dialed, k);
}

/* ---- public ---------------------------------------------------------------------------------------------------- */

struct operation_link *operation_link_new(struct loop *l, const struct operation_link_opts *opts)
{
	struct operation_link *k = MEM_NEW(struct operation_link);
	*k = (struct operation_link){
		.magic = operation_link_MAGIC,
		.loop = l,
		.path = mem_str(opts->path),
		.deadline_ms = opts->deadline_ms,
		.waiting_max = opts->waiting_max,
		.waiting_bytes_max = opts->waiting_bytes_max,
		.ready_fn = opts->on_ready,
		.arg = opts->arg,
		.client = rand_u64(),
		.next_sequence = 1,
		.redial_ms = REDIAL_MS,
		.behind = BUF_INIT(WATCHES_MAX * 16),
	};
	list_init(&k->waiting);
	list_init(&k->refused);
	link_watches_init(k);
	timer_init(&k->redial, l, on_redial, k);
	timer_set(&k->redial, 0);
	return k;
}

void operation_link_free(struct operation_link **kp)
{
	struct operation_link *k = *kp;
	struct list_node *n;
	if (k == NULL)
		return;
	ticket_cancel(&k->dialing);
	timer_clear(&k->redial);
	if (k->stream != NULL)
		stream_free(&k->stream);
	k->sending = NULL;
	while ((n = k->waiting.next) != &k->waiting)
		request_free(LIST_OF(struct request, place, n));
	while ((n = k->refused.next) != &k->refused)
		request_free(LIST_OF(struct request, place, n));
	link_watches_end(k);
	buf_end(&k->behind);
	mem_free(k->path);
	k->magic = 0;
	MEM_FREE(kp);
}

bool operation_link_up(const struct operation_link *k)
{
	return k->state == LINK_UP;
}

struct ticket *operation_ask(
    struct operation_link *k, const struct operation *op, operation_fn *fn, void *arg)
{
	struct request *r = MEM_NEW(struct request);
	struct operation plain = *op;
	const struct message_source *m = &op->message;
	if (m->file == NULL)
		plain.message.size = m->bytes.n;
	*r = (struct request){
		.link = k, .fn = fn, .arg = arg, .head = BUF_INIT(OPERATION_HEAD_MAX)
	};
	r->ticket.cancel = on_cancel;
	r->size = plain.message.size;
	timer_init(&r->deadline, k->loop, on_deadline, r);
	k->waiting_n++;
	bool fits = operation_encode(&plain, &r->head) && r->size <= OPERATION_MESSAGE_MAX &&
		    k->waiting_n <= k->waiting_max &&
		    (m->file != NULL || k->waiting_bytes + r->size <= k->waiting_bytes_max);
	if (fits && m->file != NULL) {
		r->file = file_ref_get(m->file);
		r->file_at = m->file_at;
	} else if (fits && r->size > 0) {
		r->bytes = mem_copy(m->bytes.p, r->size);
	}
	k->waiting_bytes += buf_len(&r->head) + (r->bytes != NULL ? r->size : 0);
	r->sequence = k->next_sequence++;
	timer_set(&r->deadline, fits ? k->deadline_ms : 0);
	/* What does not fit is never sent: its deadline answers from the loop. */
	list_add_tail(fits ? &k->waiting : &k->refused, &r->place);
	operation_link_pump(k);
	return &r->ticket;
}
