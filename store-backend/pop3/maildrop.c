/* maildrop.c - step 2 of the store, POP3: the snapshot of the INBOX, its marks and its lock; see maildrop.h.
 *
 * The lock is one byte of PARTITION/pop3.lock, at the offset that is the mailbox's id: no file for
 * each user, nothing to clean up, and the kernel gives it back when a worker dies. Each session has an
 * open file of its own, so that two sessions of one worker exclude each other too. */
#include "store-backend/pop3/maildrop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum {
	LOAD_AT_ONCE = 20000, /* messages: a few milliseconds */
	FIRST_CAP = 16,
	PATH_SIZE = 1024
};

/* ---- the lock ---------------------------------------------------------------------------------- */

static enum maildrop_result take_lock(struct maildrop *d)
{
	char path[PATH_SIZE];
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int n = snprintf(path, sizeof path, "%s/pop3.lock", d->partition->path);
	if (n < 0 || (size_t)n >= sizeof path)
		return MAILDROP_LATER;
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0)
		return MAILDROP_LATER;
	whole.l_start = (off_t)(d->mailbox % (uint64_t)INT64_MAX);
	if (fcntl(d->lock_fd, F_OFD_SETLK, &whole) == 0)
		return MAILDROP_OK;
	return errno == EAGAIN || errno == EACCES ? MAILDROP_IN_USE : MAILDROP_LATER;
}

/* ---- the list ---------------------------------------------------------------------------------- */

struct loading {
	struct maildrop *d;
	size_t looked_at;
};

static void add(struct maildrop *d, const struct index_entry *e)
{
	if (d->n == d->cap) {
		d->cap = d->cap == 0 ? FIRST_CAP : d->cap * 2;
		d->all = mem_grow(d->all, d->cap, sizeof d->all[0]);
	}
	d->all[d->n++] = (struct maildrop_message){
		.uid = e->uid,
		.size = e->size < UINT32_MAX ? (uint32_t)e->size : UINT32_MAX,
		.unseen = (e->flags & STORE_SEEN) == 0,
	};
	d->left++;
	d->left_bytes += d->all[d->n - 1].size;
}

static bool on_entry(void *arg, const struct index_entry *e)
{
	struct loading *l = arg;
	if (l->looked_at++ == LOAD_AT_ONCE || l->d->n == STORE_MESSAGES_MAX)
		return false;
	l->d->uid_next = e->uid + 1;
	if ((e->flags & STORE_DELETED) == 0)
		add(l->d, e);
	return true;
}

enum maildrop_result maildrop_load(struct maildrop *d)
{
	struct loading l = { .d = d };
	if (d->uid_next >= d->uid_end)
		return MAILDROP_OK;
	struct index_view *v = index_view_begin(d->partition->index);
	if (v == NULL)
		return MAILDROP_LATER;
	index_entries(
	    v, d->mailbox, (struct uid_range){ d->uid_next, d->uid_end - 1 }, on_entry, &l);
	index_view_end(&v);
	return l.looked_at > LOAD_AT_ONCE ? MAILDROP_MORE : MAILDROP_OK;
}

struct maildrop_message *maildrop_message(struct maildrop *d, uint32_t number)
{
	if (number < 1 || number > d->n || d->all[number - 1].deleted)
		return NULL;
	return &d->all[number - 1];
}

void maildrop_delete(struct maildrop *d, struct maildrop_message *m)
{
	m->deleted = true;
	d->left--;
	d->left_bytes -= m->size;
}

void maildrop_reset(struct maildrop *d)
{
	d->left = d->n;
	d->left_bytes = 0;
	for (size_t i = 0; i < d->n; i++) {
		d->all[i].deleted = false;
		d->left_bytes += d->all[i].size;
	}
}

static bool has_mark(const struct maildrop_message *m, enum maildrop_mark mark)
{
	return mark == MAILDROP_DELETED ? m->deleted : m->retrieved && m->unseen && !m->deleted;
}

size_t maildrop_marked(const struct maildrop *d, enum maildrop_mark mark, size_t at)
{
	size_t n = 0;
	for (; at < d->n; at++)
		n += has_mark(&d->all[at], mark);
	return n;
}

size_t maildrop_ranges(const struct maildrop *d, enum maildrop_mark mark, size_t *at,
    struct uid_range *out, size_t most)
{
	size_t n = 0;
	for (; *at < d->n; (*at)++) {
		uint32_t uid = d->all[*at].uid;
		if (!has_mark(&d->all[*at], mark))
			continue;
		if (n > 0 && out[n - 1].last + 1 == uid) {
			out[n - 1].last = uid;
			continue;
		}
		if (n == most)
			break;
		out[n++] = (struct uid_range){ uid, uid };
	}
	return n;
}

/* ---- opening ----------------------------------------------------------------------------------- */

static bool find_inbox(struct maildrop *d, struct span user)
{
	struct index_user u;
	struct index_mailbox m;
	struct index_view *v = index_view_begin(d->partition->index);
	if (v == NULL)
		return false;
	bool found = index_user(v, user, &u) && index_mailbox_get(v, u.inbox, &m) &&
		     !index_mending(v, m.id, clock_wall_us() / 1000000);
	if (found) {
		d->mailbox = m.id;
		d->uidvalidity = m.uidvalidity;
		d->uid_next = 1;
		d->uid_end = m.uidnext;
	}
	index_view_end(&v);
	return found;
}

/* When it was opened last, in PARTITION/pop3.logins: eight bytes for each mailbox, at its id, most of them a hole. A file
 * that cannot be had keeps nobody out. */
static bool is_too_soon(const struct maildrop *d, uint64_t delay_s)
{
	char path[PATH_SIZE];
	uint64_t now = clock_wall_us() / 1000000, last = 0;
	off_t at = (off_t)(d->mailbox % ((uint64_t)INT64_MAX / sizeof last) * sizeof last);
	int n = snprintf(path, sizeof path, "%s/pop3.logins", d->partition->path);
	if (delay_s == 0 || n < 0 || (size_t)n >= sizeof path)
		return false;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	bool known = pread(fd, &last, sizeof last, at) == (ssize_t)sizeof last;
	bool soon = known && last <= now && now - last < delay_s;
	/* On a full disk the next login is not too soon either. */
	if (!soon && pwrite(fd, &now, sizeof now, at) < 0)
		errno = 0;
	close(fd);
	return soon;
}

enum maildrop_result maildrop_open(struct store_partition *p, struct span user,
    const struct maildrop_how *how, struct maildrop **out)
{
	struct maildrop *d = MEM_NEW(struct maildrop);
	d->partition = p;
	d->lock_fd = -1;
	enum maildrop_result r = find_inbox(d, user) ? MAILDROP_OK : MAILDROP_LATER;
	if (r == MAILDROP_OK && how->exclusive)
		r = take_lock(d);
	if (r == MAILDROP_OK && is_too_soon(d, how->delay_s))
		r = MAILDROP_TOO_SOON;
	/* what the session before has deleted is seen only by who looks after the lock is there */
	if (r == MAILDROP_OK && !find_inbox(d, user))
		r = MAILDROP_LATER;
	if (r != MAILDROP_OK)
		maildrop_free(&d);
	*out = d;
	return r;
}

void maildrop_free(struct maildrop **dp)
{
	struct maildrop *d = *dp;
	*dp = NULL;
	if (d == NULL)
		return;
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	mem_free(d->all);
	mem_free(d);
}
