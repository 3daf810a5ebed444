/* oauth_check.c - signed tokens (RFC 7519): signature first, then what it says. Owns: the provider's keys. */
#include "directory/oauth_check.h"

#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "net/signature.h"
#include "proto/json.h"
#include "proto/oauth.h"

enum { LEEWAY_S = 60 }; /* clocks differ */

struct oauth_check {
	struct key_set *keys; /* owned, as the next four */
	char *issuer, *audience, *user, *scope;
};

struct oauth_check *oauth_check_new(const struct oauth_settings *s, struct buf *why)
{
	struct key_set *keys = key_set_new(s->keys_pem, why);
	if (keys == NULL)
		return NULL;
	struct oauth_check *c = MEM_NEW(struct oauth_check);
	c->keys = keys;
	c->issuer = mem_str(s->issuer);
	c->audience = mem_str(s->audience);
	c->user = mem_str(s->user);
	c->scope = mem_str(s->scope);
	return c;
}

void oauth_check_free(struct oauth_check **c)
{
	if (*c == NULL)
		return;
	key_set_free(&(*c)->keys);
	mem_free((*c)->issuer);
	mem_free((*c)->audience);
	mem_free((*c)->user);
	mem_free((*c)->scope);
	MEM_FREE(c);
}

static bool is_signed(const struct oauth_check *c, const struct jws *j)
{
	struct json_value alg, critical;
	struct span header = buf_span(&j->header);
	return json_get(header, "alg", &alg) && alg.type == JSON_STRING &&
	       json_get(header, "crit", &critical) && critical.type == JSON_ABSENT &&
	       key_set_verifies(c->keys, alg.text, j->signing_input, buf_span(&j->signature));
}

static bool has_string(struct span claims, const char *name, const char *want)
{
	struct json_value v;
	return json_get(claims, name, &v) && v.type == JSON_STRING && span_eq_str(v.text, want);
}

static bool has_audience(const struct oauth_check *c, struct span claims)
{
	struct json_value v;
	if (c->audience == NULL || has_string(claims, "aud", c->audience))
		return true;
	return json_get(claims, "aud", &v) && v.type == JSON_ARRAY &&
	       json_array_has(v.text, span_str(c->audience));
}

/* A token without an end is for ever in the wrong hands: it is refused. */
static const char *time_fault(struct span claims)
{
	struct json_value v;
	uint64_t at, now = clock_wall_us() / 1000000;
	if (!json_get(claims, "exp", &v) || !json_u64(&v, &at))
		return "no time of expiry";
	if (now >= at + LEEWAY_S)
		return "expired";
	if (!json_get(claims, "nbf", &v))
		return "malformed";
	if (v.type != JSON_ABSENT && (!json_u64(&v, &at) || now + LEEWAY_S < at))
		return "not valid yet";
	return NULL;
}

static const char *claims_fault(
    const struct oauth_check *c, struct span claims, struct buf *user_out)
{
	struct json_value user;
	if (!has_string(claims, "iss", c->issuer))
		return "another issuer";
	if (!has_audience(c, claims))
		return "for another audience";
	const char *fault = time_fault(claims);
	if (fault != NULL)
		return fault;
	if (!json_get(claims, c->user, &user) || user.type != JSON_STRING || user.text.n == 0 ||
	    !buf_add_span(user_out, user.text))
		return "names no user";
	return NULL;
}

const char *oauth_check_token(const struct oauth_check *c, struct span token, struct buf *user_out)
{
	struct jws j;
	const char *fault = "not a signed token";
	if (jws_parse(&j, token) == ERR_OK)
		fault = is_signed(c, &j) ? claims_fault(c, buf_span(&j.payload), user_out)
					 : "not signed by the provider";
	jws_end(&j);
	return fault;
}

void oauth_check_put_error(const struct oauth_check *c, struct buf *out)
{
	buf_add_str(out, "{\"status\":\"invalid_token\"");
	if (c->scope != NULL) {
		buf_add_str(out, ",\"scope\":");
		fmt_json_string(out, span_str(c->scope));
	}
	buf_add_char(out, '}');
}
