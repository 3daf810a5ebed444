/* test_commit_unit.c - the parts of a mail go to the spool as one question: all of them, or none. */
#include "tests/unit/edge/commit_bench.h"

#include "edge/commit_unit.h"
#include "edge/outcome.h"
#include "edge/unit.h"

enum { PARTS = 3 };

/* Parts of b->t with its body: alice and carol, then bob with a field in front, then gone, whose end is known. */
struct parts {
	struct bench *bench;
	struct commit_unit *unit;
	struct transaction *t[PARTS];
	struct ticket *ask[PARTS];
	size_t open;
};

struct part_ask {
	struct parts *parts;
	size_t at;
} part_asks[PARTS];

static void on_part(void *arg)
{
	struct part_ask *a = arg;
	a->parts->ask[a->at] = NULL;
	a->parts->open--;
}

static void parts_ask(struct parts *p, struct bench *b, size_t n, const char *const who[])
{
	*p = (struct parts){ .bench = b, .unit = commit_unit_new(b->committer, b->t, n) };
	for (size_t i = 0; i < n; i++) {
		struct transaction *t = transaction_new(b->t->session);
		t->id = unit_part_id(b->t->id, i);
		t->sender = mem_str(b->t->sender);
		t->body = b->t->body;
		t->prefix = i == 1 ? mem_str("X-Group: yes\r\n") : NULL;
		t->unit = p->unit;
		struct span names = span_str(who[i]);
		while (names.p != NULL) {
			struct span address = span_cut(&names, ' ');
			struct recipient *r =
			    transaction_add(t, 10, address, address, SPAN_NONE, SPAN("store1"));
			if (span_starts(address, SPAN("gone")))
				outcome_set(
				    &r->outcome, FATE_REFUSED, 550, "5.1.1", SPAN("no such user"));
		}
		p->t[i] = t;
		part_asks[i] = (struct part_ask){ p, i };
		p->open++;
		p->ask[i] = commit_start(b->committer, t, on_part, &part_asks[i]);
	}
}

static void parts_await(struct parts *p)
{
	uint64_t until = clock_mono_ms() + AMPLE_MS / 2;
	while (p->open > 0 && clock_mono_ms() < until)
		loop_step(p->bench->loop, 50);
	assert_int_equal(p->open, 0);
}

static void parts_end(struct parts *p)
{
	for (size_t i = 0; i < PARTS; i++) {
		ticket_cancel(&p->ask[i]);
		if (p->t[i] != NULL)
			p->t[i]->body = NULL;
		transaction_free(&p->t[i]);
	}
	commit_unit_free(&p->unit);
}

static void check_fates(const struct parts *p, size_t i, const char *want)
{
	for (size_t k = 0; k < p->t[i]->recipient_count; k++)
		assert_int_equal("?DRLS"[p->t[i]->recipients[k].outcome.fate], want[k]);
}

static const char *const three[] = { "alice@x.example carol@x.example", "bob@x.example",
	"gone@x.example" };

static struct span read_spooled(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct bench *b = arg;
	*err_out = ERR_OK;
	return span_first(span_from(buf_span(&b->spool.body), (size_t)at), n < 100 ? n : 100);
}

/* What the spool got of part `which`: its head says id and recipients, its body begins as it should. */
static void check_spooled_part(struct bench *b, size_t which, const char *who, const char *begins)
{
	const struct mail_source s = { read_spooled, b, buf_len(&b->spool.body) };
	struct unit_part p;
	struct spool_message m;
	struct buf head = BUF_INIT(UNIT_HEAD_MAX);
	assert_int_equal(unit_find(&s, which, &p), ERR_OK);
	assert_int_equal(unit_load(&s, &p, b->t->id, &head, &m), ERR_OK);
	assert_string_equal(m.id.s, unit_part_id(b->t->id, which).s);
	assert_true(span_eq_str(m.recipients[0].address, who));
	struct span fields = span_from(buf_span(&head), p.head_bytes);
	assert_int_equal(m.body_bytes, fields.n + body_size(b->t->body));
	assert_true(span_eq_str(fields, begins));
	assert_true(span_starts(
	    span_from(buf_span(&b->spool.body), (size_t)p.body_at), SPAN("Subject: x\r\n\r\n")));
	spool_message_end(&m);
	buf_end(&head);
}

/* Parts go to the spool in one question, and no store has one when the client is told to come back; the body is in it
 * once. */
static void test_parts(void **state)
{
	static const struct {
		enum spool_mode mode;
		char fate;
		unsigned puts;
	} spools[] = { { SPOOL_TAKES, 'S', 1 }, { SPOOL_BREAKS, 'S', 2 },
		{ SPOOL_REFUSES, 'L', 1 } };
	for (size_t i = 0; i < COUNT_OF(spools); i++) {
		struct bench b;
		struct parts p;
		char fate = spools[i].fate;
		bench_open(&b);
		bench_start(&b, BOTH(DONE, DONE), ONE(DONE), spools[i].mode);
		new_mail(&b, "alice@x.example", 40000);
		parts_ask(&p, &b, PARTS, three);
		parts_await(&p);
		check_fates(&p, 0, (char[]){ fate, fate });
		check_fates(&p, 1, (char[]){ fate });
		check_fates(&p, 2, (char[]){ fate == 'S' ? 'R' : 'L' });
		assert_int_equal(b.spool.puts, spools[i].puts);
		assert_string_equal(spooled(&b), "part-1:W part-2:W part-3:W");
		assert_string_equal(b.spool.id.s, b.t->id.s);
		assert_true(buf_len(&b.spool.body) < body_size(b.t->body) + 2000);
		check_spooled_part(&b, 0, "alice@x.example", "");
		check_spooled_part(&b, 1, "bob@x.example", "X-Group: yes\r\n");
		check_spooled_part(&b, 2, "gone@x.example", "");
		assert_int_equal(fake_saw(&b.store[STORE1], "LHLO"), 0);
		assert_int_equal(fake_saw(&b.store[STORE2], "LHLO"), 0);
		parts_end(&p);
		bench_close(&b);
	}
}

/* One of which the spool is to get something is a message like others; none: nobody asks it. */
static void test_parts_without_mail(void **state)
{
	static const char *const one[] = { "gone@x.example", "bob@x.example", "gone2@x.example" };
	static const char *const none[] = { "gone@x.example", "gone2@x.example",
		"gone3@x.example" };
	for (int i = 0; i < 2; i++) {
		struct bench b;
		struct parts p;
		bench_open(&b);
		bench_start(&b, BOTH(DONE, DONE), ONE(DONE), SPOOL_TAKES);
		new_mail(&b, "", 100);
		parts_ask(&p, &b, PARTS, i == 0 ? one : none);
		parts_await(&p);
		check_fates(&p, 0, "R");
		check_fates(&p, 1, i == 0 ? "S" : "R");
		check_fates(&p, 2, "R");
		assert_int_equal(b.spool.puts, i == 0);
		assert_string_equal(spooled(&b), i == 0 ? "bob:W" : "");
		if (i == 0)
			assert_true(span_starts(
			    buf_span(&b.spool.body), SPAN("X-Group: yes\r\nSubject: x\r\n")));
		parts_end(&p);
		bench_close(&b);
	}
}

/* The client goes, before the queue answers or before all parts are there. */
static void test_parts_cancelled(void **state)
{
	for (int rounds = 0; rounds < 8; rounds++) {
		struct bench b;
		struct parts p;
		bench_open(&b);
		bench_start(&b, BOTH(DONE, DONE), ONE(DONE), SPOOL_IS_SILENT);
		new_mail(&b, "stranger@far.example", 200000);
		parts_ask(&p, &b, PARTS, three);
		for (int i = 0; i < rounds; i++)
			loop_step(b.loop, 10);
		parts_end(&p);
		bench_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_parts_without_mail),
		cmocka_unit_test(test_parts_cancelled),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
