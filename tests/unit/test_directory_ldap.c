/* test_directory_ldap.c - the ldap back end against real slapd processes: names, hostile names, statuses,
 * passwords, TLS, two replicas of which one dies and comes back, reload, cancelling. What slapd never does is
 * in test_directory_ldap_fake.c. */
#include "tests/unit/directory/slapd.h"

/* clang-format off */
#define ENTRY(cn, uid, more)                                                                       \
	"dn: cn=" cn ",dc=postern\nobjectClass: inetOrgPerson\nobjectClass: inetMailUser\n"       \
	"cn: " cn "\nsn: x\nuid: " uid "\n" more "\n"
#define DOMAIN(dc, more)                                                                           \
	"dn: dc=" dc ",dc=postern\nobjectClass: domain\nobjectClass: inetDomain\n"                \
	"objectClass: mailDomain\ndc: " dc "\n" more "\n"

static const char tree[] =
	"dn: dc=postern\nobjectClass: domain\ndc: postern\n\n"
	"dn: cn=service,dc=postern\nobjectClass: organizationalRole\n"
	"objectClass: simpleSecurityObject\ncn: service\nuserPassword: service-secret\n\n"
	"dn: cn=store1,dc=postern\nobjectClass: posternStore\ncn: store1\n"
	"posternStoreHost: 127.0.0.1\nposternStoreImapPort: 21143\nposternStoreLmtpPort: 21024\n\n"
	"dn: cn=list,dc=postern\nobjectClass: inetOrgPerson\ncn: list\nsn: x\n"
	"mail: list@example.org\n\n"
	DOMAIN("a", "associatedDomain: example.org\nmailAntiUBEService: virus\n")
	DOMAIN("b", "associatedDomain: held.example\nmailDomainStatus: hold\n")
	ENTRY("alice", "alice", "mail: alice@example.org\nmailHost: store1\nmailHost: STORE2\n"
		"mailAlternateAddress: A.L@example.org\nmailEquivalentAddress: al@other.example\n"
		"mailQuota: 10M\nuserPassword: alice-secret\nmailAntiUBEService: spam\n")
	ENTRY("bob", "bob", "mail: bob@example.net\nmailUserStatus: disabled\n"
		"userPassword: {SSHA}8oInNR9H+ZIUh5J6r0gYN8U1Gi2Xad7Z\n")
	ENTRY("h", "h", "mail: h@held.example\n")
	ENTRY("plus", "plus+really", "mail: plus+really@example.org\n")
	ENTRY("c1", "c1", "mail: c1@example.org\nmailAlternateAddress: twice@example.org\n")
	ENTRY("c2", "c2", "mail: c2@example.org\nmailAlternateAddress: twice@example.org\n")
	ENTRY("star", "star*(x)", "mail: s@example.org\nmailAlternateAddress: a)(b@example.org\n")
	ENTRY("bare", "bare", "")
	ENTRY("full", "full@example.com", "")
	ENTRY("spaces", "two  spaces", "mail: spaces@example.org\n")
	ENTRY("same1", "same", "mail: s1@example.org\n")
	ENTRY("same2", "same", "mail: s2@example.org\n")
	ENTRY("same3", "same", "mail: s3@example.net\n");
/* clang-format on */

static struct slapd one, two;

/* more: further options; ports of the servers, 0: none. */
static struct fixture open_ldap(uint16_t first, uint16_t second, const char *more)
{
	char section[1024], other[64] = "";
	if (second != 0)
		snprintf(other, sizeof other, ", ldap://127.0.0.1:%u", second);
	snprintf(section, sizeof section,
	    "backend ldap; uri ldap://127.0.0.1:%u%s; base \"dc=postern\"; %s", first, other, more);
	return fixture_open(section);
}

static struct fixture open_one(const char *more)
{
	return open_ldap(one.port, 0, more);
}

struct name_case {
	const char *typed;
	enum directory_status status;
	const char *user;
};

static void check_names(struct fixture *f, const struct name_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct got g = find(f, cases[i].typed);
		if (g.status != cases[i].status)
			print_error("%s: %d\n", cases[i].typed, g.status);
		assert_int_equal(g.status, cases[i].status);
		if (g.account != NULL)
			assert_string_equal(g.account->user, cases[i].user);
		got_end(&g);
	}
}

static void test_names(void **state)
{
	static const struct name_case cases[] = {
		{ "alice@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "ALICE@EXAMPLE.ORG.", DIRECTORY_FOUND, "alice@example.org" },
		{ "a.l@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "al@other.example", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice", DIRECTORY_FOUND, "alice@example.org" },
		{ "alice+news@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "plus+really@example.org", DIRECTORY_FOUND, "plus+really@example.org" },
		{ "plus@example.org", DIRECTORY_ABSENT, NULL },
		{ "bob@example.org", DIRECTORY_ABSENT, NULL },
		{ "bob@example.net", DIRECTORY_FOUND, "bob@example.net" },
		{ "list@example.org", DIRECTORY_ABSENT, NULL },
		{ "bare", DIRECTORY_FOUND, "bare@example.org" },
		{ "full@example.com", DIRECTORY_FOUND, "full@example.com" },
		{ "twice@example.org", DIRECTORY_UNKNOWN, NULL },
		{ "c2@example.org", DIRECTORY_FOUND, "c2@example.org" },
		{ "same@example.org", DIRECTORY_UNKNOWN, NULL },
		{ "s1@example.org", DIRECTORY_UNKNOWN, NULL }, /* they would share a mailbox */
		{ "s3@example.net", DIRECTORY_FOUND, "same@example.net" },
		{ "same@example.net", DIRECTORY_FOUND, "same@example.net" },
		{ "nobody@example.org", DIRECTORY_ABSENT, NULL },
	};
	struct fixture f = open_one("default_domain example.org;");
	check_names(&f, cases, COUNT_OF(cases));
	fixture_close(&f);
}

/* What the operator asks beside the names; a name stays a value in it. */
static void test_templates(void **state)
{
	static const struct name_case cases[] = {
		{ "alice@example.org", DIRECTORY_FOUND, "alice@example.org" },
		{ "al@other.example", DIRECTORY_FOUND, "alice@example.org" }, /* by its store */
		{ "c1@example.org", DIRECTORY_FOUND, "c1@example.org" },      /* cn is %u */
		{ "twice@example.org", DIRECTORY_ABSENT, NULL },
		{ "s1@example.org", DIRECTORY_ABSENT, NULL },
		{ "*)(cn=*@example.org", DIRECTORY_ABSENT, NULL },
		{ "bob@example.net", DIRECTORY_ABSENT, NULL }, /* disabled */
	};
	struct fixture f = open_one("user_filter \"(&(!(mailUserStatus=disabled))"
				    "(|(mailHost=store1)(&(cn=%u)(mail=*@%d))))\"; "
				    "domain_filter \"(&(dc=a)(associatedDomain=%s))\";");
	check_names(&f, cases, COUNT_OF(cases));
	assert_int_equal(domain_status(&f, "example.org"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "held.example"), DIRECTORY_FOUND); /* it has users */
	fixture_close(&f);
	f = open_one("user_filter \"(mail=*@%d)\"; domain_filter \"(dc=a)\";");
	static const struct name_case without[] = {
		{ "alice", DIRECTORY_ABSENT, NULL }, /* no domain to look for */
		{ "alice@example.org", DIRECTORY_FOUND, "alice@example.org" },
	};
	check_names(&f, without, COUNT_OF(without));
	struct got g = find(&f, "h@held.example"); /* the entry that holds it is no domain here */
	assert_int_equal(g.account->status, ACCOUNT_ACTIVE);
	got_end(&g);
	fixture_close(&f);
}

/* Names that mean something in the text of a filter or a DN are names like any other. */
static void test_hostile_names(void **state)
{
	static const struct name_case cases[] = {
		{ "*", DIRECTORY_ABSENT, NULL },
		{ "*@example.org", DIRECTORY_ABSENT, NULL },
		{ "al*@example.org", DIRECTORY_ABSENT, NULL },
		{ "alice)(uid=*@example.org", DIRECTORY_ABSENT, NULL },
		{ "*)(objectClass=*))(|(uid=*", DIRECTORY_ABSENT, NULL },
		{ "al\\69ce@example.org", DIRECTORY_ABSENT, NULL },
		{ "\\2a@example.org", DIRECTORY_ABSENT, NULL },
		{ "alice,dc=postern", DIRECTORY_ABSENT, NULL },
		{ "alice@example.org@example.org", DIRECTORY_ABSENT, NULL },
		{ "%61lice@example.org", DIRECTORY_ABSENT, NULL },
		{ "\xc3\xa4\xc3\xb6@example.org", DIRECTORY_ABSENT, NULL },
		{ "star*(x)@example.org", DIRECTORY_FOUND, "star*(x)@example.org" },
		{ "star*@example.org", DIRECTORY_ABSENT, NULL },
		{ "a)(b@example.org", DIRECTORY_FOUND, "star*(x)@example.org" },
		/* The server takes these for the same names; we do not. */
		{ "two spaces@example.org", DIRECTORY_ABSENT, NULL },
		{ " alice@example.org", DIRECTORY_ABSENT, NULL },
		{ "alice @example.org", DIRECTORY_ABSENT, NULL },
	};
	struct fixture f = open_one("");
	check_names(&f, cases, COUNT_OF(cases));
	assert_int_equal(domain_status(&f, "*"), DIRECTORY_ABSENT);
	assert_int_equal(domain_status(&f, "example.org)(dc=*"), DIRECTORY_ABSENT);
	assert_int_equal(store(&f, "*").place.imap, 143);
	fixture_close(&f);
}

static void test_account(void **state)
{
	struct fixture f = open_one("verify bind;");
	struct got g = find(&f, "alice@example.org");
	assert_string_equal(g.account->id, "cn=alice,dc=postern");
	assert_string_equal(g.account->address, "alice@example.org");
	assert_int_equal(g.account->host_count, 2);
	assert_string_equal(g.account->hosts[0], "store1");
	assert_string_equal(g.account->hosts[1], "store2");
	assert_int_equal(g.account->quota_bytes, 10 * 1024 * 1024);
	assert_string_equal(g.account->filters.p, "spam");
	assert_string_equal(g.account->domain_filters.p, "virus");
	assert_null(g.account->password);
	got_end(&g);
	g = find(&f, "bob@example.net");
	assert_int_equal(g.account->status, ACCOUNT_DISABLED);
	got_end(&g);
	g = find(&f, "h@held.example"); /* its domain's */
	assert_int_equal(g.account->status, ACCOUNT_HOLD);
	got_end(&g);
	fixture_close(&f);
}

static void test_domains_and_stores(void **state)
{
	struct fixture f = open_one("domains extra.example; store_imap_port 10143;");
	assert_int_equal(domain_status(&f, "EXAMPLE.org"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "example.net"), DIRECTORY_FOUND); /* it has users */
	assert_int_equal(domain_status(&f, "example.com"), DIRECTORY_FOUND); /* in a uid */
	assert_int_equal(domain_status(&f, "extra.example"), DIRECTORY_FOUND);
	assert_int_equal(domain_status(&f, "other.example"), DIRECTORY_ABSENT);
	assert_int_equal(domain_status(&f, "ample.net"), DIRECTORY_ABSENT);
	assert_int_equal(domain_status(&f, "postern"), DIRECTORY_ABSENT);
	struct got g = store(&f, "Store1");
	assert_string_equal(g.host, "127.0.0.1");
	assert_int_equal(g.place.imap, 21143);
	assert_int_equal(g.place.lmtp, 21024);
	assert_int_equal(g.place.imaps, 0);
	g = store(&f, "imap.elsewhere.example");
	assert_string_equal(g.host, "imap.elsewhere.example");
	assert_int_equal(g.place.imap, 10143);
	fixture_close(&f);
}

static uint64_t requests(void)
{
	return metric_get(&directory_metrics[DIRECTORY_M_LDAP_REQUESTS]);
}

static void test_verify(void **state)
{
	struct fixture f = open_one("verify_ttl 1m; verify_negative_ttl 1m;");
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "alice@example.org", "wrong"), DIRECTORY_ABSENT);
	assert_int_equal(verify(&f, "bob@example.net", "bob-secret"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "c1@example.org", "any"), DIRECTORY_ABSENT); /* has none */
	/* A bind with an empty password would succeed: never sent. */
	uint64_t before = requests();
	assert_int_equal(verify(&f, "alice@example.org", ""), DIRECTORY_ABSENT);
	/* Remembered. */
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "alice@example.org", "wrong"), DIRECTORY_ABSENT);
	assert_int_equal(requests(), before);
	fixture_close(&f);
}

static void test_compare(void **state)
{
	struct fixture f =
	    open_one("verify compare; bind_dn \"cn=service,dc=postern\"; bind_password "
		     "service-secret;");
	assert_int_equal(verify(&f, "bob@example.net", "bob-secret"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "bob@example.net", "wrong"), DIRECTORY_ABSENT);
	/* A server that shows plain text is set up wrongly; an entry without password decides nothing. */
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_UNKNOWN);
	assert_int_equal(verify(&f, "c1@example.org", "any"), DIRECTORY_UNKNOWN);
	fixture_close(&f);
}

static void test_wrong_service_password(void **state)
{
	struct fixture f =
	    open_one("bind_dn \"cn=service,dc=postern\"; bind_password wrong; deadline 1s;");
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_UNKNOWN);
	assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_UNKNOWN);
	assert_false(directory_healthy(f.d));
	fixture_close(&f);
}

static void test_wrong_base(void **state)
{
	char section[256];
	snprintf(section, sizeof section,
	    "backend ldap; uri ldap://127.0.0.1:%u; base \"dc=nowhere\"; deadline 1s;", one.port);
	struct fixture f = fixture_open(section);
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_UNKNOWN);
	assert_int_equal(domain_status(&f, "example.org"), DIRECTORY_UNKNOWN);
	assert_int_equal(store(&f, "store1").status, DIRECTORY_UNKNOWN);
	fixture_close(&f);
}

static void test_tls(void **state)
{
	char section[512];
	static const struct {
		const char *scheme, *options;
		enum directory_status status;
	} cases[] = {
		{ "ldaps", "tls_ca %s;", DIRECTORY_FOUND },
		{ "ldap", "tls_ca %s; starttls yes;", DIRECTORY_FOUND },
		{ "ldaps", "tls_verify none;", DIRECTORY_FOUND },
		{ "ldaps", "deadline 1s;", DIRECTORY_UNKNOWN }, /* trusted by nobody */
		{ "ldap", "starttls yes; deadline 1s;", DIRECTORY_UNKNOWN },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int n = snprintf(section, sizeof section,
		    "backend ldap; base \"dc=postern\"; uri %s://127.0.0.1:%u; ", cases[i].scheme,
		    cases[i].scheme[4] == 's' ? one.tls_port : one.port);
		const char *ca = strstr(cases[i].options, "%s");
		snprintf(section + n, sizeof section - (size_t)n, "%.*s%s%s",
		    ca == NULL ? 0 : (int)(ca - cases[i].options), cases[i].options,
		    ca == NULL ? "" : fixture_path("tls.pem"),
		    ca == NULL ? cases[i].options : ca + 2);
		struct fixture f = fixture_open(section);
		assert_int_equal(find_status(&f, "alice@example.org"), cases[i].status);
		if (cases[i].status == DIRECTORY_FOUND)
			assert_int_equal(
			    verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
		fixture_close(&f);
	}
}

/* StartTLS is for TCP: a unix socket is private as it is. */
static void test_unix_socket(void **state)
{
	char section[256];
	snprintf(section, sizeof section,
	    "backend ldap; base \"dc=postern\"; starttls yes; uri ldapi://%%2Ftmp%%2F%s%%2F%s;",
	    fixture_dir + strlen("/tmp/"), one.name);
	struct fixture f = fixture_open(section);
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	fixture_close(&f);
}

static void test_cache(void **state)
{
	struct fixture f = open_one("");
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
	uint64_t before = requests();
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
	assert_int_equal(requests(), before);
	directory_forget(f.d, SPAN("alice@example.org"));
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	assert_int_equal(requests(), before + 1);
	fixture_close(&f);
}

/* The best server dies, the other one answers; the best one comes back and is used again. */
static void test_failover_and_return(void **state)
{
	struct fixture f =
	    open_ldap(one.port, two.port, "cache_ttl 0s; negative_ttl 0s; verify_ttl 0s;");
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	slapd_kill(&one);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
		assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
		assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	}
	slapd_start(&one);
	/* Back at the first one when the second is not missed any more. */
	uint64_t connects = metric_get(&directory_metrics[DIRECTORY_M_LDAP_CONNECTS]);
	WAIT_FOR(&f, metric_get(&directory_metrics[DIRECTORY_M_LDAP_CONNECTS]) > connects);
	loop_step(f.loop, 20);
	slapd_kill(&two);
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	slapd_start(&two);
	fixture_close(&f);
}

static void test_all_away(void **state)
{
	struct fixture f = open_ldap(one.port, two.port,
	    "cache_ttl 0s; negative_ttl 0s; verify_ttl 0s; stale_max 1h; deadline 1s;");
	struct got alice = find(&f, "alice@example.org");
	assert_int_equal(alice.status, DIRECTORY_FOUND);
	assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
	assert_int_equal(find_status(&f, "bob@example.net"), DIRECTORY_FOUND);
	slapd_kill(&one);
	slapd_kill(&two);
	for (int i = 0; i < 2; i++) {
		/* Never "unknown user", not even for one who was unknown before. */
		assert_int_equal(find_status(&f, "carol@example.org"), DIRECTORY_UNKNOWN);
		assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_UNKNOWN);
		assert_int_equal(domain_status(&f, "example.org"), DIRECTORY_FOUND); /* stale */
		assert_int_equal(domain_status(&f, "new.example"), DIRECTORY_UNKNOWN);
		assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND); /* stale */
		assert_int_equal(find_status(&f, "bob@example.net"), DIRECTORY_UNKNOWN);
		assert_int_equal(
		    verify_account(&f, alice.account, SPAN("alice-secret")), DIRECTORY_UNKNOWN);
		assert_int_equal(
		    verify_account(&f, alice.account, SPAN("wrong")), DIRECTORY_UNKNOWN);
	}
	assert_false(directory_healthy(f.d));
	slapd_start(&two);
	WAIT_FOR(&f, directory_healthy(f.d));
	assert_int_equal(find_status(&f, "nobody@example.org"), DIRECTORY_ABSENT);
	assert_int_equal(verify_account(&f, alice.account, SPAN("alice-secret")), DIRECTORY_FOUND);
	got_end(&alice);
	fixture_close(&f);
	slapd_start(&one);
}

/* An empty replica must not be believed: it would say "unknown user" of everybody. */
static void test_empty_replica(void **state)
{
	struct slapd empty;
	fixture_write("empty.ldif", "");
	slapd_make(&empty, "empty", "empty.ldif");
	slapd_start(&empty);
	struct fixture f = open_ldap(empty.port, one.port, "");
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	fixture_close(&f);
	f = open_ldap(empty.port, 0, "deadline 1s;");
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_UNKNOWN);
	fixture_close(&f);
	slapd_kill(&empty);
}

enum { MANY = 300 };

static void test_many_at_once(void **state)
{
	static struct got many[MANY];
	char name[64];
	struct fixture f =
	    open_one("search_connections 2; bind_connections 4; verify_ttl 0s; deadline 20s;");
	struct got alice = find(&f, "alice@example.org");
	uint64_t before = requests();
	memset(many, 0, sizeof many);
	for (size_t i = 0; i < MANY; i++) { /* one question to the server for one key */
		assert_non_null(directory_find(f.d, SPAN("c1@example.org"), on_find, &many[i]));
	}
	for (size_t i = 0; i < MANY; i++) {
		WAIT_FOR(&f, many[i].done);
		assert_int_equal(many[i].status, DIRECTORY_FOUND);
		got_end(&many[i]);
	}
	assert_int_equal(requests(), before + 1);
	memset(many, 0, sizeof many);
	for (size_t i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "no%zu@example.org", i);
		assert_non_null(directory_find(f.d, span_str(name), on_find, &many[i]));
	}
	for (size_t i = 0; i < MANY; i++) {
		WAIT_FOR(&f, many[i].done);
		assert_int_equal(many[i].status, DIRECTORY_ABSENT);
	}
	memset(many, 0, sizeof many);
	for (size_t i = 0; i < MANY; i++)
		assert_non_null(directory_verify(f.d, alice.account,
		    i % 2 == 0 ? SPAN("alice-secret") : SPAN("wrong"), on_status, &many[i]));
	for (size_t i = 0; i < MANY; i++) {
		WAIT_FOR(&f, many[i].done);
		assert_int_equal(many[i].status, i % 2 == 0 ? DIRECTORY_FOUND : DIRECTORY_ABSENT);
	}
	got_end(&alice);
	fixture_close(&f);
}

static void test_queue_is_bounded(void **state)
{
	struct got g[3] = { 0 };
	struct fixture f = open_one("queue_max 2;");
	directory_find(f.d, SPAN("alice@example.org"), on_find, &g[0]);
	directory_find(f.d, SPAN("bob@example.net"), on_find, &g[1]);
	directory_find(f.d, SPAN("c1@example.org"), on_find, &g[2]);
	WAIT_FOR(&f, g[0].done && g[1].done && g[2].done);
	assert_int_equal(g[0].status, DIRECTORY_FOUND);
	assert_int_equal(g[1].status, DIRECTORY_FOUND);
	assert_int_equal(g[2].status, DIRECTORY_UNKNOWN);
	got_end(&g[0]);
	got_end(&g[1]);
	fixture_close(&f);
}

static void test_reload(void **state)
{
	char section[256];
	struct got late = { 0 };
	struct fixture f = open_one("");
	snprintf(section, sizeof section,
	    "backend ldap; uri ldap://127.0.0.1:%u; base \"dc=postern\";", two.port);
	struct conf *c = fixture_conf(section);
	assert_int_equal(find_status(&f, "alice@example.org"), DIRECTORY_FOUND);
	directory_find(f.d, SPAN("c1@example.org"), on_find, &late);
	directory_reload(f.d, c); /* with a question under way */
	conf_unref(&c);
	await(&f, &late);
	assert_int_equal(late.status, DIRECTORY_FOUND);
	got_end(&late);
	slapd_kill(&one);
	assert_int_equal(find_status(&f, "bob@example.net"), DIRECTORY_FOUND);
	assert_int_equal(verify(&f, "alice@example.org", "alice-secret"), DIRECTORY_FOUND);
	slapd_start(&one);
	fixture_close(&f);
}

static void on_never(void *arg, enum directory_status status, const struct account *a)
{
	fail();
}

static void on_never_status(void *arg, enum directory_status status)
{
	fail();
}

/* After each number of rounds, from the asking call to shortly before the answer. */
static void test_cancel_at_each_point(void **state)
{
	for (int rounds = 0; rounds < 12; rounds++) {
		struct fixture f = open_one("cache_ttl 0s;");
		struct ticket *t = directory_find(f.d, SPAN("a.l@example.org"), on_find, NULL);
		ticket_cancel(&t);
		struct got g = { 0 };
		t = directory_find(f.d, SPAN("a.l@example.org"), on_find, &g);
		for (int i = 0; i < rounds && !g.done; i++)
			loop_step(f.loop, 50);
		if (!g.done)
			ticket_cancel(&t);
		got_end(&g);
		g = find(&f, "alice@example.org"); /* the connection is of use still */
		assert_int_equal(g.status, DIRECTORY_FOUND);
		struct got v = { 0 };
		t = directory_verify(f.d, g.account, SPAN("alice-secret"), on_status, &v);
		for (int i = 0; i < rounds && !v.done; i++)
			loop_step(f.loop, 50);
		if (!v.done)
			ticket_cancel(&t);
		assert_int_equal(
		    verify_account(&f, g.account, SPAN("alice-secret")), DIRECTORY_FOUND);
		/* Closed with questions under way. */
		directory_verify(f.d, g.account, SPAN("other"), on_never_status, NULL);
		directory_find(f.d, SPAN("bob@example.net"), on_never, NULL);
		got_end(&g);
		fixture_close(&f);
	}
}

static int setup(void **state)
{
	if (fixture_setup(state) != 0)
		return -1;
	make_certificate();
	fixture_write("tree.ldif", tree);
	slapd_make(&one, "one", "tree.ldif");
	slapd_make(&two, "two", "tree.ldif");
	slapd_start(&one);
	slapd_start(&two);
	return 0;
}

static int teardown(void **state)
{
	slapd_kill(&one);
	slapd_kill(&two);
	return fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_domains_and_stores),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_wrong_service_password),
		cmocka_unit_test(test_wrong_base),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_unix_socket),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_failover_and_return),
		cmocka_unit_test(test_all_away),
		cmocka_unit_test(test_empty_replica),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_cancel_at_each_point),
	};
	if (access(SLAPD, X_OK) != 0) {
		print_message("skipped: %s is missing\n", SLAPD);
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
