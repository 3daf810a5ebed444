/* store_fixture.h - an access worker for tests of sessions: real directory, index and log; the committer is
 * a few lines that apply each operation in the next round of the loop.
 *
 * The test's own object stands in for accept.c, operation_link.c and watch.c: it defines their functions, so
 * the linker takes no others. One worker at a time, in `store`. Include it from one file of a test only.
 *
 * Users alice and bob (password NAME-secret), disabled, held (nobody knows now), imaponly, near, far (by POP3 from some networks); and "proxy" with
 * "proxy-secret" may act for others. Domain example.org. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"
#include "tests/unit/store/session_worker.h"

/* ---- the worker and its committer ------------------------------------------------------------- */

struct operation_link {
	struct loop *loop;
	struct list_node waiting; /* struct fixture_request, in order */
	struct list_node watches;
	struct soon soon;
	bool hold;                          /* no answer while it is set; fixture_release() */
	enum operation_kind refused_kind;   /* an operation of this kind is not carried out ... */
	enum operation_result refused_with; /* ... and gets this answer */
	struct buf told;                    /* "flags 1:2 4\n" for each operation, in order */
	struct commitlog *log;
	struct index_writer *writer;
};

static struct store_worker store;
static struct operation_link committer;

/* ---- watches ----------------------------------------------------------------------------------- */

struct mailbox_watch {
	struct list_node place;
	uint64_t mailbox;
	void (*fn)(void *arg, const struct mailbox_news *news);
	void *arg;
};

struct mailbox_watch *mailbox_watch_start(struct operation_link *k, uint64_t mailbox,
    void (*fn)(void *arg, const struct mailbox_news *news), void *arg)
{
	struct mailbox_watch *w = MEM_NEW(struct mailbox_watch);
	*w = (struct mailbox_watch){ .mailbox = mailbox, .fn = fn, .arg = arg };
	list_add_tail(&k->watches, &w->place);
	return w;
}

void mailbox_watch_stop(struct mailbox_watch **w)
{
	if (*w == NULL)
		return;
	list_remove(&(*w)->place);
	MEM_FREE(w);
}

/* fn may stop any watch: what is left is always reachable from one of two lists. */
static void fixture_tell(void *arg, uint64_t mailbox, uint64_t modseq, bool gone)
{
	struct operation_link *k = arg;
	struct mailbox_news news = { mailbox, modseq, gone };
	struct list_node todo, *n;
	list_init(&todo);
	while ((n = list_pop(&k->watches)) != NULL)
		list_add_tail(&todo, n);
	while ((n = list_pop(&todo)) != NULL) {
		struct mailbox_watch *w = LIST_OF(struct mailbox_watch, place, n);
		list_add_tail(&k->watches, n);
		if (w->mailbox == mailbox)
			w->fn(w->arg, &news);
	}
}

/* ---- operations -------------------------------------------------------------------------------- */

struct fixture_request {
	struct ticket ticket; /* first */
	struct list_node place;
	struct buf head;
	log_pos blob;
	operation_fn *fn; /* NULL: cancelled; carried out all the same, as over a real link */
	void *arg;
};

bool operation_link_up(const struct operation_link *k)
{
	return !k->hold;
}

static void fixture_free_request(struct fixture_request *r)
{
	list_remove(&r->place);
	buf_end(&r->head);
	mem_free(r);
}

static void fixture_cancel(struct ticket *t)
{
	((struct fixture_request *)(void *)t)->fn = NULL;
}

static void fixture_note(struct operation_link *k, const struct operation *op)
{
	static const char *const names[OP_KIND_COUNT] = { [OP_ENSURE_USER] = "ensure-user",
		[OP_DELIVER] = "deliver",
		[OP_APPEND] = "append",
		[OP_FLAGS] = "flags",
		[OP_COPY] = "copy",
		[OP_MOVE] = "move",
		[OP_EXPUNGE] = "expunge",
		[OP_CREATE] = "create",
		[OP_DELETE] = "delete",
		[OP_RENAME] = "rename",
		[OP_SUBSCRIBE] = "subscribe",
		[OP_UNSUBSCRIBE] = "unsubscribe",
		[OP_TAKE_RECENT] = "take-recent",
		[OP_STAY] = "stay",
		[OP_ADOPT_MAILBOX] = "adopt-mailbox",
		[OP_ADOPT_MESSAGE] = "adopt-message",
		[OP_ADOPT_MARKS] = "adopt-marks",
		[OP_ADOPT_VANISHED] = "adopt-vanished",
		[OP_ADOPT_DELIVERY] = "adopt-delivery",
		[OP_SET_ACL] = "set-acl",
		[OP_APPEND_MANY] = "append-many",
		[OP_SET_METADATA] = "set-metadata",
		[OP_ADOPT_METADATA] = "adopt-metadata",
		[OP_MEND] = "mend",
		[OP_DOMAIN_LIMITS] = "domain-limits",
		[OP_QUOTA_MARK] = "quota-mark" };
	buf_add_str(&k->told, names[op->kind]);
	for (size_t i = 0; i < op->uids.n; i++) {
		const struct uid_range *u = &op->uids.v[i];
		buf_printf(&k->told, u->first == u->last ? " %u" : " %u:%u", u->first, u->last);
	}
	buf_add_char(&k->told, '\n');
}

/* The log's answer and the index's, encoded and decoded as on the way between two processes. */
static void fixture_apply(struct operation_link *k, struct fixture_request *r)
{
	struct operation op;
	struct operation_arena a = { 0 }, b = { 0 };
	struct operation_answer answer = { 0 };
	struct buf bytes = BUF_INIT(ANSWER_MAX);
	struct index_facts facts = { .wall_s = clock_wall_us() / 1000000, .blob = r->blob };
	err_t err;
	assert_true(operation_decode(buf_span(&r->head), &op, &a));
	fixture_note(k, &op);
	if (op.kind == k->refused_kind) {
		answer.result = k->refused_with;
	} else {
		struct index_txn *t = index_txn_begin(committer.writer, &err);
		assert_non_null(t);
		assert_true(answer_encode(index_apply(t, &op, &facts), &bytes));
		assert_int_equal(index_txn_err(t), ERR_OK);
		index_txn_touched(t, fixture_tell, k);
		assert_int_equal(index_txn_commit(&t, commitlog_end(committer.log)), ERR_OK);
		assert_true(answer_decode(buf_span(&bytes), &answer, &b));
	}
	operation_fn *fn = r->fn;
	void *arg = r->arg;
	fixture_free_request(r);
	if (fn != NULL)
		fn(arg, &answer);
	operation_arena_end(&a);
	operation_arena_end(&b);
	buf_end(&bytes);
}

static void fixture_work(void *arg)
{
	struct operation_link *k = arg;
	while (!k->hold && !list_empty(&k->waiting))
		fixture_apply(k, LIST_OF(struct fixture_request, place, k->waiting.next));
}

__attribute__((unused)) static void fixture_release(void)
{
	committer.hold = false;
	soon_set(store.loop, &committer.soon);
}

static log_pos fixture_log_message(const struct message_source *m)
{
	struct span bytes = m->bytes;
	char *copy = NULL;
	log_pos pos = 0;
	if (m->file != NULL) {
		copy = mem_alloc(m->size);
		assert_int_equal(
		    pread(file_ref_fd(m->file), copy, m->size, (off_t)m->file_at), m->size);
		bytes = span_of(copy, m->size);
	}
	assert_int_equal(commitlog_append(committer.log, LOG_BLOB, &bytes, 1, &pos), ERR_OK);
	mem_free(copy);
	return pos;
}

struct ticket *operation_ask(
    struct operation_link *k, const struct operation *op, operation_fn *fn, void *arg)
{
	struct fixture_request *r = MEM_NEW(struct fixture_request);
	struct operation plain = *op;
	r->ticket.cancel = fixture_cancel;
	r->head = BUF_INIT(OPERATION_HEAD_MAX);
	r->fn = fn;
	r->arg = arg;
	if (op->message.file == NULL)
		plain.message.size = op->message.bytes.n;
	if (operation_has_message(op->kind))
		r->blob = fixture_log_message(&op->message);
	assert_true(operation_encode(&plain, &r->head));
	list_add_tail(&k->waiting, &r->place);
	soon_set(k->loop, &k->soon);
	return &r->ticket;
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static void fixture_write_users(void)
{
	static const char *const users[][2] = {
		{ "alice", "" },
		{ "bob", "" },
		{ "disabled", "mailUserStatus: disabled\n" },
		{ "held", "mailUserStatus: hold\n" },
		{ "imaponly", "mailAllowedServiceAccess: +imap:*\n" },
		{ "near", "mailAllowedServiceAccess: +pop3:127.0.0.0/8\n" },
		{ "far", "mailAllowedServiceAccess: +pop3:192.0.2.0/24\n" },
	};
	FILE *f = worker_create(&store, "users.ldif");
	fputs("dn: dc=postern\nobjectClass: domain\ndc: postern\n\n"
	      "dn: dc=example,dc=postern\nobjectClass: domain\ndc: example\n"
	      "associatedDomain: example.org\n",
	    f);
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		const char *u = users[i][0];
		fprintf(f,
		    "\ndn: uid=%s,dc=example,dc=postern\nobjectClass: inetMailUser\nuid: %s\n"
		    "mail: %s@example.org\nmailHost: store1\nuserPassword: %s-secret\n%s",
		    u, u, u, u, users[i][1]);
	}
	fclose(f);
}

static void fixture_write_conf(const char *options)
{
	FILE *f = worker_create(&store, "postern.conf");
	fprintf(f,
	    "hostname store1.example.org;\n"
	    "tls { cert default { chain chain.pem; key file:key.pem; } }\n"
	    "directory { backend file; file users.ldif; }\n"
	    "store {\n%s\nproxy_user proxy; proxy_secret proxy-secret; temp_dir %s;\n"
	    "partition primary { path %s; index_size 64M; }\n}\n",
	    options, store.dir, store.dir);
	fclose(f);
}

static void fixture_open_partition(void)
{
	struct store_partition *p = &store.partition;
	static char log_dir[128], index_dir[128];
	struct buf why = BUF_INIT(256);
	err_t err;
	snprintf(log_dir, sizeof log_dir, "%s/log", store.dir);
	snprintf(index_dir, sizeof index_dir, "%s/index", store.dir);
	struct commitlog_opts opts = {
		.dir = log_dir, .segment_bytes = 64 << 20, .unsafe_no_sync = true
	};
	committer.log = commitlog_open(store.loop, &opts, &err, &why);
	assert_non_null(committer.log);
	committer.writer = index_writer_open(index_dir, 1 << 28, &err);
	assert_non_null(committer.writer);
	buf_end(&why);
	p->name = "primary";
	p->path = store.dir;
	p->index = index_open(index_dir, &err);
	assert_non_null(p->index);
	p->reader = commitlog_reader_open(log_dir);
	p->link = &committer;
}

/* options: the rows of section store that the test wants, its listeners among them. */
static void fixture_start(const char *options)
{
	store = (struct store_worker){ 0 };
	worker_make_folder(&store);
	fixture_write_users();
	fixture_write_conf(options);
	worker_begin(&store, NULL);
	committer = (struct operation_link){ .loop = store.loop, .told = BUF_INIT(1 << 20) };
	list_init(&committer.waiting);
	list_init(&committer.watches);
	soon_init(&committer.soon, fixture_work, &committer);
	fixture_open_partition();
}

static void fixture_stop(void)
{
	worker_end_sessions(&store);
	while (!list_empty(&committer.waiting))
		fixture_free_request(
		    LIST_OF(struct fixture_request, place, committer.waiting.next));
	soon_clear(&committer.soon);
	buf_end(&committer.told);
	commitlog_reader_close(&store.partition.reader);
	index_close(&store.partition.index);
	index_writer_close(&committer.writer, false);
	commitlog_close(&committer.log);
	worker_end(&store);
}

/* Steps the loop until the condition holds. */
#define FIXTURE_WAIT(condition) WORKER_WAIT(&store, condition)

/* ---- messages ---------------------------------------------------------------------------------- */

static void fixture_answered(void *arg, const struct operation_answer *a)
{
	struct operation_answer *out = arg;
	*out = *a;
	out->mailbox = a->mailbox == 0 ? UINT64_MAX : a->mailbox;
}

/* Carries it out now. Of the answer only the numbers may be read. */
static struct operation_answer fixture_operate(const struct operation *op)
{
	struct operation_answer got = { 0 };
	(void)operation_ask(&committer, op, fixture_answered, &got);
	FIXTURE_WAIT(got.mailbox != 0);
	assert_int_equal(got.result, OPR_OK);
	return got;
}

/* The id of a user's INBOX; the user is made when missing. */
static uint64_t fixture_inbox(const char *user)
{
	struct operation op;
	operation_init(&op, OP_ENSURE_USER);
	op.user = span_str(user);
	return fixture_operate(&op).mailbox;
}

/* Puts a message into the INBOX; answers its uid. */
__attribute__((unused)) static uint32_t fixture_append(
    const char *user, struct span text, uint32_t flags)
{
	struct operation op;
	uint64_t inbox = fixture_inbox(user);
	operation_init(&op, OP_APPEND);
	op.user = span_str(user);
	op.mailbox = inbox;
	op.set.flags = flags;
	op.message.bytes = text;
	op.date_s = 1700000000;
	return fixture_operate(&op).uid;
}

/* The flags of a message in the INBOX; UINT32_MAX: there is none. */
__attribute__((unused)) static uint32_t fixture_flags(const char *user, uint32_t uid)
{
	struct index_user u;
	struct index_entry e;
	struct index_view *v = index_view_begin(store.partition.index);
	assert_non_null(v);
	assert_true(index_user(v, span_str(user), &u));
	bool there = index_entry(v, u.inbox, uid, &e);
	index_view_end(&v);
	return there ? e.flags : UINT32_MAX;
}

/* Whatever was asked of the committer since the last call. */
__attribute__((unused)) static const char *fixture_told(void)
{
	static char text[4096];
	snprintf(text, sizeof text, "%s", buf_cstr(&committer.told));
	buf_clear(&committer.told);
	return text;
}

#endif
