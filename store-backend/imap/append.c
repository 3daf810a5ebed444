/* append.c - APPEND: one message or several from the client into a mailbox, all or none (RFC 3502), each as a literal or put
 * together from texts and parts of stored messages (RFC 4469); REPLACE (RFC 8508).
 *
 * Before: input.c, which hands over the bytes of a large literal as they come, and then what stands behind it; small
 * literals are part of the command. After: incoming.c holds the bytes, operation.c commits them. Whatever can be refused is
 * refused before the client is told to send. Owns what has arrived. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "directory/name.h"

#include "store-backend/domain_quota.h"
#include "store-backend/imap/across.h"
#include "store-backend/imap/append.h"
#include "store-backend/imap/remote.h"
#include "store-backend/imap/shared.h"
#include "store-backend/imap/url_part.h"
#include "store-backend/incoming.h"
#include "store-backend/operation_wire.h"
#include "store-backend/quota_tell.h"

enum { WORDS_MAX = 256 * 1024 };

/* What comes next in the command. */
enum append_step {
	AT_MESSAGE,     /* SP [flags] [date] and what it is made of */
	AT_LITERAL_END, /* behind the bytes of a literal */
	AT_PART,        /* of CATENATE: TEXT or URL */
	AT_COPY,        /* bytes of what a URL names */
	AT_PART_END,    /* SP and the next part, or the end */
	AT_MESSAGE_END  /* the next message, or the end of the command */
};

struct append_message {
	struct op_message op; /* without keywords and cache */
	size_t word_at, word_n;
};

struct imap_append {
	struct imap_job job;
	enum append_step step;
	uint64_t mailbox;
	struct incoming *in;       /* owned: all messages, one behind the other */
	struct uid_range replaced; /* REPLACE: of the selected mailbox; first 0: none */
	/* messages that are whole, and the one under way */
	struct append_message *v; /* owned */
	size_t n, cap;
	struct append_message now;
	struct buf words; /* owned: keywords of all, each with a NUL behind it */
	size_t word_n;
	uint64_t begun; /* bytes of the messages before it */
	bool binary;    /* "~{n}" (RFC 3516): as it is or not at all */
	bool utf8;      /* UTF8 (~{n} ...) (RFC 6855) */
	bool catenate;
	uint64_t literal_at, literal_size; /* where the last one began, and as announced */
	struct buf url;                    /* owned: of the part under way */
	bool url_comes;                    /* the large literal is one */
	struct url_part part;
};

void imap_append_free(struct imap_append **ap)
{
	struct imap_append *a = *ap;
	if (a == NULL)
		return;
	incoming_free(&a->in);
	url_part_end(&a->part);
	buf_end(&a->words);
	buf_end(&a->url);
	mem_free(a->v);
	MEM_FREE(ap);
}

void imap_append_drop(struct imap_session *s)
{
	s->job = NULL; /* it is part of the append */
	imap_append_free(&s->append);
}

/* ---- refusing ------------------------------------------------------------------------------------------ */

/* What still comes of it is thrown away: with no append in work the session swallows it. */
static enum verdict refuse(struct imap_session *s, enum verdict v)
{
	imap_append_drop(s);
	return v == V_CLOSE ? v : imap_swallow(s);
}

static enum verdict refuse_bad(struct imap_session *s)
{
	return refuse(s, imap_finish_bad(s, s->cmd.args.why));
}

/* The text of a code must not hold "]". */
static enum verdict refuse_url(struct imap_session *s)
{
	struct buf text = BUF_INIT(IMAP_URL_MAX);
	struct span url = buf_span(&s->append->url);
	for (size_t i = 0; i < url.n; i++) {
		char c = url.p[i];
		buf_add_char(&text, c == ']' || c <= 0x20 || c >= 0x7f ? '?' : c);
	}
	enum verdict v =
	    imap_finishf(s, "NO", "[BADURL %s] There is no such message", buf_cstr(&text));
	buf_end(&text);
	return refuse(s, v);
}

/* ---- may it come? ------------------------------------------------------------------------------------------ */

/* OPR_OK, or why not, as far as it can be seen from here; more: bytes that are announced. */
static enum operation_result judge_in(
    struct imap_session *s, struct index_view *v, struct imap_append *a, uint64_t more)
{
	struct index_mailbox m;
	struct index_user u;
	struct domain_use domain;
	struct index_entry e;
	uint64_t size = incoming_size(a->in) + more;
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_INSERT, &m);
	if (shared_partition(s, buf_span(&s->cmd.name)) != s->partition)
		return OPR_DENIED; /* REPLACE is one change */
	if (r != OPR_OK)
		return r == OPR_NO_MAILBOX ? OPR_NO_TARGET : r;
	a->mailbox = m.id;
	/* One change has one owner. */
	if (a->replaced.first != 0 && !span_eq_str(m.user, s->box->owner))
		return OPR_DENIED;
	if (size - a->begun > s->opts->message_size_max || size > OPERATION_MESSAGE_MAX)
		return OPR_TOO_BIG;
	if (!index_user(v, m.user, &u))
		return OPR_OK;
	domain_use_now(s->base.worker, s->opts, name_domain(m.user), &domain);
	if (a->replaced.first != 0 && index_entry(v, s->box->id, a->replaced.first, &e)) {
		u.bytes -= e.size;
		u.messages--;
		quota_domain_remove(&domain, e.size, 1);
	}
	struct type_use all = { size, a->n + 1 };
	bool own = quota_has_room(&u, all.bytes, all.messages);
	if (!own)
		quota_tell_full(s->base.worker, v, m.user, (struct quota_by){ 0 });
	if (!own || !quota_domain_admits(s->base.worker, v, m.user, &domain, &all))
		return OPR_OVER_QUOTA;
	quota_warn_domain(s->base.worker, name_domain(m.user), &domain);
	return OPR_OK;
}

static enum operation_result judge(struct imap_session *s, struct imap_append *a, uint64_t more)
{
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return OPR_LATER;
	enum operation_result r = judge_in(s, v, a, more);
	index_view_end(&v);
	return r;
}

/* ---- literals ---------------------------------------------------------------------------------------------- */

/* Is the literal that comes next the one whose announcement ends the bytes that were framed? */
static bool is_large(const struct imap_session *s)
{
	const struct imap_cursor *c = &s->cmd.args;
	return s->cmd.pending && imap_peek(c) == '{' &&
	       span_find(span_from(c->in, c->at), '\r') == SIZE_MAX;
}

static enum verdict take_large(struct imap_session *s, struct imap_append *a)
{
	a->step = AT_LITERAL_END;
	if (s->cmd.pending_sync)
		stream_write_span(s->io, SPAN("+ go on\r\n"));
	return imap_start_literal(s, s->cmd.pending_size);
}

/* The bytes of a message, or of a part of one. */
static enum verdict take_literal(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	struct span bytes = SPAN_NONE;
	bool large;
	a->binary = imap_try(c, '~');
	large = is_large(s);
	if (large)
		a->literal_size = imap_read_literal_size(c);
	else
		bytes = imap_read_literal(c);
	if (!imap_ok(c))
		return refuse_bad(s);
	if (!large)
		a->literal_size = bytes.n;
	if (a->literal_size == 0 && !a->catenate)
		return refuse(s, imap_finish(s, "NO", "[CANNOT] An empty message"));
	enum operation_result r = judge(s, a, a->literal_size);
	if (r != OPR_OK)
		return refuse(s, imap_finish_result(s, r));
	a->literal_at = incoming_size(a->in);
	if (large)
		return take_large(s, a);
	imap_append_data(s, bytes);
	a->step = AT_LITERAL_END;
	return V_NEXT;
}

/* An error stays in `in`: the rest is taken for nothing, so that the conversation stays in step. */
void imap_append_data(struct imap_session *s, struct span bytes)
{
	if (s->append->url_comes)
		(void)buf_add_span(&s->append->url, bytes);
	else
		(void)incoming_add_text(s->append->in, bytes);
}

static const char *bytes_wrong(const struct imap_append *a)
{
	if (incoming_has_nul(a->in))
		return a->binary ? "[UNKNOWN-CTE] NUL cannot be stored"
				 : "[CANNOT] A message must not hold NUL";
	if (!incoming_err(a->in) && a->binary &&
	    incoming_size(a->in) - a->literal_at != a->literal_size)
		return "[UNKNOWN-CTE] Only lines that end with CRLF can be stored";
	return NULL;
}

static enum verdict start_copy(struct imap_session *s, struct imap_append *a);

static enum verdict end_literal(struct imap_session *s, struct imap_append *a)
{
	if (a->url_comes) {
		a->url_comes = false;
		return start_copy(s, a);
	}
	/* Text that ends with CR has it ended by what follows, if anything does. */
	if (!a->catenate || a->binary)
		(void)incoming_add_end(a->in);
	const char *wrong = bytes_wrong(a);
	if (wrong != NULL)
		return refuse(s, imap_finish(s, "NO", wrong));
	if (a->utf8)
		imap_read_char(&s->cmd.args, ')');
	a->step = a->catenate ? AT_PART_END : AT_MESSAGE_END;
	return V_NEXT;
}

/* ---- parts (RFC 4469) ----------------------------------------------------------------------------------------- */

static enum verdict start_copy(struct imap_session *s, struct imap_append *a)
{
	struct imap_url u;
	bool ok = buf_ok(&a->url) && imap_url_parse(&u, buf_span(&a->url)) &&
		  url_part_open_ours(&a->part, &u, s);
	if (buf_ok(&a->url))
		imap_url_end(&u);
	if (!ok)
		return refuse_url(s);
	enum operation_result r = judge(s, a, a->part.range.n);
	if (r != OPR_OK)
		return refuse(s, imap_finish_result(s, r));
	a->step = AT_COPY;
	return V_NEXT;
}

/* Others have their turn between the pieces. */
static enum verdict copy_piece(struct imap_session *s, struct imap_append *a)
{
	struct buf piece = BUF_INIT(URL_PIECE_MAX);
	err_t err = url_part_read(&a->part, &piece);
	if (!err)
		(void)incoming_add_text(a->in, buf_span(&piece));
	bool done = buf_len(&piece) == 0;
	buf_end(&piece);
	if (err)
		return refuse_url(s);
	if (!done)
		return a->part.range.n > 0 ? imap_yield(s) : V_NEXT;
	url_part_end(&a->part);
	a->step = AT_PART_END;
	return V_NEXT;
}

static enum verdict read_url(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	buf_end(&a->url);
	a->url = BUF_INIT(IMAP_URL_MAX);
	imap_read_sp(c);
	a->url_comes = is_large(s);
	if (a->url_comes && imap_read_literal_size(c) > IMAP_URL_MAX)
		imap_fail(c, "URL too long");
	if (imap_ok(c) && a->url_comes)
		return take_large(s, a);
	(void)buf_add_span(&a->url, imap_read_astring(c));
	return imap_ok(c) ? start_copy(s, a) : refuse_bad(s);
}

static enum verdict read_part(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	if (imap_try_word(c, "URL"))
		return read_url(s, a);
	if (!imap_try_word(c, "TEXT"))
		imap_fail(c, "TEXT or URL expected");
	imap_read_sp(c);
	return take_literal(s, a);
}

static enum verdict end_part(struct imap_session *s, struct imap_append *a)
{
	bool more = imap_try(&s->cmd.args, ' ');
	if (!more)
		imap_read_char(&s->cmd.args, ')');
	a->step = more ? AT_PART : AT_MESSAGE_END;
	return V_NEXT;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

/* The words are copied: what they point into is gone when more of the command has come. */
static void keep_flags(struct imap_append *a, const struct imap_flags *flags)
{
	a->now.op.set.flags = flags->system;
	a->now.word_at = a->word_n;
	a->now.word_n = flags->keyword_count;
	for (size_t i = 0; i < flags->keyword_count; i++) {
		buf_add_span(&a->words, flags->keywords[i]);
		buf_add_char(&a->words, '\0');
		a->word_n++;
	}
}

/* [flags SP] [date SP] */
static void read_options(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_flags flags = { 0 };
	a->now = (struct append_message){ .op.date_s = (int64_t)(clock_wall_us() / 1000000) };
	imap_read_sp(c);
	if (imap_peek(c) == '(') {
		imap_read_flags(c, false, &flags);
		imap_read_sp(c);
	}
	if (imap_peek(c) == '"') {
		a->now.op.date_s = imap_read_date_time(c);
		imap_read_sp(c);
	}
	if (!imap_ok(c))
		return;
	keep_flags(a, &flags);
	if (!buf_ok(&a->words))
		imap_fail(c, "Too many keywords");
}

static enum verdict read_message(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	a->begun = incoming_size(a->in);
	read_options(s, a);
	a->catenate = imap_try_word(c, "CATENATE");
	a->utf8 = !a->catenate && imap_try_word(c, "UTF8");
	if (a->utf8 && (s->enabled & ENABLED_UTF8) == 0)
		imap_fail(c, "ENABLE UTF8=ACCEPT first");
	if (a->catenate || a->utf8) {
		imap_read_sp(c);
		imap_read_char(c, '(');
	}
	if (!imap_ok(c))
		return refuse_bad(s);
	a->step = AT_PART;
	return a->catenate ? V_NEXT : take_literal(s, a);
}

static enum verdict commit(struct imap_session *s);

/* The message is whole. */
static enum verdict end_message(struct imap_session *s, struct imap_append *a)
{
	err_t err = incoming_add_end(a->in);
	a->now.op.size = incoming_size(a->in) - a->begun;
	if (!imap_ok(&s->cmd.args))
		return refuse_bad(s);
	if (err)
		return refuse(s, imap_finish_result(s,
				     err_class(err) == ERR_CLASS_LIMIT ? OPR_TOO_BIG : OPR_LATER));
	if (a->now.op.size > s->opts->message_size_max)
		return refuse(s, imap_finish_result(s, OPR_TOO_BIG));
	if (a->now.op.size == 0)
		return refuse(s, imap_finish(s, "NO", "[CANNOT] An empty message"));
	if (a->n == STORE_AT_ONCE_MAX)
		return refuse(s, imap_finish(s, "NO", "[LIMIT] Too many messages at once"));
	if (a->n == a->cap) {
		a->cap = a->cap == 0 ? 1 : a->cap * 2;
		a->v = mem_grow(a->v, a->cap, sizeof a->v[0]);
	}
	a->v[a->n++] = a->now;
	if (imap_at_end(&s->cmd.args))
		return commit(s);
	if (a->replaced.first != 0) {
		imap_fail(&s->cmd.args, "Too many arguments");
		return refuse_bad(s);
	}
	a->step = AT_MESSAGE;
	return V_NEXT;
}

static enum verdict run_append(struct imap_session *s, struct imap_job *job)
{
	static enum verdict (*const steps[])(struct imap_session * s, struct imap_append * a) = {
		[AT_MESSAGE] = read_message,
		[AT_LITERAL_END] = end_literal,
		[AT_PART] = read_part,
		[AT_COPY] = copy_piece,
		[AT_PART_END] = end_part,
		[AT_MESSAGE_END] = end_message,
	};
	return steps[s->append->step](s, s->append);
}

/* The append goes with its command. */
static void end_append(struct imap_job *job)
{
}

enum verdict imap_append_more(struct imap_session *s)
{
	return imap_start_job(s, &s->append->job);
}

static enum verdict begin(struct imap_session *s, struct imap_append *a)
{
	a->job = (struct imap_job){ .run = run_append, .end = end_append };
	a->words = BUF_INIT(WORDS_MAX);
	a->in = incoming_new(s->opts->message_memory, OPERATION_MESSAGE_MAX, s->opts->temp_dir);
	return imap_append_more(s);
}

struct buf *imap_append_room(struct imap_session *s)
{
	buf_end(&s->cmd.more);
	s->cmd.more = BUF_INIT(IMAP_TOTAL_MAX);
	return &s->cmd.more;
}

enum verdict imap_append_offer(struct imap_session *s, bool more, uint64_t size)
{
	struct imap_command *c = &s->cmd;
	c->pending = more;
	c->pending_sync = false;
	if (more)
		c->pending_size = size;
	buf_clear(&c->scratch);
	imap_cursor_init(&c->args, buf_span(&c->more), &c->scratch);
	if (s->append != NULL)
		return imap_append_more(s);
	s->append = MEM_NEW(struct imap_append);
	return begin(s, s->append);
}

static enum verdict start(struct imap_session *s, struct imap_append *a)
{
	imap_read_sp(&s->cmd.args);
	imap_read_mailbox(s, &s->cmd.name);
	return imap_ok(&s->cmd.args) ? begin(s, a) : refuse_bad(s);
}

enum verdict cmd_append(struct imap_session *s)
{
	s->append = MEM_NEW(struct imap_append);
	return start(s, s->append);
}

/* The place of the message to be replaced; false: there is none. */
static bool find_replaced(const struct imap_session *s, uint32_t name, size_t *index_out)
{
	const struct selected *box = s->box;
	*index_out = s->cmd.uid ? selected_find(box, name) : (size_t)name - 1;
	return *index_out < box->told_n && (box->v[*index_out].bits & MARK_GONE) == 0;
}

/* An APPEND that takes a message of the selected mailbox away with the same change. */
enum verdict cmd_replace(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_append *a = s->append = MEM_NEW(struct imap_append);
	size_t i;
	imap_read_sp(c);
	uint32_t name = imap_read_nz_number(c);
	if (!imap_ok(c))
		return refuse_bad(s);
	if (s->box->read_only)
		return refuse(s, imap_finish_read_only(s));
	if (!find_replaced(s, name, &i))
		return refuse(s, imap_finish(s, "NO", "[NONEXISTENT] No such message"));
	a->replaced.first = a->replaced.last = s->box->v[i].uid;
	return start(s, a);
}

/* ---- the commit ------------------------------------------------------------------------------------------------- */

/* The code comes before the EXPUNGE line, as with MOVE. */
static enum verdict finish_replaced(struct imap_session *s, const struct operation_answer *a)
{
	imap_say(s, "* OK [APPENDUID %u %u] The replacement is there\r\n", a->uidvalidity, a->uid);
	return imap_finish_done(s);
}

static enum verdict finish_appended(struct imap_session *s, const struct operation_answer *a)
{
	size_t n = s->append->n;
	if (imap_remote_is_taking(s))
		return imap_remote_taken(s, a->uidvalidity, a->uid);
	if (s->across != NULL)
		return imap_across_done(s, a->uidvalidity, a->uid);
	if (n > 1)
		return imap_finishf(s, "OK", "[APPENDUID %u %u:%u] APPEND completed",
		    a->uidvalidity, a->uid, a->uid + (uint32_t)n - 1);
	return imap_finishf(s, "OK", "[APPENDUID %u %u] APPEND completed", a->uidvalidity, a->uid);
}

static void on_appended(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	bool replaced = s->append->replaced.first != 0;
	if (a->result == OPR_OK && s->box != NULL && (replaced || s->box->id == s->append->mailbox))
		s->box->stale = true;
	if (a->result == OPR_OK)
		imap_step(s, replaced ? finish_replaced(s, a) : finish_appended(s, a));
	else
		imap_step(s,
		    imap_finish_result(s, a->result == OPR_NO_MAILBOX ? OPR_NO_TARGET : a->result));
}

/* The keywords of all messages; out: as many as word_n. */
static void list_words(const struct imap_append *a, struct span *out)
{
	struct span rest = buf_span(&a->words);
	for (size_t i = 0; i < a->word_n; i++)
		out[i] = span_cut(&rest, '\0');
}

static enum verdict ask(struct imap_session *s, struct operation *op)
{
	op->mailbox = s->append->mailbox;
	shared_act(s, op, shared_parse(s, buf_span(&s->cmd.name)).owner);
	return imap_operate(s, op, on_appended);
}

static enum verdict commit_one(struct imap_session *s, const struct span *words)
{
	struct imap_append *a = s->append;
	struct operation op;
	operation_init(&op, OP_APPEND);
	if (incoming_source(a->in, &op.message))
		return imap_finish_result(s, OPR_LATER);
	op.set = (struct flag_set){ a->v[0].op.set.flags, words, a->v[0].word_n };
	op.date_s = a->v[0].op.date_s;
	if (a->replaced.first != 0) {
		op.target = s->box->id;
		op.uids = (struct uid_set){ &a->replaced, 1 };
	}
	return ask(s, &op);
}

static enum verdict commit_many(struct imap_session *s, const struct span *words)
{
	struct imap_append *a = s->append;
	struct op_message *v = mem_array(a->n, sizeof *v);
	uint64_t *sizes = mem_array(a->n, sizeof *sizes);
	struct span *caches = mem_array(a->n, sizeof *caches);
	struct operation op;
	enum verdict next;
	operation_init(&op, OP_APPEND_MANY);
	for (size_t i = 0; i < a->n; i++)
		sizes[i] = a->v[i].op.size;
	err_t err = incoming_sources(a->in, sizes, a->n, &op.message, caches);
	for (size_t i = 0; i < a->n; i++) {
		v[i] = a->v[i].op;
		v[i].cache = caches[i];
		v[i].set.keywords = words + a->v[i].word_at;
		v[i].set.keyword_n = a->v[i].word_n;
	}
	op.messages = v;
	op.message_n = a->n;
	next = err ? imap_finish_result(s, OPR_LATER) : ask(s, &op);
	mem_free(v);
	mem_free(sizes);
	mem_free(caches);
	return next;
}

static enum verdict commit(struct imap_session *s)
{
	struct span *words = mem_array(s->append->word_n + 1, sizeof *words);
	list_words(s->append, words);
	enum verdict v = s->append->n == 1 ? commit_one(s, words) : commit_many(s, words);
	mem_free(words);
	return v;
}
