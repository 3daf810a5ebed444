/* auth.c - CAPABILITY, STARTTLS, LOGIN, AUTHENTICATE: until the client is a user.
 *
 * Before: input.c. After: login.c, whose answer makes the session a user's. */
#include "base/check.h"
#include "base/mem.h"
#include "proto/sasl.h"

#include "store-backend/imap/auth.h"
#include "store-backend/login.h"

struct imap_auth {
	enum sasl_mech mech;
	struct sasl_login login; /* SASL_LOGIN */
};

void imap_auth_free(struct imap_auth **a)
{
	if (*a == NULL)
		return;
	sasl_login_end(&(*a)->login);
	MEM_FREE(a);
}

/* ---- what is offered ------------------------------------------------------------------------------- */

bool imap_is_secure(const struct imap_session *s)
{
	return stream_is_tls(s->io) || s->secret_ok;
}

bool imap_may_login(const struct imap_session *s)
{
	return imap_is_secure(s) || s->base.listener->plaintext_login;
}

static bool offers_tls(const struct imap_session *s)
{
	return s->base.listener->tls == STORE_TLS_STARTTLS && !stream_is_tls(s->io) &&
	       store_worker_tls(s->base.worker, STORE_IMAP) != NULL;
}

static void put_user_capability(const struct imap_session *s, struct buf *out)
{
	buf_add_str(out,
	    " IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN MOVE SPECIAL-USE CREATE-SPECIAL-USE ENABLE"
	    " CONDSTORE QRESYNC ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS STATUS=SIZE"
	    " SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES WITHIN SAVEDATE OBJECTID"
	    " PREVIEW COMPRESS=DEFLATE BINARY UTF8=ACCEPT REPLACE ACL RIGHTS=texk LIST-MYRIGHTS "
	    "LANGUAGE MULTIAPPEND CATENATE UIDONLY INPROGRESS METADATA URLAUTH URLAUTH=BINARY "
	    "NOTIFY "
	    "QUOTA QUOTA=RES-STORAGE "
	    "QUOTA=RES-MESSAGE");
	buf_printf(out, " APPENDLIMIT=%llu", (unsigned long long)s->opts->message_size_max);
}

void imap_put_capability(struct imap_session *s, struct buf *out)
{
	buf_add_str(out, "IMAP4rev1 IMAP4rev2 LITERAL+ ID");
	if (s->user != NULL)
		put_user_capability(s, out);
	else if (imap_may_login(s))
		buf_add_str(out, " SASL-IR AUTH=PLAIN AUTH=LOGIN");
	else
		buf_add_str(out, " LOGINDISABLED");
	if (s->user == NULL && offers_tls(s))
		buf_add_str(out, " STARTTLS");
}

enum verdict cmd_capability(struct imap_session *s)
{
	imap_say(s, "* CAPABILITY ");
	imap_put_capability(s, &s->text);
	imap_say(s, "\r\n");
	return imap_finish_done(s);
}

enum verdict cmd_starttls(struct imap_session *s)
{
	return offers_tls(s) ? imap_start_tls(s) : imap_finish_bad(s, "TLS is not offered here");
}

/* ---- the question ------------------------------------------------------------------------------------ */

static enum verdict logged_in(struct imap_session *s, const struct login_answer *a)
{
	struct buf words = BUF_INIT(1024);
	s->user = mem_str(a->user);
	s->home = s->partition = a->partition;
	s->guest = a->guest;
	imap_put_capability(s, &words);
	enum verdict v = imap_finishf(s, "OK", "[CAPABILITY %s] Logged in", buf_cstr(&words));
	buf_end(&words);
	return v;
}

static enum verdict refused(struct imap_session *s, enum login_result r)
{
	if (r == LOGIN_LATER)
		return imap_finishf(s, "NO",
		    "[UNAVAILABLE] Logins are not possible now, try again later (%s)",
		    s->base.id.s);
	s->login_failures++;
	return imap_finishf(s, "NO", "%s (%s)",
	    r == LOGIN_NO_SERVICE ? "[AUTHORIZATIONFAILED] This account may not use IMAP"
				  : "[AUTHENTICATIONFAILED] Wrong name or password",
	    s->base.id.s);
}

static void on_login(void *arg, const struct login_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, a->result == LOGIN_OK ? logged_in(s, a) : refused(s, a->result));
}

static enum verdict ask(struct imap_session *s, struct login_ask *q)
{
	q->service = "imap";
	q->client = s->client.addr;
	q->secure = imap_is_secure(s);
	imap_wait(s);
	s->ask = login_start(s->base.worker, s->base.id.s, q, on_login, s);
	return V_WAIT;
}

static enum verdict need_tls(struct imap_session *s)
{
	return imap_finish(s, "NO", "[PRIVACYREQUIRED] No passwords here without TLS");
}

enum verdict cmd_login(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct login_ask q = { 0 };
	imap_read_sp(c);
	q.user = imap_read_astring(c);
	imap_read_sp(c);
	q.secret = imap_read_astring(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	return imap_may_login(s) ? ask(s, &q) : need_tls(s);
}

/* ---- SASL -------------------------------------------------------------------------------------------- */

static enum verdict take_plain(struct imap_session *s, struct span line)
{
	struct sasl_plain p;
	enum verdict v;
	if (sasl_plain_parse(&p, line) == ERR_OK)
		v = ask(s, &(struct login_ask){
			       .user = p.authcid, .authz = p.authzid, .secret = p.secret });
	else
		v = imap_finish_bad(s, "Bad SASL answer");
	sasl_plain_end(&p);
	return v;
}

static enum verdict take_login(struct imap_session *s, struct span line)
{
	struct sasl_login *l = &s->auth->login;
	if (sasl_login_take(l, line) != ERR_OK)
		return imap_finish_bad(s, "Bad SASL answer");
	if (l->step != SASL_LOGIN_DONE)
		return imap_start_sasl(s, sasl_login_prompt(l));
	return ask(
	    s, &(struct login_ask){ .user = buf_span(&l->name), .secret = buf_span(&l->secret) });
}

enum verdict imap_sasl_line(struct imap_session *s, struct span line)
{
	if (sasl_is_cancel(line))
		return imap_finish_bad(s, "Cancelled");
	return s->auth->mech == SASL_PLAIN ? take_plain(s, line) : take_login(s, line);
}

enum verdict cmd_authenticate(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	enum sasl_mech mech = sasl_mech_find(imap_read_atom(c));
	bool initial = imap_try(c, ' ');
	struct span line = initial ? imap_read_rest(c) : SPAN_NONE;
	imap_read_end(c);
	if (!imap_ok(c) || (initial && line.n == 0))
		return imap_finish_bad(s, imap_ok(c) ? "Empty initial response" : c->why);
	if (mech != SASL_PLAIN && mech != SASL_LOGIN)
		return imap_finish(s, "NO", "[CANNOT] This mechanism is not offered");
	if (!imap_may_login(s))
		return need_tls(s);
	s->auth = MEM_NEW(struct imap_auth);
	s->auth->mech = mech;
	sasl_login_init(&s->auth->login);
	if (initial)
		return imap_sasl_line(s, span_eq_str(line, "=") ? SPAN("") : line);
	return imap_start_sasl(s, mech == SASL_LOGIN ? sasl_login_prompt(&s->auth->login) : "");
}
