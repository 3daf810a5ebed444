/* imap_cmd.c - one framed IMAP command of a client that has not logged in; see imap_cmd.h.
 *
 * Step after imap_frame.c; before mmp's front and the store's login. Owns only its scratch. */
#include "base/check.h"
#include "proto/imap_cmd.h"

static const struct {
	const char *word;
	enum imap_verb verb;
} verbs[] = {
	{ "CAPABILITY", IMAP_VERB_CAPABILITY },
	{ "NOOP", IMAP_VERB_NOOP },
	{ "LOGOUT", IMAP_VERB_LOGOUT },
	{ "ID", IMAP_VERB_ID },
	{ "STARTTLS", IMAP_VERB_STARTTLS },
	{ "LOGIN", IMAP_VERB_LOGIN },
	{ "AUTHENTICATE", IMAP_VERB_AUTHENTICATE },
	{ "ENABLE", IMAP_VERB_ENABLE },
};

static enum imap_verb verb_of(struct span word)
{
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (span_ieq_str(word, verbs[i].word))
			return verbs[i].verb;
	}
	return IMAP_VERB_UNKNOWN;
}

void imap_read_id(struct imap_cursor *c, struct imap_id *out)
{
	out->count = 0;
	if (imap_try_word(c, "NIL"))
		return;
	imap_read_char(c, '(');
	if (imap_try(c, ')'))
		return;
	do {
		bool nil;
		struct span key = imap_read_string(c);
		imap_read_sp(c);
		struct span value = imap_read_nstring(c, &nil);
		if (imap_ok(c) && (key.n > IMAP_ID_KEY_MAX || value.n > IMAP_ID_VALUE_MAX))
			imap_fail(c, "ID field or value too long");
		if (imap_ok(c) && out->count == IMAP_ID_MAX)
			imap_fail(c, "Too many ID fields");
		if (!imap_ok(c))
			break;
		out->v[out->count].key = key;
		out->v[out->count++].value = nil ? SPAN_NONE : value;
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	if (!imap_ok(c))
		out->count = 0;
}

void imap_put_id(struct buf *out, const struct imap_id *id)
{
	bool first = true;
	buf_add_char(out, '(');
	for (size_t i = 0; i < id->count; i++) {
		struct buf pair = BUF_INIT(4096);
		bool nil = id->v[i].value.p == NULL;
		if (imap_put_quoted(&pair, id->v[i].key) && buf_add_char(&pair, ' ') &&
		    (nil ? buf_add_str(&pair, "NIL") : imap_put_quoted(&pair, id->v[i].value))) {
			buf_add_str(out, first ? "" : " ");
			buf_add_span(out, buf_span(&pair));
			first = false;
		}
		buf_end(&pair);
	}
	buf_add_char(out, ')');
}

static void read_login(struct imap_cursor *c, struct imap_cmd *cmd)
{
	imap_read_sp(c);
	cmd->user = imap_read_astring(c);
	imap_read_sp(c);
	cmd->secret = imap_read_astring(c);
}

static void read_authenticate(struct imap_cursor *c, struct imap_cmd *cmd)
{
	imap_read_sp(c);
	cmd->mechanism = imap_read_atom(c);
	if (!imap_try(c, ' '))
		return;
	cmd->has_initial = true;
	cmd->initial = imap_read_rest(c);
	if (imap_ok(c) && cmd->initial.n == 0)
		imap_fail(c, "Empty initial response");
	if (span_eq_str(cmd->initial, "="))
		cmd->initial = SPAN("");
}

static void read_arguments(struct imap_cursor *c, struct imap_cmd *cmd)
{
	switch (cmd->verb) {
	case IMAP_VERB_LOGIN:
		read_login(c, cmd);
		break;
	case IMAP_VERB_AUTHENTICATE:
		read_authenticate(c, cmd);
		break;
	case IMAP_VERB_ID:
		imap_read_sp(c);
		imap_read_id(c, &cmd->id);
		break;
	case IMAP_VERB_ENABLE:
		imap_read_sp(c);
		cmd->arguments = imap_read_rest(c);
		break;
	case IMAP_VERB_UNKNOWN:
		imap_fail(c, "Unknown command before login");
		break;
	case IMAP_VERB_CAPABILITY:
	case IMAP_VERB_NOOP:
	case IMAP_VERB_LOGOUT:
	case IMAP_VERB_STARTTLS:
		break;
	}
	imap_read_end(c);
}

err_t imap_cmd_parse(struct imap_cmd *cmd, struct span command)
{
	struct imap_cursor c;
	*cmd = (struct imap_cmd){ .scratch = BUF_INIT(command.n) };
	imap_cursor_init(&c, command, &cmd->scratch);
	cmd->tag = imap_read_tag(&c);
	imap_read_sp(&c);
	cmd->verb_text = imap_read_atom(&c);
	cmd->verb = verb_of(cmd->verb_text);
	read_arguments(&c, cmd);
	cmd->why = c.why;
	if (imap_ok(&c))
		return ERR_OK;
	cmd->user = cmd->secret = cmd->initial = SPAN_NONE;
	cmd->has_initial = false;
	return ERR_SYNTAX;
}

void imap_cmd_end(struct imap_cmd *cmd)
{
	buf_wipe_end(&cmd->scratch);
}
