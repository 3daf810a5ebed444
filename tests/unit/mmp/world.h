/* world.h - a multiplexor in the test's own loop, between clients and scripted stores on loopback. The
 * clock stands still unless a test moves it. */
#ifndef TESTS_MMP_WORLD_H
#define TESTS_MMP_WORLD_H

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/daemon_conf.h"
#include "mmp/accept.h"
#include "mmp/session.h"
#include "mmp/worker.h"

#include "fake_store.h"

enum { IDLE_STEPS = 400 };

enum port_id {
	IMAP,
	IMAP_OPEN,
	IMAPS,
	POP3,
	POP3_OPEN,
	POP3S,
	PROXIED,
	SIEVE,
	SIEVE_OPEN,
	SUBMIT,
	SUBMIT_OPEN,
	PORTS
};
static const struct {
	const char *name, *options;
} port_rows[PORTS] = {
	[IMAP] = { "imap", "protocol imap;" },
	[IMAP_OPEN] = { "imap-open", "protocol imap; tls none; allow_plaintext_auth yes;" },
	[IMAPS] = { "imaps", "protocol imap; tls implicit;" },
	[POP3] = { "pop3", "protocol pop3;" },
	[POP3_OPEN] = { "pop3-open", "protocol pop3; tls none; allow_plaintext_auth yes;" },
	[POP3S] = { "pop3s", "protocol pop3; tls implicit;" },
	[SIEVE] = { "sieve", "protocol managesieve;" },
	[SIEVE_OPEN] = { "sieve-open",
	    "protocol managesieve; tls none; allow_plaintext_auth yes;" },
	[SUBMIT] = { "submit", "protocol submission;" },
	[SUBMIT_OPEN] = { "submit-open",
	    "protocol submission; tls none; allow_plaintext_auth yes;" },
	[PROXIED] = { "proxied", "protocol imap; tls none; allow_plaintext_auth yes;" },
};

static char world_dir[64];
static const char *world_proxy_from = "127.0.0.0/8"; /* of PROXIED */
static const char *world_only = "protocol "; /* in the options of those listeners that there are */
static struct {
	struct loop *loop;
	struct conf *conf;
	struct mmp *mmp;
	int fd[PORTS];
	uint16_t port[PORTS], dead;
	struct fake store[2]; /* store1 and store2; "dead" is a port where nobody listens */
	struct tls_ctx *trusting, *server;
	FILE *log;
} world;

/* ---- files -------------------------------------------------------------------------------------- */

static FILE *world_create(const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", world_dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

static void run(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (chdir(world_dir) == 0 && dup2(null, 2) == 2)
			execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* name, then more LDIF lines. The password of each is its name and "-secret". */
static const char *const world_users[][2] = {
	{ "alice", "mailHost: store1\n" },
	{ "bob", "mailHost: store2\n" },
	{ "both", "mailHost: dead\nmailHost: store1\n" },
	{ "buried", "mailHost: dead\n" },
	{ "closed", "mailHost: store1\nmailUserStatus: disabled\n" },
	{ "held", "mailHost: store1\nmailUserStatus: hold\n" },
	{ "poponly", "mailHost: store1\nmailAllowedServiceAccess: +pop:*\n" },
	{ "inside",
	    "mailHost: store1\nmailAllowedServiceAccess: +imap:192.0.2.0/24, 2001:db8::/32\n" },
	{ "imaponly", "mailHost: nopop\n" },
	{ "looped", "mailHost: loop\n" },
	{ "homeless", "" },
	/* the keys of RFC 7677 section 3: password "pencil" */
	{ "user", "mailHost: store1\nuserPassword: {SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
		  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
		  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n" },
};

static void put_store(FILE *f, const char *name, unsigned imap, unsigned pop3)
{
	fprintf(f,
	    "\ndn: cn=%s,dc=postern\nobjectClass: posternStore\ncn: %s\n"
	    "posternStoreHost: 127.0.0.1\nposternStoreImapPort: %u\nposternStorePop3Port: %u\n"
	    "posternStoreImapsPort: %u\nposternStorePop3sPort: %u\nposternStoreSievePort: %u\n"
	    "posternStoreSubmissionPort: %u\nposternStoreSubmissionsPort: %u\n",
	    name, name, imap, pop3, imap, pop3, pop3, pop3, pop3);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in sa = { 0 };
	socklen_t n = sizeof sa;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	return ntohs(sa.sin_port);
}

static int open_port(uint16_t *port_out)
{
	struct ip_port at = { 0 };
	assert_true(ip_parse(SPAN("127.0.0.1"), &at.addr));
	int fd = listen_open_tcp(at);
	assert_true(fd >= 0);
	*port_out = port_of(fd);
	return fd;
}

static void write_directory(void)
{
	FILE *f = world_create("users.ldif");
	fputs("dn: dc=postern\nobjectClass: domain\ndc: postern\n\n"
	      "dn: dc=example,dc=postern\nobjectClass: domain\ndc: example\n"
	      "associatedDomain: example.org\n",
	    f);
	put_store(f, "store1", world.store[0].port, world.store[0].port);
	put_store(f, "store2", world.store[1].port, world.store[1].port);
	put_store(f, "dead", world.dead, world.dead);
	put_store(f, "nopop", world.store[0].port, 0);
	put_store(f, "loop", world.port[IMAP_OPEN], world.port[POP3_OPEN]);
	for (size_t i = 0; i < COUNT_OF(world_users); i++) {
		const char *u = world_users[i][0];
		fprintf(f,
		    "\ndn: uid=%s,dc=example,dc=postern\nobjectClass: inetMailUser\nuid: %s\n"
		    "mail: %s@example.org\nuserPassword: %s-secret\n%s",
		    u, u, u, u, world_users[i][1]);
	}
	fclose(f);
}

/* mmp: more lines of that section; root: more lines of the top level, NULL: a plain directory. */
static void write_config(const char *mmp, const char *root)
{
	FILE *f = world_create("postern.conf");
	fprintf(f,
	    "hostname mail.example.org;\ntls { cert default { chain chain.pem; key file:key.pem; } "
	    "ca chain.pem; }\n%s\n"
	    "mmp {\n auth_failure_delay 200ms; %s %s %s\n",
	    root != NULL ? root : "directory { file users.ldif; default_domain example.org; }",
	    strstr(mmp, "failure_delay_max") == NULL ? "auth_failure_delay_max 200ms;" : "",
	    /* scripts are for logins: a dead store meets nobody else */
	    strstr(mmp, "ready_stores") == NULL ? "ready_stores none;" : "", mmp);
	for (int i = 0; i < PORTS; i++)
		if (strstr(port_rows[i].options, world_only) != NULL)
			fprintf(f, " listener %s { address 127.0.0.1:%u; %s proxy_from %s; }\n",
			    port_rows[i].name, world.port[i], port_rows[i].options,
			    i == PROXIED ? world_proxy_from : "192.0.2.128/25");
	fputs("}\n", f);
	fclose(f);
}

static struct conf *load_config(struct conf_diag *d)
{
	static const struct conf_block *const sections[] = { &tls_block, &directory_block,
		&metermaid_block, &mmp_block, NULL };
	static const struct conf_schema schema = {
		.root = &root_block, .sections = sections, .check = mmp_conf_check
	};
	char path[128];
	snprintf(path, sizeof path, "%s/postern.conf", world_dir);
	struct conf_source *src = conf_source_disk(path);
	struct conf *c = conf_load(&schema, src, NULL, d);
	conf_source_free(&src);
	return c;
}

static struct conf *world_conf(const char *mmp, const char *root)
{
	struct conf_diag *d = conf_diag_new();
	write_config(mmp, root);
	struct conf *c = load_config(d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_error("%s\n", conf_error_text(d, i));
	assert_non_null(c);
	conf_diag_free(&d);
	return c;
}

/* ---- time ---------------------------------------------------------------------------------------- */

static void world_pass(uint64_t ms)
{
	clock_fake_advance(ms);
	for (int i = 0; i < 3; i++)
		loop_step(world.loop, 0);
}

/* Steps the loop until the condition holds; fails when nothing happens any more. */
#define WAIT(condition)                                                                            \
	do {                                                                                       \
		int idle_ = 0;                                                                     \
		while (!(condition)) {                                                             \
			if (!loop_step(world.loop, 20))                                            \
				idle_++;                                                           \
			if (idle_ > IDLE_STEPS)                                                    \
				fail_msg("waited in vain: %s", #condition);                        \
		}                                                                                  \
	} while (0)

/* Until nothing happens any more at this moment. */
static UNUSED void settle(void)
{
	for (int quiet = 0; quiet < 3;)
		quiet = loop_step(world.loop, 0) ? 0 : quiet + 1;
}

/* The same with a store that says nothing: after a moment the dial looks whether it is connected. */
static UNUSED void settle_silent(void)
{
	settle();
	world_pass(100);
	settle();
}

/* ---- clients ------------------------------------------------------------------------------------- */

struct client {
	struct stream *io; /* NULL once it has failed */
	struct buf heard;
	bool ended, secured, flows;
	struct flow flow;
};

static void client_event(void *arg, enum stream_event ev)
{
	struct client *c = arg;
	if (ev == STREAM_SECURED)
		c->secured = true;
	if (ev == STREAM_FAILED)
		stream_free(&c->io);
	if (ev == STREAM_FAILED || ev == STREAM_EOF) {
		c->ended = true;
		return;
	}
	if (c->flows) {
		flow_take(&c->flow, c->io);
		flow_send(&c->flow, c->io);
		return;
	}
	assert_true(buf_add_span(&c->heard, stream_input(c->io)));
	stream_eat(c->io, stream_input(c->io).n);
}

/* The callbacks hold its address: it must stay where it is. */
static void client_open(struct client *c, enum port_id at)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons(world.port[at]),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	*c = (struct client){ .heard = BUF_INIT(SEEN_MAX) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	c->io = stream_new(
	    world.loop, fd, (struct stream_limits){ STREAM_MAX, STREAM_MAX }, client_event, c);
	stream_set_secret(c->io);
}

static UNUSED void client_secure(struct client *c)
{
	stream_start_tls_client(c->io, world.trusting, "localhost", NULL);
	WAIT(c->secured);
}

static UNUSED void client_send(struct client *c, const char *text)
{
	if (c->io != NULL)
		stream_write_span(c->io, span_str(text));
}

static void client_close(struct client *c)
{
	stream_free(&c->io);
	buf_end(&c->heard);
}

/* Closes, and waits until the multiplexor has no session any more. */
static UNUSED void client_leave(struct client *c)
{
	client_close(c);
	for (int i = 0; i < 200 && world.mmp->prelogin_n + world.mmp->piped_n > 0; i++)
		if (!loop_step(world.loop, 5))
			world_pass(1000);
	assert_int_equal(world.mmp->prelogin_n + world.mmp->piped_n, 0);
}

/* What was heard, with the session's id left out. */
static const char *heard(struct client *c)
{
	static char out[1 << 16];
	const char *in = buf_cstr(&c->heard);
	size_t n = 0;
	while (*in != '\0' && n + 8 < sizeof out) {
		if (strncmp(in, "(id ", 4) == 0 && strchr(in, ')') != NULL) {
			n += (size_t)snprintf(out + n, sizeof out - n, "(id)");
			in = strchr(in, ')') + 1;
		} else {
			out[n++] = *in++;
		}
	}
	out[n] = '\0';
	return out;
}

/* Waits for exactly these words; time passes as long as they do not come. */
static UNUSED void expect(struct client *c, const char *want)
{
	for (int i = 0; i < 60 && strcmp(heard(c), want) != 0; i++)
		for (int j = 0; j < 3; j++)
			if (!loop_step(world.loop, 2))
				world_pass(10);
	assert_string_equal(heard(c), want);
}

static UNUSED void expect_end(struct client *c, const char *want)
{
	expect(c, want);
	WAIT(c->ended);
	assert_string_equal(heard(c), want);
}

/* Waits until something came behind what has been heard. */
static UNUSED void wait_more(struct client *c)
{
	size_t had = buf_len(&c->heard);
	for (int i = 0; i < 200 && buf_len(&c->heard) == had; i++)
		for (int j = 0; j < 3; j++)
			if (!loop_step(world.loop, 2))
				world_pass(10);
	assert_true(buf_len(&c->heard) > had);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static const char *log_text(void)
{
	static char text[1 << 18];
	fflush(world.log);
	ssize_t n = pread(fileno(world.log), text, sizeof text - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static UNUSED unsigned logged(const char *words)
{
	unsigned n = 0;
	for (const char *at = log_text(); (at = strstr(at, words)) != NULL; at++)
		n++;
	return n;
}

static void world_start(const char *mmp, const char *root)
{
	struct buf why = BUF_INIT(512);
	world.loop = loop_new();
	fake_open(&world.store[0], world.loop);
	fake_open(&world.store[1], world.loop);
	world.conf = world_conf(mmp, root);
	world.mmp = mmp_new(world.loop, world.conf, &why);
	assert_non_null(world.mmp);
	for (int i = 0; i < PORTS; i++)
		doors_add(world.mmp->doors, port_rows[i].name, world.fd[i]);
	world.trusting = daemon_tls_client(world.conf, TLS_VERIFY_NONE, &why);
	world.server = daemon_tls_server(world.conf, "imap", &why);
	assert_true(world.trusting != NULL && world.server != NULL);
	world.store[0].server = world.store[1].server = world.server;
	assert_int_equal(ftruncate(fileno(world.log), 0), 0);
	buf_end(&why);
}

/* No secret may be in any log line, whatever a test did. */
static void world_end(void)
{
	assert_null(strstr(log_text(), "-secret"));
	assert_null(strstr(log_text(), "LXNlY3JldA")); /* "-secret" in base64, by place */
	assert_null(strstr(log_text(), "1zZWNyZX"));
	assert_null(strstr(log_text(), "tc2VjcmV0"));
	mmp_free(&world.mmp);
	conf_unref(&world.conf);
	fake_close(&world.store[0]);
	fake_close(&world.store[1]);
	tls_ctx_unref(&world.trusting);
	tls_ctx_unref(&world.server);
	loop_free(&world.loop);
}

static int world_setup(void **state)
{
	char *const openssl[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem",
		"-out", "chain.pem", NULL };
	snprintf(world_dir, sizeof world_dir, "/tmp/postern-mmp-XXXXXX");
	assert_non_null(mkdtemp(world_dir));
	run(openssl);
	for (int i = 0; i < PORTS; i++)
		world.fd[i] = open_port(&world.port[i]);
	for (int i = 0; i < 2; i++)
		world.store[i].fd = open_port(&world.store[i].port);
	close(open_port(&world.dead));
	write_directory();
	char path[128];
	snprintf(path, sizeof path, "%s/log", world_dir);
	world.log = fopen(path, "w+");
	assert_non_null(world.log);
	assert_int_equal(fcntl(fileno(world.log), F_SETFL, O_APPEND | O_RDWR), 0);
	log_setup("test", LOG_DEBUG, false);
	log_set_fd(fileno(world.log));
	metermaid_prepare();
	clock_fake(1000000, 1700000000000000);
	return 0;
}

static int world_teardown(void **state)
{
	char *const rm[] = { "rm", "-rf", world_dir, NULL };
	log_set_fd(2);
	clock_fake_off();
	for (int i = 0; i < PORTS; i++)
		close(world.fd[i]);
	close(world.store[0].fd);
	close(world.store[1].fd);
	fclose(world.log);
	run(rm);
	return 0;
}

#define IMAP_OPEN_GREETING                                                                         \
	"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=PLAIN AUTH=LOGIN] mail.example.org "  \
	"multiplexor ready\r\n"
#define IMAP_GREETING                                                                              \
	"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID STARTTLS LOGINDISABLED] mail.example.org " \
	"multiplexor ready\r\n"
#define POP3_GREETING "+OK mail.example.org multiplexor ready\r\n"
/* These need sieve_extensions as in SIEVE_WORDS. */
#define SIEVE_WORDS "sieve_extensions fileinto, reject, vacation;"
#define SIEVE_SAYS(sasl, tls, text)                                                                \
	"\"IMPLEMENTATION\" \"Postern\"\r\n\"SIEVE\" \"fileinto reject vacation\"\r\n\"SASL\" "    \
	"\"" sasl "\"\r\n" tls "\"VERSION\" \"1.0\"\r\nOK \"" text "\"\r\n"
#define SIEVE_OPEN_GREETING SIEVE_SAYS("PLAIN LOGIN", "", "mail.example.org multiplexor ready")
#define SIEVE_GREETING SIEVE_SAYS("", "\"STARTTLS\"\r\n", "mail.example.org multiplexor ready")
#define SIEVE_LATER "NO (TRYLATER) \"Temporarily unavailable, try again later (id)\"\r\n"
#define SIEVE_IN "OK \"Logged in\"\r\n"
/* These need submission_capability as in SUBMIT_WORDS. */
#define SUBMIT_WORDS "submission_capability PIPELINING, 8BITMIME, \"SIZE 1000\";"
#define SUBMIT_GREETING "220 mail.example.org ESMTP multiplexor ready\r\n"
#define SUBMIT_OPEN_EHLO                                                                           \
	"250-mail.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000\r\n"              \
	"250 AUTH PLAIN LOGIN\r\n"
#define SUBMIT_LATER "454 4.7.0 Temporarily unavailable, try again later (id)\r\n"
#define SUBMIT_IN "235 2.7.0 Authentication succeeded\r\n"
/* NUL alice NUL alice-secret */
#define ALICE_PLAIN "AGFsaWNlAGFsaWNlLXNlY3JldA=="
#define IMAP_IN "OK [CAPABILITY IMAP4rev1 LITERAL+ ID IDLE X-STORE] Logged in\r\n"
#define LATER "NO [UNAVAILABLE] Temporarily unavailable, try again later (id)\r\n"
#define POP3_LATER "-ERR [SYS/TEMP] Temporarily unavailable, try again later (id)\r\n"

/* One login of alice; the store must meet what its script says. A minute passes behind it: for so long no
 * store is left alone. */
static UNUSED void login_alice(enum port_id at, const char *const *script, const char *want)
{
	struct client c;
	char all[2048];
	bool imap = at == IMAP_OPEN || at == PROXIED;
	world.store[0].script = script;
	world.store[0].wrong = NULL;
	client_open(&c, at);
	if (at == PROXIED)
		client_send(&c, "PROXY TCP6 2001:db8::7 2001:db8::1 4000 143\r\n");
	client_send(&c, at == SIEVE_OPEN    ? "AUTHENTICATE \"PLAIN\" \"" ALICE_PLAIN "\"\r\n"
			: at == SUBMIT_OPEN ? "EHLO pc\r\nAUTH PLAIN " ALICE_PLAIN "\r\n"
			: imap              ? "a LOGIN alice alice-secret\r\n"
					    : "USER alice\r\nPASS alice-secret\r\n");
	snprintf(all, sizeof all, "%s%s",
	    at == SIEVE_OPEN    ? SIEVE_OPEN_GREETING
	    : at == SUBMIT_OPEN ? SUBMIT_GREETING SUBMIT_OPEN_EHLO
	    : imap              ? IMAP_OPEN_GREETING "a "
				: POP3_GREETING "+OK Now the password\r\n",
	    want);
	expect(&c, all);
	if (world.store[0].wrong != NULL)
		fail_msg("the store met something else than: %s", world.store[0].wrong);
	client_leave(&c);
	world_pass(60000);
}

/* The same; what the store saw and what was logged before is forgotten. */
static UNUSED void login_alice_anew(enum port_id at, const char *const *script, const char *want)
{
	buf_clear(&world.store[0].seen);
	assert_int_equal(ftruncate(fileno(world.log), 0), 0);
	login_alice(at, script, want);
}

static UNUSED bool store_saw(const char *words)
{
	return span_find_span(buf_span(&world.store[0].seen), span_str(words)) != SIZE_MAX;
}

#endif
