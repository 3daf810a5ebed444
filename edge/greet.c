/* greet.c - the command table, and the commands that need no other step: EHLO HELO STARTTLS NOOP RSET
 * VRFY EXPN HELP QUIT (before: admit.c; after: auth.c, envelope.c, content.c). */
#include "edge/greet.h"

#include "base/mem.h"
#include "proto/smtp_path.h"

#include "edge/admit.h"
#include "edge/auth.h"
#include "edge/chunk.h"
#include "edge/content.h"
#include "edge/envelope.h"
#include "edge/etrn.h"
#include "edge/filter.h"
#include "edge/mail.h"
#include "edge/xclient.h"

enum { EHLO_MAX = 1024 };

typedef enum verdict cmd_fn(struct session *s, const struct smtp_cmd *cmd);

bool greet_offers_auth(const struct session *s)
{
	return edge_has_auth(s->listener) && s->user == NULL &&
	       (stream_is_tls(s->io) || s->listener->allow_plaintext_auth);
}

static bool offers_tls(const struct session *s)
{
	return s->listener->tls == EDGE_TLS_STARTTLS && s->setup->tls != NULL &&
	       !stream_is_tls(s->io);
}

/* RFC 2920 section 3.1: EHLO and HELO end a group, and before the first one nothing was offered. */
static bool is_hasty(const struct session *s)
{
	return s->setup->edge->pipelining_early == PIPELINING_EARLY_REFUSE &&
	       s->listener->role == EDGE_MX && !s->may_xclient && !s->probe &&
	       stream_input(s->io).n > 0;
}

static bool take_helo(struct session *s, const struct smtp_cmd *cmd, bool esmtp)
{
	if (!smtp_helo_ok(cmd->argument))
		return false;
	mail_end(s);               /* RFC 5321 section 4.1.4: as if RSET */
	filters_free(&s->filters); /* they were told another name */
	mem_free(s->helo);
	s->helo = mem_span_str(cmd->argument);
	s->esmtp = esmtp;
	session_note(s, "helo", cmd->argument);
	return true;
}

static enum verdict cmd_helo(struct session *s, const struct smtp_cmd *cmd)
{
	if (is_hasty(s))
		return session_bye(s, WHY_PIPELINED, NULL);
	if (!take_helo(s, cmd, false))
		return session_refuse(s, 501, "5.5.4", "that is not a host name");
	return session_say(s, 250, NULL, s->setup->hostname);
}

static enum verdict cmd_ehlo(struct session *s, const struct smtp_cmd *cmd)
{
	if (is_hasty(s))
		return session_bye(s, WHY_PIPELINED, NULL);
	if (!take_helo(s, cmd, true))
		return session_refuse(s, 501, "5.5.4", "that is not a host name");
	struct buf text = BUF_INIT(EHLO_MAX);
	buf_printf(&text, "%s\nPIPELINING\nSIZE %llu\n", s->setup->hostname,
	    (unsigned long long)s->setup->edge->message_size_max);
	if (offers_tls(s))
		buf_add_str(&text, "STARTTLS\n");
	auth_put_offer(s, &text);
	if (envelope_offers_dsn(s))
		buf_add_str(&text, "DSN\n");
	if (envelope_offers_priority(s))
		buf_add_str(&text, "MT-PRIORITY\n");
	buf_add_str(&text, "ENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\n");
	if (stream_is_tls(s->io)) /* RFC 8689 section 4.1: not before */
		buf_add_str(&text, "REQUIRETLS\n");
	if (etrn_offered(s))
		buf_add_str(&text, "ETRN\n");
	if (xclient_offered(s))
		buf_printf(&text, "XCLIENT NAME ADDR PORT PROTO HELO%s\n",
		    xclient_takes_login(s) ? " LOGIN" : "");
	if (xforward_offered(s))
		buf_add_str(&text, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\n");
	buf_printf(&text, "LIMITS RCPTMAX=%lld", (long long)s->setup->edge->recipients_max);
	session_say(s, 250, NULL, buf_cstr(&text));
	buf_end(&text);
	return V_READ;
}

/* RFC 3207 section 4.2: nothing that was said before TLS counts behind it. */
static enum verdict cmd_starttls(struct session *s, const struct smtp_cmd *cmd)
{
	if (stream_is_tls(s->io))
		return session_refuse(s, 503, "5.5.1", "TLS is there already");
	if (!offers_tls(s))
		return session_refuse(s, 502, "5.5.1", "TLS is not offered here");
	if (stream_input(s->io).n > 0)
		return session_bye(s, WHY_TLS_INJECTION, NULL);
	session_say(s, 220, "2.0.0", "ready to start TLS");
	mail_end(s);
	filters_free(&s->filters);
	MEM_FREE(&s->helo);
	s->esmtp = false;
	return admit_secure(s);
}

static enum verdict cmd_noop(struct session *s, const struct smtp_cmd *cmd)
{
	return session_say(s, 250, "2.0.0", "ok");
}

static enum verdict cmd_rset(struct session *s, const struct smtp_cmd *cmd)
{
	mail_end(s);
	return session_say(s, 250, "2.0.0", "ok");
}

static enum verdict cmd_vrfy(struct session *s, const struct smtp_cmd *cmd)
{
	return session_say(s, 252, "2.1.5", "send some mail, then we shall see");
}

static enum verdict cmd_help(struct session *s, const struct smtp_cmd *cmd)
{
	return session_say(s, 214, "2.0.0",
	    "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY STARTTLS AUTH: see RFC 5321");
}

static enum verdict cmd_quit(struct session *s, const struct smtp_cmd *cmd)
{
	session_say(s, 221, "2.0.0", "goodbye");
	return session_close(s, WHY_QUIT, NULL);
}

static enum verdict cmd_http(struct session *s, const struct smtp_cmd *cmd)
{
	return session_bye(s, WHY_HTTP, NULL);
}

static enum verdict cmd_absent(struct session *s, const struct smtp_cmd *cmd)
{
	return session_refuse(s, 502, "5.5.1", "command not offered here");
}

enum { ANY_TIME = 0, WANTS_HELO = 1, NOT_IN_MAIL = 2 };

/* Rows without a function are unknown commands. */
static const struct {
	cmd_fn *run;
	unsigned needs;
} commands[SMTP_VERB_COUNT] = {
	[SMTP_VERB_EHLO] = { cmd_ehlo, ANY_TIME },
	[SMTP_VERB_HELO] = { cmd_helo, ANY_TIME },
	[SMTP_VERB_MAIL] = { envelope_mail, WANTS_HELO },
	[SMTP_VERB_RCPT] = { envelope_rcpt, WANTS_HELO },
	[SMTP_VERB_DATA] = { content_data, WANTS_HELO },
	[SMTP_VERB_BDAT] = { chunk_bdat, ANY_TIME },
	[SMTP_VERB_RSET] = { cmd_rset, ANY_TIME },
	[SMTP_VERB_NOOP] = { cmd_noop, ANY_TIME },
	[SMTP_VERB_QUIT] = { cmd_quit, ANY_TIME },
	[SMTP_VERB_VRFY] = { cmd_vrfy, ANY_TIME },
	[SMTP_VERB_EXPN] = { cmd_absent, ANY_TIME },
	[SMTP_VERB_HELP] = { cmd_help, ANY_TIME },
	[SMTP_VERB_STARTTLS] = { cmd_starttls, NOT_IN_MAIL }, /* some do not say EHLO for it */
	[SMTP_VERB_AUTH] = { auth_start, WANTS_HELO | NOT_IN_MAIL },
	[SMTP_VERB_ETRN] = { etrn_command, WANTS_HELO | NOT_IN_MAIL },
	[SMTP_VERB_XCLIENT] = { xclient_command, NOT_IN_MAIL },
	[SMTP_VERB_XFORWARD] = { xforward_command, NOT_IN_MAIL },
	[SMTP_VERB_HTTP] = { cmd_http, ANY_TIME },
};

static enum verdict unknown_command(struct session *s)
{
	enum verdict v = session_refuse(s, 500, "5.5.1", "unknown command");
	s->unknown++;
	if (v == V_READ && s->unknown >= (unsigned)s->setup->edge->unknown_max)
		return session_bye(s, WHY_TOO_MANY_UNKNOWN, NULL);
	return v;
}

enum verdict greet_too_long(struct session *s)
{
	return session_refuse(s, 500, "5.5.2", "line too long");
}

/* Wrong arguments: of a path, where there is one. */
static enum verdict bad_arguments(struct session *s, const struct smtp_cmd *cmd)
{
	return session_refuse(s, 501, "5.5.4", cmd->why);
}

enum verdict greet_line(struct session *s, struct span line)
{
	struct smtp_cmd cmd;
	err_t err = smtp_cmd_parse(line, &cmd);
	s->verb = cmd.verb;
	if (line.n > SMTP_LINE_MAX && cmd.verb != SMTP_VERB_AUTH)
		return greet_too_long(s);
	if (commands[cmd.verb].run == NULL)
		return unknown_command(s);
	if (cmd.verb == SMTP_VERB_HTTP)
		return cmd_http(s, &cmd);
	if ((commands[cmd.verb].needs & WANTS_HELO) && s->helo == NULL)
		return session_refuse(s, 503, "5.5.1", "say EHLO first");
	if ((commands[cmd.verb].needs & NOT_IN_MAIL) && s->mail != NULL)
		return session_refuse(s, 503, "5.5.1", "not within a mail transaction");
	if (err)
		return bad_arguments(s, &cmd);
	return commands[cmd.verb].run(s, &cmd);
}
