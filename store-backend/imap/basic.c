/* basic.c - NOOP, CHECK, COMPRESS, ENABLE, ID, LOGOUT, IDLE, NAMESPACE, LANGUAGE: commands that need nothing of a mailbox. */
#include "base/check.h"
#include "proto/imap_cmd.h"

#include "store-backend/imap/remote.h"
#include "store-backend/imap/session.h"

enum verdict cmd_noop(struct imap_session *s)
{
	return imap_finish_done(s);
}

enum verdict cmd_check(struct imap_session *s)
{
	return imap_finish_done(s); /* what was answered is durable already */
}

static const struct {
	const char *word;
	unsigned what;
} enables[] = {
	{ "CONDSTORE", ENABLED_CONDSTORE },
	{ "QRESYNC", ENABLED_QRESYNC },
	{ "UTF8=ACCEPT", ENABLED_UTF8 },
	{ "IMAP4rev2", ENABLED_REV2 },
	{ "UIDONLY", ENABLED_UIDONLY },
};

bool imap_put_enabled(struct buf *out, unsigned what)
{
	const char *space = "";
	for (size_t i = 0; i < COUNT_OF(enables); i++) {
		if ((what & enables[i].what) == 0)
			continue;
		buf_printf(out, "%s%s", space, enables[i].word);
		space = " ";
	}
	return buf_ok(out);
}

/* RFC 5161: what is not known is passed over. */
enum verdict cmd_enable(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	unsigned asked = 0;
	imap_read_sp(c);
	do {
		struct span word = imap_read_atom(c);
		for (size_t i = 0; i < COUNT_OF(enables); i++)
			asked |= span_ieq_str(word, enables[i].word) ? enables[i].what : 0;
	} while (imap_try(c, ' '));
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	imap_enable(s, asked);
	enum verdict v;
	if (imap_remote_enable(s, &v))
		return v;
	imap_say(s, "* ENABLED%s", asked != 0 ? " " : "");
	imap_put_enabled(&s->text, asked);
	imap_say(s, "\r\n");
	return imap_finish_done(s);
}

/* RFC 4978 */
enum verdict cmd_compress(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	struct span how = imap_read_atom(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (!span_ieq_str(how, "DEFLATE"))
		return imap_finish(s, "NO", "[CANNOT] Only DEFLATE is offered");
	if (stream_is_compressed(s->io))
		return imap_finish(s, "NO", "[COMPRESSIONACTIVE] It is active already");
	return imap_start_compress(s);
}

enum verdict cmd_idle(struct imap_session *s)
{
	return imap_start_idle(s);
}

enum verdict cmd_namespace(struct imap_session *s)
{
	const char *public_user = s->opts->public_user;
	bool shared = s->opts->shared_folders;
	bool public = shared && public_user != NULL && public_user[0] != '\0';
	imap_say(s, "* NAMESPACE ((\"\" \"/\")) %s %s\r\n",
	    shared ? "((\"Other Users/\" \"/\"))" : "NIL",
	    public ? "((\"Shared Folders/\" \"/\"))" : "NIL");
	return imap_finish_done(s);
}

/* ---- LANGUAGE (RFC 5255 section 3) -------------------------------------------------------------------------- */

static const char *const languages[] = { "en",
	"i-default" }; /* what the texts here are in, by both names */

/* RFC 4647 section 3.4: the range, or it with subtags cut off at its end. NULL: none of ours. */
static const char *language_of(struct span range)
{
	if (span_eq_str(range, "*"))
		return languages[0];
	if (span_ieq_str(range, "default"))
		return languages[1];
	while (range.n > 0) {
		for (size_t i = 0; i < COUNT_OF(languages); i++)
			if (span_ieq_str(range, languages[i]))
				return languages[i];
		size_t cut = span_rfind(range, '-');
		range = span_first(range, cut == SIZE_MAX ? 0 : cut);
	}
	return NULL;
}

/* The first range that one of ours fits; without any, what there is. */
enum verdict cmd_language(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	const char *found = NULL;
	bool any = false;
	while (imap_try(c, ' ')) {
		struct span range = imap_read_astring(c);
		any = true;
		if (imap_ok(c) && found == NULL)
			found = language_of(range);
	}
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (any && found == NULL)
		return imap_finish(s, "NO", "[CANNOT] None of these languages");
	if (any)
		imap_say(s, "* LANGUAGE (\"%s\")\r\n", found);
	else
		imap_say(s, "* LANGUAGE (\"%s\" \"%s\")\r\n", languages[0], languages[1]);
	return imap_finish_done(s);
}

enum verdict cmd_logout(struct imap_session *s)
{
	stream_printf(
	    s->io, "* BYE Logging out\r\n%.*s OK LOGOUT completed\r\n", SPAN_ARG(s->cmd.tag));
	if (s->why == NULL)
		s->why = "logout";
	return V_CLOSE;
}

/* What a trusted multiplexor says of the client it speaks for. */
static void believe(struct imap_session *s, struct span key, struct span value)
{
	uint64_t port;
	if (span_ieq_str(key, "x-originating-ip"))
		(void)ip_parse(value, &s->client.addr);
	else if (span_ieq_str(key, "x-originating-port") && span_u64(value, UINT16_MAX, &port))
		s->client.port = (uint16_t)port;
	else if (span_ieq_str(key, "x-session-id"))
		(void)ident_parse(value, &s->base.id);
}

enum verdict cmd_id(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct imap_id id;
	imap_read_sp(c);
	imap_read_id(c, &id);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	for (size_t i = 0; i < id.count && s->facts_ok && s->user == NULL; i++)
		believe(s, id.v[i].key, id.v[i].value);
	imap_say(s, "* ID (\"name\" \"Postern\" \"version\" \"" POSTERN_VERSION "\")\r\n");
	return imap_finish_done(s);
}
