/* imap_fixture.h - IMAP sessions over socket pairs in one process, on a real index and log with the committer of
 * fake_committer.h. The access worker is the one below: it offers what sessions ask of accept.c, no more.
 *
 * Users alice and bob @example.org, secrets "alice-secret" and "bob-secret"; INBOX is made at login. Listeners:
 * "imap" (plain, sees every client as 127.0.0.1), "tls" (STARTTLS). */
#ifndef TEST_STORE_IMAP_FIXTURE_H
#define TEST_STORE_IMAP_FIXTURE_H

#include "tests/unit/store/fake_committer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/daemon.h"
#include "daemon/daemon_conf.h"
#include "store-backend/imap/imap_session.h"
#include "store-backend/imap/selected_shelf.h"
#include "store-backend/store.h"

enum { TALK_WAIT_MS = 10000, TALK_MAX = 64 * 1024 * 1024 };

struct store_worker {
	struct loop *loop;
	struct dns *dns;
	struct directory *directory;
	struct conf *conf;
	struct tls_ctx *tls;
	struct store_partition partition;
	struct list_node sessions;
	size_t session_n;
};

struct fixture {
	char dir[64];
	struct loop *loop;
	struct fake_committer *committer;
	struct store_worker worker;
};

/* ---- the worker ---------------------------------------------------------------------------------------- */

struct loop *store_worker_loop(struct store_worker *w)
{
	return w->loop;
}

const char *store_worker_hostname(const struct store_worker *w)
{
	return "store.test";
}

struct directory *store_worker_directory(struct store_worker *w)
{
	return w->directory;
}

const struct conf *store_worker_conf(const struct store_worker *w)
{
	return w->conf;
}

const struct tls_ctx *store_worker_tls(struct store_worker *w, enum store_protocol protocol)
{
	return w->tls;
}

struct store_partition *store_partition_of(struct store_worker *w, struct span user)
{
	return &w->partition;
}

size_t store_partition_count(const struct store_worker *w)
{
	return 1;
}

struct store_partition *store_partition_at(struct store_worker *w, size_t i)
{
	return &w->partition;
}

void store_session_begin(struct store_session *s, const struct store_session_class *class,
    struct store_worker *w, const struct store_listener_conf *lc)
{
	s->class = class;
	s->worker = w;
	s->listener = lc;
	s->conf = conf_ref(w->conf);
	s->id = ident_new();
	list_add_tail(&w->sessions, &s->link);
	w->session_n++;
}

void store_session_end(struct store_session *s)
{
	list_remove(&s->link);
	s->worker->session_n--;
	conf_unref(&s->conf);
}

__attribute__((unused)) static void fixture_drain(struct fixture *f)
{
	struct list_node *next;
	for (struct list_node *n = f->worker.sessions.next; n != &f->worker.sessions; n = next) {
		struct store_session *s = LIST_OF(struct store_session, link, n);
		next = n->next;
		s->class->drain(s);
	}
}

/* ---- open and close -------------------------------------------------------------------------------------- */

static const char fixture_users[] =
    "dn: dc=example\nobjectClass: domain\nassociatedDomain: example.org\n\n"
    "dn: uid=alice\nobjectClass: inetMailUser\nuid: alice\nmail: alice@example.org\n"
    "mailHost: store1\nuserPassword: alice-secret\n\n"
    "dn: uid=bob\nobjectClass: inetMailUser\nuid: bob\nmail: bob@example.org\n"
    "mailHost: store1\nuserPassword: bob-secret\n\n"
    "dn: uid=popper\nobjectClass: inetMailUser\nuid: popper\nmail: popper@example.org\n"
    "mailHost: store1\nuserPassword: popper-secret\nmailAllowedServiceAccess: +pop3:*\n\n"
    "dn: uid=held\nobjectClass: inetMailUser\nuid: held\nmail: held@example.org\n"
    "mailHost: store1\nuserPassword: held-secret\nmailUserStatus: hold\n";

static const char fixture_conf[] =
    "tls { cert default { chain chain.pem; key file:key.pem; } }\n"
    "directory { backend file; file users.ldif; default_domain example.org; }\n"
    "store {\n"
    "	partition p { path p; }\n"
    "	message_size_max 1M; message_memory 64k; commit_timeout 1s; login_timeout 5s; idle_timeout "
    "1m;\n"
    "	proxy_user mux; proxy_secret mux-secret;\n"
    "	listener imap { address 127.0.0.1:143; protocol imap; }\n"
    "	listener tls { address 127.0.0.1:144; protocol imap; tls starttls; }\n"
    "	listener imaps { address 127.0.0.1:993; protocol imap; tls implicit; }\n"
    "}\n";

static const char *fixture_path(const struct fixture *f, const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *out = path[next++ % 4];
	snprintf(out, sizeof path[0], "%s/%s", f->dir, name);
	return out;
}

static void fixture_write(const struct fixture *f, const char *name, const char *text)
{
	FILE *file = fopen(fixture_path(f, name), "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void fixture_run(const struct fixture *f, char *const argv[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (chdir(f->dir) == 0 && dup2(null, 2) == 2)
			execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct conf *fixture_load(const struct fixture *f)
{
	static const struct conf_block *const sections[] = { &tls_block, &directory_block,
		&store_block, NULL };
	static const struct conf_schema schema = {
		.root = &root_block, .sections = sections, .check = store_conf_check
	};
	struct conf_source *src = conf_source_disk(fixture_path(f, "postern.conf"));
	struct conf_diag *d = conf_diag_new();
	struct conf *c = conf_load(&schema, src, NULL, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_error("%s\n", conf_error_text(d, i));
	assert_non_null(c);
	conf_diag_free(&d);
	conf_source_free(&src);
	return c;
}

#define FIXTURE_WAIT(f, condition)                                                                 \
	do {                                                                                       \
		uint64_t wait_until = clock_mono_ms() + TALK_WAIT_MS;                              \
		while (!(condition)) {                                                             \
			assert_true(clock_mono_ms() < wait_until);                                 \
			loop_step((f)->loop, 20);                                                  \
		}                                                                                  \
	} while (0)

static void fixture_on_ready(void *arg, uint64_t epoch)
{
	struct fixture *f = arg;
	err_t err;
	if (f->worker.partition.index == NULL)
		f->worker.partition.index = index_open(fixture_path(f, "p/index"), &err);
	assert_non_null(f->worker.partition.index);
}

static void fixture_open_worker(struct fixture *f)
{
	struct store_worker *w = &f->worker;
	struct dns_opts dns = { .deadline_ms = 1000 };
	struct buf why = BUF_INIT(512);
	w->loop = f->loop;
	w->conf = fixture_load(f);
	w->dns = dns_new(f->loop, &dns);
	w->directory = directory_new(f->loop, w->dns, w->conf);
	w->tls = daemon_tls_server(w->conf, "imap", &why);
	list_init(&w->sessions);
	buf_end(&why);
	struct operation_link_opts opts = { .path = fixture_path(f, "p.sock"),
		.deadline_ms = store_options(w->conf)->commit_timeout,
		.waiting_max = 1000,
		.waiting_bytes_max = 64 * 1024 * 1024,
		.on_ready = fixture_on_ready,
		.arg = f };
	w->partition.name = "p";
	w->partition.reader = commitlog_reader_open(fixture_path(f, "p/log"));
	w->partition.link = operation_link_new(f->loop, &opts);
	w->partition.shelf = selected_shelf_new();
}

__attribute__((unused)) static struct fixture *fixture_open(void)
{
	struct fixture *f = MEM_NEW(struct fixture);
	char *const openssl[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-keyout", "key.pem", "-out", "chain.pem", NULL };
	log_setup("test", LOG_ERROR, false);
	snprintf(f->dir, sizeof f->dir, "/tmp/postern-imap-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(mkdir(fixture_path(f, "p"), 0700), 0);
	fixture_run(f, openssl);
	fixture_write(f, "users.ldif", fixture_users);
	fixture_write(f, "postern.conf", fixture_conf);
	f->loop = loop_new();
	f->committer =
	    fake_committer_open(f->loop, fixture_path(f, "p"), fixture_path(f, "p.sock"));
	fixture_open_worker(f);
	FIXTURE_WAIT(f, operation_link_up(f->worker.partition.link));
	return f;
}

__attribute__((unused)) static void fixture_close(struct fixture **fp)
{
	struct fixture *f = *fp;
	struct store_worker *w = &f->worker;
	char *const rm[] = { "rm", "-rf", f->dir, NULL };
	while (!list_empty(&w->sessions)) {
		struct store_session *s = LIST_OF(struct store_session, link, w->sessions.next);
		s->class->end(s);
	}
	for (int i = 0; i < 5; i++)
		loop_step(f->loop, 1); /* closed streams linger */
	operation_link_free(&w->partition.link);
	selected_shelf_free(&w->partition.shelf);
	index_close(&w->partition.index);
	commitlog_reader_close(&w->partition.reader);
	tls_ctx_unref(&w->tls);
	directory_free(&w->directory);
	dns_free(&w->dns);
	conf_unref(&w->conf);
	fake_committer_close(&f->committer);
	loop_free(&f->loop);
	fixture_run(f, rm);
	MEM_FREE(fp);
}

/* ---- what others do to the mailboxes ------------------------------------------------------------------------ */

static uint64_t fixture_mailbox(struct fixture *f, const char *user, const char *name)
{
	struct index_mailbox m = { 0 };
	struct index_view *v = index_view_begin(f->worker.partition.index);
	bool there = index_mailbox_find(v, span_str(user), span_str(name), &m);
	index_view_end(&v);
	return there ? m.id : 0;
}

/* A message into a mailbox of alice@example.org, with its parse cache; made (with the user) when missing. */
__attribute__((unused)) static void fixture_put(
    struct fixture *f, const char *mailbox, const char *flags, const char *message)
{
	struct operation op;
	struct buf cache = BUF_INIT(STORE_CACHE_MAX);
	operation_init(&op, OP_ENSURE_USER);
	op.user = SPAN("alice@example.org");
	(void)fake_apply(f->committer, &op, NULL);
	if (fixture_mailbox(f, "alice@example.org", mailbox) == 0) {
		op.kind = OP_CREATE;
		op.name = span_str(mailbox);
		assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
	}
	operation_init(&op, OP_APPEND);
	op.user = SPAN("alice@example.org");
	op.mailbox = fixture_mailbox(f, "alice@example.org", mailbox);
	op.message.bytes = span_str(message);
	op.message.size = op.message.bytes.n;
	op.date_s = 1700000000;
	op.set.flags = (strstr(flags, "\\Seen") != NULL ? STORE_SEEN : 0u) |
		       (strstr(flags, "\\Deleted") != NULL ? STORE_DELETED : 0u) |
		       (strstr(flags, "\\Flagged") != NULL ? STORE_FLAGGED : 0u) |
		       (strstr(flags, "\\Answered") != NULL ? STORE_ANSWERED : 0u) |
		       (strstr(flags, "\\Draft") != NULL ? STORE_DRAFT : 0u);
	parse_message(op.message.bytes, &cache);
	op.message.cache = buf_span(&cache);
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
	buf_end(&cache);
}

/* Another session expunges uids first:last. */
__attribute__((unused)) static void fixture_expunge(
    struct fixture *f, const char *mailbox, uint32_t first, uint32_t last)
{
	struct operation op;
	struct uid_range r = { first, last };
	operation_init(&op, OP_EXPUNGE);
	op.user = SPAN("alice@example.org");
	op.mailbox = fixture_mailbox(f, "alice@example.org", mailbox);
	op.uids = (struct uid_set){ &r, 1 };
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
}

/* ---- conversations ------------------------------------------------------------------------------------------- */

struct talk {
	struct fixture *f;
	int fd;
	struct buf heard; /* since the last command */
	bool ended;
};

__attribute__((unused)) static struct talk talk_open_from(
    struct fixture *f, const char *listener, const char *client)
{
	int pair[2];
	struct talk t = { .f = f, .heard = BUF_INIT(TALK_MAX) };
	struct accepted a = { 0 };
	const struct store_conf *sc = store_options(f->worker.conf);
	const struct store_listener_conf *lc = NULL;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	t.fd = pair[0];
	a.fd = pair[1];
	assert_true(ip_parse(span_str(client), &a.client.addr));
	a.client.port = 4000;
	a.peer = a.client;
	for (size_t i = 0; i < sc->listener_n; i++)
		if (strcmp(sc->listener[i]->head.title, listener) == 0)
			lc = sc->listener[i];
	assert_non_null(lc);
	imap_session_start(&f->worker, &a, lc);
	return t;
}

static void talk_listen(struct talk *t)
{
	char bytes[16384];
	ssize_t n;
	while ((n = read(t->fd, bytes, sizeof bytes)) > 0)
		assert_true(buf_add(&t->heard, bytes, (size_t)n));
	t->ended = t->ended || n == 0;
}

/* Until `words` were heard, or (NULL) the session has ended. */
static void talk_until(struct talk *t, const char *words)
{
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	talk_listen(t);
	while (words == NULL ? !t->ended : strstr(buf_cstr(&t->heard), words) == NULL) {
		if (clock_mono_ms() >= until || (t->ended && words != NULL)) {
			print_error("waiting for: %s\nheard: %s\n",
			    words == NULL ? "the end" : words, buf_cstr(&t->heard));
			fail();
		}
		loop_step(t->f->loop, 20);
		talk_listen(t);
	}
}

/* Sends the bytes, `cut` at a time, the loop running between. */
static void talk_send_cut(struct talk *t, struct span bytes, size_t cut)
{
	while (bytes.n > 0 && !t->ended) {
		ssize_t n = write(t->fd, bytes.p, bytes.n < cut ? bytes.n : cut);
		if (n > 0)
			bytes = span_from(bytes, (size_t)n);
		else if (errno != EAGAIN)
			break;
		loop_step(t->f->loop, 0);
		talk_listen(t);
	}
}

static void talk_send(struct talk *t, const char *bytes)
{
	buf_clear(&t->heard);
	talk_send_cut(t, span_str(bytes), SIZE_MAX);
}

/* Sends a command (or several) and waits for the tagged answer to the first. What was heard, until the next
 * command. */
static const char *talk(struct talk *t, const char *commands)
{
	struct span rest = span_str(commands), first = span_cut(&rest, ' ');
	char tag[64];
	snprintf(tag, sizeof tag, "%.*s ", SPAN_ARG(first));
	talk_send(t, commands);
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	for (;;) {
		const char *heard = buf_cstr(&t->heard);
		const char *at = strncmp(heard, tag, strlen(tag)) == 0 ? heard : NULL;
		for (const char *p = heard; at == NULL && (p = strstr(p, "\r\n")) != NULL; p += 2)
			at = strncmp(p + 2, tag, strlen(tag)) == 0 ? p + 2 : NULL;
		if (at != NULL && strstr(at, "\r\n") != NULL)
			return heard;
		if (t->ended || clock_mono_ms() >= until) {
			print_error("no answer to: %s\nheard: %s\n", commands, heard);
			fail();
		}
		loop_step(t->f->loop, 20);
		talk_listen(t);
	}
}

static void talk_close(struct talk *t)
{
	size_t before = t->f->worker.session_n;
	bool lives = !t->ended;
	close(t->fd);
	buf_end(&t->heard);
	if (lives)
		FIXTURE_WAIT(t->f, t->f->worker.session_n < before);
}

/* Connected by the listener "imap", greeting heard. */
__attribute__((unused)) static struct talk talk_open(struct fixture *f)
{
	struct talk t = talk_open_from(f, "imap", "127.0.0.1");
	talk_until(&t, " ready\r\n");
	return t;
}

/* Logged in as alice. */
__attribute__((unused)) static struct talk talk_login(struct fixture *f)
{
	struct talk t = talk_open(f);
	assert_non_null(strstr(talk(&t, "l LOGIN alice alice-secret\r\n"), "l OK ["));
	return t;
}

/* The whole of `heard` is `want`, in which "@" stands for a number and "~" for a session's id. */
static bool talk_fits(const char *want, const char *heard)
{
	for (; *want != '\0'; want++) {
		size_t n = strspn(heard, *want == '@'   ? "0123456789"
					 : *want == '~' ? "abcdefghijkmnpqrstuvwxyz23456789"
							: "");
		if (*want != '@' && *want != '~')
			n = *heard == *want;
		if (n == 0)
			return false;
		heard += n;
	}
	return *heard == '\0';
}

/* Waits for the exact answer to what was sent. */
__attribute__((unused)) static void talk_hear(struct talk *t, const char *want)
{
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	talk_listen(t);
	while (!talk_fits(want, buf_cstr(&t->heard))) {
		if (clock_mono_ms() >= until || t->ended) {
			print_error("want:\n%s\nheard:\n%s\n", want, buf_cstr(&t->heard));
			fail();
		}
		loop_step(t->f->loop, 20);
		talk_listen(t);
	}
}

/* Sends, and waits for the exact answer. */
__attribute__((unused)) static void talk_expect(struct talk *t, const char *send, const char *want)
{
	talk_send(t, send);
	talk_hear(t, want);
}

/* One thing said and what must come back, as in talk_fits(). */
struct step {
	const char *send, *want;
};

/* Sends every step in pieces of `cut` bytes; 0: all steps at once, not waiting for any answer. */
__attribute__((unused)) static void talk_script(
    struct talk *t, const struct step *v, size_t n, size_t cut)
{
	struct buf send = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
	for (size_t i = 0; i < n; i++) {
		buf_add_str(&send, v[i].send);
		buf_add_str(&want, v[i].want);
		if (cut == 0 && i + 1 < n)
			continue;
		buf_clear(&t->heard);
		talk_send_cut(t, buf_span(&send), cut == 0 ? SIZE_MAX : cut);
		talk_hear(t, buf_cstr(&want));
		buf_clear(&send);
		buf_clear(&want);
	}
	buf_end(&send);
	buf_end(&want);
}

#endif
