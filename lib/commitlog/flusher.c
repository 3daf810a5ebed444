/* flusher.c - a thread that blocks on the disk so that the loop does not. Owns the thread and an eventfd.
 *
 * The mutex guards `job` and `stop` alone; everything else is touched by the owner's thread only. */
#include "commitlog/flusher.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#define flusher_MAGIC 0xf1a54e21u

struct flusher {
	uint32_t magic;
	int done_fd;         /* owned: counts finished jobs */
	struct watch *watch; /* owned */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	void (*job)(void *arg); /* guarded: NULL = nothing to do */
	void *job_arg;
	bool stop; /* guarded */
	bool busy; /* owner's view: handed over and not yet heard of */
	void (*done)(void *arg);
	void *arg;
};

static void *flusher_main(void *arg)
{
	struct flusher *f = arg;
	pthread_mutex_lock(&f->lock);
	for (;;) {
		while (f->job == NULL && !f->stop)
			pthread_cond_wait(&f->wake, &f->lock);
		if (f->job == NULL)
			break;
		pthread_mutex_unlock(&f->lock);
		f->job(f->job_arg);
		pthread_mutex_lock(&f->lock);
		f->job = NULL;
		uint64_t one = 1;
		ssize_t n = write(f->done_fd, &one, sizeof one);
		CHECK(n == (ssize_t)sizeof one);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void on_done(void *arg, unsigned events)
{
	struct flusher *f = OBJ(flusher, arg);
	uint64_t n;
	if (read(f->done_fd, &n, sizeof n) != (ssize_t)sizeof n)
		return;
	f->busy = false;
	f->done(f->arg);
}

/* Signals belong to the loop's thread. */
static bool start_thread(struct flusher *f)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&f->thread, NULL, flusher_main, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc == 0;
}

struct flusher *flusher_new(struct loop *l, void (*done)(void *arg), void *arg)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	struct flusher *f = MEM_NEW(struct flusher);
	*f = (struct flusher){ .magic = flusher_MAGIC, .done_fd = fd, .done = done, .arg = arg };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	if (!start_thread(f)) {
		close(fd);
		mem_free(f);
		return NULL;
	}
	f->watch = watch_new(l, fd, on_done, f);
	watch_set(f->watch, WATCH_READ);
	return f;
}

void flusher_run(struct flusher *f, void (*job)(void *arg), void *arg)
{
	CHECK(!f->busy);
	f->busy = true;
	pthread_mutex_lock(&f->lock);
	f->job = job;
	f->job_arg = arg;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

bool flusher_busy(const struct flusher *f)
{
	return f->busy;
}

void flusher_free(struct flusher **fp)
{
	struct flusher *f = *fp;
	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	watch_free(&f->watch);
	close(f->done_fd);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	f->magic = 0;
	MEM_FREE(fp);
}
