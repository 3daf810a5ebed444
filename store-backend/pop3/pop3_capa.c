/* pop3_capa.c - what this server can do, and in which words: CAPA (RFC 2449), UTF8 and LANG (RFC 6856).
 *
 * Step 2 of the store; before: pop3_command.c. A proxy in front (facts_from) has its own TLS and says no UTF8 for its client,
 * so after the login it is not told of what only the client could have asked for before. */
#include "store-backend/expire.h"
#include "store-backend/pop3/pop3_internal.h"

enum { SECOND_MS = 1000 };

/* ---- CAPA ------------------------------------------------------------------------------------------------ */

static bool had_the_choice(const struct pop3_session *s)
{
	return s->user == NULL || !s->trusted;
}

/* Before the login what holds for everybody, and that it may be another for each (RFC 2449 section 6.7). */
static void put_expire(const struct pop3_session *s, struct buf *out)
{
	struct span user = s->user != NULL ? span_str(s->user) : SPAN_NONE;
	uint64_t days;
	if (!expire_least_days(s->opts, user, &days))
		buf_add_str(out, "EXPIRE NEVER\r\n");
	else
		buf_printf(out, "EXPIRE %llu%s\r\n", (unsigned long long)days,
		    s->user == NULL ? " USER" : "");
}

enum verdict pop3_cmd_capa(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct buf out = BUF_INIT(1024);
	buf_add_str(&out, "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nLANG\r\n");
	if (had_the_choice(s) || s->utf8)
		buf_add_str(&out, "UTF8\r\n");
	put_expire(s, &out);
	if (s->opts->pop3_login_delay > 0)
		buf_printf(&out, "LOGIN-DELAY %llu\r\n",
		    (unsigned long long)(s->opts->pop3_login_delay / SECOND_MS));
	if (pop3_takes_secrets(s))
		buf_add_str(&out, "USER\r\nSASL PLAIN\r\n");
	if (pop3_offers_tls(s) && had_the_choice(s))
		buf_add_str(&out, "STLS\r\n");
	if (s->trusted && s->user == NULL)
		buf_add_str(&out, "XCLIENT ADDR PORT SESSION\r\n");
	buf_add_str(&out, "IMPLEMENTATION Postern\r\n.\r\n");
	pop3_ok(s, "Capabilities follow");
	stream_write_span(s->io, buf_span(&out));
	buf_end(&out);
	return V_NEXT;
}

/* ---- UTF8, LANG (RFC 6856) ------------------------------------------------------------------------------- */

enum verdict pop3_cmd_utf8(struct pop3_session *s, const struct pop3_cmd *c)
{
	s->utf8 = true;
	return pop3_ok(s, "UTF-8 from now on");
}

/* Texts are English; a range that begins with it, or asks for what we prefer, is met by it. */
enum verdict pop3_cmd_lang(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct span range = span_trim(c->argument), rest = range, primary = span_cut(&rest, '-');
	if (range.n == 0) {
		pop3_ok(s, "Languages follow");
		stream_write_span(s->io, SPAN("en English\r\n.\r\n"));
		return V_NEXT;
	}
	if (span_eq_str(range, "*") || span_ieq_str(range, "i-default") ||
	    span_ieq_str(primary, "en"))
		return pop3_ok(s, "en Texts are English");
	return pop3_bad(s, "There are no texts in that language");
}
