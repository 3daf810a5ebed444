/* smtp_cmd.c - a table of verbs; each row names the reader of its arguments.
 *
 * Owns nothing; spans point into the caller's line. */
#include "base/check.h"
#include "proto/smtp_cmd.h"
#include "proto/smtp_path.h"

/* Gets what stands behind the verb, outer spaces removed. Answers why it is wrong, or NULL. */
typedef const char *arguments_fn(struct smtp_cmd *c, struct span rest);

static struct span take_word(struct span *rest)
{
	struct span word = span_cut(rest, ' ');
	while (rest->n > 0 && rest->p[0] == ' ')
		*rest = span_from(*rest, 1);
	return word;
}

static const char *parse_none(struct smtp_cmd *c, struct span rest)
{
	return rest.n == 0 ? NULL : "no argument allowed";
}

static const char *parse_any(struct smtp_cmd *c, struct span rest)
{
	c->argument = rest;
	return NULL;
}

static const char *parse_text(struct smtp_cmd *c, struct span rest)
{
	c->argument = rest;
	return rest.n > 0 ? NULL : "argument missing";
}

static const char *parse_name(struct smtp_cmd *c, struct span rest)
{
	c->argument = rest;
	if (rest.n == 0)
		return "host name missing";
	if (rest.n > SMTP_DOMAIN_MAX || span_find(rest, ' ') != SIZE_MAX)
		return "bad host name";
	return NULL;
}

static const char *parse_path(struct smtp_cmd *c, struct span rest, struct span keyword)
{
	if (!span_istarts(rest, keyword))
		return c->verb == SMTP_VERB_MAIL ? "expected MAIL FROM:<address>"
						 : "expected RCPT TO:<address>";
	rest = span_trim(span_from(rest, keyword.n));
	size_t n = smtp_path_scan(rest);
	if (n == 0)
		return "address must stand in <>";
	c->path = span_first(rest, n);
	rest = span_from(rest, n);
	if (rest.n > 0 && rest.p[0] != ' ')
		return "unexpected text behind the address";
	c->params = span_trim(rest);
	return NULL;
}

static const char *parse_mail(struct smtp_cmd *c, struct span rest)
{
	return parse_path(c, rest, SPAN("FROM:"));
}

static const char *parse_rcpt(struct smtp_cmd *c, struct span rest)
{
	return parse_path(c, rest, SPAN("TO:"));
}

static const char *parse_bdat(struct smtp_cmd *c, struct span rest)
{
	struct span size = take_word(&rest);
	if (!span_u64(size, INT64_MAX, &c->chunk_bytes))
		return "chunk size is not a number";
	c->chunk_last = span_ieq_str(rest, "LAST");
	return rest.n == 0 || c->chunk_last ? NULL : "expected BDAT size [LAST]";
}

static const char *parse_auth(struct smtp_cmd *c, struct span rest)
{
	c->argument = take_word(&rest);
	if (c->argument.n == 0)
		return "mechanism missing";
	c->has_initial = rest.n > 0;
	c->initial = span_eq_str(rest, "=") ? SPAN("") : rest;
	return span_find(rest, ' ') == SIZE_MAX ? NULL : "unexpected text behind the response";
}

static const struct {
	const char *name;
	enum smtp_verb verb;
	arguments_fn *arguments;
} verbs[] = {
	{ "EHLO", SMTP_VERB_EHLO, parse_name },
	{ "HELO", SMTP_VERB_HELO, parse_name },
	{ "LHLO", SMTP_VERB_LHLO, parse_name },
	{ "MAIL", SMTP_VERB_MAIL, parse_mail },
	{ "RCPT", SMTP_VERB_RCPT, parse_rcpt },
	{ "DATA", SMTP_VERB_DATA, parse_none },
	{ "BDAT", SMTP_VERB_BDAT, parse_bdat },
	{ "RSET", SMTP_VERB_RSET, parse_none },
	{ "NOOP", SMTP_VERB_NOOP, parse_any },
	{ "QUIT", SMTP_VERB_QUIT, parse_none },
	{ "VRFY", SMTP_VERB_VRFY, parse_text },
	{ "EXPN", SMTP_VERB_EXPN, parse_text },
	{ "HELP", SMTP_VERB_HELP, parse_any },
	{ "STARTTLS", SMTP_VERB_STARTTLS, parse_none },
	{ "AUTH", SMTP_VERB_AUTH, parse_auth },
	{ "ETRN", SMTP_VERB_ETRN, parse_text },
	{ "XCLIENT", SMTP_VERB_XCLIENT, parse_text },
	{ "XFORWARD", SMTP_VERB_XFORWARD, parse_text },
	{ "BURL", SMTP_VERB_BURL, parse_text },
	{ "GET", SMTP_VERB_HTTP, parse_any },
	{ "POST", SMTP_VERB_HTTP, parse_any },
	{ "PUT", SMTP_VERB_HTTP, parse_any },
	{ "HEAD", SMTP_VERB_HTTP, parse_any },
	{ "OPTIONS", SMTP_VERB_HTTP, parse_any },
	{ "CONNECT", SMTP_VERB_HTTP, parse_any },
	{ "Host:", SMTP_VERB_HTTP, parse_any },
	{ "User-Agent:", SMTP_VERB_HTTP, parse_any },
};

err_t smtp_cmd_parse(struct span line, struct smtp_cmd *out)
{
	*out = (struct smtp_cmd){ .verb = SMTP_VERB_UNKNOWN };
	struct span rest = line;
	out->verb_text = span_cut(&rest, ' ');
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (!span_ieq_str(out->verb_text, verbs[i].name))
			continue;
		out->verb = verbs[i].verb;
		out->why = span_has_control(line) ? "control character in a command"
						  : verbs[i].arguments(out, span_trim(rest));
		return out->why == NULL ? ERR_OK : ERR_SYNTAX;
	}
	return ERR_OK;
}

const char *smtp_verb_name(enum smtp_verb v)
{
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (verbs[i].verb == v && v != SMTP_VERB_HTTP)
			return verbs[i].name;
	return "?";
}
