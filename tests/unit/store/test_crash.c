/* test_crash.c - a committer that is killed again and again while it works: whatever it has answered is there
 * exactly once, and the index that it leaves is the one that the log makes. */
#include "files.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/rand.h"
#include "commitlog/commitlog.h"
#include "store-backend/index.h"

enum { DELIVERIES = 3000, AT_ONCE = 40, KILLS = 30, USERS = 3, BODY_MAX = 300000 };

static const char *const users[USERS] = { "a@x", "b@x", "c@x" };

struct delivery {
	struct answer r;
	uint32_t found[USERS]; /* copies, at the end */
	size_t users;          /* the first so many */
};

struct load {
	struct world w;
	pid_t pid;
	struct delivery *v;
	size_t asked, answered;
	char *body;
	struct answer flags, expunge; /* other work on the side */
	uint64_t scratch;             /* mailbox for it */
};

/* The committer alone in a process, on the socket that the parent keeps. */
static void serve(struct world *w)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
	world_loop(w);
	const char *what;
	err_t err;
	w->partition = partition_open(w->loop, &w->opts, &err, &what);
	if (w->partition == NULL)
		_exit(1);
	while (w->failed == NULL)
		loop_step(w->loop, 1000);
	_exit(2);
}

static void start_committer(struct load *l)
{
	l->pid = fork();
	assert_true(l->pid >= 0);
	if (l->pid == 0) {
		loop_after_fork(&l->w.loop);
		serve(&l->w);
	}
}

static void kill_committer(struct load *l)
{
	int status;
	assert_int_equal(kill(l->pid, SIGKILL), 0);
	assert_int_equal(waitpid(l->pid, &status, 0), l->pid);
	assert_true(WIFSIGNALED(status)); /* it had not given up by itself */
}

/* ---- load ----------------------------------------------------------------------------------------------- */

static void deliver_next(struct load *l)
{
	struct delivery *d = &l->v[l->asked];
	struct op_recipient to[USERS];
	char id[32];
	d->users = 1 + l->asked % USERS;
	for (size_t i = 0; i < d->users; i++)
		to[i] = (struct op_recipient){ span_str(users[i]), SPAN_NONE };
	snprintf(id, sizeof id, "%08zu", l->asked);
	struct operation op = deliver_to(to, d->users, id);
	memcpy(l->body, id, 8);
	size_t size = l->asked % 100 == 7 ? BODY_MAX : 8 + (size_t)rand_below(2000);
	op.message.bytes = span_of(l->body, size);
	start(&l->w, &op, &d->r);
	l->asked++;
}

/* Appends to a mailbox of its own, and removes what is there. */
static void side_work(struct load *l)
{
	static const struct uid_range all = { 1, UINT32_MAX };
	struct operation op;
	if (l->flags.here || l->flags.ticket == NULL) {
		op = op_of(OP_APPEND, "a@x");
		op.mailbox = l->scratch;
		op.message.bytes = span_str(message);
		start(&l->w, &op, &l->flags);
	}
	if (l->expunge.here || l->expunge.ticket == NULL) {
		op = op_of(OP_EXPUNGE, "a@x");
		op.mailbox = l->scratch;
		op.uids = (struct uid_set){ &all, 1 };
		start(&l->w, &op, &l->expunge);
	}
}

static size_t count_answered(struct load *l)
{
	while (l->answered < l->asked && l->v[l->answered].r.here)
		l->answered++;
	return l->answered;
}

/* For so long, or until so many more are answered. */
static void run_load(struct load *l, uint64_t ms, size_t more)
{
	uint64_t until = clock_mono_ms() + ms;
	more += l->answered;
	while (clock_mono_ms() < until && count_answered(l) < more) {
		while (l->asked < DELIVERIES && l->asked - count_answered(l) < AT_ONCE)
			deliver_next(l);
		side_work(l);
		loop_step(l->w.loop, 1);
	}
}

static void finish_load(struct load *l)
{
	uint64_t until = clock_mono_ms() + 60000;
	while (count_answered(l) < DELIVERIES && clock_mono_ms() < until)
		run_load(l, 5, DELIVERIES);
	assert_int_equal(l->answered, DELIVERIES);
	assert_true(wait_until(&l->w, &l->flags.here) && wait_until(&l->w, &l->expunge.here));
	for (size_t i = 0; i < DELIVERIES; i++) {
		assert_int_equal(l->v[i].r.a.result, OPR_OK);
		for (size_t k = 0; k < l->v[i].users; k++)
			assert_int_equal(l->v[i].r.outcomes[k].result, OPR_OK);
	}
}

/* So many changes in one life of the committer that it copies its index, and writes the rows into the log. */
static void undisturbed(struct load *l)
{
	uint64_t until = clock_mono_ms() + 60000;
	for (int n = 0; n < 500 && clock_mono_ms() < until; n++) {
		side_work(l);
		assert_true(
		    wait_until(&l->w, &l->flags.here) && wait_until(&l->w, &l->expunge.here));
	}
}

/* ---- what is there then ------------------------------------------------------------------------------------- */

struct audit {
	struct load *l;
	struct commitlog_reader *reader;
	size_t user;
};

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct audit *a = arg;
	char id[9] = { 0 };
	assert_int_equal(commitlog_reader_verify(a->reader, e->blob), ERR_OK);
	assert_int_equal(commitlog_reader_read(a->reader, e->blob, 0, id, 8), ERR_OK);
	size_t n = strtoul(id, NULL, 10);
	assert_true(n < DELIVERIES);
	assert_int_equal(a->l->v[n].r.outcomes[a->user].uid, e->uid);
	a->l->v[n].found[a->user]++;
	return true;
}

static void audit(struct load *l)
{
	char path[200];
	err_t err;
	snprintf(path, sizeof path, "%s/log", l->w.path);
	struct audit a = { .l = l, .reader = commitlog_reader_open(path) };
	snprintf(path, sizeof path, "%s/index", l->w.path);
	struct index *x = index_open(path, &err);
	struct index_view *v = index_view_begin(x);
	assert_non_null(v);
	for (a.user = 0; a.user < USERS; a.user++) {
		struct index_mailbox box;
		assert_true(index_mailbox_find(v, span_str(users[a.user]), SPAN("INBOX"), &box));
		index_entries(v, box.id, (struct uid_range){ 1, UINT32_MAX }, on_entry, &a);
	}
	for (size_t i = 0; i < DELIVERIES; i++)
		for (size_t k = 0; k < USERS; k++)
			assert_int_equal(l->v[i].found[k], k < l->v[i].users ? 1 : 0);
	index_view_end(&v);
	index_close(&x);
	commitlog_reader_close(&a.reader);
}

static void check_replay(struct load *l, const char *how)
{
	assert_int_equal(world_open(&l->w), ERR_OK);
	uint64_t digest = partition_facts(l->w.partition).digest;
	world_close(&l->w);
	remove_below(&l->w, "index");
	if (strcmp(how, "folded") == 0)
		remove_below(&l->w, "snapshots");
	assert_int_equal(world_open(&l->w), ERR_OK);
	struct partition_facts f = partition_facts(l->w.partition);
	assert_string_equal(f.how, how);
	assert_int_equal(f.digest, digest);
	world_close(&l->w);
}

static void run(uint64_t snapshot_ops, const char *how)
{
	struct load *l = MEM_NEW(struct load);
	l->v = mem_array(DELIVERIES, sizeof *l->v);
	l->body = mem_alloc(BODY_MAX);
	memset(l->body, 'x', BODY_MAX);
	world_folder(&l->w);
	l->w.opts.settings.snapshot_ops = snapshot_ops;
	l->w.loop = loop_new();
	start_committer(l);
	world_link(&l->w);
	(void)ensure(&l->w, "a@x");
	l->scratch = create(&l->w, "a@x", "Scratch");
	unsigned kills = 0;
	for (; kills < KILLS && l->answered < DELIVERIES - AT_ONCE; kills++) {
		/* Now and then while it starts, else in the midst of its work. */
		run_load(l, kills % 5 == 0 ? rand_below(30) : 3000, 1 + (size_t)rand_below(150));
		kill_committer(l);
		start_committer(l);
	}
	finish_load(l);
	undisturbed(l);
	assert_in_range(kills, 3, KILLS);
	kill_committer(l);
	operation_link_free(&l->w.link);
	audit(l);
	check_replay(l, how);
	print_message("%u kills, %u times up\n", kills, l->w.ready);
	mem_free(l->body);
	mem_free(l->v);
	world_end(&l->w);
	mem_free(l);
}

static void test_killed_replayed_from_nothing(void **state)
{
	run(1000000000, "rebuilt");
}

static void test_killed_with_snapshots(void **state)
{
	run(100, "snapshot");
}

static void test_killed_with_the_segments_left(void **state)
{
	run(100, "folded");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_replayed_from_nothing),
		cmocka_unit_test(test_killed_with_snapshots),
		cmocka_unit_test(test_killed_with_the_segments_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
