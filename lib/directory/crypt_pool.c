/* crypt_pool.c - the only threads of a worker beside the loop: they compute crypt_r() and nothing else.
 *
 * A job goes from `waiting` through one thread to `done`; the loop learns of it by an eventfd. The mutex
 * guards the two lists and the members below them; a job is touched by a thread only while it is in neither
 * list. Cancelling takes a waiting job away and orphans one that a thread has. */
#include "directory/crypt_pool.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/digest.h"

#include "directory/password.h"
#include "directory/scram_keys.h"
#include "directory/tables.h"

#define crypt_pool_MAGIC 0xc2791001u
#define job_MAGIC 0xc279106bu

struct job {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct crypt_pool *pool;
	struct list_node link; /* in waiting, in done, or (a thread has it) in none */
	char secret[SECRET_BYTES_MAX + 1];
	char *settings[CRYPT_SETTINGS_MAX]; /* owned */
	size_t n;
	bool right;   /* the thread's answer */
	crypt_fn *fn; /* NULL: nobody asks any more (loop thread only) */
	void *arg;
};

struct crypt_pool {
	uint32_t magic;
	struct loop *loop;
	size_t threads_max, queue_max;
	pthread_t *threads; /* owned */
	size_t threads_n;
	int wake_fd; /* owned: a job is done */
	struct watch *wake;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list_node waiting, done;
	size_t waiting_n;
	bool stop;
};

static void job_free(struct job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		mem_wipe(j->settings[i], strlen(j->settings[i]));
		mem_free(j->settings[i]);
	}
	mem_wipe(j, sizeof *j);
	mem_free(j);
}

/* ---- in a thread ---- */

/* A setting that names its scheme is SCRAM's; else it is crypt(3)'s. */
static bool setting_fits(const struct job *j, const char *setting, struct crypt_data *data)
{
	if (setting[0] == '{')
		return scram_keys_fit(span_str(setting), span_str(j->secret));
	const char *made = crypt_r(j->secret, setting, data);
	return made != NULL && made[0] != '*' && digest_equal(span_str(made), span_str(setting));
}

static void job_run(struct job *j, struct crypt_data *data)
{
	for (size_t i = 0; i < j->n && !j->right; i++)
		j->right = setting_fits(j, j->settings[i], data);
	mem_wipe(data, sizeof *data);
}

static void *thread_main(void *arg)
{
	struct crypt_pool *p = arg;
	struct crypt_data *data = MEM_NEW(struct crypt_data);
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct list_node *n = list_pop(&p->waiting);
		if (n == NULL) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}
		struct job *j = LIST_OF(struct job, link, n);
		p->waiting_n--;
		pthread_mutex_unlock(&p->lock);
		job_run(j, data);
		pthread_mutex_lock(&p->lock);
		list_add_tail(&p->done, &j->link);
		CHECK(eventfd_write(p->wake_fd, 1) == 0);
	}
	pthread_mutex_unlock(&p->lock);
	mem_free(data);
	return NULL;
}

/* ---- in the loop ---- */

static struct job *take_done(struct crypt_pool *p)
{
	pthread_mutex_lock(&p->lock);
	struct list_node *n = list_pop(&p->done);
	pthread_mutex_unlock(&p->lock);
	return n == NULL ? NULL : LIST_OF(struct job, link, n);
}

static void on_wake(void *arg, unsigned events)
{
	struct crypt_pool *p = OBJ(crypt_pool, arg);
	eventfd_t count;
	struct job *j;
	(void)eventfd_read(p->wake_fd, &count);
	while ((j = take_done(p)) != NULL) {
		crypt_fn *fn = j->fn;
		void *fn_arg = j->arg;
		bool right = j->right;
		job_free(j);
		if (fn != NULL)
			fn(fn_arg, right);
	}
}

static void on_cancel(struct ticket *t)
{
	struct job *j = OBJ(job, t);
	struct crypt_pool *p = j->pool;
	bool waiting = false;
	pthread_mutex_lock(&p->lock);
	for (struct list_node *n = p->waiting.next; n != &p->waiting && !waiting; n = n->next)
		waiting = n == &j->link;
	if (waiting) {
		list_remove(&j->link);
		p->waiting_n--;
	}
	pthread_mutex_unlock(&p->lock);
	j->fn = NULL;
	if (waiting)
		job_free(j);
}

static void start_threads(struct crypt_pool *p)
{
	sigset_t all, before;
	if (p->threads_n > 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (p->threads_n < p->threads_max &&
	       pthread_create(&p->threads[p->threads_n], NULL, thread_main, p) == 0)
		p->threads_n++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct ticket *crypt_pool_ask(struct crypt_pool *p, const struct span *settings, size_t n,
    struct span secret, crypt_fn *fn, void *arg)
{
	start_threads(p);
	pthread_mutex_lock(&p->lock);
	size_t waiting = p->waiting_n;
	pthread_mutex_unlock(&p->lock);
	if (p->threads_n == 0 || waiting >= p->queue_max) {
		directory_log(CRYPT_FULL, LOG_U64("waiting", waiting));
		return NULL;
	}
	CHECK(secret.n <= SECRET_BYTES_MAX && n <= CRYPT_SETTINGS_MAX);
	struct job *j = MEM_NEW(struct job);
	j->ticket.cancel = on_cancel;
	j->magic = job_MAGIC;
	j->pool = p;
	j->fn = fn;
	j->arg = arg;
	memcpy(j->secret, secret.p, secret.n);
	for (; j->n < n; j->n++)
		j->settings[j->n] = mem_span_str(settings[j->n]);
	directory_count(CRYPT_RUNS);
	pthread_mutex_lock(&p->lock);
	list_add_tail(&p->waiting, &j->link);
	p->waiting_n++;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return &j->ticket;
}

struct crypt_pool *crypt_pool_new(struct loop *l, size_t threads, size_t queue_max)
{
	struct crypt_pool *p = MEM_NEW(struct crypt_pool);
	p->magic = crypt_pool_MAGIC;
	p->loop = l;
	p->threads_max = threads;
	p->queue_max = queue_max;
	p->threads = mem_array(threads, sizeof p->threads[0]);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(p->wake_fd >= 0);
	p->wake = watch_new(l, p->wake_fd, on_wake, p);
	watch_set(p->wake, WATCH_READ);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	list_init(&p->waiting);
	list_init(&p->done);
	return p;
}

void crypt_pool_free(struct crypt_pool **pool)
{
	struct crypt_pool *p = *pool;
	struct list_node *n;
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->threads_n; i++)
		pthread_join(p->threads[i], NULL);
	while ((n = list_pop(&p->waiting)) != NULL || (n = list_pop(&p->done)) != NULL)
		job_free(LIST_OF(struct job, link, n));
	watch_free(&p->wake);
	close(p->wake_fd);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	mem_free(p->threads);
	p->magic = 0;
	MEM_FREE(pool);
}
