/* sasl.c - PLAIN and LOGIN.
 *
 * Owns decoded names and secrets in bounded buffers that are wiped when they end. */
#include "base/base64.h"
#include "base/check.h"
#include "proto/sasl.h"

static const char *const mech_names[SASL_MECH_COUNT] = {
	[SASL_PLAIN] = "PLAIN",
	[SASL_LOGIN] = "LOGIN",
	[SASL_CRAM_MD5] = "CRAM-MD5",
	[SASL_SCRAM_SHA_1] = "SCRAM-SHA-1",
	[SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
	[SASL_SCRAM_SHA_1_PLUS] = "SCRAM-SHA-1-PLUS",
	[SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
	[SASL_OAUTHBEARER] = "OAUTHBEARER",
	[SASL_XOAUTH2] = "XOAUTH2",
	[SASL_EXTERNAL] = "EXTERNAL",
	[SASL_ANONYMOUS] = "ANONYMOUS",
	[SASL_APOP] = "APOP",
};

enum sasl_mech sasl_mech_find(struct span name)
{
	for (size_t i = SASL_UNKNOWN + 1; i < SASL_APOP; i++)
		if (span_ieq_str(name, mech_names[i]))
			return (enum sasl_mech)i;
	return SASL_UNKNOWN;
}

const char *sasl_mech_name(enum sasl_mech m)
{
	return m > SASL_UNKNOWN && m < SASL_MECH_COUNT ? mech_names[m] : "?";
}

static bool is_name(struct span s)
{
	return !span_has_control(s) && span_is_utf8(s);
}

/* base64 text into a fresh buffer of at most max bytes. */
static err_t decode(struct span text, size_t max, struct buf *out)
{
	*out = BUF_INIT(max);
	if (text.n > SASL_TEXT_MAX)
		return ERR_TOO_LONG;
	if (base64_get(text, out))
		return ERR_OK;
	return buf_ok(out) ? ERR_SYNTAX : ERR_TOO_LONG;
}

err_t sasl_plain_parse(struct sasl_plain *p, struct span base64)
{
	*p = (struct sasl_plain){ 0 };
	err_t err = decode(base64, 2 * SASL_NAME_MAX + SASL_SECRET_MAX + 2, &p->raw);
	if (err)
		return err;
	struct span rest = buf_span(&p->raw);
	p->authzid = span_cut(&rest, '\0');
	p->authcid = span_cut(&rest, '\0');
	p->secret = rest;
	if (rest.p == NULL || rest.n == 0 || span_find(rest, '\0') != SIZE_MAX)
		return ERR_SYNTAX;
	if (p->authzid.n > SASL_NAME_MAX || p->authcid.n > SASL_NAME_MAX ||
	    p->secret.n > SASL_SECRET_MAX)
		return ERR_TOO_LONG;
	return p->authcid.n > 0 && is_name(p->authzid) && is_name(p->authcid) ? ERR_OK : ERR_SYNTAX;
}

void sasl_plain_end(struct sasl_plain *p)
{
	buf_wipe_end(&p->raw);
	p->authzid = p->authcid = p->secret = SPAN_NONE;
}

bool sasl_plain_put(struct buf *out, struct span authzid, struct span authcid, struct span secret)
{
	static const struct span nul = { "\0", 1 };
	if (authzid.n > SASL_NAME_MAX || authcid.n > SASL_NAME_MAX || secret.n > SASL_SECRET_MAX)
		return false;
	if (authcid.n == 0 || secret.n == 0 || !is_name(authzid) || !is_name(authcid) ||
	    span_find(secret, '\0') != SIZE_MAX)
		return false;
	struct buf raw = BUF_INIT(2 * SASL_NAME_MAX + SASL_SECRET_MAX + 2);
	buf_add_span(&raw, authzid);
	buf_add_span(&raw, nul);
	buf_add_span(&raw, authcid);
	buf_add_span(&raw, nul);
	buf_add_span(&raw, secret);
	bool ok = base64_put(out, buf_span(&raw));
	buf_wipe_end(&raw);
	return ok;
}

void sasl_login_init(struct sasl_login *s)
{
	*s = (struct sasl_login){ .name = BUF_INIT(SASL_NAME_MAX),
		.secret = BUF_INIT(SASL_SECRET_MAX) };
}

void sasl_login_end(struct sasl_login *s)
{
	buf_wipe_end(&s->name);
	buf_wipe_end(&s->secret);
}

const char *sasl_login_prompt(const struct sasl_login *s)
{
	switch (s->step) {
	case SASL_LOGIN_NAME:
		return "VXNlcm5hbWU6";
	case SASL_LOGIN_SECRET:
		return "UGFzc3dvcmQ6";
	case SASL_LOGIN_DONE:
		break;
	}
	return NULL;
}

err_t sasl_login_take(struct sasl_login *s, struct span base64)
{
	CHECK(s->step != SASL_LOGIN_DONE);
	bool is_secret = s->step == SASL_LOGIN_SECRET;
	struct buf *into = is_secret ? &s->secret : &s->name;
	buf_wipe_end(into);
	err_t err = decode(base64, is_secret ? SASL_SECRET_MAX : SASL_NAME_MAX, into);
	if (err)
		return err;
	struct span got = buf_span(into);
	if (got.n == 0 || (is_secret ? span_find(got, '\0') != SIZE_MAX : !is_name(got)))
		return ERR_SYNTAX;
	s->step = is_secret ? SASL_LOGIN_DONE : SASL_LOGIN_SECRET;
	return ERR_OK;
}
