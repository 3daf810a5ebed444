/* pop3_fixture.h - what the tests of POP3 share: a store with three listeners, words, whole conversations. */
#ifndef TEST_STORE_POP3_FIXTURE_H
#define TEST_STORE_POP3_FIXTURE_H

#include "store_fixture.h"

#include "store-backend/pop3/pop3_internal.h"
#include "store-backend/pop3/pop3_session.h"

#define ALICE "alice@example.org"
#define LOGIN "USER alice\r\nPASS alice-secret\r\n"
#define GREETING "+OK [XCLIENT] store1.example.org ready (ID)\r\n"
#define PLAIN_GREETING "+OK store1.example.org ready (ID)\r\n"
#define IN "+OK Now the password\r\n"
#define MARKED "+OK Marked to be deleted\r\n"
#define BYE "+OK Goodbye\r\n"

static const char options[] =
    "login_timeout 5s; pop3_idle_timeout 10s;\n"
    "listener pop3 { address 127.0.0.1:110; protocol pop3; tls starttls; }\n"
    "listener open { address 127.0.0.1:111; protocol pop3; plaintext_login yes; }\n"
    "listener pop3s { address 127.0.0.1:995; protocol pop3; tls implicit; }\n";

/* "From: ..." and a body with every kind of dot. */
#define MAIL_ONE "Subject: one\r\nX: y\r\n\r\n.\r\n..\r\nline\r\n.dot\r\n\r\nend\r\n"
#define MAIL_TWO "Subject: two\r\n\r\nhello\r\n"
#define MAIL_ODD "no header ends here"

/* ---- conversations ----------------------------------------------------------------------------- */

/* What was heard, with the ids of sessions as "(ID)". */
static const char *words(struct talk *t)
{
	static char out[65536];
	struct span heard = buf_span(&t->heard);
	struct ident id;
	size_t n = 0;
	assert_true(heard.n < sizeof out);
	for (size_t i = 0; i < heard.n; i++) {
		if (heard.p[i] == '(' && ident_parse(span_of(heard.p + i + 1, IDENT_LEN), &id)) {
			memcpy(out + n, "(ID", 3);
			n += 3;
			i += IDENT_LEN;
			continue;
		}
		out[n++] = heard.p[i];
	}
	out[n] = '\0';
	return out;
}

__attribute__((unused)) static struct talk say(
    const char *listener, const char *client, struct span script, size_t first)
{
	struct talk t = talk_begin(&store, pop3_session_start, listener, client);
	talk_until(&t, "ready");
	talk_send_cut(&t, span_first(script, first), SIZE_MAX);
	for (int i = 0; i < 3; i++)
		loop_step(store.loop, 0);
	talk_send_cut(&t, span_from(script, first), SIZE_MAX);
	shutdown(t.fd, SHUT_WR);
	talk_until(&t, NULL);
	return t;
}

/* The same answers whether the script comes at once or one byte at a time. */
static void check_from(
    const char *listener, const char *client, const char *script, const char *want)
{
	for (size_t cut = 1; cut != 0; cut = cut == 1 ? SIZE_MAX : 0) {
		struct talk t = talk_begin(&store, pop3_session_start, listener, client);
		talk_until(&t, "ready");
		talk_send_cut(&t, span_str(script), cut);
		shutdown(t.fd, SHUT_WR);
		talk_until(&t, NULL);
		assert_string_equal(words(&t), want);
		talk_close(&t);
	}
	assert_int_equal(store.session_n, 0);
}

__attribute__((unused)) static void check(const char *script, const char *want)
{
	check_from("pop3", "127.0.0.1", script, want);
}

__attribute__((unused)) static struct pop3_session *only_session(void)
{
	assert_int_equal(store.session_n, 1);
	return LIST_OF(
	    struct pop3_session, base, LIST_OF(struct store_session, link, store.sessions.next));
}

#endif
