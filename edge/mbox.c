/* mbox.c - a message at the end of an mbox (mboxrd: "From " at the begin of a line, behind any number of ">", gets one
 * more). See mailbox.h.
 *
 * Others write there too: PATH.lock keeps out those who look for it, a lock of fcntl() the rest. The file may lie where
 * others may make names (/var/mail): what is not a plain file with one name, of this user, is not touched. Our lock
 * file says whose it is, and how long the mbox was before: when the one who held it has died, whoever comes next cuts
 * off what is half there, and knows what is there as a whole.
 *
 * Owns the lock file and the mbox's descriptor while it writes. */
#include "edge/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "edge/template.h"

enum {
	PATH_SIZE = 4096,
	BLOCK = 64 * 1024,
	LOCK_PAUSE_MS = 100,
	LOCK_STALE_S = 5 * 60, /* of a program that has no other way to say that it lives */
	HALF_LATE_S =
	    2, /* what we have written is older than our lock file, but for the last piece */
	LOCK_TEXT = 200,
	SENDER_MAX = 200,
};

struct mbox {
	const struct mailbox_ask *ask;
	struct buf *why;
	char lock_path[PATH_SIZE];
	int lock, fd;     /* owned; -1: not there */
	bool have;        /* an attempt before this one has brought it */
	int64_t cut_to;   /* what one before us has left half done begins there; -1: nothing */
	time_t cut_s;     /* when it has written last, by its lock file */
	time_t changed_s; /* when anybody has written to the mbox */
	uint64_t old, at; /* bytes of the mbox before, and now */
	struct buf out;
};

static int later(struct mbox *m, const char *enhanced, const char *what)
{
	const char *code =
	    errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? "4.2.2" : enhanced;
	buf_printf(m->why, "%s %s: %s", code, what, strerror(errno));
	return EX_TEMPFAIL;
}

static int refuse_file(struct mbox *m, const char *what)
{
	buf_printf(m->why, "4.2.0 the mailbox is not used: %s", what);
	return EX_TEMPFAIL;
}

/* ---- the lock file ------------------------------------------------------------------------------ */

/* "postern PID ID RECIPIENT SIZE open|whole" */
static bool note(struct mbox *m, const char *state)
{
	char text[LOCK_TEXT];
	int n = snprintf(text, sizeof text, "postern %ld %s %u %llu %s\n", (long)getpid(),
	    m->ask->id.s, m->ask->recipient, (unsigned long long)m->old, state);
	return pwrite(m->lock, text, (size_t)n, 0) == n && ftruncate(m->lock, n) == 0 &&
	       fdatasync(m->lock) == 0;
}

/* Is this ours, and has its process died? Then what it says of the mbox holds. */
static bool read_note(struct mbox *m, int fd, const struct stat *st)
{
	char text[LOCK_TEXT] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	struct span rest = span_of(text, n > 0 ? (size_t)n : 0), word[6];
	uint64_t pid, recipient, size;
	for (size_t i = 0; i < 6; i++)
		word[i] = span_trim(span_cut(&rest, ' '));
	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_nlink != 1 ||
	    !span_eq_str(word[0], "postern") || !span_u64(word[1], INT32_MAX, &pid) ||
	    !span_u64(word[3], UINT16_MAX, &recipient) || !span_u64(word[4], INT64_MAX, &size))
		return false;
	bool old = clock_wall_us() / 1000000 > (uint64_t)st->st_mtime + LOCK_STALE_S;
	if (!old && (kill((pid_t)pid, 0) == 0 || errno != ESRCH))
		return false;
	bool same = span_eq_str(word[2], m->ask->id.s) && recipient == m->ask->recipient;
	m->have = same && span_eq_str(word[5], "whole");
	m->cut_to = span_eq_str(word[5], "open") ? (int64_t)size : -1;
	m->cut_s = st->st_mtime;
	return true;
}

/* One at a time looks at a lock that is left, and only at the one that still has the name. */
static bool is_left(struct mbox *m, int fd)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct stat st, named;
	if (fcntl(fd, F_SETLK, &whole) != 0 || fstat(fd, &st) != 0 ||
	    lstat(m->lock_path, &named) != 0 || st.st_dev != named.st_dev ||
	    st.st_ino != named.st_ino)
		return false;
	uint64_t now = clock_wall_us() / 1000000;
	return read_note(m, fd, &st) ||
	       (S_ISREG(st.st_mode) && now > (uint64_t)st.st_mtime + LOCK_STALE_S);
}

/* Nobody holds it any more: it goes. */
static bool break_lock(struct mbox *m)
{
	int fd = open(m->lock_path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	bool gone = is_left(m, fd) && unlink(m->lock_path) == 0;
	close(fd);
	return gone;
}

static int take_lock_file(struct mbox *m, uint64_t until_ms)
{
	for (;;) {
		m->lock =
		    open(m->lock_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (m->lock >= 0)
			return EX_OK;
		if (errno != EEXIST)
			return later(m, "4.2.0", "no lock file beside the mailbox");
		if (break_lock(m))
			continue;
		if (clock_mono_ms() >= until_ms) {
			buf_add_str(m->why, "4.2.0 another program holds the mailbox's lock file");
			return EX_TEMPFAIL;
		}
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
}

static int take_lock(struct mbox *m, uint64_t until_ms)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	while (fcntl(m->fd, F_SETLK, &whole) != 0) {
		if (errno != EAGAIN && errno != EACCES)
			return later(m, "4.2.0", "the mailbox cannot be locked");
		if (clock_mono_ms() >= until_ms) {
			buf_add_str(m->why, "4.2.0 another program holds the mailbox's lock");
			return EX_TEMPFAIL;
		}
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	return EX_OK;
}

/* ---- the file ----------------------------------------------------------------------------------- */

static const char *mistake_of(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no plain file";
	if (st->st_nlink != 1)
		return "it has another name";
	if (st->st_uid != geteuid())
		return "it belongs to another user";
	if ((st->st_mode & S_IWOTH) != 0)
		return "everybody may write to it";
	return NULL;
}

static int open_mbox(struct mbox *m)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	m->fd = open(m->ask->path, flags);
	if (m->fd < 0 && errno == ENOENT)
		m->fd = open(m->ask->path, flags | O_CREAT | O_EXCL, 0600);
	if (m->fd >= 0)
		return EX_OK;
	return errno == ELOOP ? refuse_file(m, "it is a link")
			      : later(m, "4.2.0", "the mailbox cannot be opened");
}

/* Once more behind the lock: what has that name must be what is open. */
static int check_mbox(struct mbox *m)
{
	struct stat st, named;
	if (fstat(m->fd, &st) != 0 || lstat(m->ask->path, &named) != 0)
		return later(m, "4.2.0", "the mailbox cannot be looked at");
	const char *mistake = mistake_of(&st);
	if (mistake != NULL)
		return refuse_file(m, mistake);
	if (st.st_dev != named.st_dev || st.st_ino != named.st_ino)
		return refuse_file(m, "another file has its name now");
	m->old = (uint64_t)st.st_size;
	m->changed_s = st.st_mtime;
	return EX_OK;
}

/* Where others have written since, heedless of the lock file, half a message stays rather than one of theirs goes. */
static int cut_half(struct mbox *m)
{
	if (m->cut_to < 0 || (uint64_t)m->cut_to >= m->old || m->changed_s > m->cut_s + HALF_LATE_S)
		return EX_OK;
	if (ftruncate(m->fd, m->cut_to) != 0)
		return later(m, "4.2.0", "what is half there cannot be cut off");
	m->old = (uint64_t)m->cut_to;
	return EX_OK;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static bool flush(struct mbox *m)
{
	struct span rest = buf_span(&m->out);
	while (rest.n > 0) {
		ssize_t n = pwrite(m->fd, rest.p, rest.n, (off_t)m->at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		m->at += (uint64_t)n;
		rest = span_from(rest, (size_t)n);
	}
	buf_clear(&m->out);
	return futimens(m->lock, NULL) == 0; /* we live */
}

static bool put_bytes(struct mbox *m, struct span s)
{
	while (s.n > 0) {
		struct span piece = span_first(s, BLOCK - buf_len(&m->out));
		buf_add_span(&m->out, piece);
		s = span_from(s, piece.n);
		if (buf_len(&m->out) == BLOCK && !flush(m))
			return false;
	}
	return true;
}

bool mbox_put_from(struct buf *out, struct span sender, uint64_t arrived_s, const char *end)
{
	char date[CLOCK_RFC5322_SIZE];
	struct span d = span_str(clock_rfc5322(arrived_s * 1000000, date));
	struct span weekday = span_cut(&d, ','), word[4];
	d = span_trim(d);
	for (size_t i = 0; i < 4; i++)
		word[i] = span_cut(&d, ' ');
	buf_add_str(out, "From ");
	template_put_plain(out, sender.n > 0 ? sender : SPAN("MAILER-DAEMON"));
	buf_printf(out, " %.*s %.*s %2.*s %.*s %.*s%s", SPAN_ARG(weekday), SPAN_ARG(word[1]),
	    SPAN_ARG(word[0]), SPAN_ARG(word[3]), SPAN_ARG(word[2]), end);
	return buf_ok(out);
}

static bool put_from(struct mbox *m)
{
	struct buf line = BUF_INIT(SENDER_MAX + 100);
	bool ok =
	    mbox_put_from(&line, span_first(m->ask->sender, SENDER_MAX), m->ask->arrived_s, "\n") &&
	    put_bytes(m, buf_span(&line));
	buf_end(&line);
	return ok;
}

/* Between two messages there is an empty line. */
static bool put_gap(struct mbox *m)
{
	char last[2] = "\n\n";
	if (m->old == 0)
		return true;
	size_t n = m->old > 1 ? 2 : 1;
	if (pread(m->fd, last + 2 - n, n, (off_t)(m->old - n)) != (ssize_t)n)
		return false;
	if (last[1] != '\n')
		return put_bytes(m, SPAN("\n\n"));
	return last[0] == '\n' || put_bytes(m, SPAN("\n"));
}

/* One ">" more in front of the bytes at the begin of a line, when they are any ">" and "From ". */
static bool is_quoted(struct span line)
{
	size_t n = 0;
	while (n < line.n && line.p[n] == '>')
		n++;
	return span_starts(span_from(line, n), SPAN("From "));
}

struct lines {
	FILE *in;
	char *line;
	size_t room;
};

static bool put_lines(struct mbox *m, struct lines *l, bool *whole_out)
{
	ssize_t n;
	char last = '\n';
	while ((n = getline(&l->line, &l->room, l->in)) > 0) {
		struct span line = span_of(l->line, (size_t)n);
		if (is_quoted(line) && !put_bytes(m, SPAN(">")))
			return false;
		if (!put_bytes(m, line))
			return false;
		last = line.p[line.n - 1];
	}
	*whole_out = ferror(l->in) == 0;
	return *whole_out && put_bytes(m, last == '\n' ? SPAN("\n") : SPAN("\n\n"));
}

/* Lines of a message are bounded where it came in (line_max). */
static bool put_message(struct mbox *m)
{
	int fd = dup(m->ask->message);
	struct lines l = { fd < 0 || lseek(fd, 0, SEEK_SET) != 0 ? NULL : fdopen(fd, "r"), NULL,
		0 };
	bool whole = false;
	bool ok = l.in != NULL && put_gap(m) && put_from(m) && put_lines(m, &l, &whole) &&
		  flush(m) && fsync(m->fd) == 0;
	int cause = errno;
	if (l.in != NULL)
		fclose(l.in);
	else if (fd >= 0)
		close(fd);
	free(l.line);
	errno = cause;
	return ok && whole;
}

/* Who made it, we or one who was killed before it could do this, began with nothing in it. Where its user may not read the
 * folder, all of the file system is made durable. */
static bool sync_name(const struct mbox *m)
{
	if (m->old > 0 && m->cut_to != 0)
		return true;
	return fd_sync_dir_of(m->ask->path) == ERR_OK || (errno == EACCES && syncfs(m->fd) == 0);
}

static int append(struct mbox *m)
{
	struct stat st;
	if (fstat(m->ask->message, &st) == 0 && m->ask->quota > 0 &&
	    m->old + (uint64_t)st.st_size > m->ask->quota) {
		buf_add_str(m->why, "4.2.2 the mailbox is full");
		return EX_TEMPFAIL;
	}
	m->at = m->old;
	if (!note(m, "open"))
		return later(m, "4.2.0", "the lock file cannot be written");
	if (put_message(m) && sync_name(m) && note(m, "whole"))
		return EX_OK;
	int status = later(m, "4.3.0", "the message cannot be written");
	if (ftruncate(m->fd, (off_t)m->old) != 0 || fsync(m->fd) != 0)
		buf_add_str(m->why, "; nor could it be cut off again");
	return status;
}

static int put(struct mbox *m)
{
	uint64_t until_ms = clock_mono_ms() + m->ask->lock_ms;
	int status = take_lock_file(m, until_ms);
	if (status == EX_OK && m->have)
		return EX_OK;
	if (status == EX_OK)
		status = open_mbox(m);
	if (status == EX_OK)
		status = take_lock(m, until_ms);
	if (status == EX_OK)
		status = check_mbox(m);
	if (status == EX_OK)
		status = cut_half(m);
	return status == EX_OK ? append(m) : status;
}

int mbox_put(const struct mailbox_ask *a, struct buf *why)
{
	struct mbox m = { .ask = a, .why = why, .lock = -1, .fd = -1, .cut_to = -1 };
	m.out = BUF_INIT(BLOCK);
	int n = snprintf(m.lock_path, sizeof m.lock_path, "%s.lock", a->path);
	if (n < 0 || n >= PATH_SIZE) {
		buf_add_str(why, "4.3.5 the mailbox's path is too long");
		return EX_TEMPFAIL;
	}
	int status = put(&m);
	if (m.fd >= 0)
		close(m.fd);
	if (m.lock >= 0) {
		unlink(m.lock_path);
		close(m.lock);
	}
	buf_end(&m.out);
	return status;
}
