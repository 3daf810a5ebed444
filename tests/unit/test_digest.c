/* test_digest.c - digests, HMAC and PBKDF2 against published vectors, in one piece and in many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/fmt.h"
#include "net/digest.h"

static void assert_hex(const uint8_t *raw, size_t n, const char *want)
{
	struct buf b = BUF_INIT(200);
	assert_true(fmt_hex(&b, span_of(raw, n)));
	assert_string_equal(buf_cstr(&b), want);
	buf_end(&b);
}

/* RFC 1321 appendix A.5, FIPS 180-2 appendices A, B and C: of "abc". */
static const struct {
	enum digest_kind kind;
	size_t len;
	const char *abc;
} kinds[] = {
	{ DIGEST_MD5, DIGEST_MD5_LEN, "900150983cd24fb0d6963f7d28e17f72" },
	{ DIGEST_SHA1, DIGEST_SHA1_LEN, "a9993e364706816aba3e25717850c26c9cd0d89d" },
	{ DIGEST_SHA256, DIGEST_SHA256_LEN,
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ DIGEST_SHA384, DIGEST_SHA384_LEN,
	    "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
	    "8086072ba1e7cc2358baeca134c825a7" },
	{ DIGEST_SHA512, DIGEST_SHA512_LEN,
	    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
};

static void test_digests(void **state)
{
	uint8_t out[DIGEST_LEN_MAX], pieces[DIGEST_LEN_MAX];
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		assert_int_equal(digest_len(kinds[i].kind), kinds[i].len);
		assert_int_equal(digest_make(kinds[i].kind, SPAN("abc"), out), kinds[i].len);
		assert_hex(out, kinds[i].len, kinds[i].abc);
		struct digest_run *r = digest_run_new(kinds[i].kind);
		digest_run_add(r, SPAN("a"));
		digest_run_add(r, SPAN_NONE);
		digest_run_add(r, SPAN("bc"));
		assert_int_equal(digest_run_end(&r, pieces), kinds[i].len);
		assert_null(r);
		assert_memory_equal(out, pieces, kinds[i].len);
	}
	digest_make(DIGEST_MD5, SPAN_NONE, out);
	assert_hex(out, DIGEST_MD5_LEN, "d41d8cd98f00b204e9800998ecf8427e");
}

/* RFC 2202 and RFC 4231, test case 2 each; RFC 6070, two rounds. */
static void test_keyed(void **state)
{
	uint8_t out[DIGEST_LEN_MAX];
	struct span key = SPAN("Jefe"), text = SPAN("what do ya want for nothing?");
	size_t n = digest_hmac(DIGEST_MD5, key, text, out);
	assert_hex(out, n, "750c783e6ab0b503eaa86e310a5db738");
	n = digest_hmac(DIGEST_SHA256, key, text, out);
	assert_hex(out, n, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_int_equal(digest_hmac(DIGEST_SHA1, SPAN_NONE, SPAN_NONE, out), DIGEST_SHA1_LEN);
	n = digest_pbkdf2(DIGEST_SHA1, SPAN("password"), SPAN("salt"), 2, out);
	assert_hex(out, n, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
}

/* The same as digest_hmac(), message after message, whatever was before. */
static void test_mac(void **state)
{
	const struct span keys[] = { SPAN("Jefe"),
		SPAN("a key of more than one block: "
		     "0123456789012345678901234567890123456789012345678901234567890123456789"
		     "0123456789012345678901234567890123456789012345678901234567890123456789") };
	const struct span texts[] = { SPAN("what do ya want for nothing?"), SPAN_NONE, SPAN("x") };
	uint8_t want[DIGEST_LEN_MAX], got[DIGEST_LEN_MAX];
	for (size_t kind = 0; kind < DIGEST_KINDS; kind++) {
		struct digest_mac *m = digest_mac_new((enum digest_kind)kind, SPAN("another"));
		for (size_t i = 0; i < COUNT_OF(keys) * COUNT_OF(texts) * 2; i++) {
			struct span key = keys[i / COUNT_OF(texts) % COUNT_OF(keys)];
			struct span text = texts[i % COUNT_OF(texts)];
			size_t n = digest_hmac((enum digest_kind)kind, key, text, want);
			if (i % COUNT_OF(texts) == 0)
				digest_mac_set_key(m, key);
			assert_int_equal(digest_mac_make(m, text, got), n);
			assert_memory_equal(got, want, n);
		}
		digest_mac_free(&m);
		assert_null(m);
	}
}

static void test_equal(void **state)
{
	assert_true(digest_equal(SPAN("same"), SPAN("same")));
	assert_true(digest_equal(SPAN_NONE, SPAN("")));
	assert_false(digest_equal(SPAN("same"), SPAN("sane")));
	assert_false(digest_equal(SPAN("same"), SPAN("same and more")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_keyed),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_equal),
	};
	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
