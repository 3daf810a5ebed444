/* test_transaction.c - recipients of a mail: copied, bounded, freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "edge/transaction.h"

static void test_recipients_are_copies(void **state)
{
	struct transaction *t = transaction_new((struct ident){ "abcdefghijkmnpqrst" });
	char address[] = "a@b.example", user[] = "a";
	struct recipient *r =
	    transaction_add(t, 10, span_str(address), span_str(user), SPAN_NONE, SPAN("store1"));
	assert_non_null(r);
	memset(address, 'x', sizeof address - 1);
	memset(user, 'x', sizeof user - 1);
	assert_string_equal(t->recipients[0].address, "a@b.example");
	assert_string_equal(t->recipients[0].user, "a");
	assert_null(t->recipients[0].detail);
	assert_string_equal(t->recipients[0].store, "store1");
	assert_int_equal(t->recipients[0].outcome.fate, FATE_OPEN);
	assert_int_equal(strlen(t->id.s), IDENT_LEN);
	assert_string_not_equal(t->id.s, t->session.s);
	transaction_free(&t);
	assert_null(t);
	transaction_free(&t);
}

static void test_the_list_is_bounded(void **state)
{
	struct transaction *t = transaction_new((struct ident){ "" });
	char name[32];
	for (unsigned i = 0; i < RECIPIENTS_MAX; i++) {
		snprintf(name, sizeof name, "u%u@b.example", i);
		assert_non_null(
		    transaction_add(t, 5000, span_str(name), SPAN_NONE, SPAN_NONE, SPAN_NONE));
	}
	assert_null(transaction_add(t, 5000, SPAN("x@b"), SPAN_NONE, SPAN_NONE, SPAN_NONE));
	assert_string_equal(t->recipients[0].address, "u0@b.example");
	assert_string_equal(t->recipients[999].address, "u999@b.example");
	transaction_free(&t);
	t = transaction_new((struct ident){ "" });
	assert_non_null(transaction_add(t, 1, SPAN("x@b"), SPAN_NONE, SPAN_NONE, SPAN_NONE));
	assert_null(transaction_add(t, 1, SPAN("y@b"), SPAN_NONE, SPAN_NONE, SPAN_NONE));
	transaction_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recipients_are_copies),
		cmocka_unit_test(test_the_list_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
