/* test_mailbox.c - messages into maildirs and mboxes: what is there afterwards, also when the same delivery comes again,
 * the file cannot grow, the quota is used up, or somebody else's lock is there; and in which order a maildir is made and made
 * durable: what this program has of mkdir(), fsync() and their like stands before libc's. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <utime.h>
#include <cmocka.h>

#include "base/check.h"
#include "edge/mailbox.h"

static char dir[] = "/tmp/postern-mailbox-XXXXXX";
static char path[100], lock[120];
static struct mailbox_ask ask;
static struct buf why = BUF_INIT(1000);

static int file_with(const char *text)
{
	int fd = open(dir, O_TMPFILE | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* ---- the order of what is made and made durable ---- */

static struct buf order = BUF_INIT(4000);

/* "fsync box/new, ": as seen from dir, without the name of a message. */
static void note(const char *what, const char *at)
{
	const char *below = strncmp(at, dir, strlen(dir)) == 0 ? at + strlen(dir) : at;
	const char *message = strstr(below, "/1764115200.");
	buf_printf(&order, "%s %.*s, ", what,
	    (int)(message != NULL ? (size_t)(message - below) : strlen(below)), below);
}

static void note_fd(const char *what, int fd, const char *name)
{
	char link[64], at[400] = "";
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, at, 300);
	snprintf(at + n, sizeof at - (size_t)n, "%s%.50s", name[0] != '\0' ? "/" : "", name);
	note(what, at);
}

#define REAL(name, ...)                                                                            \
	int (*real)(__VA_ARGS__);                                                                  \
	*(void **)&real = dlsym(RTLD_NEXT, name)

int mkdir(const char *name, mode_t mode)
{
	REAL("mkdir", const char *, mode_t);
	int rc = real(name, mode);
	if (rc == 0)
		note("mkdir", name);
	return rc;
}

int mkdirat(int at, const char *name, mode_t mode)
{
	REAL("mkdirat", int, const char *, mode_t);
	int rc = real(at, name, mode);
	if (rc == 0)
		note_fd("mkdir", at, name);
	return rc;
}

int fsync(int fd)
{
	REAL("fsync", int);
	note_fd("fsync", fd, "");
	return real(fd);
}

int syncfs(int fd)
{
	REAL("syncfs", int);
	note_fd("syncfs", fd, "");
	return real(fd);
}

int renameat(int from, const char *name, int to, const char *new_name)
{
	REAL("renameat", int, const char *, int, const char *);
	note_fd("rename", to, new_name);
	return real(from, name, to, new_name);
}

/* ---- a message, and where it goes ---- */

static void fresh(const char *name, const char *text)
{
	snprintf(path, sizeof path, "%s/%s", dir, name);
	snprintf(lock, sizeof lock, "%s.lock", path);
	buf_clear(&why);
	buf_clear(&order);
	ask = (struct mailbox_ask){ .path = path,
		.message = file_with(text),
		.id = ident_new(),
		.arrived_s = 1764115200,
		.hostname = "edge:1/x",
		.sender = SPAN("s@far.example"),
		.lock_ms = 300 };
}

static void done(void)
{
	close(ask.message);
}

static size_t files_in(const char *folder, char *name_out)
{
	char at[300];
	size_t n = 0;
	struct dirent *e;
	snprintf(at, sizeof at, "%s/%s", path, folder);
	DIR *d = opendir(at);
	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.') {
			n++;
			if (name_out != NULL)
				snprintf(name_out, 256, "%s", e->d_name);
		}
	closedir(d);
	return n;
}

static void expect_text(const char *want)
{
	char got[2000] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, got, sizeof got - 1);
	assert_true(n >= 0);
	close(fd);
	assert_string_equal(got, want);
}

static void write_text(const char *to, const char *text)
{
	FILE *f = fopen(to, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* ---- maildir ------------------------------------------------------------------------------------ */

static void test_maildir(void **state)
{
	char name[256], from[700], to[700];
	fresh("box", "Subject: x\n\nx\n");
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_int_equal(files_in("new", name), 1);
	assert_int_equal(files_in("tmp", NULL), 0);
	assert_non_null(strstr(name, ask.id.s));
	assert_non_null(strstr(name, "edge_1_x,S=14"));
	/* the same delivery once more: while it is new, and when a client has seen it */
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_int_equal(files_in("new", NULL), 1);
	snprintf(from, sizeof from, "%s/new/%s", path, name);
	snprintf(to, sizeof to, "%s/cur/%s:2,S", path, name);
	assert_int_equal(rename(from, to), 0);
	ask.again = true;
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_int_equal(files_in("new", NULL), 0);
	ask.recipient = 1; /* another recipient of the message */
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_int_equal(files_in("new", NULL), 1);
	done();
}

#define MADE                                                                                       \
	"mkdir /durable/tmp, mkdir /durable/new, fsync /durable, fsync , mkdir /durable/cur, "     \
	"fsync /durable, "
#define WRITTEN "fsync /durable/tmp, rename /durable/new, fsync /durable/new, "

typedef int put_fn(const struct mailbox_ask *, struct buf *);

static void expect_order(put_fn *put, const char *want)
{
	assert_int_equal(put(&ask, &why), EX_OK);
	assert_string_equal(buf_cstr(&order), want);
	buf_clear(&order);
	ask.id = ident_new();
}

/* No power cut after the answer takes a folder away, and the message with it: neither when this attempt has made it, nor when
 * one before it was killed before it could make its name durable. */
static void test_maildir_durable(void **state)
{
	char at[300];
	fresh("durable", "x\n");
	expect_order(maildir_put, "mkdir /durable, " MADE WRITTEN);
	expect_order(maildir_put, WRITTEN);
	snprintf(at, sizeof at, "%s/cur", path);
	assert_int_equal(rmdir(at), 0);
	expect_order(
	    maildir_put, "fsync /durable, fsync , mkdir /durable/cur, fsync /durable, " WRITTEN);
	snprintf(at, sizeof at, "%s/tmp", path);
	assert_int_equal(rmdir(at), 0);
	expect_order(maildir_put, "mkdir /durable/tmp, fsync /durable, fsync , " WRITTEN);
	done();
}

/* What an attempt that was killed has moved into new may have no durable name, nor what a client has moved on. */
static void test_maildir_durable_again(void **state)
{
	fresh("again", "x\n");
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	buf_clear(&order);
	ask.again = true;
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_string_equal(buf_cstr(&order), "fsync /again/new, fsync /again/cur, ");
	done();
}

/* Into a folder that its user may write to and not read: of the name `closed`. */
static void expect_closed(const char *closed, put_fn *put, const char *want)
{
	char shut[200];
	bool root = geteuid() == 0;
	snprintf(shut, sizeof shut, "%s/%s", dir, closed);
	assert_int_equal(mkdir(shut, 0300), 0);
	assert_int_equal(chmod(dir, 0711), 0);
	if (root)
		assert_true(chown(shut, 65534, 65534) == 0 && seteuid(65534) == 0);
	int status = put(&ask, &why);
	assert_true(!root || seteuid(0) == 0);
	assert_int_equal(status, EX_OK);
	assert_non_null(strstr(buf_cstr(&order), want));
	done();
}

static void test_maildir_closed(void **state)
{
	fresh("shut/durable", "x\n");
	expect_closed("shut", maildir_put, ", fsync /shut/durable, syncfs /shut/durable, ");
}

/* What an attempt that was killed has left goes. */
static void test_maildir_half(void **state)
{
	char half[400];
	fresh("halfbox", "x\n");
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	ask.id = ident_new();
	snprintf(half, sizeof half, "%s/tmp/1764115200.%s_0.edge_1_x.4711", path, ask.id.s);
	write_text(half, "ha");
	ask.again = true;
	assert_int_equal(maildir_put(&ask, &why), EX_OK);
	assert_int_equal(files_in("tmp", NULL), 0);
	assert_int_equal(files_in("new", NULL), 2);
	done();
}

static void test_maildir_quota(void **state)
{
	fresh("quotabox", "0123456789");
	ask.quota = 25;
	for (int i = 0; i < 3; i++) {
		ask.id = ident_new();
		assert_int_equal(maildir_put(&ask, &why), i < 2 ? EX_OK : EX_TEMPFAIL);
	}
	assert_string_equal(buf_cstr(&why), "4.2.2 the mailbox is full");
	assert_int_equal(files_in("new", NULL), 2);
	done();
}

static void test_maildir_planted(void **state)
{
	char link_path[300];
	fresh("linkbox", "x\n");
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(link_path, sizeof link_path, "%s/new", path);
	assert_int_equal(symlink("/tmp", link_path), 0);
	assert_int_equal(maildir_put(&ask, &why), EX_TEMPFAIL);
	done();
}

/* In a process of its own no file can become longer than that: as on a full disk. */
static void in_little_room(int (*put)(const struct mailbox_ask *, struct buf *), rlim_t most)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit r = { most, most };
		struct sigaction sa = { .sa_handler = SIG_IGN };
		sigaction(SIGXFSZ, &sa, NULL);
		setrlimit(RLIMIT_FSIZE, &r);
		_exit(put(&ask, &why));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EX_TEMPFAIL);
}

static void test_maildir_full(void **state)
{
	fresh("fullbox", "0123456789012345678901234567890123456789\n");
	in_little_room(maildir_put, 20);
	assert_int_equal(files_in("new", NULL) + files_in("tmp", NULL), 0);
	done();
}

/* ---- mbox --------------------------------------------------------------------------------------- */

#define FROM "From s@far.example Wed Nov 26 00:00:00 2025\n"

static void test_mbox(void **state)
{
	fresh("mbox", "Subject: x\n\nFrom a\n>From b\nFromage\nlast");
	assert_int_equal(mbox_put(&ask, &why), EX_OK);
	expect_text(FROM "Subject: x\n\n>From a\n>>From b\nFromage\nlast\n\n");
	ask.sender = SPAN_NONE;
	close(ask.message);
	ask.message = file_with("S: y\n\ny\n");
	assert_int_equal(truncate(path, (off_t)strlen(FROM) + 10), 0); /* no line end at its end */
	assert_int_equal(mbox_put(&ask, &why), EX_OK);
	expect_text(
	    FROM "Subject: x\n\nFrom MAILER-DAEMON Wed Nov 26 00:00:00 2025\nS: y\n\ny\n\n");
	assert_int_equal(access(lock, F_OK), -1);
	done();
}

static pid_t somebody_gone(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void leave_lock(pid_t pid, const char *id, unsigned long size, const char *state)
{
	char text[200];
	snprintf(text, sizeof text, "postern %ld %s 0 %lu %s\n", (long)pid, id, size, state);
	write_text(lock, text);
}

/* Nor is the name of an mbox lost with a power cut, whoever has made it. */
static void test_mbox_durable(void **state)
{
	fresh("named", "S: x\n\n");
	expect_order(mbox_put, "fsync /named, fsync , ");
	expect_order(mbox_put, "fsync /named, ");
	assert_int_equal(truncate(path, 0), 0); /* made by one who was killed, or emptied */
	expect_order(mbox_put, "fsync /named, fsync , ");
	write_text(path, "From b half");
	leave_lock(somebody_gone(), "aaaaaaaaaaaaaaaaaa", 0, "open");
	expect_order(mbox_put, "fsync /named, fsync , ");
	done();
}

static void test_mbox_closed(void **state)
{
	fresh("closed/named", "S: x\n\n");
	expect_closed("closed", mbox_put, "fsync /closed/named, syncfs /closed/named, ");
}

static void test_mbox_full(void **state)
{
	fresh("fullmbox", "0123456789012345678901234567890123456789\n");
	write_text(path, FROM "S: old\n\n");
	in_little_room(mbox_put, (rlim_t)strlen(FROM) + 30);
	expect_text(FROM "S: old\n\n");
	assert_int_equal(access(lock, F_OK), -1);
	done();
}

static void test_mbox_quota(void **state)
{
	fresh("quotambox", "0123456789");
	write_text(path, "1234567890");
	ask.quota = 15;
	assert_int_equal(mbox_put(&ask, &why), EX_TEMPFAIL);
	assert_string_equal(buf_cstr(&why), "4.2.2 the mailbox is full");
	expect_text("1234567890");
	done();
}

/* A lock of ours whose process has died: what it left half is cut off, what it left whole is known. */
static void test_mbox_crashed(void **state)
{
	fresh("crashed", "S: x\n\n");
	write_text(path, "From a\n\nFrom b half");
	leave_lock(somebody_gone(), "aaaaaaaaaaaaaaaaaa", 8, "open");
	assert_int_equal(mbox_put(&ask, &why), EX_OK);
	expect_text("From a\n\n" FROM "S: x\n\n\n");
	leave_lock(somebody_gone(), ask.id.s, 8, "whole");
	assert_int_equal(mbox_put(&ask, &why), EX_OK); /* this very delivery */
	expect_text("From a\n\n" FROM "S: x\n\n\n");
	leave_lock(somebody_gone(), "aaaaaaaaaaaaaaaaaa", 8, "whole");
	assert_int_equal(mbox_put(&ask, &why), EX_OK); /* another one: nothing is cut */
	expect_text("From a\n\n" FROM "S: x\n\n\n" FROM "S: x\n\n\n");
	done();
}

/* Mail that a program has put there since, which looks for no lock file, is not cut off with the half. */
static void test_mbox_crashed_and_used(void **state)
{
	struct utimbuf before = { 1764115200, 1764115200 };
	fresh("used", "S: x\n\n");
	write_text(path, "From a\n\nFrom b half\n\nFrom c\n\n");
	leave_lock(somebody_gone(), "aaaaaaaaaaaaaaaaaa", 8, "open");
	assert_int_equal(utime(lock, &before), 0);
	assert_int_equal(mbox_put(&ask, &why), EX_OK);
	expect_text("From a\n\nFrom b half\n\nFrom c\n\n" FROM "S: x\n\n\n");
	done();
}

/* One of a process that lives, or of another program, is waited for; an old one is not. */
static void test_mbox_locked(void **state)
{
	struct utimbuf old = { 1000, 1000 };
	fresh("locked", "S: x\n\n");
	leave_lock(getppid(), "aaaaaaaaaaaaaaaaaa", 0, "open");
	assert_int_equal(mbox_put(&ask, &why), EX_TEMPFAIL);
	write_text(lock, "4711");
	assert_int_equal(mbox_put(&ask, &why), EX_TEMPFAIL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(utime(lock, &old), 0);
	assert_int_equal(mbox_put(&ask, &why), EX_OK);
	expect_text(FROM "S: x\n\n\n");
	done();
}

/* A lock with such words in it that is another name of a file is not believed. */
static void test_mbox_forged(void **state)
{
	char second[200];
	fresh("forged", "S: x\n\n");
	write_text(path, "From a\n\n");
	leave_lock(somebody_gone(), "aaaaaaaaaaaaaaaaaa", 0, "open");
	snprintf(second, sizeof second, "%s/second", dir);
	assert_int_equal(link(lock, second), 0);
	assert_int_equal(mbox_put(&ask, &why), EX_TEMPFAIL);
	expect_text("From a\n\n");
	unlink(lock);
	done();
}

static int setup(void **state)
{
	return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
	char command[200];
	buf_end(&why);
	buf_end(&order);
	snprintf(command, sizeof command, "%s", dir);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", command, (char *)NULL);
		_exit(1);
	}
	int status;
	waitpid(pid, &status, 0);
	return status;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maildir),
		cmocka_unit_test(test_maildir_durable),
		cmocka_unit_test(test_maildir_durable_again),
		cmocka_unit_test(test_maildir_closed),
		cmocka_unit_test(test_maildir_half),
		cmocka_unit_test(test_maildir_quota),
		cmocka_unit_test(test_maildir_planted),
		cmocka_unit_test(test_maildir_full),
		cmocka_unit_test(test_mbox),
		cmocka_unit_test(test_mbox_durable),
		cmocka_unit_test(test_mbox_closed),
		cmocka_unit_test(test_mbox_full),
		cmocka_unit_test(test_mbox_quota),
		cmocka_unit_test(test_mbox_crashed),
		cmocka_unit_test(test_mbox_crashed_and_used),
		cmocka_unit_test(test_mbox_locked),
		cmocka_unit_test(test_mbox_forged),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
