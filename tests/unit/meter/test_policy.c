/* test_policy.c - the policy service over real sockets with this host's tables: what each state of SMTP asks, what is
 * answered, however the bytes come; hostile and slow clients; drain; the milter's private socket. */
#include "tests/unit/meter/place.h"

#include <errno.h>
#include <sys/un.h>

#include "metermaid/service/policy.h"
#include "metermaid/service/question.h"
#include "metermaid/service/service_tables.h"
#include "net/listen.h"

static const struct conf_block *const both[] = { &meter_block, &metermaid_block, NULL };
static const struct conf_schema service_schema = {
	.root = &root, .sections = both, .check = service_conf_check
};

static struct {
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
	struct policy *p;
	int fd, milter_fd;
	char path[64], milter_path[64];
	bool drained;
} at;

static struct conf *load_service(const char *settings, const char *rules)
{
	char path[] = "/tmp/policy-test-XXXXXX";
	struct buf text = BUF_INIT(8192);
	struct conf_diag *d = conf_diag_new();
	int fd = mkstemp(path);
	buf_printf(&text, "meter { listener mx { address unix:%s; } %s }\nmetermaid { %s }\n",
	    at.path, settings, rules);
	assert_int_equal(write(fd, buf_cstr(&text), buf_len(&text)), (int)buf_len(&text));
	close(fd);
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&service_schema, src, NULL, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_message("%s\n", conf_error_text(d, i));
	conf_source_free(&src);
	conf_diag_free(&d);
	unlink(path);
	buf_end(&text);
	return c;
}

static void enter(const char *settings, const char *rules)
{
	static unsigned times;
	memset(&at, 0, sizeof at);
	snprintf(at.path, sizeof at.path, "/tmp/policy-%d-%u", (int)getpid(), ++times);
	snprintf(at.milter_path, sizeof at.milter_path, "%.50s-m", at.path);
	at.l = loop_new();
	at.c = load_service(settings, rules);
	assert_non_null(at.c);
	at.m = metermaid_new(at.l, NULL, at.c);
	at.p = policy_new(at.l, at.m, at.c);
	at.fd = listen_open_unix(at.path, 0600);
	at.milter_fd = listen_open_unix(at.milter_path, 0600);
	policy_listen(at.p, "mx", at.fd);
	policy_listen(at.p, NULL, at.milter_fd);
}

static void leave(void)
{
	policy_free(&at.p);
	metermaid_free(&at.m);
	conf_unref(&at.c);
	loop_free(&at.l);
	close(at.fd);
	close(at.milter_fd);
	unlink(at.path);
	unlink(at.milter_path);
}

static int dial_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
}

/* What comes next, up to an empty line; "" at the end of the connection. */
static const char *hear(int fd)
{
	static char got[2048];
	uint64_t until = clock_mono_ms() + 15000;
	size_t n = 0;
	got[0] = '\0';
	while (strstr(got, "\n\n") == NULL) {
		assert_true(clock_mono_ms() < until);
		loop_step(at.l, 5);
		ssize_t r = recv(fd, got + n, 1, 0);
		if (r == 0 || (r < 0 && errno != EAGAIN))
			return got;
		n += r > 0 ? (size_t)r : 0;
		got[n] = '\0';
	}
	return got;
}

#define PASSED "action=DUNNO\n\n"

static const char *request(
    const char *state, const char *client, const char *instance, const char *more)
{
	static char text[1024];
	snprintf(text, sizeof text,
	    "request=smtpd_access_policy\nprotocol_state=%s\nclient_address=%s\ninstance=%s\n%s\n",
	    state, client, instance, more);
	return text;
}

static const char *ask(
    int fd, const char *state, const char *client, const char *instance, const char *more)
{
	say(fd, request(state, client, instance, more));
	return hear(fd);
}

static void assert_starts(const char *got, const char *want)
{
	if (strncmp(got, want, strlen(want)) != 0)
		fail_msg("%s does not begin with %s", got, want);
}

/* ---- moments ---------------------------------------------------------------------------------- */

static void test_each_moment(void **state)
{
	static const struct {
		const char *on, *state;
	} rows[] = { { "connect", "CONNECT" }, { "mail", "MAIL" }, { "rcpt", "RCPT" },
		{ "message", "END-OF-MESSAGE" } };
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char rules[200];
		snprintf(rules, sizeof rules, "rule few-%s { on %s; key client/32,64; rate 2/1h; }",
		    rows[i].on, rows[i].on);
		enter("", rules);
		int fd = dial_to(at.path);
		for (size_t k = 0; k < COUNT_OF(rows); k++) /* each other moment is free */
			if (k != i && !(rows[i].on[1] == 'a' && rows[k].state[0] == 'R'))
				for (int n = 0; n < 4; n++)
					assert_string_equal(
					    ask(fd, rows[k].state, "192.0.2.1", "a", ""), PASSED);
		assert_string_equal(ask(fd, rows[i].state, "192.0.2.1", "m1", ""), PASSED);
		assert_string_equal(ask(fd, rows[i].state, "192.0.2.1", "m2", ""), PASSED);
		snprintf(rules, sizeof rules,
		    "action=45%d 4.7.1 limit few-%s is reached, try again later [", i == 3,
		    rows[i].on);
		assert_starts(ask(fd, rows[i].state, "192.0.2.1", "m3", ""), rules);
		assert_string_equal(ask(fd, rows[i].state, "192.0.2.2", "m4", ""), PASSED);
		assert_string_equal(ask(fd, "EHLO", "192.0.2.1", "m4", ""), PASSED);
		assert_string_equal(ask(fd, "DATA", "192.0.2.1", "m4", ""), PASSED);
		assert_string_equal(ask(fd, "", "192.0.2.1", "m4", ""), PASSED);
		close(fd);
		leave();
	}
}

/* A policy service in smtpd_recipient_restrictions alone: the sender counts once a mail. */
static void test_sender_with_first_recipient(void **state)
{
	enter("", "rule senders { on mail; key sender; rate 2/1h; action refuse; }"
		  "rule tos { on rcpt; key recipient; rate 5/1h; }");
	int fd = dial_to(at.path);
	const char *mail = "sender=a@Example.ORG\nrecipient=b@example.net\n";
	for (int n = 0; n < 3; n++)
		assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "one", mail), PASSED);
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "two", mail), PASSED);
	assert_starts(ask(fd, "RCPT", "192.0.2.1", "three", mail),
	    "action=550 5.7.1 limit senders is reached [");
	assert_starts(
	    ask(fd, "RCPT", "192.0.2.1", "three", mail), "action=550 5.7.1 limit senders");
	assert_string_equal(
	    ask(fd, "RCPT", "192.0.2.1", "four", "sender=\nrecipient=b@EXAMPLE.net.\n"), PASSED);
	assert_starts(ask(fd, "RCPT", "192.0.2.1", "four", "sender=\nrecipient=b@example.net\n"),
	    "action=450 4.7.1 limit tos");
	close(fd);
	/* where Postfix asks at MAIL too, that was the time */
	fd = dial_to(at.path);
	const char *other = "sender=c@example.org\nrecipient=d@example.net\n";
	for (int n = 0; n < 2; n++) {
		char instance[16];
		snprintf(instance, sizeof instance, "i%d", n);
		assert_string_equal(ask(fd, "MAIL", "192.0.2.1", instance, other), PASSED);
		assert_string_equal(ask(fd, "RCPT", "192.0.2.1", instance, other), PASSED);
	}
	assert_starts(ask(fd, "MAIL", "192.0.2.1", "i2", other), "action=550 5.7.1 limit senders");
	close(fd);
	leave();
}

static void test_cost_and_users(void **state)
{
	enter("", "rule out { on message; key user; rate 10/1h; cost recipients; }"
		  "rule big { on message; key client/32,64; rate 1000/1h; cost bytes; action "
		  "disconnect; }"
		  "rule ctx { on mail; key client/32,64, listener; rate 1/1h; exempt_authenticated "
		  "yes; }");
	int fd = dial_to(at.path);
	const char *mail = "sasl_username=Alice@Example.org\nrecipient_count=6\nsize=10\n";
	assert_string_equal(ask(fd, "END-OF-MESSAGE", "192.0.2.1", "1", mail), PASSED);
	assert_starts(
	    ask(fd, "END-OF-MESSAGE", "192.0.2.1", "2", mail), "action=451 4.7.1 limit out");
	assert_starts(ask(fd, "END-OF-MESSAGE", "192.0.2.9", "2",
			  "sasl_username=alice@example.org\nrecipient_count=6\n"),
	    "action=451 4.7.1 limit out");
	assert_starts(ask(fd, "END-OF-MESSAGE", "192.0.2.1", "3", "size=2000\n"),
	    "action=421 4.7.0 limit big is reached, try again later [");
	assert_string_equal(ask(fd, "MAIL", "192.0.2.1", "4", "policy_context=a\n"), PASSED);
	assert_string_equal(ask(fd, "MAIL", "192.0.2.1", "5", "policy_context=b\n"), PASSED);
	assert_starts(ask(fd, "MAIL", "192.0.2.1", "6", "policy_context=b\n"), "action=450");
	assert_string_equal(
	    ask(fd, "MAIL", "192.0.2.1", "7", "policy_context=b\nsasl_username=x\n"), PASSED);
	assert_string_equal(ask(fd, "MAIL", "unknown", "8", "policy_context=b\n"), PASSED);
	close(fd);
	leave();
}

static void test_message_at_data(void **state)
{
	enter("message_at data;", "rule few-at-data { on message; key client/32,64; rate 1/1h; }");
	int fd = dial_to(at.path);
	assert_string_equal(ask(fd, "END-OF-MESSAGE", "192.0.2.1", "1", ""), PASSED);
	assert_string_equal(ask(fd, "DATA", "192.0.2.1", "1", ""), PASSED);
	assert_starts(ask(fd, "DATA", "192.0.2.1", "2", ""), "action=451 4.7.1");
	close(fd);
	leave();
}

/* ---- tags, delays ----------------------------------------------------------------------------- */

#define TAG "action=PREPEND X-Postern-Tag: "

static void test_tags(void **state)
{
	enter("",
	    "rule net { on mail; kind list; networks 192.0.2.0/24; action tag; tag \"our, net\"; }"
	    "rule few-marked { on rcpt; key client/32,64; rate 1/1h; action tag; }"
	    "rule done { on message; kind list; networks 192.0.2.0/24; action tag; }");
	int fd = dial_to(at.path);
	const char *mail = "sender=a@b.example\nrecipient=c@d.example\n";
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", mail), TAG "our??net\n\n");
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", mail), TAG "few-marked\n\n");
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", mail), PASSED); /* it has both */
	assert_string_equal(ask(fd, "END-OF-MESSAGE", "192.0.2.1", "1", mail), PASSED);
	assert_string_equal(
	    ask(fd, "RCPT", "192.0.2.1", "2", mail), TAG "our??net, few-marked\n\n");
	close(fd);
	fd = dial_to(at.milter_path);
	assert_string_equal(ask(fd, "MAIL", "192.0.2.1", "", mail), TAG "our??net\n\n");
	assert_string_equal(ask(fd, "MAIL", "192.0.2.1", "", mail), TAG "our??net\n\n");
	assert_string_equal(ask(fd, "END-OF-MESSAGE", "192.0.2.1", "", mail), TAG "done\n\n");
	close(fd);
	leave();
}

static void test_delay(void **state)
{
	enter("delay_max 300ms;",
	    "rule slow { on rcpt; key client/32,64; rate 1/1h; action delay; }");
	int fd = dial_to(at.path);
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", ""), PASSED);
	uint64_t began = clock_mono_ms();
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", ""), PASSED);
	assert_true(clock_mono_ms() - began >= 299);
	/* a client that goes away while its answer is held */
	say(fd, request("RCPT", "192.0.2.1", "1", ""));
	loop_step(at.l, 10);
	close(fd);
	fd = dial_to(at.path);
	assert_string_equal(ask(fd, "RCPT", "192.0.2.2", "1", ""), PASSED);
	close(fd);
	leave();
}

/* ---- bytes ------------------------------------------------------------------------------------ */

static void test_every_split(void **state)
{
	enter("", "rule few-split { on rcpt; key client/32,64; rate 1/1h; action shadow; }");
	char text[1024];
	snprintf(text, sizeof text, "%s",
	    request("RCPT", "192.0.2.1", "x", "sender=a@b\nrecipient=c@d\n"));
	size_t n = strlen(text);
	for (size_t cut = 1; cut < n; cut++) {
		int fd = dial_to(at.path);
		assert_int_equal(send(fd, text, cut, 0), (int)cut);
		for (int i = 0; i < 3; i++)
			loop_step(at.l, 0);
		say(fd, text + cut);
		assert_string_equal(hear(fd), PASSED);
		close(fd);
	}
	int fd = dial_to(at.path);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(send(fd, text + i, 1, 0), 1);
		loop_step(at.l, 0);
	}
	assert_string_equal(hear(fd), PASSED);
	for (int i = 0; i < 20; i++) /* one after the other without waiting */
		say(fd, text);
	for (int i = 0; i < 20; i++)
		assert_string_equal(hear(fd), PASSED);
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "");
	close(fd);
	leave();
}

static void test_hostile(void **state)
{
	enter("connections_max 3; request_timeout 200ms; idle_timeout 1s;", "");
	int fd = dial_to(at.path);
	say(fd, "GET / HTTP/1.0\n\n");
	assert_string_equal(hear(fd), "");
	close(fd);
	fd = dial_to(at.path);
	char block[4096];
	memset(block, 'x', sizeof block);
	for (int i = 0; i < 8; i++) { /* a line without an end */
		ssize_t sent = send(fd, block, sizeof block, MSG_NOSIGNAL);
		(void)sent;
		loop_step(at.l, 0);
	}
	assert_string_equal(hear(fd), "");
	close(fd);
	fd = dial_to(at.path); /* a request that does not end in time */
	say(fd, "request=smtpd_access_policy\n");
	assert_string_equal(hear(fd), "");
	close(fd);
	assert_int_equal(metric_get(&service_metrics[SERVICE_M_BAD]), 3);
	int many[4];
	for (int i = 0; i < 4; i++) {
		many[i] = dial_to(at.path);
		loop_step(at.l, 10);
	}
	assert_string_equal(hear(many[3]), "");
	assert_string_equal(ask(many[0], "RCPT", "192.0.2.1", "1", ""), PASSED);
	assert_string_equal(hear(many[1]), ""); /* idle_timeout */
	for (int i = 0; i < 4; i++)
		close(many[i]);
	leave();
}

/* ---- life ------------------------------------------------------------------------------------- */

static void on_drained(void *arg)
{
	at.drained = true;
}

static void test_drain(void **state)
{
	enter("", "");
	int idle = dial_to(at.path), begun = dial_to(at.path), milter = dial_to(at.milter_path);
	assert_string_equal(ask(idle, "RCPT", "192.0.2.1", "1", ""), PASSED);
	assert_string_equal(ask(milter, "MAIL", "192.0.2.1", "", ""), PASSED);
	say(begun, "request=smtpd_access_policy\n");
	for (int i = 0; i < 5; i++)
		loop_step(at.l, 5);
	policy_drain(at.p, on_drained, NULL);
	assert_string_equal(hear(idle), "");
	int late = dial_to(at.path);
	assert_string_equal(hear(late), "");
	close(late);
	assert_false(at.drained);
	say(begun, "protocol_state=RCPT\n\n");
	assert_string_equal(hear(begun), PASSED);
	assert_string_equal(hear(begun), "");
	assert_string_equal(ask(milter, "RCPT", "192.0.2.1", "", ""), PASSED);
	assert_false(at.drained);
	close(milter);
	uint64_t until = clock_mono_ms() + 15000;
	while (!at.drained && clock_mono_ms() < until)
		loop_step(at.l, 5);
	assert_true(at.drained);
	close(idle);
	close(begun);
	leave();
}

/* An SMTP session of the milter holds what it was given until its connection closes. */
static void test_concurrency(void **state)
{
	enter("", "rule sessions { on connect; kind concurrency; key client/32,64; limit 2; action "
		  "refuse; }");
	int a = dial_to(at.milter_path), b = dial_to(at.milter_path), c = dial_to(at.milter_path);
	assert_string_equal(ask(a, "CONNECT", "192.0.2.1", "", ""), PASSED);
	assert_string_equal(ask(b, "CONNECT", "192.0.2.1", "", ""), PASSED);
	assert_starts(ask(c, "CONNECT", "192.0.2.1", "", ""), "action=550 5.7.1 limit sessions");
	close(a);
	uint64_t until = clock_mono_ms() + 5000;
	while (
	    strcmp(ask(c, "CONNECT", "192.0.2.1", "", ""), PASSED) != 0 && clock_mono_ms() < until)
		loop_step(at.l, 10);
	int other =
	    dial_to(at.path); /* Postfix does not say when a session ends: it holds nothing */
	assert_starts(
	    ask(other, "CONNECT", "192.0.2.1", "", ""), "action=550 5.7.1 limit sessions");
	close(b);
	close(c);
	until = clock_mono_ms() + 5000;
	while (strcmp(ask(other, "CONNECT", "192.0.2.1", "", ""), PASSED) != 0 &&
	       clock_mono_ms() < until)
		loop_step(at.l, 10);
	for (int i = 0; i < 5; i++)
		assert_string_equal(ask(other, "CONNECT", "192.0.2.1", "", ""), PASSED);
	close(other);
	leave();
}

static void test_reload(void **state)
{
	enter("", "rule few-again { on rcpt; key client/32,64; rate 1/1h; }");
	int fd = dial_to(at.path);
	assert_string_equal(ask(fd, "RCPT", "192.0.2.1", "1", ""), PASSED);
	assert_starts(ask(fd, "RCPT", "192.0.2.1", "1", ""), "action=450");
	struct conf *fresh = load_service(
	    "", "rule few-again { on rcpt; key client/32,64; rate 1/1h; action refuse; }");
	assert_non_null(fresh);
	metermaid_reload(at.m, fresh);
	policy_reload(at.p, fresh);
	conf_unref(&at.c);
	at.c = fresh;
	assert_starts(ask(fd, "RCPT", "192.0.2.1", "1", ""), "action=550");
	close(fd);
	leave();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_moment),
		cmocka_unit_test(test_sender_with_first_recipient),
		cmocka_unit_test(test_cost_and_users),
		cmocka_unit_test(test_message_at_data),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_concurrency),
		cmocka_unit_test(test_reload),
	};
	log_setup("test", LOG_ERROR, false);
	metermaid_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
