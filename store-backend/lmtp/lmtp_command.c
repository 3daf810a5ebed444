/* lmtp_command.c - the verbs of LMTP: LHLO MAIL RCPT DATA RSET NOOP QUIT VRFY STARTTLS. */
#include <inttypes.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "net/stream_bind.h"
#include "proto/smtp_ext.h"
#include "store-backend/imap/pattern.h"
#include "store-backend/lmtp/lmtp_internal.h"

enum { NAME_BYTES_MAX = 256 };

static const unsigned mail_params =
    SMTP_PARAM_SIZE | SMTP_PARAM_BODY | SMTP_PARAM_SMTPUTF8 | SMTP_PARAM_XDELIVERYID;

static bool offers_tls(const struct lmtp_session *s)
{
	return s->base.listener->tls == STORE_TLS_STARTTLS && !s->secure &&
	       store_worker_tls(s->base.worker, STORE_LMTP) != NULL;
}

static enum lmtp_verdict cmd_lhlo(struct lmtp_session *s, const struct smtp_cmd *c)
{
	struct buf b = BUF_INIT(1024);
	if (c->argument.n > LMTP_HELLO_MAX)
		return lmtp_say(s, 501, "5.5.4", "Name too long");
	lmtp_transaction_free(&s->t);
	mem_free(s->hello);
	s->hello = mem_span_str(c->argument);
	buf_printf(&b,
	    "%s\nPIPELINING\nENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nSIZE "
	    "%" PRIu64 "\nXDELIVERYID%s",
	    store_worker_hostname(s->base.worker), store_options(s->base.conf)->message_size_max,
	    offers_tls(s) ? "\nSTARTTLS" : "");
	enum lmtp_verdict v = lmtp_say(s, 250, NULL, buf_cstr(&b));
	buf_end(&b);
	return v;
}

static enum lmtp_verdict say_param(struct lmtp_session *s, const struct smtp_ext_error *e)
{
	struct buf b = BUF_INIT(512);
	fmt_line_text(&b, e->name, 64);
	buf_printf(&b, ": %s", e->why);
	enum lmtp_verdict v = lmtp_say(s, e->unknown ? 555 : 501, "5.5.4", buf_cstr(&b));
	buf_end(&b);
	return v;
}

/* Who may deliver is a matter of the address (lmtp_from) and, where names are set, of the certificate. */
static bool is_known(const struct lmtp_session *s)
{
	const struct conf_strings *names = &s->base.listener->lmtp_names;
	struct buf name = BUF_INIT(NAME_BYTES_MAX);
	bool known = names->n == 0;
	if (!known && stream_peer_name(s->io, STREAM_NAME_COMMON, &name))
		known = imap_pattern_fits_any(names, buf_span(&name));
	buf_end(&name);
	return known;
}

static enum lmtp_verdict refuse_unknown(struct lmtp_session *s)
{
	if (!s->secure)
		return lmtp_say(s, 530, "5.7.0", "STARTTLS first");
	log_write(&store_events[STORE_EV_LMTP_REFUSED], s->base.id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->client), LOG_STR("why", "not in lmtp_names")));
	return lmtp_say(s, 554, "5.7.1", "Your certificate does not let you deliver here");
}

static enum lmtp_verdict cmd_mail(struct lmtp_session *s, const struct smtp_cmd *c)
{
	struct smtp_path path;
	struct smtp_mail_ext ext;
	const char *why;
	if (s->hello == NULL || s->t != NULL)
		return lmtp_say(
		    s, 503, "5.5.1", s->hello == NULL ? "LHLO first" : "One mail at a time");
	if (!is_known(s))
		return refuse_unknown(s);
	if (smtp_ext_mail(c->params, mail_params, &ext) != ERR_OK)
		return say_param(s, &ext.error);
	bool utf8 = (ext.seen & SMTP_PARAM_SMTPUTF8) != 0;
	if (smtp_path_parse(
		c->path, SMTP_PATH_NULL_OK | (utf8 ? SMTP_PATH_UTF8_OK : 0), &path, &why) != ERR_OK)
		return lmtp_say(s, 501, "5.1.7", why);
	if (ext.size > store_options(s->base.conf)->message_size_max)
		return lmtp_say(s, 552, "5.3.4", "Message too large");
	s->t = lmtp_transaction_new(s, &path);
	s->t->utf8 = utf8;
	s->t->binary = ext.body == SMTP_BODY_BINARYMIME ? mime_binary_new() : NULL;
	s->t->size = ext.size;
	if ((ext.seen & SMTP_PARAM_XDELIVERYID) != 0)
		memcpy(s->t->delivery_id, ext.delivery_id.s, sizeof s->t->delivery_id);
	return lmtp_say(s, 250, "2.1.0", "Sender ok");
}

/* ---- RCPT ---- */

static enum lmtp_verdict add_recipient(struct lmtp_session *s, struct span user, struct span folder)
{
	size_t max = (size_t)store_options(s->base.conf)->recipients_max;
	if (!operation_user_ok(user))
		return lmtp_say(s, 550, "5.1.1", "No such user");
	enum operation_result room = lmtp_recipient_room(s, user, folder, s->t->size);
	if (room != OPR_OK)
		return lmtp_say_result(s, room);
	if (s->t->recipient_n >= max || !lmtp_add_recipient(s->t, user, folder))
		return lmtp_say(s, 452, "4.5.3", "Too many recipients");
	return lmtp_say(s, 250, "2.1.5", "Recipient ok");
}

/* "local+detail@domain" is the user local@domain and the folder detail. */
static enum lmtp_verdict take_as_written(struct lmtp_session *s)
{
	struct span user, detail;
	struct buf name = BUF_INIT(STORE_USER_MAX);
	char lower[SMTP_PATH_SIZE];
	smtp_path_split(&s->rcpt, '+', &user, &detail);
	buf_add_span(&name, user);
	buf_add_char(&name, '@');
	buf_add_span(&name, smtp_path_domain(&s->rcpt));
	struct span whole = buf_span(&name);
	span_lower_to(lower, whole);
	enum lmtp_verdict v = add_recipient(s, span_of(lower, whole.n), detail);
	buf_end(&name);
	return v;
}

static void on_found(void *arg, enum directory_status status, const struct account *account)
{
	struct lmtp_session *s = OBJ(lmtp_session, arg);
	struct span user, detail;
	enum lmtp_verdict v;
	s->lookup = NULL;
	lmtp_set_state(s, LMTP_ST_COMMAND);
	smtp_path_split(&s->rcpt, '+', &user, &detail);
	if (status == DIRECTORY_FOUND)
		v = add_recipient(s, span_str(account->user), detail);
	else if (status == DIRECTORY_ABSENT)
		v = lmtp_say(s, 550, "5.1.1", "No such user");
	else
		v = lmtp_say(s, 451, "4.3.0", "The directory does not answer");
	lmtp_resume(s, v);
}

static enum lmtp_verdict cmd_rcpt(struct lmtp_session *s, const struct smtp_cmd *c)
{
	struct smtp_rcpt_ext ext;
	const char *why;
	if (s->t == NULL || s->t->in != NULL)
		return lmtp_say(s, 503, "5.5.1", s->t == NULL ? "MAIL first" : "BDAT has begun");
	if (smtp_path_parse(c->path, s->t->utf8 ? SMTP_PATH_UTF8_OK : 0, &s->rcpt, &why) != ERR_OK)
		return lmtp_say(s, 501, "5.1.3", why);
	if (smtp_ext_rcpt(c->params, 0, &ext) != ERR_OK)
		return say_param(s, &ext.error);
	if (store_options(s->base.conf)->users == STORE_USERS_ANY)
		return take_as_written(s);
	lmtp_set_state(s, LMTP_ST_LOOKUP);
	s->lookup = directory_find(
	    store_worker_directory(s->base.worker), smtp_path_text(&s->rcpt), on_found, s);
	return LMTP_WAIT;
}

static enum lmtp_verdict cmd_data(struct lmtp_session *s, const struct smtp_cmd *c)
{
	if (s->t == NULL || s->t->recipient_n == 0)
		return lmtp_say(
		    s, 503, "5.5.1", s->t == NULL ? "MAIL first" : "No valid recipients");
	if (s->t->in != NULL)
		return lmtp_say(s, 503, "5.5.1", "BDAT has begun");
	if (s->t->binary != NULL) /* RFC 3030 section 3 */
		return lmtp_say(s, 503, "5.5.1", "BINARYMIME comes by BDAT");
	return lmtp_begin_data(s);
}

static enum lmtp_verdict cmd_rset(struct lmtp_session *s, const struct smtp_cmd *c)
{
	lmtp_transaction_free(&s->t);
	return lmtp_say(s, 250, "2.0.0", "Ok");
}

static enum lmtp_verdict cmd_noop(struct lmtp_session *s, const struct smtp_cmd *c)
{
	return lmtp_say(s, 250, "2.0.0", "Ok");
}

static enum lmtp_verdict cmd_vrfy(struct lmtp_session *s, const struct smtp_cmd *c)
{
	return lmtp_say(s, 252, "2.5.2", "Send mail and see");
}

static enum lmtp_verdict cmd_quit(struct lmtp_session *s, const struct smtp_cmd *c)
{
	if (s->why == NULL)
		s->why = "quit";
	lmtp_say(s, 221, "2.0.0", "Goodbye");
	return LMTP_CLOSE;
}

static enum lmtp_verdict cmd_starttls(struct lmtp_session *s, const struct smtp_cmd *c)
{
	if (!offers_tls(s))
		return lmtp_say(s, 502, "5.5.1", "Not offered");
	lmtp_transaction_free(&s->t);
	MEM_FREE(&s->hello);
	lmtp_say(s, 220, "2.0.0", "Begin TLS");
	size_t line = s->scan.at;
	lmtp_set_state(s, LMTP_ST_TLS);
	s->scan = LINE_SCAN_INIT(SMTP_LINE_MAX);
	size_t dropped =
	    stream_start_tls_server(s->io, store_worker_tls(s->base.worker, STORE_LMTP));
	if (dropped <= line + 2)
		return LMTP_WAIT;
	s->why = "starttls-injection";
	return LMTP_CLOSE;
}

static const struct {
	enum smtp_verb verb;
	enum lmtp_verdict (*fn)(struct lmtp_session *s, const struct smtp_cmd *c);
} verbs[] = {
	{ SMTP_VERB_LHLO, cmd_lhlo },
	{ SMTP_VERB_MAIL, cmd_mail },
	{ SMTP_VERB_RCPT, cmd_rcpt },
	{ SMTP_VERB_DATA, cmd_data },
	{ SMTP_VERB_BDAT, lmtp_begin_chunk },
	{ SMTP_VERB_RSET, cmd_rset },
	{ SMTP_VERB_NOOP, cmd_noop },
	{ SMTP_VERB_VRFY, cmd_vrfy },
	{ SMTP_VERB_QUIT, cmd_quit },
	{ SMTP_VERB_STARTTLS, cmd_starttls },
};

enum lmtp_verdict lmtp_command(struct lmtp_session *s, struct span line)
{
	struct smtp_cmd c;
	err_t err = smtp_cmd_parse(line, &c);
	if (c.verb == SMTP_VERB_HTTP)
		return lmtp_refuse(s, "http", "This is not a web server");
	if (err != ERR_OK)
		return lmtp_say(s, 501, "5.5.4", c.why);
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (verbs[i].verb == c.verb)
			return verbs[i].fn(s, &c);
	if (c.verb == SMTP_VERB_EHLO || c.verb == SMTP_VERB_HELO)
		return lmtp_say(s, 500, "5.5.1", "This is LMTP: say LHLO");
	return lmtp_say(s, 500, "5.5.1", "Unknown command");
}
