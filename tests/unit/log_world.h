/* log_world.h - a log in a folder of its own, for tests of lib/commitlog. */
#ifndef TESTS_LOG_WORLD_H
#define TESTS_LOG_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "commitlog/commitlog.h"
#include "commitlog/record.h"

struct world {
	char dir[64];
	struct loop *loop;
	struct commitlog *log;
	struct ticket *ticket;
	err_t synced;
	bool answered;
};

static void world_make(struct world *w)
{
	*w = (struct world){ .loop = loop_new() };
	snprintf(w->dir, sizeof w->dir, "/tmp/test_commitlog.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
}

static void empty_dir(const char *dir, bool remove_it)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	closedir(d);
	if (remove_it)
		rmdir(dir);
}

static err_t world_open(struct world *w, uint64_t segment_bytes)
{
	struct commitlog_opts o = { .dir = w->dir, .segment_bytes = segment_bytes };
	err_t err;
	w->log = commitlog_open(w->loop, &o, &err, NULL);
	assert_int_equal(err == ERR_OK, w->log != NULL);
	return err;
}

static void world_end(struct world *w)
{
	commitlog_close(&w->log);
	loop_free(&w->loop);
	empty_dir(w->dir, true);
}

static void on_synced(void *arg, err_t err)
{
	struct world *w = arg;
	w->ticket = NULL;
	w->synced = err;
	w->answered = true;
}

static void sync_now(struct world *w)
{
	w->answered = false;
	w->ticket = commitlog_sync(w->log, on_synced, w);
	assert_false(w->answered);
	for (int i = 0; i < 1000 && !w->answered; i++)
		loop_step(w->loop, 100);
	assert_true(w->answered);
}

static log_pos append(struct world *w, uint32_t type, char fill, size_t n)
{
	char *p = mem_alloc(n);
	log_pos pos = 0;
	memset(p, fill, n);
	struct span parts[2] = { span_of(p, n / 2), span_of(p + n / 2, n - n / 2) };
	assert_int_equal(commitlog_append(w->log, type, parts, 2, &pos), ERR_OK);
	mem_free(p);
	return pos;
}

struct seen {
	size_t n, dead, damaged, gaps;
	uint64_t lost;
	size_t size[4096];
	uint32_t type[4096];
	char first[4096];
	log_pos last;
};

static bool see(void *arg, const struct log_record *r)
{
	struct seen *s = arg;
	assert_true(r->pos > s->last);
	assert_true(s->n < 4096);
	s->last = r->pos;
	s->size[s->n] = r->payload.n;
	s->type[s->n] = r->type;
	s->first[s->n] = r->dead || r->payload.n == 0 ? 0 : r->payload.p[0];
	s->dead += r->dead;
	s->damaged += r->damaged;
	s->gaps += r->type == 0;
	s->lost += r->lost;
	s->n++;
	return true;
}

static struct seen *replay(struct world *w, log_pos from)
{
	static struct seen s;
	s = (struct seen){ 0 };
	assert_int_equal(commitlog_replay(w->log, from, see, &s), ERR_OK);
	return &s;
}

/* One segment with three synced records; its bytes. */
__attribute__((unused)) static size_t three_records(
    struct world *w, char *image, size_t max, log_pos pos[3])
{
	char path[100];
	assert_int_equal(world_open(w, 1 << 20), ERR_OK);
	for (int i = 0; i < 3; i++) {
		pos[i] = append(w, (uint32_t)i + 1, (char)('a' + i), 100 + (size_t)i);
		sync_now(w);
	}
	commitlog_close(&w->log);
	snprintf(path, sizeof path, "%s/00000001.seg", w->dir);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, image, max);
	assert_true(n > 300);
	close(fd);
	return (size_t)n;
}

__attribute__((unused)) static void put_image(struct world *w, const char *image, size_t n)
{
	char path[100];
	empty_dir(w->dir, false);
	snprintf(path, sizeof path, "%s/00000001.seg", w->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, image, n), n);
	close(fd);
}

#endif
