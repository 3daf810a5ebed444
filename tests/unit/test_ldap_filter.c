/* test_ldap_filter.c - filters and LDAP URLs of groups as text, whether entries fit them, DNs as keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "directory/member_url.h"

static struct entry entry_of(const char *dn)
{
	struct entry e;
	entry_init(&e);
	assert_true(entry_start(&e, span_str(dn)));
	assert_true(entry_add(&e, SPAN("objectClass"), SPAN("inetMailUser")));
	assert_true(entry_add(&e, SPAN("uid"), SPAN("anna")));
	assert_true(entry_add(&e, SPAN("mail"), SPAN("Anna.B@Example.org")));
	assert_true(entry_add(&e, SPAN("cn"), SPAN("Anna (the first) * B")));
	assert_true(entry_add(&e, SPAN("cn"), SPAN("aba")));
	return e;
}

static const struct {
	const char *text;
	bool good, fits;
} filters[] = {
	{ "(uid=anna)", true, true },
	{ "(UID=ANNA)", true, true },
	{ " (uid=anna) ", true, true },
	{ "(uid=ann)", true, false },
	{ "(uid=*)", true, true },
	{ "(title=*)", true, false },
	{ "(mail=*@example.org)", true, true },
	{ "(mail=anna*)", true, true },
	{ "(mail=a*.b*org)", true, true },
	{ "(mail=*b@*)", true, true },
	{ "(mail=*q*)", true, false },
	{ "(cn=ab*ba)", true, false }, /* pieces do not overlap */
	{ "(cn=a*a)", true, true },
	{ "(cn=*\\28the first\\29 \\2a B)", true, true },
	{ "(&(uid=anna)(mail=*))", true, true },
	{ "(&(uid=anna)(mail=x))", true, false },
	{ "(|(uid=x)(mail=*))", true, true },
	{ "(!(uid=x))", true, true },
	{ "(&(!(|(uid=x)(uid=y)))(objectClass=inetmailuser))", true, true },
	{ "(uid=)", true, false },
	{ "", false, false },
	{ "()", false, false },
	{ "(uid)", false, false },
	{ "uid=anna", false, false },
	{ "(uid=anna", false, false },
	{ "(uid=anna))", false, false },
	{ "(uid=a(b)", false, false },
	{ "(uid=a\\2)", false, false },
	{ "(uid=a\\zz)", false, false },
	{ "(uid>=a)", false, false },
	{ "(uid~=a)", false, false },
	{ "(uid:dn:=a)", false, false },
	{ "(=a)", false, false },
	{ "(u id=a)", false, false },
	{ "(&)", false, false },
	{ "(|)", false, false },
	{ "(!)", false, false },
	{ "(!(uid=a)(uid=b))", false, false },
	{ "(uid=a**b)", false, false },
	{ "(&(uid=a)x)", false, false },
	{ "(&(|(&(|(uid=a)))))", true, false },
	{ "(&(|(&(|(&(uid=a))))))", false, false },
};

static void test_filters(void **state)
{
	struct entry e = entry_of("uid=anna,o=x");
	struct ldap_tree *t = MEM_NEW(struct ldap_tree);
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		bool good = ldap_tree_parse(span_str(filters[i].text), t);
		if (good != filters[i].good ||
		    (good && ldap_tree_fits(&t->root, &e) != filters[i].fits))
			print_error("%s\n", filters[i].text);
		assert_int_equal(good, filters[i].good);
		if (good)
			assert_int_equal(ldap_tree_fits(&t->root, &e), filters[i].fits);
		for (size_t n = 0; good && n < strlen(filters[i].text) - 1; n++)
			if (filters[i].text[n] != ' ')
				assert_false(ldap_tree_parse(
				    span_of(filters[i].text, n), t)); /* no beginning is whole */
	}
	mem_free(t);
	entry_end(&e);
}

static void test_large_filters(void **state)
{
	struct ldap_tree *t = MEM_NEW(struct ldap_tree);
	struct buf b = BUF_INIT(8192);
	buf_add_str(&b, "(|");
	for (int i = 0; i < LDAP_TREE_PARTS_MAX; i++)
		buf_add_str(&b, "(a=b)");
	buf_add_str(&b, ")");
	assert_true(ldap_tree_parse(buf_span(&b), t));
	buf_clear(&b);
	buf_add_str(&b, "(|");
	for (int i = 0; i <= LDAP_TREE_PARTS_MAX; i++)
		buf_add_str(&b, "(a=b)");
	buf_add_str(&b, ")");
	assert_false(ldap_tree_parse(buf_span(&b), t));
	buf_clear(&b);
	buf_add_str(&b, "(a=");
	for (int i = 0; i < LDAP_TREE_TEXT_MAX; i++)
		buf_add_char(&b, 'x');
	buf_add_str(&b, ")");
	assert_false(ldap_tree_parse(buf_span(&b), t));
	buf_end(&b);
	mem_free(t);
}

static void test_urls(void **state)
{
	static const struct {
		const char *url, *dn;
		bool good, fits;
	} cases[] = {
		{ "ldap:///o=x??sub?(uid=anna)", "uid=anna,o=x", true, true },
		{ "LDAP:///O=X?mail?SUB?(uid=anna)", "uid=anna, o = x", true, true },
		{ "ldap:///o=x??sub?(uid=anna)", "uid=anna,ou=y,o=x", true, true },
		{ "ldap:///o=x??one?(uid=anna)", "uid=anna,ou=y,o=x", true, false },
		{ "ldap:///o=x??one?(uid=anna)", "uid=anna,o=x", true, true },
		{ "ldap:///uid=anna,o=x", "uid=anna,o=x", true, true },
		{ "ldap:///uid=anna,%20o=x", "uid=anna,o=x", true, true },
		{ "ldap:///o=x", "uid=anna,o=x", true, false },
		{ "ldap:///o=x??sub?(%26(uid=anna)(mail=*))", "uid=anna,o=x", true, true },
		{ "ldap:///o=x??sub", "uid=anna,o=xx", true, false },
		{ "ldap:///o=x??sub", "uid=anna,oo=x", true, false },
		{ "ldap:///??sub?(uid=anna)", "", false, false },
		{ "ldap://host/o=x??sub?(uid=anna)", "", false, false },
		{ "ldaps:///o=x", "", false, false },
		{ "http:///o=x", "", false, false },
		{ "ldap:///o=x??all", "", false, false },
		{ "ldap:///o=x??sub?uid=anna", "", false, false },
		{ "ldap:///o=x??sub?(uid=anna)?x-ext", "", false, false },
		{ "ldap:///o=%zz", "", false, false },
		{ "ldap:///o=%00", "", false, false },
		{ "ldap:///o=a%0ab", "", false, false },
	};
	struct member_url *u = MEM_NEW(struct member_url);
	const char *why;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool good = member_url_parse(span_str(cases[i].url), u, &why);
		if (good != cases[i].good)
			print_error("%s\n", cases[i].url);
		assert_int_equal(good, cases[i].good);
		assert_int_equal(why == NULL, good);
		if (!good)
			continue;
		struct entry e = entry_of(cases[i].dn);
		if (member_url_fits(u, &e) != cases[i].fits)
			print_error("%s %s\n", cases[i].url, cases[i].dn);
		assert_int_equal(member_url_fits(u, &e), cases[i].fits);
		entry_end(&e);
	}
	mem_free(u);
}

static void test_dns(void **state)
{
	static const struct {
		const char *dn, *key;
	} cases[] = {
		{ "UID=Anna, O = X ", "uid=anna,o=x" },
		{ "cn=a b,o=x", "cn=a b,o=x" },
		{ "cn=a  ,  o=x", "cn=a,o=x" },
		{ "cn=a\\, b,o=x", "cn=a\\, b,o=x" },
		{ "", NULL },
		{ "cn=a\nb", NULL },
	};
	struct buf key = BUF_INIT(DN_BYTES_MAX);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(name_dn_key(&key, span_str(cases[i].dn)), cases[i].key != NULL);
		if (cases[i].key != NULL)
			assert_string_equal(buf_cstr(&key), cases[i].key);
	}
	assert_true(name_dn_within(SPAN("uid=a,o=x"), SPAN("O=X")));
	assert_true(name_dn_within(SPAN("o=x"), SPAN("o = x")));
	assert_false(name_dn_within(SPAN("o=x"), SPAN("uid=a,o=x")));
	assert_false(name_dn_within(SPAN("uid=a,oo=x"), SPAN("o=x")));
	buf_end(&key);
}

/* Where searches of groups and their members may lie. */
static void test_bases(void **state)
{
	const char *bases[] = { "ou=people, dc=x", "o=y" };
	struct directory_conf none = { 0 }, base = { .base = "dc=x" }, both = { .base = "dc=x" };
	both.group_bases = (struct conf_strings){ bases, 2 };
	assert_true(member_dn_allowed(&none, SPAN("o=anything")));
	assert_true(member_dn_allowed(&base, SPAN("uid=a,dc=x")));
	assert_false(member_dn_allowed(&base, SPAN("uid=a,dc=y")));
	assert_true(member_dn_allowed(&both, SPAN("uid=a,ou=people,dc=x")));
	assert_true(member_dn_allowed(&both, SPAN("o=y")));
	assert_false(member_dn_allowed(&both, SPAN("uid=a,dc=x")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_large_filters),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_dns),
		cmocka_unit_test(test_bases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
