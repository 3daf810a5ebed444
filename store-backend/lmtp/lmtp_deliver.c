/* lmtp_deliver.c - the data of a transaction, its commit, and one reply for each recipient.
 *
 * Recipients are grouped by partition; each partition gets one operation with the one message. */
#include <inttypes.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "store-backend/lmtp/lmtp_internal.h"
#include "store-backend/quota.h"

struct lmtp_transaction *lmtp_transaction_new(
    struct lmtp_session *s, const struct smtp_path *sender)
{
	struct lmtp_transaction *t = MEM_NEW(struct lmtp_transaction);
	t->magic = lmtp_transaction_MAGIC;
	t->session = s;
	t->sender = mem_span_str(smtp_path_text(sender));
	t->exempt = quota_is_exempt(store_options(s->base.conf), span_str(t->sender));
	return t;
}

void lmtp_transaction_free(struct lmtp_transaction **t)
{
	struct lmtp_transaction *gone = *t;
	*t = NULL;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < gone->part_n; i++) {
		ticket_cancel(&gone->parts[i].ask);
		mem_free(gone->parts[i].which);
	}
	for (size_t i = 0; i < gone->recipient_n; i++) {
		mem_free(gone->recipients[i].user);
		mem_free(gone->recipients[i].folder);
	}
	mem_free(gone->recipients);
	incoming_free(&gone->in);
	mime_binary_free(&gone->binary);
	mem_free(gone->sender);
	gone->magic = 0;
	mem_free(gone);
}

bool lmtp_add_recipient(struct lmtp_transaction *t, struct span user, struct span folder)
{
	if (t->recipient_n >= STORE_RECIPIENTS_MAX)
		return false;
	if ((t->recipient_n & (t->recipient_n + 1)) == 0)
		t->recipients =
		    mem_grow(t->recipients, t->recipient_n * 2 + 1, sizeof t->recipients[0]);
	t->recipients[t->recipient_n++] = (struct lmtp_recipient){
		.user = mem_span_str(user),
		.folder = mem_span_str(operation_name_ok(folder) ? folder : SPAN("")),
		.partition = store_partition_of(t->session->base.worker, user),
		.result = OPR_LATER,
	};
	return true;
}

/* ---- data ---- */

static void add_trace(struct lmtp_session *s)
{
	char date[CLOCK_RFC5322_SIZE], addr[IP_TEXT_SIZE];
	struct buf b = BUF_INIT(2048);
	buf_printf(&b, "Return-Path: <%s>\r\nReceived: from ", s->t->sender);
	fmt_line_text(&b, span_str(s->hello), LMTP_HELLO_MAX);
	buf_printf(&b, " ([%s])\r\n\tby %s (Postern) with %sLMTP%s id %s;\r\n\t%s\r\n",
	    ip_text(s->client.addr, addr), store_worker_hostname(s->base.worker),
	    s->t->utf8 ? "UTF8" : "", s->secure ? "S" : "",
	    s->t->delivery_id[0] != '\0' ? s->t->delivery_id : s->base.id.s,
	    clock_rfc5322(clock_wall_us(), date));
	incoming_add(s->t->in, buf_span(&b));
	buf_end(&b);
}

void lmtp_begin_message(struct lmtp_session *s)
{
	const struct store_conf *o = store_options(s->base.conf);
	s->t->in = incoming_new(o->message_memory, o->message_size_max, o->temp_dir);
	add_trace(s);
}

enum lmtp_verdict lmtp_begin_data(struct lmtp_session *s)
{
	smtp_body_decoder_init(&s->t->decoder, SIZE_MAX);
	lmtp_begin_message(s);
	enum lmtp_verdict v = lmtp_say(s, 354, NULL, "Go ahead, end with CRLF.CRLF");
	lmtp_set_state(s, LMTP_ST_DATA);
	return v;
}

static const struct {
	uint16_t code;
	const char *enhanced, *text;
} replies[OPR_COUNT] = {
	[OPR_OK] = { 250, "2.1.5", "Delivered" },
	[OPR_SEEN] = { 250, "2.1.5", "Delivered before" },
	[OPR_NO_USER] = { 550, "5.1.1", "No such user" },
	[OPR_NO_MAILBOX] = { 451, "4.3.0", "The mailbox is gone" },
	[OPR_NO_TARGET] = { 451, "4.3.0", "The mailbox is gone" },
	[OPR_EXISTS] = { 451, "4.3.0", "Try again later" },
	[OPR_BAD_NAME] = { 550, "5.1.3", "Not a user's name" },
	[OPR_DENIED] = { 550, "5.7.1", "Not allowed" },
	[OPR_OVER_QUOTA] = { 452, "4.2.2", "The mailbox is full" },
	[OPR_TOO_MANY] = { 452, "4.2.0", "The mailbox holds too many messages" },
	[OPR_TOO_BIG] = { 552, "5.2.3", "Message too large" },
	[OPR_NO_SPACE] = { 452, "4.3.1", "The store is full" },
	[OPR_AWAY] = { 451, "4.2.1", "The mailbox is moving to another store" },
	[OPR_MENDING] = { 451, "4.3.0", "The mailbox is being repaired, try again soon" },
	[OPR_OVER_GRACE] = { 552, "5.2.2", "The mailbox is full" },
	[OPR_LATER] = { 451, "4.3.0", "The store could not commit in time" },
};

/* The two words of RFC 5321 for a full mailbox: later it may have room, or the sender is to be told now. */
static unsigned code_of(const struct lmtp_session *s, enum operation_result r)
{
	return r == OPR_OVER_QUOTA && store_options(s->base.conf)->quota_over == STORE_OVER_REFUSE
		   ? 552
		   : replies[r].code;
}

static const char *enhanced_of(const struct lmtp_session *s, enum operation_result r)
{
	return code_of(s, r) == 552 && r == OPR_OVER_QUOTA ? "5.2.2" : replies[r].enhanced;
}

enum lmtp_verdict lmtp_say_result(struct lmtp_session *s, enum operation_result r)
{
	unsigned errors = s->errors;
	enum lmtp_verdict v = lmtp_say(s, code_of(s, r), enhanced_of(s, r), replies[r].text);
	s->errors = errors; /* a full mailbox is no error of the peer */
	return v;
}

static void reply_one(struct lmtp_session *s, const struct lmtp_recipient *r)
{
	struct buf b = BUF_INIT(1024);
	buf_printf(&b, "<%s> %s [%s]", r->user, replies[r->result].text,
	    s->t->delivery_id[0] != '\0' ? s->t->delivery_id : s->base.id.s);
	unsigned errors = s->errors;
	lmtp_say(s, code_of(s, r->result), enhanced_of(s, r->result), buf_cstr(&b));
	s->errors = errors; /* a full mailbox is no error of the peer */
	buf_end(&b);
}

static void log_delivery(const struct lmtp_session *s, uint64_t size)
{
	uint64_t ok = 0, seen = 0, later = 0, refused = 0;
	for (size_t i = 0; i < s->t->recipient_n; i++) {
		enum operation_result r = s->t->recipients[i].result;
		ok += r == OPR_OK;
		seen += r == OPR_SEEN;
		later += code_of(s, r) < 500 && code_of(s, r) >= 400;
		refused += code_of(s, r) >= 500;
	}
	metric_add(&store_metrics[STORE_M_DELIVERED], ok);
	metric_add(&store_metrics[STORE_M_DELIVERY_SEEN], seen);
	metric_add(&store_metrics[STORE_M_LATER], later);
	log_write(&store_events[STORE_EV_DELIVERED], s->base.id.s,
	    LOG_FIELDS(LOG_STR("delivery", s->t->delivery_id), LOG_U64("size", size),
		LOG_U64("recipients", s->t->recipient_n), LOG_U64("ok", ok), LOG_U64("seen", seen),
		LOG_U64("refused", refused), LOG_U64("later", later)));
}

/* One reply for each recipient, in order (RFC 2033 section 4.2); the transaction is over. */
static void answer_all(struct lmtp_session *s)
{
	for (size_t i = 0; i < s->t->recipient_n; i++)
		reply_one(s, &s->t->recipients[i]);
	log_delivery(s, incoming_size(s->t->in));
	lmtp_transaction_free(&s->t);
	lmtp_set_state(s, LMTP_ST_COMMAND);
}

/* The committer knows of no grace. */
static void look_at_grace(struct lmtp_session *s, struct lmtp_recipient *r)
{
	if (r->result != OPR_OVER_QUOTA || store_options(s->base.conf)->quota_grace == 0)
		return;
	struct index_view *v = index_view_begin(r->partition->index);
	if (v != NULL)
		r->result = lmtp_no_room(s, v, span_str(r->user));
	index_view_end(&v);
}

static void on_delivered(void *arg, const struct operation_answer *a)
{
	struct lmtp_part *p = arg;
	struct lmtp_transaction *t = OBJ(lmtp_transaction, p->t);
	p->ask = NULL;
	for (size_t i = 0; i < p->n; i++) {
		struct lmtp_recipient *r = &t->recipients[p->which[i]];
		r->result = a->result != OPR_OK ? a->result
			    : i < a->outcome_n  ? a->outcomes[i].result
						: OPR_LATER;
		look_at_grace(t->session, r);
	}
	if (--t->waiting > 0)
		return;
	struct lmtp_session *s = t->session;
	answer_all(s);
	lmtp_resume(s, LMTP_READ);
}

static void ask_part(struct lmtp_part *p, struct operation *op)
{
	struct op_recipient *to = mem_array(p->n, sizeof *to);
	for (size_t i = 0; i < p->n; i++) {
		const struct lmtp_recipient *r = &p->t->recipients[p->which[i]];
		to[i] = (struct op_recipient){ span_str(r->user), span_str(r->folder) };
	}
	op->recipients = to;
	op->recipient_n = p->n;
	p->t->waiting++;
	p->ask = operation_ask(p->partition->link, op, on_delivered, p);
	mem_free(to);
}

static void group(struct lmtp_transaction *t)
{
	for (size_t i = 0; i < t->recipient_n; i++) {
		size_t k = 0;
		enum operation_result known = t->recipients[i].result;
		if (known == OPR_OVER_QUOTA || known == OPR_OVER_GRACE)
			continue;
		while (k < t->part_n && t->parts[k].partition != t->recipients[i].partition)
			k++;
		struct lmtp_part *p = &t->parts[k];
		if (k == t->part_n) {
			t->part_n++;
			*p = (struct lmtp_part){ .t = t, .partition = t->recipients[i].partition };
			p->which = mem_array(t->recipient_n, sizeof p->which[0]);
		}
		p->which[p->n++] = i;
	}
}

static enum lmtp_verdict refuse_all(struct lmtp_session *s, enum operation_result result)
{
	for (size_t i = 0; i < s->t->recipient_n; i++)
		s->t->recipients[i].result = result;
	answer_all(s);
	return LMTP_READ;
}

static enum lmtp_verdict commit(struct lmtp_session *s)
{
	struct operation op;
	err_t err = incoming_add_end(s->t->in);
	operation_init(&op, OP_DELIVER);
	if (err == ERR_OK)
		err = incoming_source(s->t->in, &op.message);
	if (err != ERR_OK)
		return refuse_all(s, err_class(err) == ERR_CLASS_LIMIT ? OPR_TOO_BIG : OPR_LATER);
	op.uses = s->t->exempt ? DELIVER_ANYWAY : 0;
	op.date_s = (int64_t)(clock_wall_us() / 1000000);
	op.delivery_id = span_str(s->t->delivery_id);
	/* of a user whom this makes; a login brings those of the directory */
	op.quota_bytes = store_options(s->base.conf)->quota_bytes;
	op.quota_messages = (uint64_t)store_options(s->base.conf)->quota_messages;
	lmtp_refuse_full(s, &op.message);
	group(s->t);
	if (s->t->part_n == 0) {
		answer_all(s);
		return LMTP_READ;
	}
	lmtp_set_state(s, LMTP_ST_COMMIT);
	for (size_t i = 0; i < s->t->part_n; i++)
		ask_part(&s->t->parts[i], &op);
	return LMTP_WAIT;
}

static enum lmtp_verdict say_broken(struct lmtp_session *s)
{
	return lmtp_say(s, 550, "5.6.0", "Bare CR, bare LF or NUL in the message");
}

enum lmtp_verdict lmtp_end_of_message(struct lmtp_session *s, bool broken)
{
	if (!broken)
		return commit(s);
	for (size_t i = 1; i < s->t->recipient_n; i++)
		say_broken(s);
	lmtp_transaction_free(&s->t);
	lmtp_set_state(s, LMTP_ST_COMMAND);
	return say_broken(s);
}

enum lmtp_verdict lmtp_data(struct lmtp_session *s)
{
	struct span in = stream_input(s->io), piece;
	size_t had = in.n;
	enum smtp_body_rx rx;
	if (had == 0)
		return LMTP_WAIT;
	while ((rx = smtp_body_decode(&s->t->decoder, &in, &piece)) == SMTP_BODY_SPAN)
		incoming_add(s->t->in, piece);
	stream_eat(s->io, had - in.n);
	lmtp_set_state(s, LMTP_ST_DATA);
	if (rx != SMTP_BODY_END)
		return LMTP_WAIT;
	const unsigned broken = SMTP_BODY_BARE_CR | SMTP_BODY_BARE_LF | SMTP_BODY_NUL;
	return lmtp_end_of_message(s, (s->t->decoder.faults & broken) != 0);
}
