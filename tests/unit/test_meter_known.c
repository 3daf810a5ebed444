/* test_meter_known.c - who has logged in well from an address is not shut out by what others do behind it. */
#include "tests/unit/meter/place.h"

#include "metermaid/known.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	assert_true(ip_parse(span_str(text), &a));
	return a;
}

static void test_pairs(void **state)
{
	struct known *k = known_new_shared(1024);
	static const char *const same[] = { "203.0.113.7", "2001:db8::1" }, *const near[] = {
		"203.0.113.8", "2001:db8:0:1::1"
	};
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(known_since(k, addr(same[i]), SPAN("a@b"), 5000), 0);
		known_note(k, addr(same[i]), SPAN("A@b"), 1000);
		assert_int_equal(known_since(k, addr(same[i]), SPAN("a@B"), 5000), 4001);
		assert_int_equal(known_since(k, addr(same[i]), SPAN("a@b"), 1000), 1);
		assert_int_equal(known_since(k, addr(same[i]), SPAN("c@b"), 5000), 0);
		assert_int_equal(known_since(k, addr(near[i]), SPAN("a@b"), 5000), 0);
		known_note(k, addr(same[i]), SPAN("a@b"), 4000);
		assert_int_equal(known_since(k, addr(same[i]), SPAN("a@b"), 5000), 1001);
	}
	assert_true(known_since(k, addr("2001:db8::ffff"), SPAN("a@b"), 5000) > 0); /* of the /64 */
	known_note(k, addr("203.0.113.7"), SPAN(""), 5000);
	known_note(k, (struct ip_addr){ { 0 } }, SPAN("a@b"), 5000);
	assert_int_equal(known_since(k, (struct ip_addr){ { 0 } }, SPAN("a@b"), 5000), 0);
	known_free(&k);
}

/* A flood of other pairs: the size is fixed, and who came last is there. */
static void test_bound(void **state)
{
	struct known *k = known_new_shared(256);
	char user[32];
	size_t there = 0;
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(user, sizeof user, "user%u", i);
		known_note(k, addr("203.0.113.7"), span_str(user), 1000 + i);
		assert_true(known_since(k, addr("203.0.113.7"), span_str(user), 1000 + i) > 0);
	}
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(user, sizeof user, "user%u", i);
		there += known_since(k, addr("203.0.113.7"), span_str(user), 20000) > 0;
	}
	assert_true(there > 200 && there <= 256);
	known_free(&k);
}

static void test_rule(void **state)
{
	struct loop *l = loop_new();
	struct conf *c =
	    load("metermaid { rule guesses { on auth; kind penalty; key client/32,64; rate 2/1h; "
		 "spare_known 7d; } rule all { on login; key user; rate 1000/1m; } }",
		NULL);
	assert_non_null(c);
	struct metermaid *m = metermaid_new(l, NULL, c);
	struct meter_facts known = from("203.0.113.7", "Known@b"),
			   other = from("203.0.113.7", "x@b"),
			   claims = from("203.0.113.7", "claims@b");
	claims.known_ms = 1; /* nobody but the meter says so */
	known.authenticated = true;
	question(l, m, METER_LOGIN, &known);
	question(l, m, METER_LOGIN, &other); /* the password is not yet proven */
	known.authenticated = false;
	for (int i = 0; i < 5; i++)
		meter_charge(m, METER_AUTH, &other);
	assert_int_equal(question(l, m, METER_AUTH, &other).action, METER_DEFER);
	assert_int_equal(question(l, m, METER_AUTH, &claims).action, METER_DEFER);
	assert_null(meter_ask(m, METER_AUTH, &known, on_answer, NULL));
	for (int i = 0; i < 50; i++) /* and what it does wrong is not the others' */
		meter_charge(m, METER_AUTH, &known);
	struct meter_facts elsewhere = from("203.0.113.8", "known@b");
	assert_int_equal(question(l, m, METER_AUTH, &elsewhere).action, METER_ALLOW);
	meter_charge(m, METER_AUTH, &elsewhere);
	meter_charge(m, METER_AUTH, &elsewhere);
	meter_charge(m, METER_AUTH, &elsewhere);
	assert_int_equal(question(l, m, METER_AUTH, &elsewhere).action, METER_DEFER);
	metermaid_free(&m);
	conf_unref(&c);
	loop_free(&l);
}

static void test_mistake(void **state)
{
	assert_non_null(strstr(load_error("metermaid { rule r { on connect; key client/32,64; rate "
					  "2/1h; spare_known 1d; } }"),
	    "spare_known is for auth"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_mistake),
	};
	log_setup("test", LOG_ERROR, false);
	metermaid_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
