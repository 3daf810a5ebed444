/* sieve_cmd.c - one framed ManageSieve command or response; see sieve_cmd.h.
 *
 * Step after imap_frame.c; before the multiplexor's front and its login at a store. Owns only its scratch. */
#include "base/check.h"
#include "proto/sieve_cmd.h"

static const struct {
	const char *word;
	enum sieve_verb verb;
} verbs[] = {
	{ "AUTHENTICATE", SIEVE_VERB_AUTHENTICATE },
	{ "STARTTLS", SIEVE_VERB_STARTTLS },
	{ "LOGOUT", SIEVE_VERB_LOGOUT },
	{ "CAPABILITY", SIEVE_VERB_CAPABILITY },
	{ "NOOP", SIEVE_VERB_NOOP },
	{ "UNAUTHENTICATE", SIEVE_VERB_LATER },
	{ "HAVESPACE", SIEVE_VERB_LATER },
	{ "PUTSCRIPT", SIEVE_VERB_LATER },
	{ "LISTSCRIPTS", SIEVE_VERB_LATER },
	{ "SETACTIVE", SIEVE_VERB_LATER },
	{ "GETSCRIPT", SIEVE_VERB_LATER },
	{ "DELETESCRIPT", SIEVE_VERB_LATER },
	{ "RENAMESCRIPT", SIEVE_VERB_LATER },
	{ "CHECKSCRIPT", SIEVE_VERB_LATER },
};

static enum sieve_verb verb_of(struct span word)
{
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (span_ieq_str(word, verbs[i].word))
			return verbs[i].verb;
	return SIEVE_VERB_UNKNOWN;
}

static void read_arguments(struct imap_cursor *c, struct sieve_cmd *cmd)
{
	switch (cmd->verb) {
	case SIEVE_VERB_UNKNOWN:
	case SIEVE_VERB_LATER:
	case SIEVE_VERB_COUNT:
		imap_read_rest(c);
		return;
	case SIEVE_VERB_AUTHENTICATE:
		imap_read_sp(c);
		cmd->mechanism = imap_read_string(c);
		cmd->has_initial = imap_try(c, ' ');
		if (cmd->has_initial)
			cmd->initial = imap_read_string(c);
		break;
	case SIEVE_VERB_NOOP:
		cmd->has_tag = imap_try(c, ' ');
		if (cmd->has_tag)
			cmd->tag = imap_read_string(c);
		break;
	case SIEVE_VERB_STARTTLS:
	case SIEVE_VERB_LOGOUT:
	case SIEVE_VERB_CAPABILITY:
		break;
	}
	imap_read_end(c);
}

static err_t settle(struct sieve_cmd *cmd, const struct imap_cursor *c)
{
	cmd->why = c->why;
	if (imap_ok(c))
		return ERR_OK;
	cmd->mechanism = cmd->initial = cmd->tag = SPAN_NONE;
	cmd->has_initial = cmd->has_tag = false;
	return ERR_SYNTAX;
}

err_t sieve_cmd_parse(struct sieve_cmd *cmd, struct span command)
{
	struct imap_cursor c;
	*cmd = (struct sieve_cmd){ .scratch = BUF_INIT(command.n) };
	imap_cursor_init(&c, command, &cmd->scratch);
	cmd->verb = verb_of(imap_read_atom(&c));
	read_arguments(&c, cmd);
	return settle(cmd, &c);
}

err_t sieve_answer_parse(struct sieve_cmd *cmd, struct span command)
{
	struct imap_cursor c;
	*cmd = (struct sieve_cmd){ .scratch = BUF_INIT(command.n) };
	imap_cursor_init(&c, command, &cmd->scratch);
	cmd->initial = imap_read_string(&c);
	imap_read_end(&c);
	return settle(cmd, &c);
}

void sieve_cmd_end(struct sieve_cmd *cmd)
{
	buf_wipe_end(&cmd->scratch);
}

/* ---- responses -------------------------------------------------------------------------------- */

/* "(CODE)" or "(CODE string)"; codes with other arguments are read up to their end. */
static void read_code(struct imap_cursor *c, struct sieve_resp *r)
{
	r->code = imap_read_atom(c);
	if (imap_try(c, ' '))
		r->code_text = imap_read_string(c);
	imap_read_char(c, ')');
}

static void read_outcome(struct imap_cursor *c, struct sieve_resp *r)
{
	static const char *const words[] = {
		[SIEVE_RESP_OK] = "OK",
		[SIEVE_RESP_NO] = "NO",
		[SIEVE_RESP_BYE] = "BYE",
	};
	struct span word = imap_read_atom(c);
	size_t i = 0;
	while (i < COUNT_OF(words) && !span_ieq_str(word, words[i]))
		i++;
	if (i == COUNT_OF(words))
		imap_fail(c, "No condition");
	r->kind = (enum sieve_resp_kind)i;
	bool more = imap_try(c, ' ');
	if (more && imap_try(c, '(')) {
		read_code(c, r);
		more = imap_try(c, ' ');
	}
	if (more)
		r->text = imap_read_string(c);
}

static void read_data(struct imap_cursor *c, struct sieve_resp *r)
{
	r->kind = SIEVE_RESP_DATA;
	r->name = imap_read_string(c);
	if (imap_try(c, ' '))
		r->value = imap_read_string(c);
}

err_t sieve_resp_parse(struct sieve_resp *r, struct span response)
{
	struct imap_cursor c;
	*r = (struct sieve_resp){ .scratch = BUF_INIT(response.n) };
	imap_cursor_init(&c, response, &r->scratch);
	if (imap_peek(&c) == '"' || imap_peek(&c) == '{')
		read_data(&c, r);
	else
		read_outcome(&c, r);
	imap_read_end(&c);
	if (imap_ok(&c))
		return ERR_OK;
	r->code = r->code_text = r->text = r->name = r->value = SPAN_NONE;
	return ERR_PROTOCOL;
}

void sieve_resp_end(struct sieve_resp *r)
{
	buf_wipe_end(&r->scratch);
}
