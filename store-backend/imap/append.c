/* append.c - APPEND: a message from the client into a mailbox.
 *
 * Before: input.c, which hands over the bytes of a large literal as they come; a small one is part of the
 * command. After: incoming.c holds the bytes, operation.c commits them. Whatever can be refused is refused
 * before the client is told to send. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include "store-backend/imap/append.h"
#include "store-backend/imap/shared.h"
#include "store-backend/incoming.h"

struct imap_append {
	uint64_t mailbox;
	struct imap_flags flags; /* words point into the command */
	int64_t date_s;
	uint64_t size;             /* as announced */
	bool binary;               /* "~{n}" (RFC 3516): as it is or not at all */
	bool utf8;                 /* UTF8 (~{n} ...) (RFC 6855) */
	struct incoming *in;       /* owned */
	struct uid_range replaced; /* REPLACE: of the selected mailbox; first 0: none */
};

void imap_append_free(struct imap_append **a)
{
	if (*a == NULL)
		return;
	incoming_free(&(*a)->in);
	MEM_FREE(a);
}

/* ---- the arguments ----------------------------------------------------------------------------------- */

/* mailbox [flags] [date]; the literal comes next. */
static void read_head(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	imap_read_sp(c);
	if (imap_peek(c) == '(') {
		imap_read_flags(c, false, &a->flags);
		imap_read_sp(c);
	}
	a->date_s = (int64_t)(clock_wall_us() / 1000000);
	if (imap_peek(c) == '"') {
		a->date_s = imap_read_date_time(c);
		imap_read_sp(c);
	}
}

/* The literal, or an empty span when it is still to come. */
static struct span read_message(struct imap_session *s, struct imap_append *a)
{
	struct imap_cursor *c = &s->cmd.args;
	a->utf8 = imap_try_word(c, "UTF8");
	if (a->utf8 && (s->enabled & ENABLED_UTF8) == 0)
		imap_fail(c, "ENABLE UTF8=ACCEPT first");
	if (a->utf8) {
		imap_read_sp(c);
		imap_read_char(c, '(');
	}
	a->binary = imap_try(c, '~');
	if (s->cmd.pending) {
		a->size = imap_read_literal_size(c);
		return SPAN_NONE;
	}
	struct span message = imap_read_literal(c);
	if (a->utf8)
		imap_read_char(c, ')');
	imap_read_end(c);
	a->size = message.n;
	return message;
}

/* ---- may it come? ------------------------------------------------------------------------------------ */

static bool has_room(const struct index_user *u, uint64_t size)
{
	return (u->quota_bytes == 0 || u->bytes + size <= u->quota_bytes) &&
	       (u->quota_messages == 0 || u->messages < u->quota_messages);
}

/* OPR_OK, or why not, as far as it can be seen from here. */
static enum operation_result judge_in(
    struct imap_session *s, struct index_view *v, struct imap_append *a)
{
	struct index_mailbox m;
	struct index_user u;
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_INSERT, &m);
	if (r != OPR_OK)
		return r == OPR_NO_MAILBOX ? OPR_NO_TARGET : r;
	a->mailbox = m.id;
	/* One change has one owner. */
	if (a->replaced.first != 0 && !span_eq_str(m.user, s->box->owner))
		return OPR_DENIED;
	if (a->size > s->opts->message_size_max)
		return OPR_TOO_BIG;
	if (!index_user(v, m.user, &u))
		return OPR_OK;
	struct index_entry e;
	if (a->replaced.first != 0 && index_entry(v, s->box->id, a->replaced.first, &e)) {
		u.bytes -= e.size;
		u.messages--;
	}
	return has_room(&u, a->size) ? OPR_OK : OPR_OVER_QUOTA;
}

static enum operation_result judge(struct imap_session *s, struct imap_append *a)
{
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return OPR_LATER;
	enum operation_result r = judge_in(s, v, a);
	index_view_end(&v);
	return r;
}

static enum verdict take_pending(struct imap_session *s)
{
	if (s->cmd.pending_sync)
		stream_write_span(s->io, SPAN("+ go on\r\n"));
	return imap_start_literal(s, s->cmd.pending_size);
}

/* What comes of it is thrown away: with no append in work the session swallows it. */
static enum verdict refuse(struct imap_session *s, enum verdict v)
{
	imap_append_free(&s->append);
	return v;
}

static enum verdict start(struct imap_session *s, struct imap_append *a)
{
	read_head(s, a);
	struct span message = read_message(s, a);
	if (!imap_ok(&s->cmd.args))
		return refuse(s, imap_finish_bad(s, s->cmd.args.why));
	if (a->size == 0)
		return refuse(s, imap_finish(s, "NO", "[CANNOT] An empty message"));
	enum operation_result r = judge(s, a);
	if (r != OPR_OK)
		return refuse(s, imap_finish_result(s, r));
	a->in = incoming_new(s->opts->message_memory, s->opts->message_size_max, s->opts->temp_dir);
	if (s->cmd.pending)
		return take_pending(s);
	imap_append_data(s, message);
	return imap_append_commit(s);
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

/* RFC 8508: an APPEND that takes a message of the selected mailbox away with the same change. */
enum verdict cmd_replace(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_append *a = s->append = MEM_NEW(struct imap_append);
	size_t i;
	imap_read_sp(c);
	uint32_t name = imap_read_nz_number(c);
	if (!imap_ok(c))
		return refuse(s, imap_finish_bad(s, c->why));
	if (s->box->read_only)
		return refuse(s, imap_finish_read_only(s));
	if (!find_replaced(s, name, &i))
		return refuse(s, imap_finish(s, "NO", "[NONEXISTENT] No such message"));
	a->replaced.first = a->replaced.last = s->box->v[i].uid;
	return start(s, a);
}

/* ---- the message ------------------------------------------------------------------------------------- */

/* An error stays in `in`: the rest is taken for nothing, so that the conversation stays in step. */
void imap_append_data(struct imap_session *s, struct span bytes)
{
	(void)incoming_add_text(s->append->in, bytes);
}

/* The code comes before the EXPUNGE line, as with MOVE. */
static enum verdict finish_replaced(struct imap_session *s, const struct operation_answer *a)
{
	imap_say(s, "* OK [APPENDUID %u %u] The replacement is there\r\n", a->uidvalidity, a->uid);
	return imap_finish_done(s);
}

static void on_appended(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	bool replaced = s->append->replaced.first != 0;
	if (a->result == OPR_OK && s->box != NULL && (replaced || s->box->id == s->append->mailbox))
		s->box->stale = true;
	if (a->result == OPR_OK && replaced)
		imap_step(s, finish_replaced(s, a));
	else if (a->result == OPR_OK)
		imap_step(s, imap_finishf(s, "OK", "[APPENDUID %u %u] APPEND completed",
				 a->uidvalidity, a->uid));
	else
		imap_step(s,
		    imap_finish_result(s, a->result == OPR_NO_MAILBOX ? OPR_NO_TARGET : a->result));
}

enum verdict imap_append_commit(struct imap_session *s)
{
	struct imap_append *a = s->append;
	struct operation op;
	operation_init(&op, OP_APPEND);
	err_t err = incoming_add_end(a->in);
	if (err == ERR_OK && incoming_has_nul(a->in))
		return imap_finish(s, "NO",
		    a->binary ? "[UNKNOWN-CTE] NUL cannot be stored"
			      : "[CANNOT] A message must not hold NUL");
	if (err == ERR_OK)
		err = incoming_source(a->in, &op.message);
	if (err == ERR_OK && a->binary && op.message.size != a->size)
		return imap_finish(
		    s, "NO", "[UNKNOWN-CTE] Only lines that end with CRLF can be stored");
	if (err != ERR_OK)
		return imap_finish_result(
		    s, err_class(err) == ERR_CLASS_LIMIT ? OPR_TOO_BIG : OPR_LATER);
	op.mailbox = a->mailbox;
	op.set = (struct flag_set){ .flags = a->flags.system,
		.keywords = a->flags.keywords,
		.keyword_n = a->flags.keyword_count };
	op.date_s = a->date_s;
	if (a->replaced.first != 0) {
		op.target = s->box->id;
		op.uids = (struct uid_set){ &a->replaced, 1 };
	}
	shared_act(s, &op, shared_parse(s, buf_span(&s->cmd.name)).owner);
	return imap_operate(s, &op, on_appended);
}

const char *imap_append_tail(const struct imap_session *s)
{
	return s->append->utf8 ? ")" : "";
}
