/* test_expand.c - addresses followed to their ends, over a real directory in a file: aliases, forwards, catch-alls,
 * other names of domains, loops, bounds, statuses; groups with their rules. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/edge/load.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "edge/expand.h"
#include "net/dns.h"

static char dir[] = "/tmp/postern-expand-XXXXXX";
static struct loop *loop;
static struct dns *dns;
static struct directory *directory;
static struct conf *conf;

#define DOMAIN(name, more)                                                                         \
	"dn: dc=" name ",dc=x\nobjectClass: inetDomain\nassociatedDomain: " name "\n" more "\n"
#define USER_AT(u, domain, more)                                                                   \
	"dn: uid=" u ",dc=" domain ",dc=x\nobjectClass: inetMailUser\nuid: " u "\nmail: " u        \
	"@" domain "\n" more "\n"
#define USER(u, more) USER_AT(u, "a.test", more)
#define STORE "mailHost: s1\n"
#define TO(address) "mailForwardingAddress: " address "\n"
#define FORWARD "mailDeliveryOption: forward\n"
#define BOTH "mailDeliveryOption: mailbox\n" FORWARD
#define GROUP(g, more)                                                                             \
	"dn: cn=" g ",ou=groups,dc=x\nobjectClass: inetMailGroup\ncn: " g "\nmail: " g             \
	"@a.test\n" more "\n"
#define BY_ADDRESS(a) "mgrpRFC822MailMember: " a "\n"
#define BY_DN(u) "uniqueMember: uid=" u ", dc=a.test, dc=x\n"

static const char tree[] = DOMAIN("a.test", "mailDomainCatchallAddress: anna@a.test\n") DOMAIN(
    "b.test", "") DOMAIN("off.test", "mailDomainStatus: disabled\n") DOMAIN("alias.test",
    "inetCanonicalDomainName: b.test\n") DOMAIN("old.test", "aliasedObjectName: dc=b,dc=test\n")
    DOMAIN("twice.test", "inetCanonicalDomainName: alias.test\n") USER(
	"anna", STORE "mailAlternateAddress: a.nna@b.test\nroomNumber: 1\n") USER_AT("bob",
	"b.test", STORE "roomNumber: 2\n") USER("fwd", FORWARD TO("x@far.test")) USER("both",
	STORE BOTH TO("x@far.test")) USER("two", FORWARD TO("anna@a.test") TO("bob@b.test"))
	USER("chain", FORWARD TO("fwd@a.test")) USER("loop1",
	    STORE FORWARD TO("loop2@a.test")) USER("loop2", FORWARD TO("loop1@a.test")) USER("dry1",
	    FORWARD TO("dry2@a.test")) USER("dry2", FORWARD TO("dry1@a.test")) USER("self",
	    STORE FORWARD TO("self@a.test") TO("x@far.test")) USER("none", STORE
	    "mailDeliveryOption: program\n") USER("nowhere", FORWARD) USER("nostore",
	    "") USER("full", STORE "mailUserStatus: overquota\n") USER("fullfwd",
	    FORWARD TO("x@far.test") "mailUserStatus: overquota\n") USER("held",
	    STORE "mailUserStatus: hold\n") USER("heldoption", STORE "mailDeliveryOption: hold\n")
	    USER("heldfwd", STORE BOTH TO("x@far.test") "mailUserStatus: hold\n") USER("gone", STORE
		"mailUserStatus: deleted\n") USER("inactive", STORE "mailUserStatus: inactive\n")
		USER_AT("off", "off.test", STORE "mailAlternateAddress: off@b.test\n")
		    USER("togone", FORWARD TO("gone@a.test"))
			USER("mixed", FORWARD TO("gone@a.test") TO("anna@a.test"))
			    USER("mixedfull", FORWARD TO("full@a.test") TO("anna@a.test"))
				USER("onlyfull", FORWARD TO("full@a.test") TO("gone@a.test"))
				    USER("literal", FORWARD TO("x@[192.0.2.1]"))
					USER("tonobody", FORWARD TO("nobody@b.test"))
					    USER("junk", FORWARD TO("no address"))
    /* groups */
    GROUP("team", BY_ADDRESS("anna@a.test") BY_ADDRESS("mailto:y@far.test")
		      BY_DN("fwd") "uniqueMember: uid=bob,dc=b.test,dc=x\nmgrpErrorsTo: "
				   "mailto:owner@a.test\n") GROUP("listoflist",
	BY_ADDRESS("team@a.test")
	    BY_ADDRESS("w@far.test") "mgrpErrorsTo: boss@a.test\n") GROUP("wordlist",
	BY_ADDRESS("anna@a.test") "mgrpAuthPassword: open sesame\nmgrpModerator: mod@far.test\n"
				  "mgrpMsgRejectAction: toModerator\nmgrpErrorsTo: owner@a.test\n")
	GROUP("outer", BY_ADDRESS("team@a.test") BY_ADDRESS("z@far.test")) GROUP(
	    "circle1", BY_ADDRESS("circle2@a.test") BY_ADDRESS("anna@a.test")) GROUP("circle2",
	    BY_ADDRESS("circle1@a.test")) GROUP("rooms",
	    "mgrpDeliverTo: ldap:///dc=x??sub?(roomNumber=*)\n") GROUP("room1",
	    "mgrpDeliverTo: ldap:///dc=a.test,dc=x?mail?one?(%26(roomNumber=1)(!(uid=b*)))\n")
	    GROUP("badurl", "mgrpDeliverTo: ldap:///dc=x??sub?(room\n" BY_ADDRESS(
				"anna@a.test")) GROUP("outside",
		"mgrpDeliverTo: ldap:///o=other??sub?(mail=*)\n") GROUP("except",
		"mgrpDeliverTo: ldap:///dc=x??sub?(roomNumber=*)\n"
		"mgrpDeliverException: uid=bob,dc=b.test,dc=x\n") GROUP("empty", "") GROUP("stale",
		BY_DN("nobody")) GROUP("closed",
		BY_ADDRESS("anna@a.test") "inetMailGroupStatus: inactive\n") GROUP("off",
		BY_ADDRESS("anna@a.test") "inetMailGroupStatus: disabled\n") GROUP("withclosed",
		BY_ADDRESS("bob@b.test") BY_ADDRESS("closed@a.test")) GROUP("announce",
		BY_ADDRESS("anna@a.test")
		    BY_ADDRESS(
			"y@far.test") "mgrpAllowedBroadcaster: "
				      "mailto:boss@far.test\nmgrpAllowedBroadcaster: bob@b.test\n"
				      "mgrpMsgRejectText: ask the boss\n") GROUP("members",
		BY_ADDRESS("anna@a.test") BY_ADDRESS(
		    "y@far.test") "mgrpAllowedBroadcaster: members@a.test\n") GROUP("byurl",
		BY_ADDRESS("y@far.test") "mgrpAllowedBroadcaster: "
					 "ldap:///uid=anna,dc=a.test,dc=x\n") GROUP("bydomain",
		BY_ADDRESS(
		    "anna@a.test") "mgrpAllowedDomain: good.test\n"
				   "mgrpAllowedDomain: *.good.test\nmgrpAllowedDomain: b.test\n"
				   "mgrpDisallowedDomain: bad.good.test\n") GROUP("nofoes",
		BY_ADDRESS("anna@a.test") "mgrpDisallowedBroadcaster: foe@far.test\n") GROUP("auth",
		BY_ADDRESS(
		    "anna@a.test") "mgrpBroadcasterPolicy: SMTP_AUTH_REQUIRED\n") GROUP("password",
		BY_ADDRESS(
		    "anna@a.test") "mgrpBroadcasterPolicy: PASSWORD_REQUIRED\n") GROUP("worded",
		BY_ADDRESS("anna@a.test") "mgrpAuthPassword: open sesame\n") GROUP("wordmod",
		BY_ADDRESS("anna@a.test") BY_ADDRESS(
		    "mod@far.test") "mgrpAuthPassword: open sesame\nmgrpModerator: mod@far.test\n"
				    "mgrpMsgRejectAction: toModerator\n") GROUP("wordor",
		BY_ADDRESS("anna@a.test") "mgrpAuthPassword: open sesame\n"
					  "mgrpBroadcasterPolicy: PASSWORD_REQUIRED OR "
					  "SMTP_AUTH_REQUIRED\n") GROUP("either",
		BY_ADDRESS("anna@a.test") "mgrpBroadcasterPolicy: PASSWORD_REQUIRED OR "
					  "SMTP_AUTH_REQUIRED\n") GROUP("slip",
		BY_ADDRESS("anna@a.test") "mgrpBroadcasterPolicy: SMTP_AUHT\n") GROUP("moderated",
		BY_ADDRESS("anna@a.test") BY_ADDRESS(
		    "y@far.test") "mgrpModerator: mailto:mod@far.test\nmgrpModerator: bob@b.test\n"
				  "mgrpAllowedBroadcaster: mod@far.test\nmgrpMsgRejectAction: "
				  "toModerator\n"
				  "mgrpErrorsTo: owner@a.test\n") GROUP("listed",
		BY_ADDRESS("anna@a.test")
		    BY_ADDRESS("y@far.test") "mgrpAddHeader: List-Id: <l.a.test>\n"
					     "mgrpAddHeader: X-A: 1\n") GROUP("around",
		BY_ADDRESS("listed@a.test") BY_ADDRESS("z@far.test") "mgrpAddHeader: X-B: 2\n")
		GROUP("small", BY_ADDRESS("anna@a.test") "mgrpMsgMaxSize: 1000\n")
		    GROUP("nested", BY_ADDRESS("announce@a.test") BY_ADDRESS("bob@b.test"))
			GROUP("forwards",
			    BY_ADDRESS("anna@a.test") "mailDeliveryOption: members\n" FORWARD TO(
				"archive@far.test"));

static const char aliases[] = "# of the site\n"
			      "info@a.test: anna@a.test,\n  bob@b.test\n"
			      "sales@a.test: info@a.test, w@far.test\n"
			      "fwd+plus@a.test: bob@b.test\n"
			      "bare: anna\n"
			      "toteam@a.test: team@a.test\n"
			      "@b.test: bob\n";

static int setup(void **state)
{
	struct dns_opts opts = { .deadline_ms = 1000 };
	log_setup("test", LOG_ERROR, false);
	assert_non_null(mkdtemp(dir));
	load_write(dir, "users.ldif", tree);
	load_write(dir, "aliases", aliases);
	load_write(dir, "postern.conf",
	    "hostname mx.a.test;\n"
	    "directory { backend file; file users.ldif; alias_file aliases; default_domain "
	    "b.test;\n"
	    "	group_bases \"dc=x\"; }\n"
	    "edge { listener mx { address 127.0.0.1:25; role mx; tls none; }\n"
	    "	expansion_max 5; expansion_depth 6; }\n");
	loop = loop_new();
	dns = dns_new(loop, &opts);
	conf = load_good(dir);
	directory = directory_new(loop, dns, conf);
	return 0;
}

static int teardown(void **state)
{
	directory_free(&directory);
	dns_free(&dns);
	conf_unref(&conf);
	loop_free(&loop);
	load_remove(dir);
	return 0;
}

/* ---- one question ----------------------------------------------------------------------------- */

struct got {
	bool done, plain;
	enum behind behind;
	struct buf words; /* the answer as text */
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_members(struct buf *out, const struct expansion *e)
{
	char *texts[64];
	assert_true(e->n <= COUNT_OF(texts));
	for (size_t i = 0; i < e->n; i++) {
		const struct recipient *r = &e->members[i];
		struct buf b = BUF_INIT(500);
		buf_printf(&b, "%s%s%s", r->user != NULL ? r->user : r->address,
		    r->detail != NULL ? "+" : "", r->detail != NULL ? r->detail : "");
		if (r->sender != NULL)
			buf_printf(&b, "<%s>", r->sender);
		for (const char *f = r->fields; f != NULL && *f != '\0'; f = strchr(f, '\n') + 1)
			buf_printf(&b, "[%.*s]", (int)strcspn(f, "\r"), f);
		if (r->outcome.fate != FATE_OPEN)
			buf_printf(&b, "=%u", r->outcome.code);
		texts[i] = mem_span_str(buf_span(&b));
		buf_end(&b);
	}
	qsort(texts, e->n, sizeof texts[0], by_text);
	for (size_t i = 0; i < e->n; i++) {
		buf_printf(out, "%s%s", i > 0 ? " " : "", texts[i]);
		mem_free(texts[i]);
	}
}

static void on_expanded(void *arg, struct expansion *e)
{
	struct got *g = arg;
	assert_false(g->done);
	g->done = true;
	g->plain = e->plain;
	g->behind = e->behind;
	if (e->end == EXPAND_TAKEN)
		put_members(&g->words, e);
	else if (e->end == EXPAND_ELSEWHERE)
		buf_add_str(&g->words, "elsewhere");
	else
		buf_printf(&g->words, "%u %s%s", e->code, e->enhanced,
		    e->end == EXPAND_NOBODY ? " nobody" : "");
}

static struct got expand(const char *address, struct expand_sender sender)
{
	struct got g = { .words = BUF_INIT(4000) };
	struct expand_opts opts = {
		.loop = loop,
		.directory = directory,
		.conf = conf_section(conf, &edge_block),
		.sender = sender,
	};
	uint64_t until = clock_mono_ms() + 20000;
	assert_non_null(expand_start(&opts, span_str(address), on_expanded, &g));
	assert_false(g.done);
	while (!g.done) {
		assert_true(clock_mono_ms() < until);
		loop_step(loop, 20);
	}
	return g;
}

static void check(const char *address, struct expand_sender sender, const char *want)
{
	struct got g = expand(address, sender);
	if (strcmp(buf_cstr(&g.words), want) != 0)
		print_error("%s from <%.*s>\n", address, SPAN_ARG(sender.address));
	assert_string_equal(buf_cstr(&g.words), want);
	buf_end(&g.words);
}

static struct expand_sender stranger(const char *address)
{
	return (struct expand_sender){ .address = span_str(address) };
}

static struct expand_sender known(const char *address)
{
	return (
	    struct expand_sender){ .address = span_str(address), .user = address, .trusted = true };
}

/* ---- addresses -------------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
	static const struct {
		const char *address, *want;
	} cases[] = {
		{ "anna@a.test", "anna@a.test" },
		{ "Anna+News.2026@A.test", "anna@a.test+News.2026" },
		{ "a.nna@b.test", "anna@a.test" },
		{ "bob", "bob@b.test" },
		{ "nobody@a.test", "anna@a.test" }, /* catch-all of the entry */
		{ "nobody@b.test", "bob@b.test" },  /* of the alias file */
		{ "nobody@far.test", "elsewhere" },
		{ "bob@alias.test", "bob@b.test" },
		{ "bob+x@old.test", "bob@b.test+x" },
		{ "bob@twice.test", "451 4.3.0" },
		{ "info@a.test", "anna@a.test bob@b.test" },
		{ "sales@a.test", "anna@a.test bob@b.test w@far.test" },
		{ "sales+x@a.test", "anna@a.test bob@b.test w@far.test" },
		{ "bare@b.test", "bob@b.test" }, /* anna is nobody in b.test: its catch-all */
		{ "fwd@a.test", "x@far.test" },
		{ "fwd+plus@a.test", "bob@b.test" },
		{ "both@a.test", "both@a.test x@far.test" },
		{ "both+f@a.test", "both@a.test+f x@far.test" },
		{ "two@a.test", "anna@a.test bob@b.test" },
		{ "chain@a.test", "x@far.test" },
		{ "loop1@a.test", "loop1@a.test" }, /* back where it began: kept */
		{ "loop2@a.test", "550 5.2.4" },    /* ... where there is no mailbox */
		{ "dry1@a.test", "550 5.2.4" },
		{ "self@a.test", "self@a.test x@far.test" },
		{ "none@a.test", "451 4.3.5" },
		{ "nowhere@a.test", "451 4.3.5" },
		{ "nostore@a.test", "451 4.3.5" },
		{ "literal@a.test", "550 5.1.2" },
		{ "tonobody@a.test", "bob@b.test" },
		{ "junk@a.test", "550 5.1.3" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].address, stranger("s@far.test"), cases[i].want);
}

static void test_plain(void **state)
{
	static const struct {
		const char *address;
		bool plain;
	} cases[] = { { "anna@a.test", true }, { "a.nna@b.test", true },
		{ "bob@alias.test", false }, { "both@a.test", false }, { "loop2@a.test", false },
		{ "held@a.test", false }, { "team@a.test", false } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct got g = expand(cases[i].address, stranger("s@far.test"));
		assert_int_equal(g.plain, cases[i].plain);
		buf_end(&g.words);
	}
}

/* The table of expand.h. */
static void test_outcomes(void **state)
{
	static const struct {
		const char *address, *want;
	} cases[] = {
		{ "full@a.test", "452 4.2.2" },
		{ "fullfwd@a.test", "x@far.test" },
		{ "inactive@a.test", "450 4.2.1" },
		{ "gone@a.test", "550 5.1.1" },
		{ "off@off.test", "550 5.2.1" },
		{ "off@b.test", "550 5.2.1" }, /* the user's own domain counts */
		{ "x@off.test", "550 5.1.1 nobody" },
		{ "held@a.test", "held@a.test=450" },
		{ "heldoption@a.test", "heldoption@a.test=450" },
		{ "heldfwd@a.test", "450 4.2.1" },
		{ "togone@a.test", "550 5.1.1" },
		{ "mixed@a.test", "anna@a.test gone@a.test=550" },
		{ "mixedfull@a.test", "anna@a.test full@a.test=452" },
		{ "onlyfull@a.test", "452 4.2.2" },
		{ "withclosed@a.test", "450 4.2.1" },
		{ "closed@a.test", "450 4.2.1" },
		{ "off@a.test", "550 5.2.1" },
		{ "empty@a.test", "550 5.2.4" },
		{ "stale@a.test", "550 5.2.4" },
		{ "badurl@a.test", "451 4.3.0" },
		{ "outside@a.test", "451 4.3.0" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].address, stranger("s@far.test"), cases[i].want);
}

/* ---- groups ----------------------------------------------------------------------------------- */

static void test_groups(void **state)
{
	static const struct {
		const char *address, *sender, *want;
	} cases[] = {
		{ "team@a.test", "s@far.test",
		    "anna@a.test<owner@a.test> bob@b.test<owner@a.test> x@far.test<owner@a.test> "
		    "y@far.test<owner@a.test>" },
		{ "team@a.test", "", "anna@a.test bob@b.test x@far.test y@far.test" },
		{ "team+x@a.test", "", "anna@a.test bob@b.test x@far.test y@far.test" },
		{ "outer@a.test", "s@far.test",
		    "anna@a.test<owner@a.test> bob@b.test<owner@a.test> x@far.test<owner@a.test> "
		    "y@far.test<owner@a.test> z@far.test" },
		{ "circle1@a.test", "s@far.test", "anna@a.test" },
		{ "circle2@a.test", "s@far.test", "anna@a.test" },
		{ "rooms@a.test", "s@far.test", "anna@a.test bob@b.test" },
		{ "room1@a.test", "s@far.test", "anna@a.test" },
		{ "except@a.test", "s@far.test", "anna@a.test" },
		{ "forwards@a.test", "s@far.test", "anna@a.test archive@far.test" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].address, stranger(cases[i].sender), cases[i].want);
}

/* A list is one end, whoever is in it; to the null sender it is a group like any other. */
static void test_behind(void **state)
{
	static const struct {
		const char *address, *sender;
		enum behind behind;
	} cases[] = {
		{ "anna@a.test", "s@far.test", BEHIND_ONE },
		{ "fwd@a.test", "s@far.test", BEHIND_ONE },
		{ "chain@a.test", "s@far.test", BEHIND_ONE },
		{ "room1@a.test", "s@far.test", BEHIND_ONE },
		{ "both@a.test", "s@far.test", BEHIND_SEVERAL },
		{ "info@a.test", "s@far.test", BEHIND_SEVERAL },
		{ "mixed@a.test", "s@far.test", BEHIND_SEVERAL },
		{ "rooms@a.test", "s@far.test", BEHIND_SEVERAL },
		{ "outer@a.test", "s@far.test", BEHIND_SEVERAL },
		{ "team@a.test", "s@far.test", BEHIND_LIST },
		{ "toteam@a.test", "s@far.test", BEHIND_LIST },
		{ "listoflist@a.test", "s@far.test", BEHIND_LIST },
		{ "wordlist@a.test", "s@far.test", BEHIND_LIST },     /* or its moderators */
		{ "moderated@a.test", "s@far.test", BEHIND_SEVERAL }, /* moderators alone */
		{ "team@a.test", "", BEHIND_SEVERAL },
		{ "listoflist@a.test", "", BEHIND_SEVERAL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct got g = expand(cases[i].address, stranger(cases[i].sender));
		if (g.behind != cases[i].behind)
			print_error("%s\n", cases[i].address);
		assert_int_equal(g.behind, cases[i].behind);
		buf_end(&g.words);
	}
}

static void test_who_may_post(void **state)
{
	static const char no[] = "550 5.7.2";
	static const struct {
		const char *address, *sender;
		bool known;
		const char *want;
	} cases[] = {
		{ "announce@a.test", "boss@far.test", false, "anna@a.test y@far.test" },
		{ "announce@a.test", "BOSS@FAR.test", false, "anna@a.test y@far.test" },
		{ "announce@a.test", "s@far.test", false, no },
		{ "announce@a.test", "", false, no },
		{ "announce@a.test", "bob@b.test", false, no }, /* anybody can say so */
		{ "announce@a.test", "bob@b.test", true, "anna@a.test y@far.test" },
		{ "announce@a.test", "bob+x@b.test", true, "anna@a.test y@far.test" },
		{ "members@a.test", "y@far.test", false, "anna@a.test y@far.test" },
		{ "members@a.test", "a.nna@b.test", true, "anna@a.test y@far.test" },
		{ "members@a.test", "bob@b.test", true, no },
		{ "members@a.test", "anna@a.test", false, no },
		{ "byurl@a.test", "anna@a.test", true, "y@far.test" },
		{ "byurl@a.test", "bob@b.test", true, no },
		{ "bydomain@a.test", "s@good.test", false, "anna@a.test" },
		{ "bydomain@a.test", "s@sub.GOOD.test", false, "anna@a.test" },
		{ "bydomain@a.test", "s@verygood.test", false, no },
		{ "bydomain@a.test", "s@bad.good.test", false, no },
		{ "bydomain@a.test", "bob@b.test", false, no },
		{ "bydomain@a.test", "bob@b.test", true, "anna@a.test" },
		{ "nofoes@a.test", "foe@far.test", false, no },
		{ "nofoes@a.test", "s@far.test", false, "anna@a.test" },
		{ "auth@a.test", "bob@b.test", false, no },
		{ "auth@a.test", "bob@b.test", true, "anna@a.test" },
		{ "password@a.test", "bob@b.test", true, no },
		{ "worded@a.test", "s@far.test", false, "anna@a.test" },
		{ "wordor@a.test", "s@far.test", false, "anna@a.test" },
		/* the moderator twice: with the password, and without */
		{ "wordmod@a.test", "s@far.test", false, "anna@a.test mod@far.test mod@far.test" },
		{ "either@a.test", "bob@b.test", true, "anna@a.test" },
		{ "slip@a.test", "bob@b.test", true, no },
		{ "moderated@a.test", "s@far.test", false, "bob@b.test mod@far.test" },
		{ "moderated@a.test", "mod@far.test", false,
		    "anna@a.test<owner@a.test> y@far.test<owner@a.test>" },
		{ "moderated@a.test", "bob@b.test", false, "bob@b.test mod@far.test" },
		{ "moderated@a.test", "bob@b.test", true,
		    "anna@a.test<owner@a.test> y@far.test<owner@a.test>" },
		{ "nested@a.test", "s@far.test", false, "announce@a.test=550 bob@b.test" },
		{ "nested@a.test", "boss@far.test", false, "anna@a.test bob@b.test y@far.test" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].address,
		    cases[i].known ? known(cases[i].sender) : stranger(cases[i].sender),
		    cases[i].want);
}

static void test_sizes(void **state)
{
	struct expand_sender s = stranger("s@far.test");
	s.size = 1000;
	check("small@a.test", s, "anna@a.test");
	s.size = 1001;
	check("small@a.test", s, "552 5.2.3");
}

/* ---- bounds ----------------------------------------------------------------------------------- */

static void again(const char *more)
{
	struct buf text = BUF_INIT(64 * 1024);
	directory_free(&directory);
	buf_printf(&text, "%s\n%s", tree, more);
	load_write(dir, "users.ldif", buf_cstr(&text));
	buf_end(&text);
	directory = directory_new(loop, dns, conf);
}

static void test_bounds(void **state)
{
	struct buf many = BUF_INIT(32 * 1024);
	buf_add_str(&many,
	    GROUP("five", BY_ADDRESS("1@f.test") BY_ADDRESS("2@f.test") BY_ADDRESS("3@f.test")
			      BY_ADDRESS("4@f.test") BY_ADDRESS("5@f.test")));
	buf_add_str(&many, "dn: cn=six\nobjectClass: inetMailGroup\nmail: six@a.test\n");
	for (int i = 0; i < 6; i++)
		buf_printf(&many, "mgrpRFC822MailMember: %d@f.test\n", i);
	for (int i = 0; i < 9; i++)
		buf_printf(&many,
		    "\ndn: cn=deep%d\nobjectClass: inetMailGroup\nmail: deep%d@a.test\n"
		    "mgrpRFC822MailMember: deep%d@a.test\n",
		    i, i, i + 1);
	buf_add_str(&many, "\n");
	again(buf_cstr(&many));
	buf_end(&many);
	check(
	    "five@a.test", stranger("s@far.test"), "1@f.test 2@f.test 3@f.test 4@f.test 5@f.test");
	check("six@a.test", stranger("s@far.test"), "452 4.5.3");
	check("deep0@a.test", stranger("s@far.test"), "451 4.3.5");
	check("deep4@a.test", stranger("s@far.test"), "anna@a.test");
}

static void on_nothing(void *arg, struct expansion *e)
{
	fail();
}

/* Cancelled after each number of rounds: nothing is left behind. */
static void test_cancelled(void **state)
{
	struct expand_opts opts = { .loop = loop,
		.directory = directory,
		.conf = conf_section(conf, &edge_block),
		.sender = known("bob@b.test") };
	for (int rounds = 0; rounds < 12; rounds++) {
		struct ticket *t = expand_start(&opts, SPAN("moderated@a.test"), on_nothing, NULL);
		for (int i = 0; i < rounds; i++)
			loop_step(loop, 0);
		ticket_cancel(&t);
	}
}

/* Header fields of groups: of an inner one above those of the groups around it. */
static void test_fields(void **state)
{
	check("listed@a.test", known("bob@b.test"),
	    "anna@a.test[List-Id: <l.a.test>][X-A: 1] y@far.test[List-Id: <l.a.test>][X-A: 1]");
	check("around@a.test", known("bob@b.test"),
	    "anna@a.test[List-Id: <l.a.test>][X-A: 1][X-B: 2] "
	    "y@far.test[List-Id: <l.a.test>][X-A: 1][X-B: 2] z@far.test[X-B: 2]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_behind),
		cmocka_unit_test(test_who_may_post),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_bounds),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
