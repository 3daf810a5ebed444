/* session_worker.h - the access worker of tests of sessions: it offers what sessions ask of accept.c, no more; and
 * conversations with a session over a socket pair. The directory and the TLS context are real; the partition is the
 * test's. Include it from one file of a test only: it defines functions of accept.c, so the linker takes no others. */
#ifndef TEST_STORE_SESSION_WORKER_H
#define TEST_STORE_SESSION_WORKER_H

#include <errno.h>
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

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "daemon/daemon_conf.h"
#include "metermaid/metermaid.h"
#include "store-backend/store.h"

enum { TALK_WAIT_MS = 20000, TALK_MAX = 64 * 1024 * 1024 };

struct store_worker {
	char dir[64]; /* everything the test has on the disk */
	struct loop *loop;
	struct conf *conf;
	struct dns *dns;
	struct directory *directory;
	struct tls_ctx *tls;
	struct store_partition partition;
	struct list_node sessions;
	size_t session_n;
	bool draining; /* who comes is told so */
};

/* ---- what accept.c does for sessions ------------------------------------------------------------------- */

struct loop *store_worker_loop(struct store_worker *w)
{
	return w->loop;
}

const char *store_worker_hostname(const struct store_worker *w)
{
	return daemon_hostname(w->conf);
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

/* No other stores. */
const struct tls_ctx *store_worker_tls_client(struct store_worker *w)
{
	return NULL;
}

struct dns *store_worker_dns(struct store_worker *w)
{
	return w->dns;
}

struct store_partition *store_partition_of(struct store_worker *w, struct span user)
{
	return &w->partition;
}

size_t store_partition_count(const struct store_worker *w)
{
	return 1;
}

struct store_partition *store_partition_at(struct store_worker *w, size_t at)
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
	s->draining = w->draining;
	list_add_tail(&w->sessions, &s->link);
	w->session_n++;
}

void store_session_end(struct store_session *s)
{
	list_remove(&s->link);
	s->worker->session_n--;
	conf_unref(&s->conf);
}

/* ---- its beginning and end ----------------------------------------------------------------------------- */

/* Steps the loop until the condition holds. */
#define WORKER_WAIT(w, condition)                                                                  \
	do {                                                                                       \
		uint64_t wait_until = clock_mono_ms() + TALK_WAIT_MS;                              \
		while (!(condition)) {                                                             \
			assert_true(clock_mono_ms() < wait_until);                                 \
			loop_step((w)->loop, 5);                                                   \
		}                                                                                  \
	} while (0)

static inline FILE *worker_create(const struct store_worker *w, const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", w->dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

static inline void worker_run(const struct store_worker *w, char *const argv[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (chdir(w->dir) == 0 && dup2(null, 2) == 2)
			execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A folder with the certificate chain.pem of key.pem in it, for postern.conf and what that needs. */
static inline void worker_make_folder(struct store_worker *w)
{
	char *const openssl[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-keyout", "key.pem", "-out", "chain.pem", NULL };
	log_setup("test", LOG_ERROR, false);
	snprintf(w->dir, sizeof w->dir, "/tmp/postern-store-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	worker_run(w, openssl);
}

static inline struct conf *worker_load(const struct store_worker *w)
{
	static const struct conf_block *const sections[] = { &tls_block, &directory_block,
		&metermaid_block, &store_block, NULL };
	static const struct conf_schema schema = {
		.root = &root_block, .sections = sections, .check = store_conf_check
	};
	char path[128];
	snprintf(path, sizeof path, "%s/postern.conf", w->dir);
	struct conf_source *src = conf_source_disk(path);
	struct conf_diag *d = conf_diag_new();
	struct conf *c = conf_load(&schema, src, NULL, d);
	for (size_t i = 0; i < conf_error_count(d); i++)
		print_error("%s\n", conf_error_text(d, i));
	assert_non_null(c);
	conf_diag_free(&d);
	conf_source_free(&src);
	return c;
}

/* With its postern.conf in the folder. */
static inline void worker_begin(struct store_worker *w, const char *alpn)
{
	w->conf = worker_load(w);
	w->loop = loop_new();
	w->dns = daemon_dns(w->loop, w->conf);
	w->directory = directory_new(w->loop, w->dns, w->conf);
	w->tls = daemon_tls_server(w->conf, alpn, NULL);
	assert_non_null(w->tls);
	list_init(&w->sessions);
}

static inline void worker_end_sessions(struct store_worker *w)
{
	while (!list_empty(&w->sessions)) {
		struct store_session *s = LIST_OF(struct store_session, link, w->sessions.next);
		s->class->end(s);
	}
}

/* Sessions and partition are gone before. */
static inline void worker_end(struct store_worker *w)
{
	char *const rm[] = { "rm", "-rf", w->dir, NULL };
	tls_ctx_unref(&w->tls);
	directory_free(&w->directory);
	dns_free(&w->dns);
	conf_unref(&w->conf);
	loop_free(&w->loop);
	worker_run(w, rm);
}

/* ---- conversations ------------------------------------------------------------------------------------- */

struct talk {
	struct store_worker *w;
	int fd;
	struct buf heard;
	bool ended;
};

static inline const struct store_listener_conf *worker_listener(
    const struct store_worker *w, const char *name)
{
	const struct store_conf *s = store_options(w->conf);
	for (size_t i = 0; i < s->listener_n; i++)
		if (strcmp(s->listener[i]->head.title, name) == 0)
			return s->listener[i];
	fail_msg("no listener %s", name);
	return NULL;
}

static inline struct talk talk_begin(
    struct store_worker *w, store_session_start_fn *start, const char *listener, const char *client)
{
	int pair[2];
	struct talk t = { .w = w, .heard = BUF_INIT(TALK_MAX) };
	struct accepted a = { 0 };
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	t.fd = pair[0];
	a.fd = pair[1];
	assert_true(ip_parse(span_str(client), &a.client.addr));
	a.client.port = 4000;
	a.peer = a.client;
	start(w, &a, worker_listener(w, listener));
	return t;
}

static inline void talk_listen(struct talk *t)
{
	char bytes[65536];
	ssize_t n;
	while ((n = read(t->fd, bytes, sizeof bytes)) > 0)
		assert_true(buf_add(&t->heard, bytes, (size_t)n));
	t->ended = t->ended || n == 0;
}

static inline bool talk_has_heard(const struct talk *t, const char *words)
{
	return span_find_span(buf_span(&t->heard), span_str(words)) != SIZE_MAX;
}

/* Until these words were heard, or (NULL) the session has ended. */
static inline void talk_until(struct talk *t, const char *words)
{
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	while (words == NULL ? !t->ended : !talk_has_heard(t, words)) {
		if (clock_mono_ms() >= until || t->ended) {
			print_error("waiting for: %s\nheard: %s\n",
			    words == NULL ? "the end" : words, buf_cstr(&t->heard));
			fail();
		}
		loop_step(t->w->loop, 5);
		talk_listen(t);
	}
}

/* Sends the bytes, `cut` at a time, the loop running between. */
static inline void talk_send_cut(struct talk *t, struct span bytes, size_t cut)
{
	while (bytes.n > 0 && !t->ended) {
		ssize_t n = write(t->fd, bytes.p, bytes.n < cut ? bytes.n : cut);
		if (n > 0)
			bytes = span_from(bytes, (size_t)n);
		else if (errno != EAGAIN)
			break;
		loop_step(t->w->loop, 0);
		talk_listen(t);
	}
}

/* Closes it; the session ends. */
static inline void talk_close(struct talk *t)
{
	size_t before = t->w->session_n;
	bool lives = !t->ended && before > 0;
	close(t->fd);
	buf_end(&t->heard);
	if (lives)
		WORKER_WAIT(t->w, t->w->session_n < before);
}

#endif
