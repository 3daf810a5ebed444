/* test_directory_file.c - the file back end through the directory's own interface: names, statuses, two claims
 * to one name, reading again on change, files that break, reload, cancelling; and the static back end. */
#include "tests/unit/directory/fixture.h"

#define USER(dn, uid, mail, more)                                                                  \
	"dn: " dn "\nobjectClass: inetMailUser\nuid: " uid "\nmail: " mail "\n" more "\n"

#define ALICE                                                                                      \
	USER("uid=alice", "alice", "Alice@Example.org",                                            \
	    "mailHost: store1\nmailHost: STORE2\nmailAlternateAddress: a.l@example.org\n"          \
	    "mailEquivalentAddress: al@other.example\nmailQuota: 10M\nuserPassword: secret\n"      \
	    "mailAntiUBEService: spam\n")

static const char tree[] =
    "version: 1\n# two domains\ndn: dc=x\nobjectClass: domain\nassociatedDomain: Example.org\n"
    "mailDomainDiskQuota: 2G\nmailDomainMsgQuota: 70\nmailAntiUBEService: virus\n"
    "mailAntiUBEService: site\n\n"
    "dn: dc=y\nobjectClass: inetDomain\nassociatedDomain: held.example\nmailDomainStatus: "
    "hold\nmailDomainAllowedServiceAccess: +imap:10.\n\n" ALICE USER("uid=bob", "bob",
	"bob@example.net", "mailUserStatus: disabled\nmailHost: store1\n") USER("uid=off", "off",
	"off@example.net", "inetUserStatus: inactive\nmailUserStatus: hold\n") USER("uid=odd",
	"odd", "odd@example.net", "mailUserStatus: sleepy\n") USER("uid=gone", "gone",
	"gone@example.net", "mailUserStatus: removed\n") USER("uid=over", "over",
	"over@example.net", "mailUserStatus: overquota\n") USER("uid=h", "h", "h@held.example",
	"mailUserStatus: disabled\nmailAllowedServiceAccess: +pop:*\n") USER("uid=i", "i",
	"i@held.example", "") USER("uid=c1", "c1", "twice@example.org", "") USER("uid=c2", "c2",
	"c2@example.org", "mailAlternateAddress: twice@example.org\n") USER("uid=same,ou=1", "same",
	"s1@example.org", "") USER("uid=same,ou=2", "same", "s2@example.org", "") USER("uid=plus",
	"plus+really", "plus+really@example.org",
	"") "dn: cn=list\nobjectClass: inetMailGroup\ncn: list\nmail: list@example.org\n\n"
	    "dn: cn=store1\nobjectClass: posternStore\ncn: store1\nposternStoreHost: 127.0.0.1\n"
	    "posternStoreImapPort: 21143\nposternStoreLmtpPort: 21024\n\n";

static struct fixture open_tree(const char *more)
{
	char section[512];
	fixture_write("d.ldif", tree);
	snprintf(
	    section, sizeof section, "backend file; file %s; %s", fixture_path("d.ldif"), more);
	return fixture_open(section);
}

static void test_names(void **state)
{
	static const struct {
		const char *typed;
		enum directory_status status;
		const char *user;
	} cases[] = {
		{ "alice@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "ALICE@EXAMPLE.ORG.", DIRECTORY_FOUND, "alice@example.org" },
		{ "a.l@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "al@other.example", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice+news@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice+a+b@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice+news", DIRECTORY_FOUND, "alice@example.org" },
		{ "plus+really@example.org", DIRECTORY_FOUND, "plus+really@example.org" },
		{ "plus@example.org", DIRECTORY_ABSENT, NULL },
		{ "+news@example.org", DIRECTORY_ABSENT, NULL },
		{ "bob@example.org", DIRECTORY_ABSENT, NULL },
		{ "bob@example.net", DIRECTORY_FOUND, "bob@example.net" },
		{ "list@example.org", DIRECTORY_ABSENT, NULL },
		{ "twice@example.org", DIRECTORY_UNKNOWN, NULL },
		{ "c2@example.org", DIRECTORY_FOUND, "c2@example.org" },
		{ "same@example.org", DIRECTORY_UNKNOWN, NULL },
		{ "s1@example.org", DIRECTORY_UNKNOWN, NULL }, /* they would share a mailbox */
		{ "", DIRECTORY_ABSENT, NULL },
		{ "@", DIRECTORY_ABSENT, NULL },
		{ "@example.org", DIRECTORY_ABSENT, NULL },
		{ "alice@", DIRECTORY_ABSENT, NULL },
		{ "alice\n@example.org", DIRECTORY_ABSENT, NULL },
		{ "al\xffice@example.org", DIRECTORY_ABSENT, NULL },
		{ "*@example.org", DIRECTORY_ABSENT, NULL },
		{ "alice)(uid=*@example.org", DIRECTORY_ABSENT, NULL },
	};
	struct fixture f = open_tree("default_domain example.org;");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct got g = find(&f, cases[i].typed);
		if (g.status != cases[i].status)
			print_error("%s: %d\n", cases[i].typed, g.status);
		assert_int_equal(g.status, cases[i].status);
		if (g.account != NULL)
			assert_string_equal(g.account->user, cases[i].user);
		got_end(&g);
	}
	struct got nul = find_span(&f, SPAN("alice\0@example.org"));
	assert_int_equal(nul.status, DIRECTORY_ABSENT);
	char *long_name = mem_alloc(5000);
	memset(long_name, 'a', 4999);
	assert_int_equal(find_status(&f, long_name), DIRECTORY_ABSENT);
	mem_free(long_name);
	fixture_close(&f);
}

static void test_account(void **state)
{
	struct fixture f = open_tree("");
	struct got g = find(&f, "alice@example.org");
	assert_string_equal(g.account->id, "uid=alice");
	assert_string_equal(g.account->address, "Alice@Example.org");
	assert_string_equal(g.account->domain, "example.org");
	assert_int_equal(g.account->host_count, 2);
	assert_string_equal(g.account->hosts[0], "store1");
	assert_string_equal(g.account->hosts[1], "store2");
	assert_int_equal(g.account->quota_bytes, 10 * 1024 * 1024);
	assert_int_equal(g.account->quota_messages, -2);
	assert_int_equal(g.account->domain_quota_bytes, (int64_t)2 << 30);
	assert_int_equal(g.account->domain_quota_messages, 70);
	assert_int_equal(g.account->filters.n, 1);
	assert_string_equal(g.account->filters.p, "spam");
	assert_int_equal(g.account->domain_filters.n, 2);
	assert_string_equal(g.account->domain_filters.p, "virus");
	assert_string_equal(text_list_next(g.account->domain_filters.p), "site");
	assert_int_equal(g.account->status, ACCOUNT_ACTIVE);
	assert_null(g.account->allowed_services);
	assert_false(g.account->verify_at_store);
	got_end(&g);
	g = find(&f, "h@held.example"); /* its domain has none */
	assert_int_equal(g.account->domain_quota_bytes, -2);
	assert_int_equal(g.account->domain_quota_messages, -2);
	assert_string_equal(
	    g.account->allowed_services, "+imap:10.\n+pop:*"); /* its filter and the user's */
	assert_string_equal(g.account->address, "h@held.example");
	got_end(&g);
	g = find(&f, "i@held.example");
	assert_string_equal(g.account->allowed_services, "+imap:10.");
	assert_int_equal(g.account->filters.n + g.account->domain_filters.n, 0);
	got_end(&g);
	fixture_close(&f);
}

/* What is known at once is given at once, the same as later. */
static void test_known_at_once(void **state)
{
	struct fixture f = open_tree("");
	struct got unused = { 0 };
	struct directory_answer now;
	assert_null(directory_find_now(f.d, SPAN("a.l@example.org"), on_find, &unused, &now));
	assert_int_equal(now.status, DIRECTORY_FOUND);
	assert_string_equal(directory_answer_account(&now)->user, "alice@example.org");
	enum directory_status verdict;
	struct directory_secret what = { directory_answer_account(&now), SPAN("secret") };
	assert_null(directory_verify_now(f.d, &what, on_status, &unused, &verdict));
	assert_int_equal(verdict, DIRECTORY_FOUND);
	what.secret = SPAN("wrong");
	assert_null(directory_verify_now(f.d, &what, on_status, &unused, &verdict));
	assert_int_equal(verdict, DIRECTORY_ABSENT);
	directory_answer_end(&now);
	assert_null(directory_find_now(f.d, SPAN("bob@example.org"), on_find, &unused, &now));
	assert_int_equal(now.status, DIRECTORY_ABSENT);
	assert_null(directory_answer_account(&now));
	directory_answer_end(&now);
	assert_null(directory_store_now(f.d, SPAN("store1"), on_store, &unused, &now));
	assert_int_equal(now.status, DIRECTORY_FOUND);
	assert_int_equal(directory_answer_place(&now)->imap, 21143);
	directory_answer_end(&now);
	loop_step(f.loop, 0);
	assert_false(unused.done);
	fixture_close(&f);
}

static void test_statuses(void **state)
{
	static const struct {
		const char *name;
		enum account_status status;
	} cases[] = {
		{ "alice@example.org", ACCOUNT_ACTIVE }, { "bob@example.net", ACCOUNT_DISABLED },
		{ "off@example.net", ACCOUNT_INACTIVE }, /* inetUserStatus comes first */
		{ "odd@example.net", ACCOUNT_INACTIVE }, /* an unknown word */
		{ "gone@example.net", ACCOUNT_DELETED }, { "over@example.net", ACCOUNT_OVERQUOTA },
		{ "h@held.example", ACCOUNT_HOLD }, /* the domain's comes before the user's */
	};
	struct fixture f = open_tree("");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct got g = find(&f, cases[i].name);
		assert_int_equal(g.status, DIRECTORY_FOUND);
		assert_int_equal(g.account->status, cases[i].status);
		got_end(&g);
	}
	fixture_close(&f);
}

static void test_domains(void **state)
{
	struct fixture f =
	    open_tree("domains extra.example, more.example; default_domain d.example;");
	assert_int_equal(domain_status(&f, "EXAMPLE.org"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "example.net"), DIRECTORY_FOUND); /* it has users */
	assert_int_equal(domain_status(&f, "extra.example"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "more.example."), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "d.example"), DIRECTORY_FOUND);
	assert_int_equal(
	    domain_status(&f, "other.example"), DIRECTORY_ABSENT); /* a further address only */
	assert_int_equal(domain_status(&f, "a@example.org"), DIRECTORY_ABSENT);
	assert_int_equal(domain_status(&f, ""), DIRECTORY_ABSENT);
	fixture_close(&f);
}

static void test_stores(void **state)
{
	struct fixture f = open_tree("store_imap_port 10143; store_sieve_port 0;");
	struct got g = store(&f, "Store1");
	assert_int_equal(g.status, DIRECTORY_FOUND);
	assert_string_equal(g.host, "127.0.0.1");
	assert_int_equal(g.place.imap, 21143);
	assert_int_equal(g.place.lmtp, 21024);
	assert_int_equal(g.place.imaps, 0);
	g = store(&f, "imap.elsewhere.example");
	assert_int_equal(g.status, DIRECTORY_FOUND);
	assert_string_equal(g.host, "imap.elsewhere.example");
	assert_int_equal(g.place.imap, 10143);
	assert_int_equal(g.place.lmtp, 24);
	assert_int_equal(g.place.sieve, 0);
	assert_int_equal(g.place.submission, 587);
	assert_int_equal(g.place.submissions, 465);
	assert_int_equal(store(&f, "").status, DIRECTORY_UNKNOWN);
	fixture_close(&f);
}

static void test_file_is_read_again(void **state)
{
	char more[4096];
	struct fixture f = open_tree("");
	assert_int_equal(find_status(&f, "erin@example.org"), DIRECTORY_ABSENT);
	snprintf(more, sizeof more, "%s%s", tree, USER("uid=erin", "erin", "erin@example.org", ""));
	struct got before = find(&f, "alice@example.org");
	fixture_write("d.ldif", more);
	WAIT_FOR(&f, find_status(&f, "erin@example.org") == DIRECTORY_FOUND);
	assert_string_equal(before.account->user, "alice@example.org"); /* ours, though replaced */
	got_end(&before);

	/* In place, without a new inode: read when it has settled. */
	FILE *file = fopen(fixture_path("d.ldif"), "w");
	fputs(tree, file);
	fclose(file);
	WAIT_FOR(&f, find_status(&f, "erin@example.org") == DIRECTORY_ABSENT);
	fixture_close(&f);
}

static void test_broken_file_changes_nothing(void **state)
{
	static const char *const broken[] = {
		"dn: uid=x\nnot a pair\n",
		ALICE "dn: uid=x\nobjectClass: inetMailUser\nuid: x\nmail: no-address\n\n",
		"dn: cn=s\nobjectClass: posternStore\ncn: s\nposternStoreImapPort: 70000\n\n",
		"dn: uid=cut,dc=o",
		"",
	};
	struct fixture f = open_tree("");
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		uint64_t failures = metric_get(&directory_metrics[DIRECTORY_M_FILE_FAILURES]);
		fixture_write("d.ldif", broken[i]);
		WAIT_FOR(&f, metric_get(&directory_metrics[DIRECTORY_M_FILE_FAILURES]) > failures);
		assert_int_equal(find_status(&f, "bob@example.net"), DIRECTORY_FOUND);
		assert_true(directory_healthy(f.d));
	}
	assert_int_equal(unlink(fixture_path("d.ldif")), 0);
	uint64_t failures = metric_get(&directory_metrics[DIRECTORY_M_FILE_FAILURES]);
	WAIT_FOR(&f, metric_get(&directory_metrics[DIRECTORY_M_FILE_FAILURES]) > failures);
	assert_int_equal(find_status(&f, "bob@example.net"), DIRECTORY_FOUND);
	fixture_write("d.ldif", ALICE);
	WAIT_FOR(&f, find_status(&f, "bob@example.net") == DIRECTORY_ABSENT);
	fixture_close(&f);
}

static void test_no_file_is_not_nobody(void **state)
{
	char section[256];
	snprintf(section, sizeof section, "backend file; file %s;", fixture_path("later.ldif"));
	struct fixture f = fixture_open(section);
	assert_false(directory_healthy(f.d));
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_UNKNOWN);
	assert_int_equal(domain_status(&f, "example.org"), DIRECTORY_UNKNOWN);
	assert_int_equal(store(&f, "store1").status, DIRECTORY_UNKNOWN);
	fixture_write("later.ldif", tree);
	WAIT_FOR(&f, directory_healthy(f.d));
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	fixture_close(&f);
}

static void test_reload(void **state)
{
	char section[256];
	struct fixture f = open_tree("");
	struct got late = { 0 };
	fixture_write("other.ldif", USER("uid=zoe", "zoe", "zoe@example.org", ""));
	snprintf(section, sizeof section, "backend file; file %s;", fixture_path("other.ldif"));
	struct conf *c = fixture_conf(section);
	directory_find(f.d, SPAN("alice@example.org"), on_find, &late);
	directory_reload(f.d, c);
	await(&f, &late); /* began before: answered by the former generation */
	assert_int_equal(late.status, DIRECTORY_FOUND);
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_ABSENT);
	assert_int_equal(find_status(&f, "zoe@example.org"), DIRECTORY_FOUND);
	/* An account of the former generation still verifies. */
	assert_int_equal(verify_account(&f, late.account, SPAN("secret")), DIRECTORY_FOUND);
	got_end(&late);
	conf_unref(&c);
	snprintf(section, sizeof section, "backend file; file %s;", fixture_path("none.ldif"));
	c = fixture_conf(section);
	directory_reload(f.d, c);
	conf_unref(&c);
	assert_int_equal(find_status(&f, "zoe@example.org"), DIRECTORY_FOUND);
	fixture_close(&f);
}

static void on_never(void *arg, enum directory_status status, const struct account *a)
{
	fail();
}

static void test_cancel(void **state)
{
	struct fixture f = open_tree("");
	struct ticket *t = directory_find(f.d, SPAN("alice@example.org"), on_never, NULL);
	ticket_cancel(&t);
	for (int i = 0; i < 5; i++)
		loop_step(f.loop, 1);
	directory_find(f.d, SPAN("alice@example.org"), on_never, NULL);
	fixture_close(&f); /* with a question on its way */
}

struct freeing {
	struct fixture *f;
	bool done;
};

static void on_find_free(void *arg, enum directory_status status, const struct account *a)
{
	struct freeing *x = arg;
	directory_free(&x->f->d);
	assert_string_equal(a->user, "alice@example.org");
	x->done = true;
}

static void test_free_in_callback(void **state)
{
	struct fixture f = open_tree("");
	struct freeing x = { .f = &f };
	directory_find(f.d, SPAN("alice@example.org"), on_find_free, &x);
	directory_find(f.d, SPAN("alice@example.org"), on_never, NULL);
	WAIT_FOR(&f, x.done);
	fixture_close(&f);
}

static void test_static(void **state)
{
	struct fixture f =
	    fixture_open("backend static; static_host imap.%d; domains a.example, b.example;");
	assert_true(directory_healthy(f.d));
	struct got g = find(&f, "Joe+x@A.example");
	assert_int_equal(g.status, DIRECTORY_FOUND);
	assert_string_equal(g.account->user, "joe@a.example");
	assert_string_equal(g.account->hosts[0], "imap.a.example");
	assert_true(g.account->verify_at_store);
	assert_int_equal(verify_account(&f, g.account, SPAN("x")), DIRECTORY_UNKNOWN);
	got_end(&g);
	assert_int_equal(find_status(&f, "joe@c.example"), DIRECTORY_ABSENT);
	assert_int_equal(find_status(&f, "../joe@a.example"), DIRECTORY_ABSENT);
	assert_int_equal(domain_status(&f, "a.example"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "c.example"), DIRECTORY_ABSENT);
	fixture_close(&f);

	f = fixture_open("backend static; static_host one.example;");
	assert_int_equal(find_status(&f, "joe@any.example"), DIRECTORY_FOUND);
	assert_int_equal(find_status(&f, "joe"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "any.example"), DIRECTORY_ABSENT); /* no open relay */
	assert_int_equal(store(&f, "one.example").place.imap, 143);
	fixture_close(&f);
}

static void test_settings(void **state)
{
	static const char *const bad[] = {
		"backend sql;",
		"backend file;",
		"backend static;",
		"backend static; static_host imap.%d;",
		"backend ldap; base dc=x;",
		"backend ldap; uri http://x; base dc=x;",
		"backend ldap; uri ldap://x;",
		"backend ldap; uri ldap://x; base dc=x; bind_dn cn=x;",
		"backend file; file /x; cache_ttl 5 fortnights;",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct conf *c = fixture_conf(bad[i]);
		assert_null(c);
		assert_int_not_equal(fixture_error[0], '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_known_at_once),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_file_is_read_again),
		cmocka_unit_test(test_broken_file_changes_nothing),
		cmocka_unit_test(test_no_file_is_not_nobody),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_free_in_callback),
		cmocka_unit_test(test_static),
		cmocka_unit_test(test_settings),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
