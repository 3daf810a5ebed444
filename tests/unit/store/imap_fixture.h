/* imap_fixture.h - IMAP sessions over socket pairs in one process, on a real index and log with the committer of
 * fake_committer.h. The access worker is the one below: it offers what sessions ask of accept.c, no more.
 *
 * Users alice and bob @example.org, secrets "alice-secret" and "bob-secret"; INBOX is made at login. Listeners:
 * "imap" (plain, sees every client as 127.0.0.1), "tls" (STARTTLS). */
#ifndef TEST_STORE_IMAP_FIXTURE_H
#define TEST_STORE_IMAP_FIXTURE_H

#include "tests/unit/store/fake_committer.h"

#include "store-backend/imap/imap_session.h"
#include "store-backend/imap/selected_shelf.h"
#include "tests/unit/store/session_worker.h"

struct fixture {
	struct store_worker worker;
	struct loop *loop; /* the worker's */
	struct fake_committer *committer;
};

#define FIXTURE_WAIT(f, condition) WORKER_WAIT(&(f)->worker, condition)

__attribute__((unused)) static void fixture_drain(struct fixture *f)
{
	struct list_node *next;
	for (struct list_node *n = f->worker.sessions.next; n != &f->worker.sessions; n = next) {
		struct store_session *s = LIST_OF(struct store_session, link, n);
		next = n->next;
		store_session_drain(s);
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
    "hostname store.test;\n"
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
	snprintf(out, sizeof path[0], "%s/%s", f->worker.dir, name);
	return out;
}

static void fixture_write(const struct fixture *f, const char *name, const char *text)
{
	FILE *file = worker_create(&f->worker, name);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void fixture_on_ready(void *arg, uint64_t epoch)
{
	struct fixture *f = arg;
	err_t err;
	if (f->worker.partition.index == NULL)
		f->worker.partition.index = index_open(fixture_path(f, "p/index"), &err);
	assert_non_null(f->worker.partition.index);
}

static void fixture_open_partition(struct fixture *f)
{
	struct store_partition *p = &f->worker.partition;
	struct operation_link_opts opts = { .path = fixture_path(f, "p.sock"),
		.deadline_ms = store_options(f->worker.conf)->commit_timeout,
		.waiting_max = 1000,
		.waiting_bytes_max = 64 * 1024 * 1024,
		.on_ready = fixture_on_ready,
		.arg = f };
	p->name = "p";
	p->reader = commitlog_reader_open(fixture_path(f, "p/log"));
	p->link = operation_link_new(f->loop, &opts);
	p->shelf = selected_shelf_new();
}

__attribute__((unused)) static struct fixture *fixture_open(void)
{
	struct fixture *f = MEM_NEW(struct fixture);
	worker_make_folder(&f->worker);
	assert_int_equal(mkdir(fixture_path(f, "p"), 0700), 0);
	fixture_write(f, "users.ldif", fixture_users);
	fixture_write(f, "postern.conf", fixture_conf);
	worker_begin(&f->worker, "imap");
	f->loop = f->worker.loop;
	f->committer =
	    fake_committer_open(f->loop, fixture_path(f, "p"), fixture_path(f, "p.sock"));
	fixture_open_partition(f);
	FIXTURE_WAIT(f, operation_link_up(f->worker.partition.link));
	return f;
}

__attribute__((unused)) static void fixture_close(struct fixture **fp)
{
	struct fixture *f = *fp;
	struct store_worker *w = &f->worker;
	worker_end_sessions(w);
	for (int i = 0; i < 5; i++)
		loop_step(f->loop, 1); /* closed streams linger */
	operation_link_free(&w->partition.link);
	selected_shelf_free(&w->partition.shelf);
	index_close(&w->partition.index);
	commitlog_reader_close(&w->partition.reader);
	fake_committer_close(&f->committer);
	worker_end(w);
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

/* Also see session_worker.h. */
__attribute__((unused)) static struct talk talk_open_from(
    struct fixture *f, const char *listener, const char *client)
{
	return talk_begin(&f->worker, imap_session_start, listener, client);
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
		loop_step(t->w->loop, 20);
		talk_listen(t);
	}
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

/* The same with INBOX selected. */
__attribute__((unused)) static struct talk talk_select(struct fixture *f)
{
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	return t;
}

__attribute__((unused)) static struct talk talk_examine(struct fixture *f)
{
	struct talk t = talk_login(f);
	talk(&t, "s EXAMINE INBOX\r\n");
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
		loop_step(t->w->loop, 20);
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

/* Conversations that begin anew: what is there before (NULL: nothing), who talks, and the steps. */
typedef void prepare_fn(struct fixture *f);
typedef struct talk begin_fn(struct fixture *f);
struct play {
	prepare_fn *prepare;
	begin_fn *begin;
	const struct step *v;
	size_t n;
};

__attribute__((unused)) static void play_cut(struct play p, size_t cut)
{
	struct fixture *f = fixture_open();
	if (p.prepare != NULL)
		p.prepare(f);
	struct talk t = p.begin(f);
	talk_script(&t, p.v, p.n, cut);
	talk_close(&t);
	fixture_close(&f);
}

/* Step after step, byte by byte, in pieces, and all at once. */
__attribute__((unused)) static void play(struct play p)
{
	static const size_t cuts[] = { SIZE_MAX, 1, 7, 0 };
	for (size_t i = 0; i < COUNT_OF(cuts); i++)
		play_cut(p, cuts[i]);
}

#define STEPS(...) ((const struct step[]){ __VA_ARGS__ })
#define PLAY(prepare, begin, ...)                                                                  \
	play((struct play){ prepare, begin, STEPS(__VA_ARGS__), COUNT_OF(STEPS(__VA_ARGS__)) })

#endif
