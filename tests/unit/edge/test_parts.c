/* test_parts.c - recipients and members sorted into transactions, over a fake for commit: return paths, marks,
 * who gets the mail twice (nobody), sizes, loops, and what the client is told in the end. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/edge/load.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "edge/channel.h"
#include "edge/outcome.h"
#include "edge/parts.h"
#include "edge/unit.h"
#include "net/dns.h"

static char dir[] = "/tmp/postern-parts-XXXXXX";
static struct loop *loop;
static struct dns *dns;
static struct directory *directory;
static struct conf *conf;
static struct srs srs;

/* ---- a fake for step 5 ------------------------------------------------------------------------- */

struct fake {
	struct ticket base; /* first */
	struct soon soon;
	struct transaction *t;
	void (*fn)(void *arg);
	void *arg;
};

static struct {
	struct buf words; /* what was asked for, a line for each transaction */
	size_t commits, cancelled;
	size_t open, open_most;
	size_t room; /* so many transactions the spool takes */
	const char *first_id;
} heard;

static void fake_cancel(struct ticket *t)
{
	struct fake *f = (struct fake *)(void *)t;
	soon_clear(&f->soon);
	mem_free(f);
	heard.open--;
	heard.cancelled++;
}

static void set_spooled(struct recipient *r, bool room)
{
	if (room)
		outcome_set(&r->outcome, FATE_SPOOLED, 250, "2.0.0", SPAN("spooled"));
	else
		outcome_set(&r->outcome, FATE_LATER, 451, "4.3.0", SPAN("no room"));
}

/* An address says itself what becomes of it: "no..." is refused, "wait..." fails. */
static void fake_answer(void *arg)
{
	struct fake *f = arg;
	struct fake done = *f;
	bool asked = false, room = heard.room > 0;
	heard.open--;
	for (size_t i = 0; i < f->t->recipient_count; i++) {
		struct recipient *r = &f->t->recipients[i];
		if (r->outcome.fate == FATE_REFUSED)
			continue;
		if (strncmp(r->address, "no", 2) == 0)
			outcome_set(&r->outcome, FATE_REFUSED, 550, "5.7.1", SPAN("no"));
		else if (strncmp(r->address, "wait", 4) == 0)
			outcome_set(&r->outcome, FATE_LATER, 451, "4.3.0", SPAN("later"));
		else if (r->user != NULL && r->outcome.fate != FATE_LATER && f->t->unit == NULL)
			outcome_set(&r->outcome, FATE_DELIVERED, 250, "2.0.0", SPAN("ok"));
		else
			set_spooled(r, room);
		asked = asked || r->outcome.fate == FATE_SPOOLED;
	}
	heard.room -= asked;
	mem_free(f);
	done.fn(done.arg);
}

static const char *wish_mark(unsigned notify)
{
	if (notify == SMTP_NOTIFY_NEVER)
		return "-";
	return (notify & SMTP_NOTIFY_SUCCESS) != 0 ? "*" : notify != 0 ? "!" : "";
}

static void put_line(const struct transaction *t)
{
	struct buf *b = &heard.words;
	struct span sender = span_str(t->sender);
	buf_printf(b, "<%s>", span_starts(sender, SPAN("SRS0=")) ? "SRS0" : t->sender);
	if (t->prefix != NULL)
		buf_printf(b, " [%.*s]", (int)strlen(t->prefix) - 2, t->prefix);
	buf_printf(b, "%s%s%s%s", t->trusted ? " trusted" : "", t->aligned ? " aligned" : "",
	    t->unit != NULL ? " company" : "", t->envid != NULL ? " envid" : "");
	if (t->hold)
		buf_printf(b, " hold=%s", t->hold_why);
	buf_printf(b, "%s%s%s:", t->body_8bit ? " 8bit" : "", t->smtputf8 ? " utf8" : "",
	    t->require_tls    ? " tls"
	    : t->tls_optional ? " notls"
			      : "");
	for (size_t i = 0; i < t->recipient_count; i++) {
		const struct recipient *r = &t->recipients[i];
		buf_printf(b, " %s%s%s%s", r->address, r->detail != NULL ? "+" : "",
		    r->detail != NULL ? r->detail : "", wish_mark(r->notify));
		if (r->store != NULL && strcmp(r->store, EXPANDED_PLACE) == 0)
			buf_add_str(b, "(expanded)");
		if (r->outcome.fate != FATE_OPEN)
			buf_printf(b, "=%u", r->outcome.code);
	}
	buf_add_char(b, '\n');
}

struct ticket *commit_start(
    struct committer *c, struct transaction *t, void (*fn)(void *arg), void *arg)
{
	struct fake *f = MEM_NEW(struct fake);
	f->base.cancel = fake_cancel;
	f->t = t;
	f->fn = fn;
	f->arg = arg;
	assert_true(t->recipient_count > 0 && t->recipient_count <= RECIPIENTS_MAX);
	put_line(t);
	heard.commits++;
	if (++heard.open > heard.open_most)
		heard.open_most = heard.open;
	soon_init(&f->soon, fake_answer, f);
	soon_set(loop, &f->soon);
	return &f->base;
}

/* What else stands in commit.c: not called here. */
struct committer *committer_new(
    struct loop *l, struct dns *d, struct directory *from, const struct conf *c)
{
	return NULL;
}

void committer_reload(struct committer *c, const struct conf *fresh)
{
}

void committer_free(struct committer **c)
{
}

struct ticket *committer_kick(struct committer *c, struct span node,
    void (*fn)(void *arg, const struct etrn_answer *a), void *arg)
{
	return NULL;
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static void write_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	struct dns_opts opts = { .deadline_ms = 1000 };
	log_setup("test", LOG_ERROR, false);
	assert_non_null(mkdtemp(dir));
	write_file("users.ldif", "dn: dc=a\nobjectClass: domain\nassociatedDomain: a.test\n");
	write_file("postern.conf",
	    "directory { backend file; file users.ldif; }\n"
	    "edge { listener mx { address 127.0.0.1:25; role mx; tls none; } }\n");
	srs = (struct srs){ .domain = "srs.test", .days = 21 };
	assert_true(srs_set_keys(&srs, SPAN("0123456789abcdef")));
	loop = loop_new();
	dns = dns_new(loop, &opts);
	conf = load_good(dir);
	directory = directory_new(loop, dns, conf);
	heard.words = BUF_INIT(256 * 1024);
	heard.room = SIZE_MAX;
	return 0;
}

static int teardown(void **state)
{
	char *const rm[] = { "rm", "-rf", dir, NULL };
	directory_free(&directory);
	dns_free(&dns);
	conf_unref(&conf);
	loop_free(&loop);
	buf_end(&heard.words);
	if (fork() == 0) {
		execvp(rm[0], rm);
		_exit(127);
	}
	wait(NULL);
	return 0;
}

/* ---- a mail ------------------------------------------------------------------------------------ */

static struct transaction *mail(const char *sender, const char *text)
{
	struct transaction *t = transaction_new(ident_new());
	t->sender = mem_str(sender);
	t->envid = mem_str("e");
	t->body = body_new(64 * 1024, 1 << 20, "/tmp");
	assert_int_equal(body_add(t->body, span_str(text)), ERR_OK);
	return t;
}

static struct recipient *plain(struct transaction *t, const char *address)
{
	bool ours = strstr(address, "@a.test") != NULL;
	struct recipient *r = transaction_add(t, 100, span_str(address),
	    ours ? span_str(address) : SPAN_NONE, SPAN_NONE, ours ? SPAN("s1") : SPAN_NONE);
	r->notify = SMTP_NOTIFY_FAILURE;
	return r;
}

/* members: "address", "address<sender>", "address=550", with spaces between. */
static struct recipient *with_members(
    struct transaction *t, const char *address, const char *members)
{
	struct recipient *r = plain(t, address);
	struct span rest = span_str(members);
	MEM_FREE(&r->user);
	r->via = mem_str(address);
	r->members = mem_array(64, sizeof *r->members);
	while (rest.p != NULL) {
		struct span one = span_cut(&rest, ' '), name = one;
		struct recipient *m = &r->members[r->member_count++];
		size_t angle = span_find(one, '<'), code = span_find(one, '=');
		if (angle != SIZE_MAX) {
			name = span_first(one, angle);
			m->sender =
			    mem_span_str(span_first(span_from(one, angle + 1), one.n - angle - 2));
		} else if (code != SIZE_MAX) {
			name = span_first(one, code);
			outcome_set(&m->outcome, one.p[code + 1] == '5' ? FATE_REFUSED : FATE_LATER,
			    one.p[code + 1] == '5' ? 550 : 450, NULL, SPAN("preset"));
		}
		m->address = mem_span_str(name);
		m->size_max = UINT64_MAX;
		if (span_iends(name, SPAN("@a.test")) && m->outcome.fate != FATE_REFUSED)
			m->user = mem_str(m->address);
	}
	return r;
}

static void on_done(void *arg)
{
	*(bool *)arg = true;
}

static struct ticket *start(struct transaction *t, bool *done)
{
	const struct parts_opts opts = { .loop = loop, .directory = directory, .srs = &srs };
	buf_clear(&heard.words);
	heard.commits = 0;
	heard.open_most = 0;
	return parts_commit(&opts, t, on_done, done);
}

/* want: what commit is asked, then the codes for the recipients. Frees t. */
static void check(struct transaction *t, const char *want, const char *codes)
{
	uint64_t until = clock_mono_ms() + 20000;
	struct buf b = BUF_INIT(500);
	bool done = false;
	assert_non_null(start(t, &done));
	while (!done) {
		assert_true(clock_mono_ms() < until);
		loop_step(loop, 20);
	}
	assert_string_equal(buf_cstr(&heard.words), want);
	for (size_t i = 0; i < t->recipient_count; i++)
		buf_printf(&b, "%s%u", i > 0 ? " " : "", t->recipients[i].outcome.code);
	assert_string_equal(buf_cstr(&b), codes);
	buf_end(&b);
	transaction_free(&t);
}

#define TEXT "Subject: x\r\n\r\nhello\r\n"

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_without_members(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	plain(t, "anna@a.test");
	plain(t, "x@far.test");
	check(t, "<s@far.test> envid: anna@a.test! x@far.test!\n", "250 250");
}

static void test_local_members_stay_in_one(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(t, "info@a.test", "anna@a.test bob@a.test");
	plain(t, "carl@a.test");
	check(t, "<s@far.test> envid: carl@a.test! anna@a.test! bob@a.test!\n", "250 250");
}

static void test_nobody_twice(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(t, "info@a.test", "anna@a.test x@far.test");
	with_members(t, "more@a.test", "Anna@a.test X@far.test bob@a.test");
	plain(t, "bob@a.test");
	check(t,
	    "<s@far.test> company envid: bob@a.test! anna@a.test!\n"
	    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n",
	    "250 250 250");
}

/* What a filter has refused for a group reaches none of its members. */
static void test_a_refused_group(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "more@a.test", "dora@a.test bob@a.test x@far.test");
	outcome_set(&r->outcome, FATE_REFUSED, 550, "5.7.1", SPAN("a virus"));
	plain(t, "bob@a.test");
	check(t, "<s@far.test> envid: more@a.test!=550 bob@a.test!\n", "550 250");
}

/* Only the copies of those for whom a rule says so, with all that stand behind them. */
static void test_held_for_some(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	plain(t, "anna@a.test");
	plain(t, "bob@a.test")->hold_why = mem_str("look");
	plain(t, "carl@a.test")->hold_why = mem_str("look");
	plain(t, "x@far.test")->hold_why = mem_str("other");
	with_members(t, "more@a.test", "dora@a.test bob@a.test")->hold_why = mem_str("look");
	check(t,
	    "<s@far.test> company envid: anna@a.test!\n"
	    "<s@far.test> company envid hold=look: bob@a.test! carl@a.test! dora@a.test!\n"
	    "<s@far.test> company envid hold=other: x@far.test!\n",
	    "250 250 250 250 250");
	t = mail("s@far.test", TEXT);
	transaction_hold(t, SPAN("all"));
	plain(t, "anna@a.test");
	plain(t, "bob@a.test")->hold_why = mem_str("look");
	check(t, "<s@far.test> envid hold=all: anna@a.test! bob@a.test!\n", "250 250");
}

static void test_forward_of_a_stranger(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	t->hold = t->body_8bit = t->smtputf8 = t->require_tls = true;
	t->hold_why = mem_str("look");
	with_members(t, "fwd@a.test", "x@other.test");
	check(t, "<SRS0> [Delivered-To: fwd@a.test] envid hold=look 8bit utf8 tls: x@other.test!\n",
	    "250");
	t = mail("s@far.test", TEXT);
	t->aligned = t->tls_optional = true; /* reports to this sender do no harm */
	with_members(t, "fwd@a.test", "x@other.test");
	check(t, "<SRS0> [Delivered-To: fwd@a.test] aligned envid notls: x@other.test!\n", "250");
}

static void test_sender_is_kept(void **state)
{
	static const struct {
		const char *sender;
		bool trusted;
		const char *want;
	} cases[] = {
		{ "", false, "<> [Delivered-To: fwd@a.test] envid: x@other.test!\n" },
		{ "anna@a.test", false,
		    "<anna@a.test> [Delivered-To: fwd@a.test] envid: x@other.test!\n" },
		{ "s@far.test", true,
		    "<s@far.test> [Delivered-To: fwd@a.test] trusted envid: x@other.test!\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct transaction *t = mail(cases[i].sender, TEXT);
		t->trusted = cases[i].trusted;
		with_members(t, "fwd@a.test", "x@other.test");
		check(t, cases[i].want, "250");
	}
}

static void test_group_with_an_owner(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	with_members(
	    t, "team@a.test", "anna@a.test<o@a.test> x@far.test<o@a.test> y@far.test<o@a.test>");
	plain(t, "anna@a.test");
	check(t,
	    "<s@far.test> company envid: anna@a.test!\n"
	    "<o@a.test> [Delivered-To: team@a.test] trusted company: x@far.test y@far.test\n",
	    "250 250");
}

static void check_expanded(
    char who, enum behind behind, unsigned notify, const char *members, const char *want)
{
	struct transaction *t = mail(who != 0 ? "s@far.test" : "", TEXT);
	struct recipient *r = with_members(t, "t@a.test", members);
	r->behind = behind;
	r->notify = notify;
	t->trusted = who == 't';
	t->aligned = who == 'a';
	check(t, want, strstr(want, "=550") != NULL ? "550" : "250");
}

/* Who wants to hear of success hears of the address, with the rest of the mail, and the wish ends (RFC 3461 section 5.2.7). */
static void test_expanded(void **state)
{
	enum { success = SMTP_NOTIFY_SUCCESS };
	check_expanded(
	    't', BEHIND_ONE, success, "anna@a.test", "<s@far.test> trusted envid: anna@a.test*\n");
	check_expanded('t', BEHIND_SEVERAL, success | SMTP_NOTIFY_DELAY, "anna@a.test bob@a.test",
	    "<s@far.test> trusted envid: anna@a.test! bob@a.test! t@a.test*(expanded)\n");
	check_expanded('a', BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<s@far.test> aligned envid: anna@a.test- bob@a.test- t@a.test*(expanded)\n");
	check_expanded('s', BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<s@far.test> envid: anna@a.test- bob@a.test-\n");
	check_expanded(0, BEHIND_SEVERAL, success, "anna@a.test bob@a.test",
	    "<> envid: anna@a.test- bob@a.test-\n");
	check_expanded('t', BEHIND_SEVERAL, SMTP_NOTIFY_FAILURE, "anna@a.test bob@a.test",
	    "<s@far.test> trusted envid: anna@a.test! bob@a.test!\n");
	check_expanded('t', BEHIND_LIST, success, "anna@a.test<o@a.test> x@far.test<o@a.test>",
	    "<o@a.test> trusted company: anna@a.test\n"
	    "<o@a.test> [Delivered-To: t@a.test] trusted company: x@far.test\n"
	    "<s@far.test> trusted company envid: t@a.test+list*(expanded)\n");
	check_expanded('t', BEHIND_SEVERAL, success, "gone@a.test=550 off@a.test=550",
	    "<s@far.test> trusted envid: gone@a.test-=550 off@a.test-=550\n");
}

/* Fields of a group stand in front, for those at home too. */
static void test_fields_of_a_group(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "team@a.test", "anna@a.test x@far.test bob@a.test");
	for (size_t i = 0; i < 2; i++)
		r->members[i].fields = mem_str("List-Id: <l.a.test>\r\n");
	check(t,
	    "<s@far.test> [List-Id: <l.a.test>] company envid: anna@a.test!\n"
	    "<SRS0> [Delivered-To: team@a.test\r\nList-Id: <l.a.test>] company envid: x@far.test!\n"
	    "<s@far.test> company envid: bob@a.test!\n",
	    "250");
}

static void test_outcomes(void **state)
{
	static const struct {
		const char *members, *lines, *code;
	} cases[] = {
		{ "no1@a.test no2@a.test", "<s@far.test> envid: no1@a.test! no2@a.test!\n", "550" },
		{ "no1@a.test anna@a.test", "<s@far.test> envid: no1@a.test! anna@a.test!\n",
		    "250" },
		{ "wait1@a.test anna@a.test", "<s@far.test> envid: wait1@a.test! anna@a.test!\n",
		    "451" },
		{ "gone@a.test=550 anna@a.test",
		    "<s@far.test> envid: gone@a.test!=550 anna@a.test!\n", "250" },
		{ "full@a.test=450 anna@a.test",
		    "<s@far.test> envid: full@a.test!=450 anna@a.test!\n", "250" },
		{ "gone@a.test=550 x@far.test",
		    "<s@far.test> company envid: gone@a.test!=550\n"
		    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n",
		    "250" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct transaction *t = mail("s@far.test", TEXT);
		with_members(t, "info@a.test", cases[i].members);
		check(t, cases[i].lines, cases[i].code);
	}
}

static void test_loops(void **state)
{
	static const char marked[] =
	    "Received: x\r\nDelivered-To:\r\n FWD@a.test \r\nSubject: x\r\n\r\n"
	    "Delivered-To: other@a.test\r\n";
	struct transaction *t = mail("s@far.test", marked);
	with_members(t, "fwd@a.test", "fwd@a.test x@far.test");
	check(t, "<s@far.test> envid: fwd@a.test!=554\n", "554");
	t = mail("s@far.test", marked);
	with_members(t, "fwd@a.test", "x@far.test");
	with_members(t, "other@a.test", "x@far.test");
	check(t,
	    "<s@far.test> company envid: fwd@a.test!=554\n"
	    "<SRS0> [Delivered-To: other@a.test] company envid: x@far.test!\n",
	    "554 250");
}

static void test_size(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "small@a.test", "anna@a.test bob@a.test");
	r->members[0].size_max = strlen(TEXT);
	r->members[1].size_max = strlen(TEXT) - 1;
	check(t, "<s@far.test> envid: anna@a.test! bob@a.test!=552\n", "250");
}

static void test_many(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	struct recipient *r = with_members(t, "all@a.test", "x0@far.test");
	size_t n = 2 * RECIPIENTS_MAX + 1;
	r->members = mem_grow(r->members, n, sizeof *r->members);
	for (size_t i = 1; i < n; i++) {
		char address[40];
		snprintf(address, sizeof address, "x%zu@far.test", i);
		r->members[i] =
		    (struct recipient){ .address = mem_str(address), .size_max = UINT64_MAX };
	}
	r->member_count = n;
	bool done = false;
	uint64_t until = clock_mono_ms() + 20000;
	heard.words.max = 1024 * 1024;
	assert_non_null(start(t, &done));
	while (!done && clock_mono_ms() < until)
		loop_step(loop, 20);
	assert_true(done);
	assert_int_equal(heard.commits, 3);
	assert_int_equal(heard.open_most, 3);
	assert_int_equal(t->recipients[0].outcome.code, 250);
	transaction_free(&t);
}

/* All parts are asked for at once, and one that the spool does not get has the client come back: commit_unit.c sees to it that
 * the others have nothing of it. */
static void test_no_room(void **state)
{
	struct transaction *t = mail("s@far.test", TEXT);
	heard.room = 0;
	with_members(t, "info@a.test", "anna@a.test x@far.test bob@a.test<own@a.test>");
	plain(t, "carl@a.test");
	check(t,
	    "<s@far.test> company envid: carl@a.test! anna@a.test!\n"
	    "<SRS0> [Delivered-To: info@a.test] company envid: x@far.test!\n"
	    "<own@a.test> trusted company: bob@a.test\n",
	    "451 451");
	assert_int_equal(heard.open_most, 3);
	heard.room = SIZE_MAX;
}

/* Each with a return path of its own: as many as a unit has room for, and one more. */
static void test_too_many_parts(void **state)
{
	for (size_t n = UNIT_PARTS_MAX; n <= UNIT_PARTS_MAX + 1; n++) {
		struct transaction *t = mail("s@far.test", TEXT);
		struct recipient *r = with_members(t, "all@a.test", "x0@a.test");
		r->members = mem_grow(r->members, n, sizeof *r->members);
		for (size_t i = 1; i < n; i++) {
			char address[40];
			snprintf(address, sizeof address, "x%zu@a.test", i);
			r->members[i] = (struct recipient){ .address = mem_str(address),
				.sender = mem_str(address),
				.size_max = UINT64_MAX };
		}
		r->member_count = n;
		bool done = false;
		assert_non_null(start(t, &done));
		while (!done)
			loop_step(loop, 20);
		assert_int_equal(heard.commits, n > UNIT_PARTS_MAX ? 0 : n);
		assert_int_equal(t->recipients[0].outcome.code, n > UNIT_PARTS_MAX ? 552 : 250);
		transaction_free(&t);
	}
}

static void test_cancelled(void **state)
{
	for (int rounds = 0; rounds < 6; rounds++) {
		struct transaction *t = mail("s@far.test", TEXT);
		bool done = false;
		with_members(t, "info@a.test", "anna@a.test x@far.test");
		struct ticket *k = start(t, &done);
		for (int i = 0; i < rounds && !done; i++)
			loop_step(loop, 0);
		if (!done)
			ticket_cancel(&k);
		transaction_free(&t);
	}
	assert_true(heard.cancelled > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_members),
		cmocka_unit_test(test_local_members_stay_in_one),
		cmocka_unit_test(test_nobody_twice),
		cmocka_unit_test(test_a_refused_group),
		cmocka_unit_test(test_held_for_some),
		cmocka_unit_test(test_forward_of_a_stranger),
		cmocka_unit_test(test_sender_is_kept),
		cmocka_unit_test(test_group_with_an_owner),
		cmocka_unit_test(test_expanded),
		cmocka_unit_test(test_fields_of_a_group),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_too_many_parts),
		cmocka_unit_test(test_cancelled),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
