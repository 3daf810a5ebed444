/* test_conf.c - the configuration library: values, mistakes and their positions, includes, overrides,
 * packing, dump and sample that read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/unit/conf/demo.h"

static void demo_check(const struct conf *c, struct conf_diag *d)
{
	const struct demo_conf *demo = conf_section(c, &demo_block);
	for (size_t i = 0; i < demo->listener_n; i++)
		if (demo->on && demo->listener[i]->protocol == 2)
			conf_error(d, demo->listener[i]->head.pos, "no sieve while on");
}

static const struct conf_schema schema = { &demo_root_block, demo_sections, demo_foreign,
	demo_check };

static char dir[] = "/tmp/test_conf.XXXXXX";

static const char *put_file(const char *name, struct span bytes)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes.p, 1, bytes.n, f), bytes.n);
	fclose(f);
	return path;
}

static struct conf *load_from(
    struct conf_source *src, const struct conf_strings *over, struct conf_diag **d_out)
{
	struct conf_diag *d = conf_diag_new();
	struct conf *c = conf_load(&schema, src, over, d);
	assert_int_equal(c == NULL, conf_error_count(d) > 0);
	if (d_out != NULL) {
		*d_out = d;
		return c;
	}
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_error("%s\n", conf_error_text(d, i));
	conf_diag_free(&d);
	return c;
}

static struct conf *load(
    const char *text, const struct conf_strings *over, struct conf_diag **d_out)
{
	struct conf_source *src = conf_source_disk(put_file("main.conf", span_str(text)));
	struct conf *c = load_from(src, over, d_out);
	conf_source_free(&src);
	return c;
}

/* The errors of text, one a line, file names without the folder. */
static void errors_of(const char *text, const struct conf_strings *over, struct buf *out)
{
	struct conf_diag *d;
	struct conf *c = load(text, over, &d);
	for (size_t i = 0; i < conf_error_count(d); i++) {
		struct span line = span_str(conf_error_text(d, i)), folder = span_str(dir);
		for (size_t at; (at = span_find_span(line, folder)) != SIZE_MAX;) {
			buf_add_span(out, span_first(line, at));
			line = span_from(line, at + folder.n + 1);
		}
		buf_add_span(out, line);
		buf_add_char(out, '\n');
	}
	conf_unref(&c);
	conf_diag_free(&d);
}

static void expect_errors(const char *text, const struct conf_strings *over, const char *want)
{
	struct buf got = BUF_INIT(100000);
	errors_of(text, over, &got);
	assert_string_equal(buf_cstr(&got), want);
	buf_end(&got);
}

static void test_defaults(void **state)
{
	struct conf *c = load("", NULL, NULL);
	assert_non_null(c);
	const struct demo_conf *demo = conf_section(c, &demo_block);
	const struct demo_root_conf *root = conf_section(c, &demo_root_block);
	assert_false(conf_has_section(c, &demo_block));
	assert_string_equal(root->hostname, "localhost");
	assert_string_equal(demo->head.title, "");
	assert_false(demo->on);
	assert_int_equal(demo->count, 5);
	assert_int_equal(demo->line_max, 65536);
	assert_int_equal(demo->idle_timeout, 1800000);
	assert_int_equal(demo->tls, 2);
	assert_string_equal(demo->banner, "Postern ready");
	assert_int_equal(demo->domains.n, 2);
	assert_string_equal(demo->domains.v[1], "b.example");
	assert_null(demo->spool);
	assert_string_equal(demo->chain.path, "");
	assert_int_equal(demo->password.bytes.n, 0);
	assert_null(demo->smarthost.host);
	assert_int_equal(demo->servers.n, 0);
	assert_int_equal(demo->limit.count, 60);
	assert_int_equal(demo->limit.per_ms, 60000);
	assert_int_equal(demo->limits.n, 1);
	assert_int_equal(demo->prefix_lengths.v[1], 64);
	assert_int_equal(demo->listener_n, 0);
	conf_unref(&c);
	assert_null(c);
}

static void test_values(void **state)
{
	put_file("chain.pem", SPAN("CHAIN"));
	put_file("pw", SPAN("s3cret\n"));
	struct conf *c =
	    load("hostname mx.example; # a comment\n"
		 "demo {\n on yes; count -7;line_max 2k; idle_timeout 1h30m;\n"
		 " tls none; banner \"say \\\"hi\\\" \\\\ {;}\"; domains x.example,\n"
		 "  y.example; domains z.example;\n"
		 " spool spool/in; chain chain.pem; password file:pw;\n"
		 " smarthost mx1.example:2525; servers [2001:db8::1]:25, 192.0.2.1, ::1,\n"
		 "  /run/x.sock, unix:/run/y.sock;\n"
		 " limit 5/10s; prefix_lengths 24; limits 1/1s+20/1m, 0/1h;\n"
		 " listener imap { address 0.0.0.0:143, [::]:143, unix:/run/i.sock;\n"
		 "   proxy_from 10.0.0.0/8, 2001:db8::/32, 192.0.2.9; };\n"
		 " listener pop { address 127.0.0.1:110; protocol pop3; }\n"
		 " fallback { address 127.0.0.1:1; }\n"
		 "}\nedge { anything { goes here; } }\n",
		NULL, NULL);
	assert_non_null(c);
	const struct demo_conf *demo = conf_section(c, &demo_block);
	assert_true(conf_has_section(c, &demo_block));
	assert_true(conf_has_foreign(c, "edge"));
	assert_false(conf_has_foreign(c, "store"));
	assert_true(demo->on);
	assert_int_equal(demo->count, -7);
	assert_int_equal(demo->line_max, 2048);
	assert_int_equal(demo->idle_timeout, 5400000);
	assert_int_equal(demo->tls, 0);
	assert_string_equal(demo->banner, "say \"hi\" \\ {;}");
	assert_int_equal(demo->domains.n, 3);
	assert_string_equal(demo->domains.v[2], "z.example");
	assert_true(span_iends(span_str(demo->spool), SPAN("/spool/in")));
	assert_true(span_eq_str(demo->chain.bytes, "CHAIN"));
	assert_true(span_eq_str(demo->password.bytes, "s3cret"));
	assert_string_equal(demo->smarthost.host, "mx1.example");
	assert_int_equal(demo->smarthost.port, 2525);
	assert_int_equal(demo->servers.n, 5);
	assert_string_equal(demo->servers.v[0].host, "2001:db8::1");
	assert_int_equal(demo->servers.v[0].port, 25);
	assert_string_equal(demo->servers.v[2].host, "::1");
	assert_int_equal(demo->servers.v[2].port, 0);
	assert_string_equal(demo->servers.v[3].host, "/run/x.sock");
	assert_string_equal(demo->servers.v[4].host, "/run/y.sock");
	assert_int_equal(demo->limit.count, 5);
	assert_int_equal(demo->prefix_lengths.n, 1);
	assert_int_equal(demo->limits.n, 2);
	assert_int_equal(demo->limits.v[0].n, 2);
	assert_int_equal(demo->limits.v[0].v[1].count, 20);
	assert_int_equal(demo->limits.v[1].v[0].count, 0);
	assert_int_equal(demo->listener_n, 2);
	assert_string_equal(demo->listener[0]->head.title, "imap");
	assert_int_equal(demo->listener[0]->head.pos.line, 10);
	assert_int_equal(demo->listener[0]->address.n, 3);
	assert_string_equal(demo->listener[0]->address.v[2].unix_path, "/run/i.sock");
	assert_int_equal(demo->listener[0]->proxy_from.n, 3);
	assert_int_equal(demo->listener[1]->protocol, 1);
	assert_int_equal(demo->fallback_n, 1);
	conf_unref(&c);
}

/* Ten different mistakes in one file: each is reported, with its place. */
static void test_ten_mistakes(void **state)
{
	expect_errors("hostnme mx;\n"
		      "demo {\n"
		      "\ton maybe;\n"
		      "\tcount 11;\n"
		      "\tidle_timeout 30x;\n"
		      "\ttls startls;\n"
		      "\tcount 3;\n"
		      "\tchain /nonexistent/file;\n"
		      "\tlistener a {\n"
		      "\t\tprotocol imap\n"
		      "\t}\n"
		      "\tlistener a { address 1.2.3.4:5; }\n"
		      "\tbanner \"open;\n"
		      "\tlimit 5/10s 6;\n"
		      "\tprefix_lengths 200;\n"
		      "\n",
	    NULL,
	    "main.conf:1:1: unknown option \"hostnme\": did you mean \"hostname\"?\n"
	    "main.conf:2:1: block \"demo\" is opened here and never closed\n"
	    "main.conf:3:5: on: \"maybe\" is not yes or no\n"
	    "main.conf:4:8: count: \"11\" is not a whole number from -10 to 10\n"
	    "main.conf:5:15: idle_timeout: \"30x\" is not a duration such as 250ms, 30s, 5m, 1h30m "
	    "or "
	    "7d from 1s to 1d\n"
	    "main.conf:6:6: tls: \"startls\" is not one of none, tls, starttls: did you mean "
	    "\"starttls\"?\n"
	    "main.conf:7:2: \"count\" is given twice, first at main.conf:4\n"
	    "main.conf:8:8: chain: cannot read \"/nonexistent/file\": No such file or directory\n"
	    "main.conf:9:2: \"address\" must be given in block \"listener\"\n"
	    "main.conf:10:16: missing \";\" behind \"protocol\"\n"
	    "main.conf:12:2: a second \"listener\" with the title \"a\", first at main.conf:9\n"
	    "main.conf:13:9: quoted string is not closed on its line\n"
	    "main.conf:13:15: missing \";\" behind \"banner\"\n"
	    "main.conf:14:14: expected \",\" or \";\" behind the value, found \"6\"\n"
	    "main.conf:15:17: prefix_lengths: \"200\" is not a whole number from 0 to 128\n");
}

static const struct {
	const char *text, *errors;
} mistakes[] = {
	{ "}\n", "main.conf:1:1: expected no \"}\", because no block is open, found \"}\"\n" },
	{ "demo yes;", "main.conf:1:1: \"demo\" is a block, not an option: write demo { ... }\n" },
	{ "hostname { }",
	    "main.conf:1:1: \"hostname\" is an option, not a block: write hostname value;\n" },
	{ "demo x { }", "main.conf:1:6: section \"demo\" takes no title\n" },
	{ "demo { }\ndemo { }",
	    "main.conf:2:1: section \"demo\" stands twice, first at main.conf:1\n" },
	{ "dmeo { }", "main.conf:1:1: unknown block \"dmeo\": did you mean \"demo\"?\n" },
	{ "xyzzyplugh { }", "main.conf:1:1: unknown block \"xyzzyplugh\"\n" },
	{ "demo { lisener x { } }",
	    "main.conf:1:8: unknown block \"lisener\" in \"demo\": did you mean \"listener\"?\n" },
	{ "hostname;", "main.conf:1:1: \"hostname\" needs a value\n" },
	{ "hostname a, b;", "main.conf:1:13: hostname takes one value, not a list\n" },
	{ "hostname \"a\\q\";",
	    "main.conf:1:10: unknown escape in a quoted string; known: \\\" \\\\ \\n \\t\n" },
	{ "hostname a\x01;", "main.conf:1:11: control character: \"\\x01\"\n" },
	{ "hostname a\xff;", "main.conf:1:10: not UTF-8: \"a\\xff\"\n" },
	{ "include none.conf;", "main.conf:1:9: cannot include \"none.conf\"" },
	{ "include main.conf;", "main.conf:1:9: \"main.conf\" includes itself\n" },
	{ "edge { a }", "main.conf:1:9: missing \";\" behind \"a\"\n" },
	{ "demo { smarthost a:b:c; }", "main.conf:1:18: smarthost: \"a:b:c\" is not a host name" },
	{ "demo { smarthost a:0; }", "main.conf:1:18: smarthost: \"a:0\" is not a host name" },
	{ "demo { limit 5; }", "main.conf:1:14: limit: \"5\" is not a rate such as 60/1m\n" },
	{ "demo { limits 5/1m+; }", "main.conf:1:15: limits: \"5/1m+\" is not a rate such as" },
	{ "demo { limits 1/1m, 1/1s+1/1s+1/1s+1/1s+1/1s; }",
	    "main.conf:1:21: limits: \"1/1s+1/1s+1/1s+1/1s+1/1s\" is not a rate such as" },
	{ "demo { line_max 99999999999G; }", "main.conf:1:17: line_max: \"99999999999G\" is not" },
	{ "demo { fallback a { address 1.2.3.4:5; } fallback b { address 1.2.3.4:5; } }",
	    "main.conf:1:42: more than 1 of \"fallback\"\n" },
	{ "demo { listener a { address 1.2.3.4; } }",
	    "main.conf:1:29: address: \"1.2.3.4\" is not a" },
	{ "demo { on yes; listener a { address 1.2.3.4:5; protocol sieve; } }",
	    "main.conf:1:16: no sieve while on\n" },
	{ "demo { on yes; count x; listener a { protocol sieve; }\n"
	  "listener b { address 1.2.3.4:5; protocol sieve; } }",
	    "main.conf:1:22: count: \"x\" is not a whole number from -10 to 10\n"
	    "main.conf:1:25: \"address\" must be given in block \"listener\"\n"
	    "main.conf:2:1: no sieve while on\n" },
	{ "demo { password env:TEST_CONF_NOT_SET; }",
	    "main.conf:1:17: password: the environment has no variable \"TEST_CONF_NOT_SET\"\n" },
	{ "a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{a{", "main.conf:1:1: " },
};

static void test_mistakes(void **state)
{
	for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
		struct buf got = BUF_INIT(100000);
		errors_of(mistakes[i].text, NULL, &got);
		struct span want = span_str(mistakes[i].errors);
		bool whole = want.p[want.n - 1] == '\n';
		if (whole ? !span_eq(buf_span(&got), want) : !span_starts(buf_span(&got), want))
			fail_msg(
			    "%s\n got: %s\nwant: %s", mistakes[i].text, buf_cstr(&got), want.p);
		buf_end(&got);
	}
}

static void test_too_many_errors(void **state)
{
	struct buf text = BUF_INIT(100000);
	struct conf_diag *d;
	for (int i = 0; i < 500; i++)
		buf_add_str(&text, "nonsense_option 1;\n");
	assert_null(load(buf_cstr(&text), NULL, &d));
	assert_int_equal(conf_error_count(d), CONF_ERRORS_MAX);
	assert_string_equal(
	    conf_error_text(d, CONF_ERRORS_MAX - 1), "too many errors: the rest is not shown");
	conf_diag_free(&d);
	buf_end(&text);
}

static void test_include(void **state)
{
	put_file("a.inc", SPAN("listener a { address 127.0.0.1:1; }"));
	put_file("b.inc", SPAN("listener b { address 127.0.0.1:2; }"));
	struct conf *c = load("demo { include *.inc; include *.nothing; on yes; }", NULL, NULL);
	assert_non_null(c);
	const struct demo_conf *demo = conf_section(c, &demo_block);
	assert_int_equal(demo->listener_n, 2);
	assert_string_equal(demo->listener[1]->head.title, "b");
	assert_true(span_iends(span_str(demo->listener[1]->head.pos.file), SPAN("/b.inc")));
	assert_true(demo->on);
	conf_unref(&c);
	put_file("b.inc", SPAN("\n listener b { adress 127.0.0.1:2; }"));
	expect_errors("demo { include *.inc; onn yes; }", NULL,
	    "main.conf:1:23: unknown option \"onn\" in \"demo\": did you mean \"on\"?\n"
	    "b.inc:2:2: \"address\" must be given in block \"listener\"\n"
	    "b.inc:2:15: unknown option \"adress\" in \"demo_listener\": did you mean "
	    "\"address\"?\n");
	put_file("b.inc", SPAN("listener b { address 127.0.0.1:2; } }"));
	expect_errors("demo { include b.inc; }", NULL,
	    "b.inc:1:37: expected no \"}\", because no block is open, found \"}\"\n");
}

static void test_overrides(void **state)
{
	const char *v[] = { "hostname=over.example", "demo.count=9", "demo.domains=p, q",
		"demo.imap.protocol=pop3", "demo.listener.pop.address=127.0.0.1:9",
		"demo.banner=\"a b\"", "demo.smarthost=", "edge.anything=5" };
	struct conf_strings over = { v, sizeof v / sizeof v[0] };
	struct conf *c =
	    load("hostname x; demo { count 1; domains a; listener imap { address 1.2.3.4:1; }\n"
		 "listener pop { address 1.2.3.4:2; } smarthost y; }",
		&over, NULL);
	assert_non_null(c);
	const struct demo_conf *demo = conf_section(c, &demo_block);
	const struct demo_root_conf *root = conf_section(c, &demo_root_block);
	assert_string_equal(root->hostname, "over.example");
	assert_int_equal(demo->count, 9);
	assert_int_equal(demo->domains.n, 2);
	assert_string_equal(demo->domains.v[1], "q");
	assert_int_equal(demo->listener[0]->protocol, 1);
	assert_int_equal(demo->listener[1]->address.v[0].at.port, 9);
	assert_string_equal(demo->banner, "a b");
	assert_null(demo->smarthost.host);
	conf_unref(&c);

	const char *bad[] = { "demo.cuont=1", "nonsense", "demo.nobody.address=x", "demo.count=ten",
		"demo.password=a b" };
	struct conf_strings wrong = { bad, sizeof bad / sizeof bad[0] };
	expect_errors("", &wrong,
	    "-o nonsense: expected section.option=value\n"
	    "-o demo.nobody.address: no block of this name or title in the file: \"nobody\"\n"
	    "-o demo.cuont: unknown option \"cuont\" in \"demo\": did you mean \"count\"?\n"
	    "-o demo.count: count: \"ten\" is not a whole number from -10 to 10\n"
	    "-o demo.password:1:3: expected a value or values with \",\" between them, found "
	    "\"b\"\n");
}

static void test_pack(void **state)
{
	char main_path[256];
	put_file("chain.pem", SPAN("CHAIN"));
	put_file("pw", SPAN("binary\0\n"));
	put_file("a.inc", SPAN("listener a { address 127.0.0.1:1; }"));
	put_file("b.inc", SPAN(""));
	setenv("TEST_CONF_SECRET", "from-env", 1);
	snprintf(main_path, sizeof main_path, "%s",
	    put_file(
		"main.conf", SPAN("demo { include *.inc; chain chain.pem; password file:pw; }")));
	struct conf_source *disk = conf_source_disk(main_path);
	struct conf *c = load_from(disk, NULL, NULL);
	struct buf packed = BUF_INIT(100000);
	assert_non_null(c);
	assert_true(conf_source_pack(disk, &packed));
	conf_source_free(&disk);
	put_file("main.conf", SPAN("gone"));
	put_file("pw", SPAN("gone"));
	put_file("c.inc", SPAN("gone"));

	struct conf_source *mem = conf_source_unpack(buf_span(&packed));
	assert_non_null(mem);
	struct conf *again = load_from(mem, NULL, NULL);
	assert_non_null(again);
	const struct demo_conf *demo = conf_section(again, &demo_block);
	assert_true(span_eq(demo->password.bytes, SPAN("binary\0\n")));
	assert_true(span_eq(demo->chain.bytes, SPAN("CHAIN")));
	assert_int_equal(demo->listener_n, 1);
	assert_true(conf_revision(c) == conf_revision(again));
	conf_source_free(&mem);
	for (size_t n = 0; n < buf_len(&packed); n++) {
		mem = conf_source_unpack(span_first(buf_span(&packed), n));
		conf_source_free(&mem); /* any cut: refused or a shorter bundle, never a crash */
	}
	conf_unref(&c);
	conf_unref(&again);
	buf_end(&packed);
	char extra[256];
	snprintf(extra, sizeof extra, "%s/c.inc", dir);
	unlink(extra);
}

static void test_dump_reads_back(void **state)
{
	setenv("TEST_CONF_SECRET", "from-env", 1);
	const char *text =
	    "demo { on yes; banner \"x \\\"y\\\"\"; password env:TEST_CONF_SECRET;\n"
	    "servers [::1]:25, h; listener \"a b\" { address 127.0.0.1:1; } spool s;}";
	struct conf *c = load(text, NULL, NULL);
	struct buf dump = BUF_INIT(100000);
	assert_non_null(c);
	assert_true(conf_dump(c, &dump));
	assert_true(span_find_span(buf_span(&dump), SPAN("from-env")) == SIZE_MAX);
	struct conf *again = load(buf_cstr(&dump), NULL, NULL);
	assert_non_null(again);
	assert_true(conf_revision(c) == conf_revision(again));
	conf_unref(&again);
	again = load("demo { on no; }", NULL, NULL);
	assert_true(conf_revision(c) != conf_revision(again));
	conf_unref(&again);
	conf_unref(&c);
	c = load("demo { password hunter2; }", NULL, NULL);
	buf_clear(&dump);
	conf_dump(c, &dump);
	assert_true(span_find_span(buf_span(&dump), SPAN("hunter2")) == SIZE_MAX);
	conf_unref(&c);
	buf_end(&dump);
}

/* The sample is all comments; without the marks of its options it reads back as the defaults. */
static void test_sample(void **state)
{
	struct buf sample = BUF_INIT(100000), plain = BUF_INIT(100000);
	assert_true(conf_sample(&schema, &sample));
	struct conf *c = load(buf_cstr(&sample), NULL, NULL);
	assert_non_null(c);
	struct span rest = buf_span(&sample);
	while (rest.n > 0) {
		struct span line = span_trim(span_cut(&rest, '\n'));
		if (span_starts(line, SPAN("# ")) || span_eq(line, SPAN("#address \"\";")))
			continue;
		buf_add_span(&plain, span_from(line, 1));
		buf_add_char(&plain, '\n');
	}
	struct buf errors = BUF_INIT(100000);
	errors_of(buf_cstr(&plain), NULL, &errors);
	struct span two = buf_span(&errors), first = span_cut(&two, '\n');
	assert_true(span_iends(first, SPAN("\"address\" must be given in block \"listener\"")));
	assert_true(span_iends(
	    span_cut(&two, '\n'), SPAN("\"address\" must be given in block \"fallback\"")));
	assert_int_equal(two.n, 0);
	buf_clear(&sample);
	assert_true(conf_reference(&schema, &sample));
	assert_true(span_find_span(buf_span(&sample), SPAN("## `demo listener NAME`")) != SIZE_MAX);
	conf_unref(&c);
	buf_end(&sample);
	buf_end(&plain);
	buf_end(&errors);
}

static void test_restart_needed(void **state)
{
	struct buf names = BUF_INIT(1000);
	struct conf *a =
	    load("hostname a; demo { listener i { address 127.0.0.1:1; } }", NULL, NULL);
	struct conf *b =
	    load("hostname b; demo { on yes; listener i { address 127.0.0.1:2; } }", NULL, NULL);
	assert_int_equal(conf_restart_needed(a, b, &names), 2);
	assert_string_equal(buf_cstr(&names), "hostname, demo.listener.i.address");
	assert_int_equal(conf_restart_needed(a, a, &names), 0);
	struct conf *more = conf_ref(a);
	conf_unref(&a);
	assert_string_equal(
	    ((const struct demo_root_conf *)conf_section(more, &demo_root_block))->hostname, "a");
	conf_unref(&more);
	conf_unref(&b);
	buf_end(&names);
}

static int set_up(void **state)
{
	return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "main.conf", "chain.pem", "pw", "a.inc", "b.inc" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[256];
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_ten_mistakes),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_too_many_errors),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_pack),
		cmocka_unit_test(test_dump_reads_back),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_restart_needed),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
