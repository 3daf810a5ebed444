/* test_convert.c - rules for parts of messages, without programs: what is taken out, what keeps its bytes, what ends the
 * whole message; in messages that are well formed and in others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "edge/convert_internal.h"

#define HEAD "From: x\r\nMIME-Version: 1.0\r\n"
#define MULTI HEAD "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"
#define TEXT "--b\r\n\r\nhello\r\n"
#define BAD "--b\r\nContent-Type: application/x-bad; name=\"a.exe\"\r\n\r\nbad\r\n"
#define GONE                                                                                       \
	"--b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nA part of this message was "     \
	"removed.\r\n"
#define END "--b--\r\nepilogue\r\n"

static int fd_with(const char *text)
{
	int fd = memfd_create("test", 0);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static int run(struct edge_part_conf *rule, const char *text, char *out, size_t size)
{
	struct edge_part_conf *rules[] = { rule };
	struct edge_channel_conf c = { .part = rules, .part_n = 1, .time = 1000 };
	struct buf why = BUF_INIT(1000);
	struct convert_ask a = { .channel = &c,
		.message = fd_with(text),
		.result = fd_with(""),
		.sender = SPAN("s@far.example"),
		.to = SPAN("store") };
	int status = convert(&a, &why);
	ssize_t n = pread(a.result, out, size - 1, 0);
	assert_true(n >= 0);
	out[n] = '\0';
	if (status != EX_OK)
		snprintf(out, size, "%s", buf_cstr(&why));
	close(a.message);
	close(a.result);
	buf_end(&why);
	return status;
}

static void expect(struct edge_part_conf *rule, const char *text, int status, const char *want)
{
	char out[4000];
	assert_int_equal(run(rule, text, out, sizeof out), status);
	assert_string_equal(out, want);
}

static const char *bad_types[] = { "application/*" }, *exe[] = { "*.EXE" },
		  *text_types[] = { "text/plain" };

static void test_deleted(void **state)
{
	struct edge_part_conf r = { .type = { bad_types, 1 }, .action = PART_DELETE };
	expect(&r, MULTI TEXT BAD END, EX_OK, MULTI TEXT GONE END);
	expect(&r, MULTI BAD TEXT BAD END, EX_OK, MULTI GONE TEXT GONE END);
	expect(&r, MULTI TEXT END, CONVERT_SAME, "");
	expect(&r, MULTI TEXT BAD, EX_OK, MULTI TEXT GONE); /* it does not end */
	expect(&r, HEAD "\r\nhello\r\n", CONVERT_SAME, "");
	expect(&r, HEAD "Subject: s\r\nContent-Type: application/pdf\r\n\r\nbad\r\n", EX_OK,
	    HEAD "Subject: s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
		 "A part of this message was removed.\r\n");
	r.text = "gone";
	r.type.n = 0;
	r.name = (struct conf_strings){ exe, 1 };
	expect(&r, MULTI BAD END, EX_OK,
	    MULTI "--b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\ngone\r\n" END);
}

static void test_ends(void **state)
{
	struct edge_part_conf r = {
		.type = { bad_types, 1 }, .action = PART_HOLD, .text = "look at it"
	};
	expect(&r, MULTI TEXT BAD END, CONVERT_HOLD, "look at it");
	r.action = PART_BOUNCE;
	expect(&r, MULTI TEXT BAD END, EX_UNAVAILABLE, "5.6.0 look at it");
	r.action = PART_DROP;
	expect(&r, MULTI TEXT BAD END, CONVERT_DROP, "");
	r.action = PART_KEEP;
	expect(&r, MULTI TEXT BAD END, CONVERT_SAME, "");
}

static void test_conditions(void **state)
{
	static const char *senders[] = { ".example" }, *others[] = { "far.example.org" },
			  *stores[] = { "store" };
	struct edge_part_conf r = { .type = { bad_types, 1 }, .action = PART_DROP };
	r.size_min = 4;
	expect(&r, MULTI BAD END, CONVERT_SAME, "");
	r.size_min = 3;
	r.size_max = 3;
	expect(&r, MULTI BAD END, CONVERT_DROP, "");
	r.sender = (struct conf_strings){ others, 1 };
	expect(&r, MULTI BAD END, CONVERT_SAME, "");
	r.sender.v = senders;
	r.to = (struct conf_strings){ stores, 1 };
	expect(&r, MULTI BAD END, CONVERT_DROP, "");
	r.client = PART_OURS;
	expect(&r, MULTI BAD END, CONVERT_SAME, "");
	r.client = PART_OTHERS;
	expect(&r, MULTI BAD END, CONVERT_DROP, "");
	r.disposition = (struct conf_strings){ stores, 1 };
	expect(&r, MULTI BAD END, CONVERT_SAME, "");
}

/* What says nothing is text/plain; parts of a message in a message count as well. */
static void test_structure(void **state)
{
	struct edge_part_conf r = { .type = { text_types, 1 }, .action = PART_DELETE };
	expect(&r, MULTI TEXT END, EX_OK, MULTI GONE END);
	expect(&r, "hello\r\n", EX_OK,
	    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	    "A part of this message was removed.\r\n");
	r.type.v = bad_types;
	expect(&r,
	    HEAD "Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: "
		 "application/x\r\n\r\nbad\r\n",
	    EX_OK,
	    HEAD
	    "Content-Type: message/rfc822\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\nContent-Type: "
	    "text/plain; charset=us-ascii\r\n\r\nA part of this message was removed.\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_structure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
