/* fixture.h - a directory on a loop of its own, from the text of its section; questions asked and awaited. */
#ifndef TEST_DIRECTORY_FIXTURE_H
#define TEST_DIRECTORY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/check.h"
#include "base/mem.h"
#include "directory/directory.h"
#include "directory/tables.h"

enum { ANSWER_WAIT_MS = 20000 };

static const struct conf_block fixture_root = { .name = "root", .size = sizeof(struct conf_head) };
static const struct conf_block *const fixture_sections[] = { &directory_block, NULL };
static const struct conf_schema fixture_schema = {
	.root = &fixture_root,
	.sections = fixture_sections,
	.check = directory_check,
};

static char fixture_dir[64];

__attribute__((unused)) static const char *fixture_path(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *out = path[next++ % 4];
	snprintf(out, sizeof path[0], "%s/%s", fixture_dir, name);
	return out;
}

/* At once under its final name, as an administrator's tool would: written aside and moved into place. */
__attribute__((unused)) static void fixture_write(const char *name, const char *text)
{
	FILE *f = fopen(fixture_path("new"), "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(fixture_path("new"), fixture_path(name)), 0);
}

__attribute__((unused)) static int fixture_setup(void **state)
{
	snprintf(fixture_dir, sizeof fixture_dir, "/tmp/postern-directory-XXXXXX");
	return mkdtemp(fixture_dir) != NULL ? 0 : -1;
}

__attribute__((unused)) static int fixture_teardown(void **state)
{
	char command[128];
	snprintf(command, sizeof command, "%s", fixture_dir);
	char *const argv[] = { "rm", "-rf", command, NULL };
	pid_t pid = fork();
	if (pid == 0) {
		execv("/bin/rm", argv);
		_exit(127);
	}
	return 0;
}

/* The section's text; NULL when it has errors (the first is in fixture_error). */
static char fixture_error[256];
__attribute__((unused)) static struct conf *fixture_conf(const char *section)
{
	char text[4096];
	snprintf(text, sizeof text, "directory {\n%s\n}\n", section);
	fixture_write("postern.conf", text);
	struct conf_source *src = conf_source_disk(fixture_path("postern.conf"));
	struct conf_diag *diag = conf_diag_new();
	struct conf *c = conf_load(&fixture_schema, src, NULL, diag);
	snprintf(fixture_error, sizeof fixture_error, "%s",
	    conf_error_count(diag) > 0 ? conf_error_text(diag, 0) : "");
	conf_diag_free(&diag);
	conf_source_free(&src);
	return c;
}

struct fixture {
	struct loop *loop;
	struct dns *dns;
	struct directory *d;
};

__attribute__((unused)) static struct fixture fixture_open(const char *section)
{
	struct fixture f = { .loop = loop_new() };
	struct dns_opts opts = { .deadline_ms = 1000 };
	struct conf *c = fixture_conf(section);
	if (c == NULL)
		print_error("%s\n", fixture_error);
	assert_non_null(c);
	f.dns = dns_new(f.loop, &opts);
	f.d = directory_new(f.loop, f.dns, c);
	conf_unref(&c);
	return f;
}

__attribute__((unused)) static void fixture_close(struct fixture *f)
{
	directory_free(&f->d);
	dns_free(&f->dns);
	loop_free(&f->loop);
}

/* An answer, with what is worth comparing of the account or store copied out. */
struct got {
	bool done;
	enum directory_status status;
	const struct account *account; /* referenced: got_end() */
	struct store_place place;
	char host[128];
};

static void got_end(struct got *g)
{
	directory_account_unref(&g->account);
}

static void await(struct fixture *f, struct got *g)
{
	uint64_t until = clock_mono_ms() + ANSWER_WAIT_MS;
	assert_false(g->done); /* never inside the asking call */
	while (!g->done && clock_mono_ms() < until)
		loop_step(f->loop, 50);
	assert_true(g->done);
}

static void on_find(void *arg, enum directory_status status, const struct account *account)
{
	struct got *g = arg;
	assert_false(g->done);
	g->done = true;
	g->status = status;
	assert_true((account != NULL) == (status == DIRECTORY_FOUND));
	g->account = account == NULL ? NULL : directory_account_ref(account);
}

static struct got find_span(struct fixture *f, struct span name)
{
	struct got g = { 0 };
	assert_non_null(directory_find(f->d, name, on_find, &g));
	await(f, &g);
	return g;
}

__attribute__((unused)) static struct got find(struct fixture *f, const char *name)
{
	return find_span(f, span_str(name));
}

__attribute__((unused)) static enum directory_status find_status(
    struct fixture *f, const char *name)
{
	struct got g = find(f, name);
	got_end(&g);
	return g.status;
}

static void on_status(void *arg, enum directory_status status)
{
	struct got *g = arg;
	g->done = true;
	g->status = status;
}

__attribute__((unused)) static enum directory_status domain_status(
    struct fixture *f, const char *name)
{
	struct got g = { 0 };
	assert_non_null(directory_domain(f->d, span_str(name), on_status, &g));
	await(f, &g);
	return g.status;
}

__attribute__((unused)) static enum directory_status verify_account(
    struct fixture *f, const struct account *a, struct span secret)
{
	struct got g = { 0 };
	assert_non_null(directory_verify(f->d, a, secret, on_status, &g));
	await(f, &g);
	return g.status;
}

__attribute__((unused)) static enum directory_status verify(
    struct fixture *f, const char *name, const char *secret)
{
	struct got g = find(f, name);
	assert_int_equal(g.status, DIRECTORY_FOUND);
	enum directory_status s = verify_account(f, g.account, span_str(secret));
	got_end(&g);
	return s;
}

static void on_store(void *arg, enum directory_status status, const struct store_place *place)
{
	struct got *g = arg;
	g->done = true;
	g->status = status;
	if (place != NULL) {
		g->place = *place;
		snprintf(g->host, sizeof g->host, "%s", place->host);
	}
}

__attribute__((unused)) static struct got store(struct fixture *f, const char *name)
{
	struct got g = { 0 };
	assert_non_null(directory_store(f->d, span_str(name), on_store, &g));
	await(f, &g);
	return g;
}

/* Steps the loop until the condition holds. */
#define WAIT_FOR(f, condition)                                                                     \
	do {                                                                                       \
		uint64_t wait_until = clock_mono_ms() + ANSWER_WAIT_MS;                            \
		while (!(condition)) {                                                             \
			assert_true(clock_mono_ms() < wait_until);                                 \
			loop_step((f)->loop, 20);                                                  \
		}                                                                                  \
	} while (0)

#endif
