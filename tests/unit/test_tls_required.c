/* test_tls_required.c - when a header says TLS-Required: no, at every cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/tls_required.h"

static void test_cases(void **state)
{
	static const struct {
		const char *header;
		bool no;
	} cases[] = {
		{ "", false },
		{ "TLS-Required: no\r\n\r\n", true },
		{ "Subject: x\r\ntls-REQUIRED:NO\r\nTo: y\r\n\r\n", true },
		{ "TLS-Required:\r\n\t(for (once)) No\r\n (please)\r\n\r\n", true },
		{ "Subject: x\r\n\r\nTLS-Required: no\r\n", false },
		{ "TLS-Required: no\r\nTLS-Required: no\r\n\r\n", false },
		{ "TLS-Required: no\r\nTo: y\r\nTLS-required: yes\r\n\r\n", false },
		{ "TLS-Required: yes\r\n\r\n", false },
		{ "TLS-Required:\r\n\r\n", false },
		{ "TLS-Required: (no)\r\n\r\n", false },
		{ "TLS-Required: none\r\n\r\n", false },
		{ "TLS-Required: no thanks\r\n\r\n", false },
		{ "TLS-Required: no; x=y\r\n\r\n", false },
		{ "TLS-Required: \"no\"\r\n\r\n", false },
		{ "TLS-Required: no)\r\n\r\n", false },
		{ "X-TLS-Required: no\r\n\r\n", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(tls_required_is_no(span_str(cases[i].header)), cases[i].no);
}

/* What is cut off says nothing before its word is there. */
static void test_cuts(void **state)
{
	static const char text[] = "A: b\r\nTLS-Required: (x) no\r\n\r\n";
	size_t word = (size_t)(strstr(text, " no") - text) + 3;
	for (size_t n = 0; n < sizeof text; n++) {
		char *part = mem_copy(text, n);
		assert_int_equal(tls_required_is_no(span_of(part, n)), n >= word);
		mem_free(part);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
