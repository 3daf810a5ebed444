/* pop3_command.c - the table of verbs, those of one line, and QUIT, which alone removes anything.
 *
 * Step 2 of the store; before: pop3_session.c; after: pop3_login.c, pop3_capa.c, pop3_send.c; QUIT: operation.c. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/pop3/pop3_internal.h"

/* ---- the session's own ------------------------------------------------------------------------- */

static enum verdict cmd_stat(struct pop3_session *s, const struct pop3_cmd *c)
{
	return pop3_ok(s, "%zu %llu", s->drop->left, (unsigned long long)s->drop->left_bytes);
}

static enum verdict cmd_dele(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct maildrop_message *m = maildrop_message(s->drop, c->message);
	if (m == NULL)
		return pop3_err(s, "No such message");
	maildrop_delete(s->drop, m);
	return pop3_ok(s, "Marked to be deleted");
}

static enum verdict cmd_rset(struct pop3_session *s, const struct pop3_cmd *c)
{
	maildrop_reset(s->drop);
	return pop3_ok(s, "Nothing is marked");
}

static enum verdict cmd_noop(struct pop3_session *s, const struct pop3_cmd *c)
{
	return pop3_ok(s, "Done");
}

/* ---- QUIT: the UPDATE state -------------------------------------------------------------------- */

static enum verdict quit(struct pop3_session *s)
{
	pop3_because(s, "quit");
	pop3_ok(s, "Goodbye");
	return V_CLOSE;
}

static void prepare(const struct pop3_session *s, enum maildrop_mark mark, struct operation *op)
{
	operation_init(op, mark == MAILDROP_SEEN ? OP_FLAGS : OP_EXPUNGE);
	op->user = span_str(s->user);
	op->mailbox = s->drop->mailbox;
	if (mark == MAILDROP_SEEN) {
		op->how = FLAGS_ADD;
		op->set.flags = STORE_SEEN;
	}
}

static uint64_t count(struct uid_set set)
{
	uint64_t n = 0;
	for (size_t i = 0; i < set.n; i++)
		n += (uint64_t)set.v[i].last - set.v[i].first + 1;
	return n;
}

static void log_update(const struct pop3_session *s, enum operation_result result)
{
	log_write(&store_events[STORE_EV_POP3_UPDATE], s->base.id.s,
	    LOG_FIELDS(LOG_STR("user", s->user), LOG_U64("marked", s->drop->n - s->drop->left),
		LOG_U64("expunged", s->expunged),
		LOG_STR("result", operation_result_name(result))));
}

static void on_updated(void *arg, const struct operation_answer *a)
{
	struct pop3_session *s = OBJ(pop3_session, arg);
	enum verdict v = V_NEXT;
	s->ask = NULL;
	if (s->updating == MAILDROP_DELETED)
		s->expunged += count(a->uids);
	/* \Seen is a courtesy, so only a committer that is not there keeps it from the rest; messages of a
	 * mailbox that is gone are gone */
	bool failed = s->updating == MAILDROP_SEEN
			  ? a->result == OPR_LATER
			  : a->result != OPR_OK && a->result != OPR_NO_MAILBOX;
	if (failed) {
		log_update(s, a->result);
		v = pop3_refuse(s, "quit-not-updated", "[SYS/TEMP] ",
		    "Not all messages that were marked are deleted");
	} else {
		v = pop3_update(s);
	}
	pop3_step(s, v);
}

/* Asks for the marked messages from s->update_at on. False: there are none. */
static bool ask_marked(struct pop3_session *s)
{
	struct operation op;
	size_t marked = maildrop_marked(s->drop, s->updating, s->update_at);
	size_t most = marked < STORE_RANGES_MAX ? marked : STORE_RANGES_MAX;
	if (marked == 0)
		return false;
	struct uid_range *ranges = mem_array(most, sizeof *ranges);
	prepare(s, s->updating, &op);
	op.uids.v = ranges;
	op.uids.n = maildrop_ranges(s->drop, s->updating, &s->update_at, ranges, most);
	s->ask = operation_ask(s->drop->partition->link, &op, on_updated, s);
	mem_free(ranges);
	return true;
}

/* All that were retrieved are \Seen, then all that were marked are expunged: one operation each, unless
 * they are scattered over more ranges than one may hold. */
enum verdict pop3_update(struct pop3_session *s)
{
	if (ask_marked(s))
		return V_WAIT;
	if (s->updating == MAILDROP_SEEN) {
		s->updating = MAILDROP_DELETED;
		s->update_at = 0;
		if (ask_marked(s))
			return V_WAIT;
	}
	if (s->drop->left < s->drop->n)
		log_update(s, OPR_OK);
	return quit(s);
}

void pop3_note_seen(struct pop3_session *s)
{
	if (!s->opts->pop3_seen)
		return;
	s->updating = MAILDROP_SEEN;
	s->update_at = 0;
	(void)ask_marked(s);
	ticket_cancel(&s->ask); /* said, and nobody is left to hear the answer */
}

static enum verdict cmd_quit(struct pop3_session *s, const struct pop3_cmd *c)
{
	if (s->drop == NULL)
		return quit(s);
	pop3_set_state(s, POP3_ST_UPDATE);
	s->updating = s->opts->pop3_seen ? MAILDROP_SEEN : MAILDROP_DELETED;
	s->update_at = 0;
	return pop3_update(s);
}

/* ---- the table --------------------------------------------------------------------------------- */

enum { IN_AUTH = 1, IN_BOX = 2 };

static const struct {
	enum pop3_verb verb;
	unsigned states;
	pop3_cmd_fn *fn;
} verbs[] = {
	{ POP3_VERB_USER, IN_AUTH, pop3_cmd_user },
	{ POP3_VERB_PASS, IN_AUTH, pop3_cmd_pass },
	{ POP3_VERB_AUTH, IN_AUTH, pop3_cmd_auth },
	{ POP3_VERB_STLS, IN_AUTH, pop3_cmd_stls },
	{ POP3_VERB_XCLIENT, IN_AUTH, pop3_cmd_xclient },
	{ POP3_VERB_UTF8, IN_AUTH, pop3_cmd_utf8 },
	{ POP3_VERB_CAPA, IN_AUTH | IN_BOX, pop3_cmd_capa },
	{ POP3_VERB_LANG, IN_AUTH | IN_BOX, pop3_cmd_lang },
	{ POP3_VERB_QUIT, IN_AUTH | IN_BOX, cmd_quit },
	{ POP3_VERB_STAT, IN_BOX, cmd_stat },
	{ POP3_VERB_LIST, IN_BOX, pop3_cmd_list },
	{ POP3_VERB_UIDL, IN_BOX, pop3_cmd_uidl },
	{ POP3_VERB_RETR, IN_BOX, pop3_cmd_retr },
	{ POP3_VERB_TOP, IN_BOX, pop3_cmd_top },
	{ POP3_VERB_DELE, IN_BOX, cmd_dele },
	{ POP3_VERB_RSET, IN_BOX, cmd_rset },
	{ POP3_VERB_NOOP, IN_BOX, cmd_noop },
};

enum verdict pop3_command(struct pop3_session *s, struct span line)
{
	struct pop3_cmd c;
	unsigned now = s->state == POP3_ST_BOX ? IN_BOX : IN_AUTH;
	err_t err = pop3_cmd_parse(line, &c);
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (verbs[i].verb != c.verb)
			continue;
		if ((verbs[i].states & now) == 0)
			return pop3_bad(s, now == IN_AUTH ? "Log in first" : "Logged in already");
		return err == ERR_OK ? verbs[i].fn(s, &c) : pop3_bad(s, c.why);
	}
	return pop3_bad(s, "Unknown command");
}
