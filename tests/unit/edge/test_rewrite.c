/* test_rewrite.c - rules that make addresses others: patterns, templates, order, rounds, header fields, mistakes. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/edge/load.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "edge/rewrite.h"

static char dir[] = "/tmp/postern-rewrite-XXXXXX";

static void write_conf(const char *rules)
{
	struct buf text = BUF_INIT(16 * 1024);
	buf_printf(&text,
	    "directory { backend static; static_host s1; }\n"
	    "edge { listener mx { address 127.0.0.1:25; role mx; tls none; }\n"
	    "	listener in { address 127.0.0.1:26; role internal; tls none; }\n%s\n}\n",
	    rules);
	load_write(dir, "postern.conf", buf_cstr(&text));
	buf_end(&text);
}

static int setup(void **state)
{
	log_setup("test", LOG_ERROR, false);
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	load_remove(dir);
	return 0;
}

struct made {
	struct conf *conf;
	struct rewrite *r;
};

static struct made made_of(const char *rules)
{
	write_conf(rules);
	struct made m = { .conf = load_good(dir) };
	m.r = rewrite_new(conf_section(m.conf, &edge_block));
	return m;
}

static void made_end(struct made *m)
{
	rewrite_free(&m->r);
	conf_unref(&m->conf);
}

#define RULE(name, what, pattern, to, more)                                                        \
	"rewrite " name " { address " what "; pattern \"" pattern "\"; to \"" to "\"; " more "}\n"

static const char rules[] = RULE("exact", "recipient", "anna@old.test", "anna.b@new.test", "") RULE(
    "user", "recipient", "root@*", "postmaster@new.test", "") RULE("detail", "recipient",
    "*@plus.test", "$1U.$0U@new.test", "") RULE("fails", "recipient", "*@odd.test", "$1U@new.test",
    "") RULE("fallback", "recipient", "*@odd.test", "$U@even.test", "") RULE("below", "recipient",
    "*@*.old.test", "$U@$H.new.test", "") RULE("host", "recipient", "*@old.test", "$U@new.test", "")
    RULE("first", "recipient", "*@a.test", "$U@b.test", "then again; ")
	RULE("second", "recipient", "*@b.test", "$U@c.test", "then again; ")
	    RULE("ping", "recipient", "*@ping.test", "$U@pong.test", "then again; ")
		RULE("pong", "recipient", "*@pong.test", "$U@ping.test", "then again; ")
		    RULE("money", "recipient", "*@money.test", "$$$U@$D", "")
			RULE("sender", "sender", "*@host.test", "$U@new.test", "client ours; ")
			    RULE("inside", "\"sender\", \"from\"", "*@in.test", "$U@new.test",
				"listener in; ")
				RULE("head", "\"from\", \"to\"", "*@old.test", "$U@new.test", "");

static const struct rewrite_facts stranger = { "mx", false }, ours = { "mx", true },
				  inside = { "in", true };

static void check(struct made *m, enum rewrite_kind kind, const struct rewrite_facts *f,
    const char *address, const char *want)
{
	struct smtp_path p;
	assert_int_equal(smtp_address_parse(span_str(address), 0, &p, NULL), ERR_OK);
	const char *rule = rewrite_address(m->r, kind, f, &p);
	if (strcmp(p.address, want) != 0)
		print_error("%s\n", address);
	assert_string_equal(p.address, want);
	assert_int_equal(rule != NULL, strcmp(address, want) != 0);
}

static void test_recipients(void **state)
{
	static const struct {
		const char *address, *want;
	} cases[] = {
		{ "anna@old.test", "anna.b@new.test" },
		{ "ANNA@old.test", "anna.b@new.test" },
		{ "bert@old.test", "bert@new.test" },
		{ "bert@old.test.far", "bert@old.test.far" },
		{ "bert@veryold.test", "bert@veryold.test" },
		{ "bert@a.b.old.test", "bert@a.b.new.test" },
		{ "root@any.where.test", "postmaster@new.test" },
		{ "roots@any.where.test", "roots@any.where.test" },
		{ "x+y@plus.test", "y.x@new.test" },
		{ "x@plus.test", "x@plus.test" }, /* ".x" is no local part */
		{ "x@odd.test", "x@even.test" },
		{ "x+y@odd.test", "y@new.test" },
		{ "x@a.test", "x@c.test" },
		{ "x@ping.test", "x@ping.test" },
		{ "x@pong.test", "x@pong.test" },
		{ "x@money.test", "$x@money.test" },
		{ "\"a b\"@old.test", "\"a b\"@new.test" },
	};
	struct made m = made_of(rules);
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(&m, REWRITE_RECIPIENT, &stranger, cases[i].address, cases[i].want);
	made_end(&m);
}

static void test_who_and_where(void **state)
{
	struct made m = made_of(rules);
	check(&m, REWRITE_SENDER, &ours, "x@host.test", "x@new.test");
	check(&m, REWRITE_SENDER, &stranger, "x@host.test", "x@host.test");
	check(&m, REWRITE_SENDER, &ours, "x@in.test", "x@in.test");
	check(&m, REWRITE_SENDER, &inside, "x@in.test", "x@new.test");
	check(&m, REWRITE_RECIPIENT, &inside, "x@in.test", "x@in.test");
	check(&m, REWRITE_TO, &inside, "x@in.test", "x@in.test");
	check(&m, REWRITE_SENDER, &ours, "x@old.test", "x@old.test");
	assert_true(rewrite_wants(m.r, REWRITE_TO, &stranger));
	assert_false(rewrite_wants(NULL, REWRITE_TO, &stranger));
	struct smtp_path null;
	assert_int_equal(smtp_path_parse(SPAN("<>"), SMTP_PATH_NULL_OK, &null, NULL), ERR_OK);
	assert_null(rewrite_address(m.r, REWRITE_SENDER, &ours, &null));
	made_end(&m);
	m = made_of("");
	assert_null(m.r);
	made_end(&m);
}

static void test_fields(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: nothing changes */
	} cases[] = {
		{ "From: a@old.test\r\n\r\n", "From: a@new.test\r\n\r\n" },
		{ "FROM :Anna <a@old.test>\r\n\r\n", "FROM :Anna <a@new.test>\r\n\r\n" },
		{ "To: \"a@old.test\" <b@old.test>, c@old.test (d@old.test)\r\n\r\n",
		    "To: \"a@old.test\" <b@new.test>, c@new.test (d@old.test)\r\n\r\n" },
		{ "Cc: x@far.test,\r\n\tFriends: a@old.test,b@old.test;\r\n\r\n",
		    "Cc: x@far.test,\r\n\tFriends: a@new.test,b@new.test;\r\n\r\n" },
		{ "Reply-To:<a@old.test>\r\nSender:a@old.test\r\n\r\n",
		    "Reply-To:<a@new.test>\r\nSender:a@new.test\r\n\r\n" },
		{ "To: <\"a>b\"@old.test>\r\n\r\n", "To: <\"a>b\"@new.test>\r\n\r\n" },
		{ "To: a@old.test", "To: a@new.test" },
		{ "Subject: a@old.test\r\nTo: a@old.test\r\n\r\nTo: a@old.test\r\n",
		    "Subject: a@old.test\r\nTo: a@new.test\r\n\r\nTo: a@old.test\r\n" },
		{ "Bcc: a@old.test\r\nMessage-ID: <a@old.test>\r\n\r\n", NULL },
		{ "To: \"b\"@old.test\r\n\r\n", NULL },
		{ "To: a@old.test@old.test, @old.test, a@, <>, <a@old.test\r\n\r\n", NULL },
		{ "To: <a@\r\n old.test>\r\n\r\n", NULL },
		{ "To: \"never closed <a@old.test>\r\n\r\n", NULL },
		{ "To: (never (closed) <a@old.test>\r\n\r\n", NULL },
		{ "To: a@far.test\r\n\r\n", NULL },
		{ "", NULL },
		{ "\r\nTo: a@old.test\r\n", NULL },
	};
	struct made m = made_of(rules);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(10000);
		size_t n = rewrite_header(m.r, &ours, span_str(cases[i].in), &out);
		if ((n > 0) != (cases[i].out != NULL))
			print_error("%s", cases[i].in);
		assert_int_equal(n > 0, cases[i].out != NULL);
		assert_string_equal(
		    buf_cstr(&out), cases[i].out != NULL ? cases[i].out : cases[i].in);
		buf_end(&out);
	}
	made_end(&m);
}

/* Lines that would become longer than 998 bytes, and headers that would not fit, stay. */
static void test_long_fields(void **state)
{
	struct made m = made_of(RULE("long", "to", "*@o.test",
	    "$U@a-domain-that-is-quite-a-bit-longer-than-the-one-before.test", ""));
	struct buf in = BUF_INIT(10000), out = BUF_INIT(10000), little = BUF_INIT(100);
	buf_add_str(&in, "To: ");
	for (int i = 0; i < 90; i++)
		buf_add_str(&in, "x@o.test, ");
	buf_add_str(&in, "\r\nCc: x@o.test\r\n\r\n");
	assert_int_equal(rewrite_header(m.r, &ours, buf_span(&in), &out), 1);
	assert_int_equal(rewrite_header(m.r, &ours, buf_span(&in), &little), 0);
	buf_end(&in);
	buf_end(&out);
	buf_end(&little);
	made_end(&m);
}

static void test_mistakes(void **state)
{
	static const char *const bad[] = {
		RULE("x", "body", "*@a.test", "$U@b.test", ""),
		RULE("x", "to", "a.test", "$U@b.test", ""),
		RULE("x", "to", "@a.test", "$U@b.test", ""),
		RULE("x", "to", "a@", "$U@b.test", ""),
		RULE("x", "to", "a*@a.test", "$U@b.test", ""),
		RULE("x", "to", "*@*a.test", "$U@b.test", ""),
		RULE("x", "to", "*@a.*.test", "$U@b.test", ""),
		RULE("x", "to", "*@a.test", "$X@b.test", ""),
		RULE("x", "to", "*@a.test", "b.test", ""),
		RULE("x", "to", "*@a.test", "$U@b..test", ""),
		RULE("x", "to", "*@a.test", "$U@b.test$", ""),
		RULE("x", "to", "*@a.test", "$U@b.test", "listener none; "),
		"rewrite { address to; pattern \"*@a.test\"; to \"$U@b.test\"; }",
		"rewrite x { address to; to \"$U@b.test\"; }",
		"rewrite x { address to; pattern \"*@a.test\"; }",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct conf_diag *d = conf_diag_new();
		write_conf(bad[i]);
		struct conf *c = load_from(dir, d);
		if (c != NULL)
			print_error("%s\n", bad[i]);
		assert_null(c);
		conf_diag_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_who_and_where),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_long_fields),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
