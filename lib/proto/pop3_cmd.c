/* pop3_cmd.c - a table of verbs with the shape of their arguments.
 *
 * Owns nothing; spans point into the caller's line. */
#include "base/check.h"
#include "proto/pop3_cmd.h"

/* Gets what stands behind the first space. Answers why it is wrong, or NULL. */
typedef const char *arguments_fn(struct pop3_cmd *c, struct span rest);

static const char *parse_none(struct pop3_cmd *c, struct span rest)
{
	return span_trim(rest).n == 0 ? NULL : "no argument allowed";
}

static const char *parse_text(struct pop3_cmd *c, struct span rest)
{
	c->argument = rest;
	return rest.n > 0 ? NULL : "argument missing";
}

static const char *parse_any(struct pop3_cmd *c, struct span rest)
{
	c->argument = rest;
	return NULL;
}

static const char *parse_apop(struct pop3_cmd *c, struct span rest)
{
	size_t at = span_rfind(rest, ' ');
	if (at == SIZE_MAX || at == 0)
		return "expected APOP name digest";
	c->argument = span_first(rest, at);
	c->digest = span_from(rest, at + 1);
	return c->digest.n == 32 ? NULL : "bad digest";
}

static const char *parse_auth(struct pop3_cmd *c, struct span rest)
{
	struct span initial = span_trim(rest);
	c->argument = span_cut(&initial, ' ');
	c->has_initial = initial.n > 0;
	c->initial = span_eq_str(initial, "=") ? SPAN("") : initial;
	return span_find(initial, ' ') == SIZE_MAX ? NULL : "unexpected text behind the response";
}

static bool parse_number(struct span s, uint32_t least, uint32_t *out)
{
	uint64_t v;
	if (s.n > 10 || !span_u64(s, UINT32_MAX, &v) || v < least)
		return false;
	*out = (uint32_t)v;
	return true;
}

static const char *parse_message(struct pop3_cmd *c, struct span rest)
{
	return parse_number(span_trim(rest), 1, &c->message) ? NULL : "bad message number";
}

static const char *parse_message_or_all(struct pop3_cmd *c, struct span rest)
{
	return span_trim(rest).n == 0 ? NULL : parse_message(c, rest);
}

static const char *parse_top(struct pop3_cmd *c, struct span rest)
{
	struct span lines = span_trim(rest), message = span_cut(&lines, ' ');
	bool ok =
	    parse_number(message, 1, &c->message) && parse_number(span_trim(lines), 0, &c->lines);
	return ok ? NULL : "expected TOP message lines";
}

static const struct {
	const char *name;
	enum pop3_verb verb;
	arguments_fn *arguments;
} verbs[] = {
	{ "USER", POP3_VERB_USER, parse_text },
	{ "PASS", POP3_VERB_PASS, parse_text },
	{ "APOP", POP3_VERB_APOP, parse_apop },
	{ "AUTH", POP3_VERB_AUTH, parse_auth },
	{ "STLS", POP3_VERB_STLS, parse_none },
	{ "CAPA", POP3_VERB_CAPA, parse_none },
	{ "STAT", POP3_VERB_STAT, parse_none },
	{ "LIST", POP3_VERB_LIST, parse_message_or_all },
	{ "RETR", POP3_VERB_RETR, parse_message },
	{ "DELE", POP3_VERB_DELE, parse_message },
	{ "NOOP", POP3_VERB_NOOP, parse_none },
	{ "RSET", POP3_VERB_RSET, parse_none },
	{ "TOP", POP3_VERB_TOP, parse_top },
	{ "UIDL", POP3_VERB_UIDL, parse_message_or_all },
	{ "QUIT", POP3_VERB_QUIT, parse_none },
	{ "UTF8", POP3_VERB_UTF8, parse_none },
	{ "LANG", POP3_VERB_LANG, parse_any },
	{ "XCLIENT", POP3_VERB_XCLIENT, parse_text },
};

err_t pop3_cmd_parse(struct span line, struct pop3_cmd *out)
{
	*out = (struct pop3_cmd){ .verb = POP3_VERB_UNKNOWN };
	struct span rest = line;
	out->verb_text = span_cut(&rest, ' ');
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (!span_ieq_str(out->verb_text, verbs[i].name))
			continue;
		out->verb = verbs[i].verb;
		/* A secret may hold anything; everything else is text. */
		if (out->verb != POP3_VERB_PASS && span_has_control(line))
			out->why = "control character in a command";
		else
			out->why = verbs[i].arguments(out, rest);
		return out->why == NULL ? ERR_OK : ERR_SYNTAX;
	}
	return ERR_OK;
}

const char *pop3_verb_name(enum pop3_verb v)
{
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	return "?";
}

/* "[IN-USE] text": the code of RFC 2449 section 8. */
static void take_code(struct pop3_response *r)
{
	size_t end = span_find(r->text, ']');
	if (r->text.n == 0 || r->text.p[0] != '[' || end == SIZE_MAX)
		return;
	r->code = span_of(r->text.p + 1, end - 1);
	r->text = span_trim(span_from(r->text, end + 1));
}

bool pop3_response_parse(struct span line, struct pop3_response *out)
{
	struct span rest = line, word = span_cut(&rest, ' ');
	*out = (struct pop3_response){ .text = rest };
	if (span_ieq_str(word, "+OK"))
		out->status = POP3_OK;
	else if (span_ieq_str(word, "-ERR"))
		out->status = POP3_ERR;
	else if (span_eq_str(word, "+"))
		out->status = POP3_CONTINUE;
	else
		return false;
	if (out->status != POP3_CONTINUE)
		take_code(out);
	return true;
}
