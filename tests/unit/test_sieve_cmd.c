/* test_sieve_cmd.c - ManageSieve commands before login, answers of an exchange, a server's responses; each framed
 * at every split point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/sieve_cmd.h"

static const struct imap_limits limits = { .line_max = 200, .literal_max = 64, .total_max = 300 };

static void assert_span(struct span got, const char *want)
{
	if (!span_eq_str(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

/* Fed `step` bytes at a time, with other bytes behind: the length of what was framed, 0 for an error. */
static size_t frame(const char *text, bool from_client, size_t step)
{
	struct imap_frame f;
	struct buf in = BUF_INIT(1024);
	enum imap_rx rx = IMAP_RX_MORE;
	imap_frame_init(&f, limits, from_client);
	buf_add_str(&in, text);
	buf_add_str(&in, "LOGOUT\r\n");
	for (size_t n = step; rx == IMAP_RX_MORE; n += step) {
		n = n < buf_len(&in) ? n : buf_len(&in);
		char *copy = mem_copy(buf_span(&in).p, n); /* exact size: a read too far is seen */
		rx = imap_frame_scan(&f, span_of(copy, n));
		mem_free(copy);
		if (n == buf_len(&in))
			break;
	}
	buf_end(&in);
	return rx == IMAP_RX_COMMAND ? f.len : 0;
}

static void assert_framed(const char *text, bool from_client)
{
	size_t n = span_str(text).n;
	for (size_t step = 1; step <= n; step++)
		assert_int_equal(frame(text, from_client, step), n);
}

static void test_commands(void **state)
{
	static const struct {
		const char *in;
		enum sieve_verb verb;
		bool ok;
		const char *a, *b; /* mechanism and initial response, or NULL and the tag */
	} cases[] = {
		{ "CAPABILITY\r\n", SIEVE_VERB_CAPABILITY, true, NULL, NULL },
		{ "capability x\r\n", SIEVE_VERB_CAPABILITY, false, NULL, NULL },
		{ "StartTLS\r\n", SIEVE_VERB_STARTTLS, true, NULL, NULL },
		{ "LOGOUT\r\n", SIEVE_VERB_LOGOUT, true, NULL, NULL },
		{ "LOGOUT \r\n", SIEVE_VERB_LOGOUT, false, NULL, NULL },
		{ "NOOP\r\n", SIEVE_VERB_NOOP, true, NULL, NULL },
		{ "NOOP \"a\\\"b\"\r\n", SIEVE_VERB_NOOP, true, NULL, "a\"b" },
		{ "NOOP {4+}\r\n\r\n\"x\r\n", SIEVE_VERB_NOOP, true, NULL, "\r\n\"x" },
		{ "NOOP x\r\n", SIEVE_VERB_NOOP, false, NULL, NULL },
		{ "NOOP \"x\" \"y\"\r\n", SIEVE_VERB_NOOP, false, NULL, NULL },
		{ "AUTHENTICATE \"PLAIN\"\r\n", SIEVE_VERB_AUTHENTICATE, true, "PLAIN", NULL },
		{ "authenticate \"plain\" \"AGE=\"\r\n", SIEVE_VERB_AUTHENTICATE, true, "plain",
		    "AGE=" },
		{ "AUTHENTICATE {5+}\r\nPLAIN {4+}\r\nAGE=\r\n", SIEVE_VERB_AUTHENTICATE, true,
		    "PLAIN", "AGE=" },
		{ "AUTHENTICATE \"EXTERNAL\" \"\"\r\n", SIEVE_VERB_AUTHENTICATE, true, "EXTERNAL",
		    "" },
		{ "AUTHENTICATE PLAIN\r\n", SIEVE_VERB_AUTHENTICATE, false, NULL, NULL },
		{ "AUTHENTICATE\r\n", SIEVE_VERB_AUTHENTICATE, false, NULL, NULL },
		{ "AUTHENTICATE \"X\" \"Y\" \"Z\"\r\n", SIEVE_VERB_AUTHENTICATE, false, NULL,
		    NULL },
		{ "PUTSCRIPT \"x\" {3+}\r\nabc\r\n", SIEVE_VERB_LATER, true, NULL, NULL },
		{ "UNAUTHENTICATE\r\n", SIEVE_VERB_LATER, true, NULL, NULL },
		{ "GARBAGE \"\r\n", SIEVE_VERB_UNKNOWN, true, NULL, NULL },
		{ "\"NOOP\"\r\n", SIEVE_VERB_UNKNOWN, false, NULL, NULL },
		{ "\r\n", SIEVE_VERB_UNKNOWN, false, NULL, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sieve_cmd cmd;
		assert_framed(cases[i].in, true);
		err_t err = sieve_cmd_parse(&cmd, span_str(cases[i].in));
		assert_int_equal(err, cases[i].ok ? ERR_OK : ERR_SYNTAX);
		assert_int_equal(err == ERR_OK, cmd.why == NULL);
		assert_int_equal(cmd.verb, cases[i].verb);
		assert_span(cmd.mechanism, cases[i].a == NULL ? "" : cases[i].a);
		bool initial = cases[i].a != NULL && cases[i].b != NULL;
		bool tag = cases[i].a == NULL && cases[i].b != NULL;
		assert_int_equal(cmd.has_initial, initial);
		assert_span(cmd.initial, initial ? cases[i].b : "");
		assert_int_equal(cmd.has_tag, tag);
		assert_span(cmd.tag, tag ? cases[i].b : "");
		sieve_cmd_end(&cmd);
	}
}

static void test_answers(void **state)
{
	static const struct {
		const char *in, *want; /* NULL: none */
	} cases[] = {
		{ "\"AGE=\"\r\n", "AGE=" },
		{ "{4+}\r\nAGE=\r\n", "AGE=" },
		{ "\"\"\r\n", "" },
		{ "\"*\"\r\n", "*" },
		{ "AGE=\r\n", NULL },
		{ "\"a\" \"b\"\r\n", NULL },
		{ "\r\n", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sieve_cmd cmd;
		assert_framed(cases[i].in, true);
		err_t err = sieve_answer_parse(&cmd, span_str(cases[i].in));
		assert_int_equal(err == ERR_OK, cases[i].want != NULL);
		assert_span(cmd.initial, cases[i].want != NULL ? cases[i].want : "");
		sieve_cmd_end(&cmd);
	}
}

/* A client never waits before it sends a literal; what is too large is not taken. */
static void test_literals_of_clients(void **state)
{
	struct imap_frame f;
	imap_frame_init(&f, limits, true);
	assert_int_equal(imap_frame_scan(&f, SPAN("NOOP {3}\r\n")), IMAP_RX_CONTINUE);
	imap_frame_init(&f, limits, true);
	assert_int_equal(imap_frame_scan(&f, SPAN("NOOP {65+}\r\n")), IMAP_RX_LITERAL);
}

#define DATA(name, value) SIEVE_RESP_DATA, NULL, NULL, NULL, name, value
static void test_responses(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		enum sieve_resp_kind kind;
		const char *code, *code_text, *text, *name, *value;
	} cases[] = {
		{ "OK\r\n", true, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "ok \"fine\"\r\n", true, SIEVE_RESP_OK, NULL, NULL, "fine", NULL, NULL },
		{ "NO (TRYLATER) \"x\"\r\n", true, SIEVE_RESP_NO, "TRYLATER", NULL, "x", NULL,
		    NULL },
		{ "NO (QUOTA/MAXSIZE) {4}\r\na\r\nb\r\n", true, SIEVE_RESP_NO, "QUOTA/MAXSIZE",
		    NULL, "a\r\nb", NULL, NULL },
		{ "BYE (REFERRAL \"sieve://b\") \"go\"\r\n", true, SIEVE_RESP_BYE, "REFERRAL",
		    "sieve://b", "go", NULL, NULL },
		{ "OK (SASL \"cnY=\")\r\n", true, SIEVE_RESP_OK, "SASL", "cnY=", NULL, NULL, NULL },
		{ "\"SASL\" \"PLAIN\"\r\n", true, DATA("SASL", "PLAIN") },
		{ "\"STARTTLS\"\r\n", true, DATA("STARTTLS", NULL) },
		{ "{4}\r\ncnY=\r\n", true, DATA("cnY=", NULL) },
		{ "\"SIEVE\" {3}\r\na b\r\n", true, DATA("SIEVE", "a b") },
		{ "OKAY\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "OK fine\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "NO (X\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "NO (X) \"a\" \"b\"\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "\"a\" b\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "* OK hi\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
		{ "\r\n", false, SIEVE_RESP_OK, NULL, NULL, NULL, NULL, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sieve_resp r;
		assert_framed(cases[i].in, false);
		bool ok = sieve_resp_parse(&r, span_str(cases[i].in)) == ERR_OK;
		assert_int_equal(ok, cases[i].ok);
		if (ok)
			assert_int_equal(r.kind, cases[i].kind);
		const char *const want[] = { cases[i].code, cases[i].code_text, cases[i].text,
			cases[i].name, cases[i].value };
		const struct span got[] = { r.code, r.code_text, r.text, r.name, r.value };
		for (size_t k = 0; k < COUNT_OF(got); k++)
			assert_span(got[k], want[k] != NULL ? want[k] : "");
		if (ok && r.kind == SIEVE_RESP_DATA)
			assert_int_equal(r.value.p != NULL, cases[i].value != NULL);
		sieve_resp_end(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_literals_of_clients),
		cmocka_unit_test(test_responses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
