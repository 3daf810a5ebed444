/* session_bench.h - an edge of one worker with a real session, directory and meter, a fake for commit, and a
 * client to talk with it. Each script runs twice: all bytes at once, and one byte a time. */
#ifndef TESTS_SESSION_BENCH_H
#define TESTS_SESSION_BENCH_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/edge/load.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/session.h"
#include "edge/worker.h"

enum { TRANSCRIPT_MAX = 2 * 1024 * 1024, TALK_MS = 20000 };

static char dir[] = "/tmp/postern-session-XXXXXX";
static struct loop *loop;
static struct conf *conf;
static struct edge *edge;

/* ---- a fake for step 5 ------------------------------------------------------------------------- */

struct committer {
	struct loop *loop;
};

struct fake_ticket {
	struct ticket base; /* first */
	struct soon soon;
	struct transaction *t;
	void (*fn)(void *arg);
	void *arg;
};

/* What the fake shall answer, and what it was given. */
static struct {
	uint16_t code;
	unsigned calls;
	size_t recipients;
	char sender[300], envid[101], orcpt[300], first[300], user[300], detail[100], store[100],
	    auth_user[100];
	char head[4096]; /* the message's beginning */
	uint64_t size;
	bool body_8bit, trusted, hold;
	enum smtp_ret ret;
	unsigned notify;
	enum fate fate; /* of the first recipient, before the stores */
} given;

static void fake_cancel(struct ticket *t)
{
	struct fake_ticket *f = (struct fake_ticket *)(void *)t;
	soon_clear(&f->soon);
	mem_free(f);
}

static void fake_answer(void *arg)
{
	struct fake_ticket *f = arg;
	void (*fn)(void *) = f->fn;
	void *to = f->arg;
	mem_free(f);
	fn(to);
}

static void keep(char *out, size_t size, const char *text)
{
	snprintf(out, size, "%s", text == NULL ? "-" : text);
}

struct committer *committer_new(
    struct loop *l, struct dns *dns, struct directory *d, const struct conf *c)
{
	struct committer *made = MEM_NEW(struct committer);
	made->loop = l;
	return made;
}

void committer_reload(struct committer *c, const struct conf *fresh)
{
}

void committer_free(struct committer **c)
{
	MEM_FREE(c);
}

struct ticket *commit_start(
    struct committer *c, struct transaction *t, void (*fn)(void *arg), void *arg)
{
	struct fake_ticket *f = MEM_NEW(struct fake_ticket);
	err_t err;
	f->base.cancel = fake_cancel;
	f->t = t;
	f->fn = fn;
	f->arg = arg;
	soon_init(&f->soon, fake_answer, f);
	soon_set(c->loop, &f->soon);
	given.calls++;
	given.recipients = t->recipient_count;
	given.size = body_size(t->body);
	given.body_8bit = t->body_8bit;
	given.hold = t->hold;
	given.fate = t->recipients[0].outcome.fate;
	given.trusted = t->trusted;
	given.ret = t->ret;
	given.notify = t->recipients[0].notify;
	keep(given.envid, sizeof given.envid, t->envid);
	keep(given.orcpt, sizeof given.orcpt, t->recipients[0].orcpt);
	keep(given.sender, sizeof given.sender, t->sender);
	keep(given.auth_user, sizeof given.auth_user, t->auth_user);
	keep(given.first, sizeof given.first, t->recipients[0].address);
	keep(given.user, sizeof given.user, t->recipients[0].user);
	keep(given.detail, sizeof given.detail, t->recipients[0].detail);
	keep(given.store, sizeof given.store, t->recipients[0].store);
	struct span head = body_read(t->body, 0, sizeof given.head - 1, &err);
	memcpy(given.head, head.p, head.n);
	given.head[head.n] = '\0';
	return &f->base;
}

void commit_reply(const struct transaction *t, struct outcome *out)
{
	out->code = given.code;
	snprintf(out->enhanced, sizeof out->enhanced, "%u.0.0", given.code / 100u);
	snprintf(out->text, sizeof out->text, "fate of %s", t->id.s);
}

/* ETRN: what the queue would say. */
static struct etrn_answer given_etrn;
static char given_node[ETRN_NODE_MAX];

struct fake_kick {
	struct ticket base; /* first */
	struct soon soon;
	void (*fn)(void *arg, const struct etrn_answer *a);
	void *arg;
};

static void fake_kick_cancel(struct ticket *t)
{
	struct fake_kick *k = (struct fake_kick *)(void *)t;
	soon_clear(&k->soon);
	mem_free(k);
}

static void fake_kick_answer(void *arg)
{
	struct fake_kick k = *(struct fake_kick *)arg;
	mem_free(arg);
	given_etrn.node = span_str(given_node);
	k.fn(k.arg, &given_etrn);
}

struct ticket *committer_kick(struct committer *c, struct span node,
    void (*fn)(void *arg, const struct etrn_answer *a), void *arg)
{
	struct fake_kick *k = MEM_NEW(struct fake_kick);
	k->base.cancel = fake_kick_cancel;
	k->fn = fn;
	k->arg = arg;
	snprintf(given_node, sizeof given_node, "%.*s", SPAN_ARG(node));
	soon_init(&k->soon, fake_kick_answer, k);
	soon_set(c->loop, &k->soon);
	return &k->base;
}

/* ---- set-up ------------------------------------------------------------------------------------ */

/* A test file may define BENCH_EDGE (more settings of section edge; $ stands for the test's directory)
 * before it includes this one, and set bench_prepare(), which is called before the configuration is
 * written and may fill bench_root. */
#ifndef BENCH_EDGE
#define BENCH_EDGE ""
#endif
#ifndef BENCH_METER /* more rules */
#define BENCH_METER ""
#endif
static char bench_root[256] = "dns_servers 127.0.0.1:1;\n"; /* nobody is there */
static void (*bench_prepare)(void);

static const char config[] =
    "hostname mail.example.org;\n"
    "tls { cert default { chain chain.pem; key file:key.pem; } }\n"
    "directory { backend file; file users.ldif; }\n"
    "metermaid {\n"
    "	rule connects { on connect; key client/32; rate 3/1h; burst 3; exempt 192.0.2.0/24; }\n"
    "	rule senders { on mail; key client/24, helo; rate 2/1h; exempt 192.0.2.0/24, "
    "198.51.100.0/24, 203.0.113.0/24; }\n"
    "	rule targets { on rcpt; key client/24, recipient; rate 1/1h; action refuse; exempt "
    "192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24; }\n"
    "	rule slow { on rcpt; key client/24, sender; rate 1/100ms; action delay; exempt "
    "192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24; }\n"
    "	rule together { on connect; kind concurrency; key client/32; limit 1; exempt "
    "192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24; }\n"
    "	rule floods { on message; key sender; rate 1/1h; burst 1; exempt 192.0.2.0/25; "
    "}\n" BENCH_METER "}\n"
    "edge {\n	dns_exempt 192.0.2.0/24, 198.18.0.0/15, 198.51.100.0/24;\n"
    "	message_size_max 64k; recipients_max 3; body_memory 16k; hops_max 5; line_max 2000;\n"
    "	auth_failure_delay 10ms; command_timeout 1s; data_timeout 1s; connections_per_client_max "
    "2;\n"
    "	postmaster bob@example.org; errors_max 8; pipelining_early allow;\n"
    "	listener mx { address 127.0.0.1:25; role mx; }\n"
    "	listener submission { address 127.0.0.1:587; role submission; tls none;\n"
    "		allow_plaintext_auth yes; }\n"
    "	listener strict { address 127.0.0.1:588; role submission; }\n"
    "	listener internal { address 127.0.0.1:26; role internal; tls none; xclient_from "
    "192.0.2.20/32; xforward_from 192.0.2.21/32; normalize_from 192.0.2.22/32; tags_from "
    "192.0.2.22/32; relay_from "
    "192.0.2.9/32; }\n"
    "	listener slow { address 127.0.0.1:27; role mx; tls none; }\n" BENCH_EDGE "}\n";

static const char *const users[] = { "alice", "bob", "disabled", "inactive", "deleted", "held",
	"full" };

static FILE *create(const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

static void write_users(void)
{
	FILE *f = create("users.ldif");
	fputs("dn: dc=postern\nobjectClass: domain\ndc: postern\n\n"
	      "dn: dc=example,dc=postern\nobjectClass: domain\ndc: example\n"
	      "associatedDomain: example.org\n",
	    f);
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		const char *u = users[i];
		fprintf(f,
		    "\ndn: uid=%s,dc=example,dc=postern\nobjectClass: inetMailUser\nuid: %s\n"
		    "mail: %s@example.org\nmailAlternateAddress: %s.alias@example.org\n"
		    "mailHost: store1\nuserPassword: %s-secret\n",
		    u, u, u, u, u);
		if (strcmp(u, "bob") == 0)
			fputs("mailAntiUBEService: spam\nmailAntiUBEService: Virus\n", f);
		if (strcmp(u, "alice") != 0 && strcmp(u, "bob") != 0)
			fprintf(f, "mailUserStatus: %s\n",
			    strcmp(u, "held") == 0   ? "hold"
			    : strcmp(u, "full") == 0 ? "overquota"
						     : u);
	}
	fclose(f);
}

static void run(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (chdir(dir) == 0 && dup2(null, 2) == 2)
			execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void edge_up(void)
{
	struct buf why = BUF_INIT(512);
	edge = edge_new(loop, conf, &why);
	assert_non_null(edge);
	buf_end(&why);
}

/* The worker goes, whatever it was doing, and another one comes. */
__attribute__((unused)) static void edge_again(void)
{
	edge_free(&edge);
	edge_up();
}

static int setup(void **state)
{
	char *const openssl[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-keyout", "key.pem", "-out", "chain.pem", NULL };
	log_setup("test", LOG_ERROR, false);
	assert_non_null(mkdtemp(dir));
	run(openssl);
	write_users();
	loop = loop_new();
	if (bench_prepare != NULL)
		bench_prepare();
	FILE *f = create("postern.conf");
	fputs(bench_root, f);
	for (const char *c = config; *c != '\0'; c++)
		if (*c == '$')
			fputs(dir, f);
		else
			fputc(*c, f);
	fclose(f);
	conf = load_good(dir);
	metermaid_prepare();
	edge_up();
	return 0;
}

static int teardown(void **state)
{
	char *const rm[] = { "rm", "-rf", dir, NULL };
	edge_free(&edge);
	conf_unref(&conf);
	loop_free(&loop);
	run(rm);
	return 0;
}

/* ---- a conversation ---------------------------------------------------------------------------- */

struct talk {
	int fd;
	struct buf heard;
	bool ended;
};

static struct talk talk_open(const char *listener, const char *client)
{
	int pair[2];
	struct talk t = { .heard = BUF_INIT(TRANSCRIPT_MAX) };
	struct accepted a = { 0 };
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	t.fd = pair[0];
	a.fd = pair[1];
	assert_true(ip_parse(span_str(client), &a.client.addr));
	a.client.port = 4000;
	a.peer = a.client;
	assert_true(edge_client_enter(edge, a.client.addr));
	session_start(edge, edge_setup_listener(edge->setup, listener), &a);
	return t;
}

static void talk_listen(struct talk *t)
{
	char bytes[4096];
	ssize_t n;
	while ((n = read(t->fd, bytes, sizeof bytes)) > 0)
		assert_true(buf_add(&t->heard, bytes, (size_t)n));
	t->ended = n == 0;
}

static void talk_until(struct talk *t, const char *words)
{
	uint64_t until = clock_mono_ms() + TALK_MS;
	while (!t->ended && (words == NULL || strstr(buf_cstr(&t->heard), words) == NULL)) {
		loop_step(loop, 20);
		talk_listen(t);
		assert_true(clock_mono_ms() < until);
	}
}

static void talk_send(struct talk *t, struct span bytes, size_t cut)
{
	while (bytes.n > 0 && !t->ended) {
		ssize_t n = write(t->fd, bytes.p, bytes.n < cut ? bytes.n : cut);
		if (n > 0)
			bytes = span_from(bytes, (size_t)n);
		loop_step(loop, 0);
		talk_listen(t);
	}
}

/* All that a client says, up to the server's last word. */
__attribute__((unused)) static struct talk talk_whole(
    const char *listener, const char *client, struct span script, size_t cut)
{
	struct talk t = talk_open(listener, client);
	talk_until(&t, "220");
	talk_send(&t, script, cut);
	talk_until(&t, NULL);
	return t;
}

static void talk_close(struct talk *t)
{
	close(t->fd);
	buf_end(&t->heard);
	for (int i = 0; i < 50 && edge->session_n > 0; i++)
		loop_step(loop, 20);
	assert_int_equal(edge->session_n, 0);
	assert_int_equal(edge->body_memory, 0);
	assert_int_equal(map_count(edge->clients), 0);
}

/* The codes of all replies, one a reply: "220 250 221". */
static const char *codes(struct talk *t)
{
	static char out[4096];
	struct span rest = buf_span(&t->heard);
	size_t n = 0;
	out[0] = '\0';
	while (rest.n > 0) {
		struct span line = span_cut(&rest, '\n');
		assert_true(line.n > 4 && line.p[line.n - 1] == '\r');
		if (line.p[3] != ' ')
			continue;
		n += (size_t)snprintf(out + n, sizeof out - n, "%s%.3s", n > 0 ? " " : "", line.p);
	}
	return out;
}

static void check_talk(const char *listener, struct span script, const char *want, size_t cut)
{
	struct talk t = talk_open(listener, "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, script, cut);
	shutdown(t.fd, SHUT_WR);
	talk_until(&t, NULL);
	if (strcmp(codes(&t), want) != 0)
		print_error("in pieces of %zu: %.*s\n", cut, SPAN_ARG(buf_span(&t.heard)));
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

__attribute__((unused)) static void check(
    const char *listener, const char *script, const char *want)
{
	check_talk(listener, span_str(script), want, SIZE_MAX);
	check_talk(listener, span_str(script), want, 1);
}

#define HELLO "EHLO c.example\r\n"
#define MAIL HELLO "MAIL FROM:<s@far.example>\r\n"
#define ALICE MAIL "RCPT TO:<alice@example.org>\r\n"
#define TEXT "Subject: x\r\n\r\nhello\r\n"
#define QUIT "QUIT\r\n"

#endif
