/* front.c - what the fronts have in common (step 3 of 5; before: admit.c; after: authenticate.c). */
#include "mmp/front.h"

#include "mmp/admit.h"
#include "mmp/session.h"

static const struct front *const fronts[MMP_PROTOCOLS] = {
	[MMP_IMAP] = &front_imap,
	[MMP_POP3] = &front_pop3,
	[MMP_SIEVE] = &front_sieve,
	[MMP_SUBMISSION] = &front_smtp,
};

const struct front *front_of(enum mmp_protocol protocol)
{
	return fronts[protocol];
}

bool front_offers_tls(const struct session *s)
{
	return s->listener->tls == MMP_TLS_STARTTLS && !stream_is_tls(s->client) &&
	       s->setup->server[s->listener->protocol] != NULL;
}

bool front_takes_secrets(const struct session *s)
{
	return stream_is_tls(s->client) || s->listener->allow_plaintext_auth;
}

/* Whoever turns PLAIN off does not want passwords to come another way. */
bool front_takes_passwords(const struct session *s)
{
	return sasl_turn_offers(s, SASL_PLAIN);
}

void front_put_capability(
    const struct session *s, struct buf *out, const char *before, const char *behind)
{
	enum mmp_protocol protocol = (enum mmp_protocol)s->listener->protocol;
	const struct conf_strings *words = mmp_conf_words(s->setup->mmp, protocol);
	bool known = s->setup == s->mmp->setup; /* else the words are other ones */
	for (size_t i = 0; i < words->n; i++)
		if (!known || capability_shows(s->mmp->capability[protocol], i)) {
			buf_add_str(out, before);
			buf_add_str(out, words->v[i]);
			buf_add_str(out, behind);
		}
}

enum verdict front_error(struct session *s)
{
	s->errors++;
	if (s->errors < (unsigned)s->setup->mmp->errors_max)
		return V_READ;
	return session_bye(s, WHY_TOO_MANY_ERRORS, NULL);
}

void front_challenge(struct session *s)
{
	s->front->challenge(s, span_str(sasl_exchange_prompt(&s->sasl)));
}

enum verdict front_take_sasl(struct session *s, struct span line)
{
	enum verdict v = V_READ;
	switch (sasl_turn_take(s, line, &v)) {
	case SASL_TURN_PROMPT:
		front_challenge(s);
		return V_READ;
	case SASL_TURN_CANCEL:
		return s->front->complain(s, "Cancelled");
	case SASL_TURN_BAD:
		return s->front->complain(s, "Not a response of this mechanism");
	case SASL_TURN_STARTED:
		break;
	}
	return v;
}

enum verdict front_begin_sasl(struct session *s, bool has_initial, struct span initial)
{
	if (has_initial)
		return front_take_sasl(s, initial);
	front_challenge(s);
	return V_READ;
}

enum verdict front_lost(struct session *s, const char *detail)
{
	return session_bye(s, WHY_BAD_FRAMING, detail);
}

enum verdict front_start_tls(struct session *s, struct span ok)
{
	if (stream_input(s->client).n > 0)
		return session_bye(s, WHY_TLS_INJECTION, NULL);
	stream_write_span(s->client, ok);
	return admit_secure(s);
}

const char *front_words(enum told told)
{
	static const char *const words[TOLD_COUNT] = {
		[TOLD_NOTHING] = "Goodbye",
		[TOLD_CREDENTIALS] = "Authentication failed",
		[TOLD_CONTACT] = "This account may not log in here, ask your administrator",
		[TOLD_UNAVAILABLE] = "Temporarily unavailable, try again later",
		[TOLD_LATE] = "Temporarily unavailable, try again later",
		[TOLD_IN_USE] = "The mailbox is in use by another session",
		[TOLD_TOO_SOON] = "Too early after the last login, try again later",
		[TOLD_LIMIT] = "Too many connections or attempts, try again later",
		[TOLD_PRIVACY] = "Start TLS before you send a password",
		[TOLD_TIMEOUT] = "Closed, you were silent for too long",
		[TOLD_FAILURES] = "Too many failed logins",
		[TOLD_ERRORS] = "Too many errors",
		[TOLD_INJECTION] = "Nothing may follow the command that starts TLS",
		[TOLD_BUSY] = "Too busy, try again later",
		[TOLD_FOREIGN] = "This is not the protocol that is spoken here",
		[TOLD_SHUTDOWN] = "The server is going down, connect again",
	};
	return words[told];
}
