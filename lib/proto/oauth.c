/* oauth.c - messages of the bearer mechanisms; base64url. */
#include "proto/oauth.h"

#include "base/base64.h"

#define FIELD_END '\x01'

/* "auth=Bearer TOKEN": the token of RFC 6750 section 2.1, p NULL: something else. */
static struct span token_of(struct span field)
{
	if (!span_istarts(field, SPAN("auth=Bearer ")))
		return SPAN_NONE;
	struct span token = span_from(field, 12);
	for (size_t i = 0; i < token.n; i++)
		if (!ascii_is_alpha((unsigned char)token.p[i]) &&
		    !ascii_is_digit((unsigned char)token.p[i]) &&
		    span_find(SPAN("-._~+/="), token.p[i]) == SIZE_MAX)
			return SPAN_NONE;
	return token;
}

static bool is_name(struct span s)
{
	return s.n <= OAUTH_NAME_MAX && !span_has_control(s) && span_find(s, ' ') == SIZE_MAX &&
	       span_is_utf8(s);
}

/* Fields, each with ^A behind it, and one more ^A at the end; exactly one of them is the token. */
static err_t parse_fields(struct oauth_message *m, struct span rest)
{
	if (rest.n < 2 || rest.p[rest.n - 1] != FIELD_END || rest.p[rest.n - 2] != FIELD_END)
		return ERR_SYNTAX;
	rest = span_first(rest, rest.n - 2);
	while (rest.p != NULL) {
		struct span field = span_cut(&rest, FIELD_END), token = token_of(field);
		if (span_find(field, '=') == SIZE_MAX || (token.n > 0 && m->token.n > 0))
			return ERR_SYNTAX;
		if (token.n > 0)
			m->token = token;
	}
	if (m->token.n > OAUTH_TOKEN_MAX)
		return ERR_TOO_LONG;
	return m->token.n > 0 && is_name(m->user) ? ERR_OK : ERR_SYNTAX;
}

err_t oauth_bearer_parse(struct oauth_message *m, struct span message)
{
	*m = (struct oauth_message){ .token = SPAN_NONE };
	struct span rest = message, head = span_cut(&rest, FIELD_END);
	struct span flag = span_cut(&head, ','), authzid = span_cut(&head, ',');
	bool named = span_starts(authzid, SPAN("a="));
	if (rest.p == NULL || head.p == NULL || head.n > 0 || (authzid.n > 0 && !named) ||
	    (!span_eq_str(flag, "n") && !span_eq_str(flag, "y")))
		return ERR_SYNTAX;
	m->user = named ? span_from(authzid, 2) : SPAN("");
	if (span_find(m->user, '=') != SIZE_MAX) /* no user of ours has a comma in the name */
		return ERR_SYNTAX;
	return parse_fields(m, rest);
}

err_t oauth_xoauth2_parse(struct oauth_message *m, struct span message)
{
	*m = (struct oauth_message){ .token = SPAN_NONE };
	struct span rest = message, user = span_cut(&rest, FIELD_END);
	if (rest.p == NULL || !span_istarts(user, SPAN("user=")) || user.n == 5)
		return ERR_SYNTAX;
	m->user = span_from(user, 5);
	return parse_fields(m, rest);
}

/* ---- signed tokens ---------------------------------------------------------------------------- */

/* RFC 4648 section 5, without padding: by way of the usual alphabet. */
static bool decode(struct span text, struct buf *out)
{
	struct buf usual = BUF_INIT(OAUTH_TOKEN_MAX + 4);
	*out = BUF_INIT(OAUTH_TOKEN_MAX);
	bool good = span_find(text, '+') == SIZE_MAX && span_find(text, '/') == SIZE_MAX &&
		    span_find(text, '=') == SIZE_MAX;
	for (size_t i = 0; i < text.n; i++)
		buf_add_char(&usual, text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i]);
	for (size_t i = text.n; i % 4 != 0; i++)
		buf_add_char(&usual, '=');
	good = good && buf_ok(&usual) && base64_get(buf_span(&usual), out);
	buf_end(&usual);
	return good;
}

err_t jws_parse(struct jws *j, struct span token)
{
	struct span rest = token, header = span_cut(&rest, '.'), payload = span_cut(&rest, '.');
	j->signing_input = span_first(token, header.n + 1 + payload.n);
	bool good = decode(header, &j->header);
	good = decode(payload, &j->payload) && good;
	good = decode(rest, &j->signature) && good;
	return good && rest.n > 0 ? ERR_OK : ERR_SYNTAX;
}

void jws_end(struct jws *j)
{
	buf_end(&j->header);
	buf_end(&j->payload);
	buf_end(&j->signature);
}
