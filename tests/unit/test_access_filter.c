/* test_access_filter.c - mailAllowedServiceAccess: services, clients, EXCEPT, and what is not understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "directory/access_filter.h"

static bool allows(struct span filter, const char *from, const char *name)
{
	const char *names[] = { NULL, name, strcmp(name, "imaps") == 0 ? "imap" : NULL };
	struct ip_addr client;
	assert_true(from == NULL || ip_parse(span_str(from), &client));
	return access_filter_allows(filter, from != NULL ? &client : NULL, names, COUNT_OF(names));
}

static void test_rules(void **state)
{
	static const struct {
		const char *filter, *from, *name;
		bool want;
	} rows[] = {
		{ "", "192.0.2.7", "imap", true },
		{ "+imap:*", "192.0.2.7", "imap", true },
		{ "imap:ALL", "192.0.2.7", "imap", true },
		{ "+imap:*", "192.0.2.7", "pop", false },
		{ "+ imap , POP : all", "192.0.2.7", "pop", true },
		{ "-pop:*", "192.0.2.7", "imap", true },
		{ "-pop:*", "192.0.2.7", "pop", false },
		{ "-ALL:*$+imap:*", "192.0.2.7", "imap", true },
		{ "-ALL:*$+imap:*", "192.0.2.7", "pop", false },
		{ "+imap:*", "192.0.2.7", "imaps", true },
		{ "+imaps:*", "192.0.2.7", "imap", false },
		/* from where */
		{ "+imap:192.0.2.7", "192.0.2.7", "imap", true },
		{ "+imap:192.0.2.7", "192.0.2.8", "imap", false },
		{ "+*:192.0.2.0/24", "192.0.2.8", "imap", true },
		{ "+*:192.0.2.0/24", "192.0.3.8", "imap", false },
		{ "+*:192.0.2.0/255.255.255.0", "192.0.2.8", "imap", true },
		{ "+*:192.0.2.0/255.255.255.0", "192.0.3.8", "imap", false },
		{ "+*:0.0.0.0/0.0.0.0", "192.0.3.8", "imap", true },
		{ "+*:192.0.2.", "192.0.2.200", "imap", true },
		{ "+*:192.0.2.", "192.0.20.2", "imap", false },
		{ "+*:10.", "10.200.0.1", "imap", true },
		{ "+*:10., 192.0.2.1 198.51.100.0/25", "198.51.100.9", "imap", true },
		{ "+*:2001:db8::/32", "2001:db8:1::7", "imap", true },
		{ "+*:[2001:db8::]/32", "2001:db8:1::7", "imap", true },
		{ "+*:2001:db8::/32", "192.0.2.7", "imap", false },
		{ "+*:[2001:db8::7]", "2001:db8::7", "imap", true },
		{ "-imap:192.0.2.0/24", "192.0.2.1", "imap", false },
		{ "-imap:192.0.2.0/24", "192.0.3.1", "imap", true },
		{ "+imaps:*$+imap:192.0.2.1", "192.0.2.1", "imap", true },
		{ "+imaps:*$+imap:192.0.2.1", "192.0.2.2", "imap", false },
		/* EXCEPT */
		{ "+ALL EXCEPT pop:*", "192.0.2.7", "imap", true },
		{ "+ALL EXCEPT pop:*", "192.0.2.7", "pop", false },
		{ "+imap:ALL except 192.0.2.0/24", "192.0.2.7", "imap", false },
		{ "+imap:ALL EXCEPT 192.0.2.0/24", "192.0.3.7", "imap", true },
		{ "+imap:ALL EXCEPT 192.0.2.0/24 EXCEPT 192.0.2.7", "192.0.2.7", "imap", true },
		{ "+imap:ALL EXCEPT 192.0.2.0/24 EXCEPT 192.0.2.7", "192.0.2.8", "imap", false },
		{ "+imap:10. EXCEPT 192.0.2.0/24 EXCEPT 192.0.2.7", "192.0.2.7", "imap", false },
		/* two of them */
		{ "+imap,pop:*\n+imap:*", "192.0.2.7", "imap", true },
		{ "+imap,pop:*\n+imap:*", "192.0.2.7", "pop", false },
		{ "+imap:10.\n+imap:*", "192.0.2.7", "imap", false },
		/* a client that is not known */
		{ "+imap:*$-pop:ALL", NULL, "imap", true },
		{ "+imap:192.0.2.7", NULL, "imap", false },
		{ "-pop:192.0.2.7", NULL, "imap", false },
		{ "+imap:ALL EXCEPT 192.0.2.7", NULL, "imap", false },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (allows(span_str(rows[i].filter), rows[i].from, rows[i].name) != rows[i].want)
			fail_msg("%s: %s from %s", rows[i].filter, rows[i].name, rows[i].from);
}

/* One mistake anywhere, and nobody is let in: also where another rule would. */
static void test_what_is_not_understood(void **state)
{
	static const char *const rows[] = {
		"+imap",
		"+imap:",
		"+:*",
		"+",
		"$",
		"+imap:*$",
		"+imap:* EXCEPT",
		"+EXCEPT pop:*",
		"+imap:*, host.example",
		"+imap:.example.org",
		"+imap:LOCAL",
		"+imap:KNOWN",
		"+imap:*$+pop:UNKNOWN",
		"+imap:*$-pop:192.0.2.7/24", /* bits of the host */
		"+imap:*$-pop:192.0.2.7/255.255.255.0",
		"+imap:*$-pop:192.0.2.0/255.0.255.0",
		"+imap:*$-pop:2001:db8::/255.255.0.0",
		"+imap:*$-pop:192.0.2.0/33",
		"+imap:*$-pop:192.0.2.0/",
		"+imap:*$-pop:1.2.3.4.",
		"+imap:*$-pop:.",
		"+imap:*$-pop:300.",
		"+imap:*$-pop:192.0.2."
		"00000000000000000000000000000000000000000000000000000000000000000",
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (allows(span_str(rows[i]), "198.51.100.1", "imap"))
			fail_msg("%s", rows[i]);
	struct buf many = BUF_INIT(2000);
	buf_add_str(&many, "+imap:*");
	for (int i = 1; i < ACCESS_FILTER_RULES_MAX; i++)
		buf_add_str(&many, "$+imap:*");
	assert_true(allows(buf_span(&many), "198.51.100.1", "imap"));
	buf_add_str(&many, "$+imap:*");
	assert_false(allows(buf_span(&many), "198.51.100.1", "imap"));
	buf_end(&many);
}

/* Each beginning of a long filter is read to its end and no further: for sanitizers. */
static void test_every_beginning(void **state)
{
	static const char text[] =
	    "+imap,pop EXCEPT smtp:10., 192.0.2.0/255.255.255.0 EXCEPT [2001:db8::]/32$-*:ALL";
	for (size_t n = 0; n < sizeof text; n++) {
		char *copy = mem_alloc(n + 1);
		memcpy(copy, text, n);
		allows(span_of(copy, n), "192.0.2.7", "imap");
		mem_free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_what_is_not_understood),
		cmocka_unit_test(test_every_beginning),
	};
	return cmocka_run_group_tests_name("access_filter", tests, NULL, NULL);
}
