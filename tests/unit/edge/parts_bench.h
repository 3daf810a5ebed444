/* parts_bench.h - parts.c over a fake for commit, which says what it was asked for: for test_parts.c. */
#ifndef TESTS_UNIT_EDGE_PARTS_BENCH_H
#define TESTS_UNIT_EDGE_PARTS_BENCH_H

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

static int setup(void **state)
{
	struct dns_opts opts = { .deadline_ms = 1000 };
	log_setup("test", LOG_ERROR, false);
	assert_non_null(mkdtemp(dir));
	load_write(dir, "users.ldif", "dn: dc=a\nobjectClass: domain\nassociatedDomain: a.test\n");
	load_write(dir, "postern.conf",
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
	directory_free(&directory);
	dns_free(&dns);
	conf_unref(&conf);
	loop_free(&loop);
	buf_end(&heard.words);
	load_remove(dir);
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

#endif
