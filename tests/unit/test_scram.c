/* test_scram.c - SCRAM's messages and keys against RFC 7677, and what is none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"
#include "directory/scram_keys.h"
#include "proto/scram.h"

static void test_first(void **state)
{
	static const struct {
		const char *text;
		enum scram_gs2 gs2;
		const char *binding, *authzid, *user, *nonce, *header;
	} rows[] = {
		{ "n,,n=user,r=abc", SCRAM_GS2_NO, "", "", "user", "abc", "n,," },
		{ "y,a=boss,n=user,r=abc", SCRAM_GS2_UNASKED, "", "boss", "user", "abc",
		    "y,a=boss," },
		{ "p=tls-exporter,,n=u=2Cv=3Dw,r=a=b,x=y", SCRAM_GS2_BOUND, "tls-exporter", "",
		    "u,v=w", "a=b", "p=tls-exporter,," },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scram_first m;
		if (scram_first_parse(&m, span_str(rows[i].text)) != ERR_OK)
			fail_msg("%s", rows[i].text);
		assert_int_equal(m.gs2, rows[i].gs2);
		assert_true(span_eq_str(m.binding, rows[i].binding));
		assert_true(span_eq_str(m.authzid, rows[i].authzid));
		assert_true(span_eq_str(m.user, rows[i].user));
		assert_true(span_eq_str(m.nonce, rows[i].nonce));
		assert_true(span_eq_str(m.header, rows[i].header));
		assert_int_equal(m.header.n + m.bare.n, strlen(rows[i].text));
		scram_first_end(&m);
	}
}

static void test_first_refused(void **state)
{
	static const char *const bad[] = { "n,a=x=2cy,n=user,r=abc", "n,,n=us=er,r=abc",
		"n,,n=user=,r=abc", "n,,n=,r=abc", "n,,n=user,r=", "n,,n=user", "n,,r=abc,n=user",
		"n,n=user,r=abc", "n,a=,n=user,r=abc", "p=,,n=user,r=abc", "q,,n=user,r=abc",
		"N,,n=user,r=abc", "n,,n=us\ter,r=abc", "n,,n=us\xffr,r=abc", "n,,n=user,r=a bc",
		"", ",," };
	struct scram_first m;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (scram_first_parse(&m, span_str(bad[i])) != ERR_SYNTAX)
			fail_msg("%s", bad[i]);
		scram_first_end(&m);
	}
	assert_int_equal(scram_first_parse(&m, SPAN("n,,m=must,n=user,r=abc")), ERR_PROTOCOL);
	scram_first_end(&m);
}

static void test_first_limits(void **state)
{
	struct scram_first m;
	struct buf text = BUF_INIT(4096);
	buf_printf(&text, "n,,n=%0255d,r=%0256d", 0, 0);
	assert_int_equal(scram_first_parse(&m, buf_span(&text)), ERR_OK);
	scram_first_end(&m);
	buf_clear(&text);
	buf_printf(&text, "n,,n=%0256d,r=%0256d", 0, 0);
	assert_int_equal(scram_first_parse(&m, buf_span(&text)), ERR_TOO_LONG);
	scram_first_end(&m);
	buf_clear(&text);
	buf_printf(&text, "n,,n=%0255d,r=%0257d", 0, 0);
	assert_int_equal(scram_first_parse(&m, buf_span(&text)), ERR_TOO_LONG);
	scram_first_end(&m);
	buf_end(&text);
}

static void test_final(void **state)
{
	static const struct {
		const char *text;
		err_t err;
	} rows[] = {
		{ "c=biws,r=abc,p=AAAA", ERR_OK },
		{ "c=biws,r=abc,x=y,p=AAAA", ERR_OK },
		{ "c=biws,r=abc", ERR_SYNTAX },
		{ "c=biws,p=AAAA", ERR_SYNTAX },
		{ "r=abc,c=biws,p=AAAA", ERR_SYNTAX },
		{ "c=biw,r=abc,p=AAAA", ERR_SYNTAX },
		{ "c=,r=abc,p=AAAA", ERR_SYNTAX },
		{ "c=biws,r=abc,p=", ERR_SYNTAX },
		{ "c=biws,r=abc,p=AAAA,x=y", ERR_SYNTAX },
		{ "c=biws,r=abc,p=A*AA", ERR_SYNTAX },
		{ "", ERR_SYNTAX },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scram_final m;
		if (scram_final_parse(&m, span_str(rows[i].text)) != rows[i].err)
			fail_msg("%s", rows[i].text);
		if (rows[i].err == ERR_OK) {
			assert_true(span_eq_str(buf_span(&m.binding), "n,,"));
			assert_true(span_eq_str(m.nonce, "abc"));
			assert_int_equal(
			    m.without_proof.n + strlen(",p=AAAA"), strlen(rows[i].text));
		}
		scram_final_end(&m);
	}
}

/* Salt, rounds and server signature's key of RFC 7677 section 3, with the password "pencil". */
#define RFC_SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define RFC_STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define RFC_SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void test_keys(void **state)
{
	static const char *const good[] = { "{SCRAM-SHA-256}4096," RFC_SALT "," RFC_STORED
					    "," RFC_SERVER,
		"{scram-sha-256}4096:" RFC_SALT "$" RFC_STORED ":" RFC_SERVER };
	static const char *const bad[] = { "{SCRAM-SHA-1}4096," RFC_SALT "," RFC_STORED
					   "," RFC_SERVER,
		"{SCRAM-SHA-256}0," RFC_SALT "," RFC_STORED "," RFC_SERVER,
		"{SCRAM-SHA-256}4096,," RFC_STORED "," RFC_SERVER,
		"{SCRAM-SHA-256}4096," RFC_SALT "," RFC_SALT "," RFC_SERVER,
		"{SCRAM-SHA-256}4096," RFC_SALT "," RFC_STORED "," RFC_SALT,
		"{SCRAM-SHA-256}4096," RFC_SALT "," RFC_STORED, "{SCRAM-SHA-256}", "pencil",
		"{SCRAM-SHA-256}9999999," RFC_SALT "," RFC_STORED "," RFC_SERVER };
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct scram_keys k, made;
		assert_true(scram_keys_read(span_str(good[i]), &k));
		assert_int_equal(k.rounds, 4096);
		made = k;
		memset(made.stored, 0, sizeof made.stored);
		scram_keys_derive(&made, SPAN("pencil"));
		assert_memory_equal(made.stored, k.stored, sizeof k.stored);
		assert_memory_equal(made.server, k.server, sizeof k.server);
		assert_true(scram_keys_fit(span_str(good[i]), SPAN("pencil")));
		assert_false(scram_keys_fit(span_str(good[i]), SPAN("pencils")));
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct scram_keys k;
		if (scram_keys_read(span_str(bad[i]), &k) ||
		    scram_keys_fit(span_str(bad[i]), SPAN("pencil")))
			fail_msg("%s", bad[i]);
	}
}

static void test_server_messages(void **state)
{
	struct buf out = BUF_INIT(200);
	assert_true(scram_put_server_first(&out, SPAN("abcXYZ"), SPAN("salt"), 4096));
	assert_string_equal(buf_cstr(&out), "r=abcXYZ,s=c2FsdA==,i=4096");
	buf_clear(&out);
	assert_true(scram_put_server_final(&out, SPAN("sign")));
	assert_string_equal(buf_cstr(&out), "v=c2lnbg==");
	buf_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_first_refused),
		cmocka_unit_test(test_first_limits),
		cmocka_unit_test(test_final),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_server_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
