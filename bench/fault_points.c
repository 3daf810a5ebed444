/* fault_points.c - preloaded into postern-edge and postern-store by edge-crash: a process dies by SIGKILL at a named step
 * of what it does, when the harness has armed that step.
 *
 * Steps are known by what passes the system's calls: the door of a socket (the edge's SMTP, a store's LMTP, the unix sockets
 * of queue and committers), the command that was read or said last on it, and the folder of a file. The programs know
 * nothing of it, and have no switch that could be left on. Points and counters are in a file of struct faults that
 * POSTERN_FAULTS names, mapped by every process and by the harness. */
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PORTS = 8, FDS = 4096, CLOCK_FACTOR = 50 };

struct MDB_txn;
int mdb_txn_commit(struct MDB_txn *txn);

/* ---- points: the harness reads these names ------------------------------------------------------ */

/* What was read or said last. */
enum verb { V_NONE, V_HELO, V_MAIL, V_RCPT, V_DATA, V_TEXT, V_END, V_COUNT };

enum side {
	IN_EDGE,
	IN_STORE,
	OUT_WORKER,
	OUT_QUEUE,
	ASK_EDGE,
	ASK_STORE,
	SERVE_QUEUE,
	SERVE_STORE,
	SIDES
};

enum when { AT_READ, BEFORE_SAY, AFTER_SAY, WHENS };

enum file { F_SPOOL, F_STORE, F_OTHER };
enum step {
	AT_APPEND,
	IN_APPEND,
	AFTER_APPEND,
	AT_MARK,
	AFTER_MARK,
	AT_SYNC,
	AFTER_SYNC,
	AT_PUNCH,
	AFTER_PUNCH,
	AT_UNLINK,
	AFTER_UNLINK,
	STEPS
};
enum rest { AT_APPLY, AFTER_APPLY, AT_SNAPSHOT, AFTER_SNAPSHOT, RESTS };

enum {
	FILES_FROM = SIDES * V_COUNT * WHENS,
	RESTS_FROM = FILES_FROM + 2 * STEPS,
	POINTS = RESTS_FROM + RESTS
};

/* Index: side, verb, when. NULL: no such step. */
#define READ_SAY(who, what, reply)                                                                 \
	{                                                                                          \
		who ": " what " was read", who ": before " reply, who ": after " reply             \
	}
#define SAY_READ(who, what, reply)                                                                 \
	{                                                                                          \
		who ": " reply " was read", who ": before " what, who ": after " what              \
	}
#define TALK_IN(who)                                                                               \
	{                                                                                          \
		[V_HELO] = READ_SAY(who, "EHLO", "its reply to EHLO"),                             \
		[V_MAIL] = READ_SAY(who, "MAIL", "its reply to MAIL"),                             \
		[V_RCPT] = READ_SAY(who, "RCPT", "its reply to RCPT"),                             \
		[V_DATA] = READ_SAY(who, "DATA", "its reply to DATA"),                             \
		[V_TEXT] = { who ": a part of the text was read" },                                \
		[V_END] = READ_SAY(who, "the end of the text", "its reply to the text")            \
	}
#define TALK_OUT(who)                                                                              \
	{                                                                                          \
		[V_HELO] = SAY_READ(who, "LHLO", "a store's reply to LHLO"),                       \
		[V_MAIL] = SAY_READ(who, "MAIL, RCPT and DATA", "a store's reply to these"),       \
		[V_TEXT] = { NULL, NULL, who ": after half of the text" },                         \
		[V_END] = SAY_READ(who, "the end of the text", "a store's reply to the text")      \
	}

const char *const talk_names[SIDES][V_COUNT][WHENS] = {
	[IN_EDGE] = TALK_IN("edge worker"),
	[IN_STORE] = { [V_HELO] = READ_SAY("store worker", "LHLO", "its reply to LHLO"),
	    [V_DATA] = READ_SAY("store worker", "MAIL, RCPT and DATA", "its reply to these"),
	    [V_TEXT] = { "store worker: a part of the text was read" },
	    [V_END] = READ_SAY("store worker", "the end of the text", "its reply to the text") },
	[OUT_WORKER] = TALK_OUT("edge worker"),
	[OUT_QUEUE] = TALK_OUT("queue"),
	[ASK_EDGE] = { SAY_READ("edge worker", "asking the queue", "the queue's answer") },
	[ASK_STORE] = { SAY_READ(
	    "store worker", "asking the committer", "the committer's answer") },
	[SERVE_QUEUE] = { READ_SAY("queue", "a worker's question", "an answer to a worker") },
	[SERVE_STORE] = { READ_SAY("committer", "a worker's change", "an answer to a worker") },
};

#define FILE_STEPS(who)                                                                            \
	{                                                                                          \
		who ": at append", who ": in append", who ": after append", who ": at mark",       \
		    who ": after mark", who ": at sync", who ": after sync", who ": at punch",     \
		    who ": after punch", who ": at unlink", who ": after unlink"                   \
	}
const char *const file_names[2][STEPS] = { FILE_STEPS("queue"), FILE_STEPS("committer") };

const char *const rest_names[RESTS] = { "committer: at index commit",
	"committer: after index commit", "committer: at snapshot's rename",
	"committer: after snapshot's rename" };

const char *fault_name(unsigned point);
const char *fault_name(unsigned point)
{
	if (point < FILES_FROM)
		return (&talk_names[0][0][0])[point];
	if (point < RESTS_FROM)
		return (&file_names[0][0])[point - FILES_FROM];
	return point < POINTS ? rest_names[point - RESTS_FROM] : NULL;
}

unsigned fault_count(void);
unsigned fault_count(void)
{
	return POINTS;
}

/* ---- what is shared ----------------------------------------------------------------------------- */

struct faults {
	uint32_t edge_ports[PORTS], lmtp_ports[PORTS]; /* 0: none */
	struct {
		_Atomic int32_t left; /* armed: the call that counts it down to 0 is the last one */
		_Atomic uint32_t hits;
	} at[POINTS];
};

static struct faults *faults;
static pid_t master;
/* The committer and the queue that have these folders in their paths die of nothing but giving space back, which takes seconds of
 * undisturbed life. */
enum { SPARED = 2, SPARED_SIZE = 64 };
static char spared[SPARED][SPARED_SIZE];
static bool is_queue, is_committer, is_spared;

/* "/FOLDER/:/FOLDER/" */
static void set_spared(const char *text)
{
	for (size_t i = 0; i < SPARED && text != NULL && *text != '\0'; i++) {
		size_t n = strcspn(text, ":");
		snprintf(spared[i], SPARED_SIZE, "%.*s", (int)n, text);
		text += n + (text[n] == ':');
	}
}

static bool is_in_spared(const char *path)
{
	for (size_t i = 0; i < SPARED; i++)
		if (spared[i][0] != '\0' && strstr(path, spared[i]) != NULL)
			return true;
	return false;
}

static void __attribute__((constructor)) map_faults(void)
{
	const char *path = getenv("POSTERN_FAULTS");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	master = getpid();
	set_spared(getenv("POSTERN_FAULTS_SPARED"));
	if (fd < 0)
		return;
	void *map = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		faults = map;
	(void)close(fd);
}

static void die(void)
{
	(void)kill(getpid(), SIGKILL);
}

/* True: this is the call. */
static bool is_hit(unsigned point)
{
	bool gives_back =
	    point >= FILES_FROM && point < RESTS_FROM && (point - FILES_FROM) % STEPS >= AT_PUNCH;
	if (faults == NULL || getpid() == master || (is_spared && !gives_back) ||
	    atomic_load(&faults->at[point].left) <= 0)
		return false;
	if (atomic_fetch_sub(&faults->at[point].left, 1) != 1)
		return false;
	atomic_fetch_add(&faults->at[point].hits, 1);
	return true;
}

static void meet(unsigned point)
{
	if (is_hit(point))
		die();
}

static unsigned talk_point(enum side s, enum verb v, enum when w)
{
	return ((unsigned)s * V_COUNT + (unsigned)v) * WHENS + (unsigned)w;
}

#define REAL(type, name, ...)                                                                      \
	static type (*real)(__VA_ARGS__);                                                          \
	if (real == NULL)                                                                          \
	*(void **)&real = dlsym(RTLD_NEXT, name)

/* ---- sockets ------------------------------------------------------------------------------------ */

static struct talk {
	enum verb verb;
	bool in_text;
	char tail[5];
	size_t tail_n;
} talks[FDS];

static bool is_one_of(const uint32_t ports[PORTS], unsigned port)
{
	for (size_t i = 0; i < PORTS; i++)
		if (port != 0 && ports[i] == port)
			return true;
	return false;
}

static bool unix_side(const struct sockaddr_un *own, const struct sockaddr_un *peer, enum side *s)
{
	if (strstr(peer->sun_path, "edge-spool.sock") != NULL)
		*s = ASK_EDGE;
	else if (strstr(own->sun_path, "edge-spool.sock") != NULL)
		*s = SERVE_QUEUE;
	else if (strstr(peer->sun_path, "/store-") != NULL)
		*s = ASK_STORE;
	else if (strstr(own->sun_path, "/store-") != NULL)
		*s = SERVE_STORE;
	else
		return false;
	return true;
}

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

static bool side_of(int fd, enum side *s)
{
	union address own = { 0 }, peer = { 0 };
	socklen_t own_n = sizeof own - 1, peer_n = sizeof peer - 1;
	if (faults == NULL || fd < 0 || fd >= FDS || getsockname(fd, &own.any, &own_n) != 0 ||
	    getpeername(fd, &peer.any, &peer_n) != 0)
		return false;
	if (own.any.sa_family == AF_UNIX)
		return unix_side(&own.un, &peer.un, s);
	if (own.any.sa_family != AF_INET)
		return false;
	unsigned here = ntohs(own.in.sin_port), there = ntohs(peer.in.sin_port);
	if (is_one_of(faults->edge_ports, here))
		*s = IN_EDGE;
	else if (is_one_of(faults->lmtp_ports, here))
		*s = IN_STORE;
	else if (is_one_of(faults->lmtp_ports, there))
		*s = is_queue ? OUT_QUEUE : OUT_WORKER;
	else
		return false;
	return true;
}

/* The last 5 octets that passed. True: they end a text. */
static bool see_tail(struct talk *t, const char *p, size_t n)
{
	for (size_t i = n > 5 ? n - 5 : 0; i < n; i++) {
		if (t->tail_n == 5)
			memmove(t->tail, t->tail + 1, --t->tail_n);
		t->tail[t->tail_n++] = p[i];
	}
	return t->tail_n == 5 && memcmp(t->tail, "\r\n.\r\n", 5) == 0;
}

static enum verb verb_of(const char *p, size_t n)
{
	static const struct {
		char word[5];
		enum verb verb;
	} words[] = { { "EHLO", V_HELO }, { "LHLO", V_HELO }, { "MAIL", V_MAIL },
		{ "RCPT", V_RCPT }, { "DATA", V_DATA } };
	for (size_t i = 0; n >= 4 && i < sizeof words / sizeof *words; i++)
		if (memcmp(p, words[i].word, 4) == 0)
			return words[i].verb;
	return V_NONE;
}

/* Commands: the last of those that came at once. */
static enum verb last_verb(const char *p, size_t n)
{
	size_t end = n > 0 && p[n - 1] == '\n' ? n - 1 : n, at = end;
	while (at > 0 && p[at - 1] != '\n')
		at--;
	return verb_of(p + at, end - at);
}

static void see_read(enum side s, struct talk *t, const char *p, size_t n)
{
	if (s >= ASK_EDGE) {
		t->verb = V_NONE;
	} else if (s == IN_EDGE || s == IN_STORE) {
		if (t->in_text) {
			t->verb = see_tail(t, p, n) ? V_END : V_TEXT;
			t->in_text = t->verb == V_TEXT;
		} else {
			t->verb = last_verb(p, n);
		}
	}
	unsigned point = talk_point(s, t->verb, AT_READ);
	if (fault_name(point) != NULL)
		meet(point);
}

/* One send: the first octets say what it is, the last ones whether it ends a text. */
static void see_say(enum side s, struct talk *t, const struct iovec *v, size_t n)
{
	const char *p = v[0].iov_base;
	if (s == IN_EDGE || s == IN_STORE) {
		for (size_t i = 0; i < n; i++)
			t->in_text =
			    t->in_text || memmem(v[i].iov_base, v[i].iov_len, "354 ", 4) != NULL;
		t->tail_n = 0;
		return;
	}
	if (s >= ASK_EDGE)
		t->verb = V_NONE;
	if (s != OUT_WORKER && s != OUT_QUEUE)
		return;
	enum verb verb = verb_of(p, v[0].iov_len);
	bool is_end = false;
	for (size_t i = 0; i < n; i++)
		is_end = see_tail(t, v[i].iov_base, v[i].iov_len);
	t->verb = verb == V_HELO ? V_HELO : verb != V_NONE ? V_MAIL : is_end ? V_END : V_TEXT;
}

static bool before_say(int fd, const struct iovec *v, size_t n, unsigned *point_out)
{
	enum side s;
	if (n == 0 || !side_of(fd, &s))
		return false;
	see_say(s, &talks[fd], v, n);
	*point_out = talk_point(s, talks[fd].verb, AFTER_SAY);
	unsigned before = talk_point(s, talks[fd].verb, BEFORE_SAY);
	if (fault_name(before) != NULL)
		meet(before);
	return fault_name(*point_out) != NULL;
}

/* Half of a text leaves, and nothing more. */
static void half_a_text(int fd, const struct iovec *v, size_t n)
{
	enum side s;
	if (n == 0 || v[0].iov_len < 2 || !side_of(fd, &s) || (s != OUT_WORKER && s != OUT_QUEUE))
		return;
	if (talks[fd].verb != V_END && talks[fd].verb != V_TEXT)
		return;
	if (is_hit(talk_point(s, V_TEXT, AFTER_SAY))) {
		(void)!write(fd, v[0].iov_base, v[0].iov_len / 2);
		die();
	}
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	unsigned point;
	REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
	bool seen = before_say(fd, m->msg_iov, m->msg_iovlen, &point);
	half_a_text(fd, m->msg_iov, m->msg_iovlen);
	ssize_t did = real(fd, m, flags);
	if (seen && did > 0)
		meet(point);
	return did;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	unsigned point;
	union {
		const void *from;
		void *to;
	} bytes = { .from = p };
	REAL(ssize_t, "send", int, const void *, size_t, int);
	bool seen = before_say(fd, &(struct iovec){ bytes.to, n }, 1, &point);
	half_a_text(fd, &(struct iovec){ bytes.to, n }, 1);
	ssize_t did = real(fd, p, n, flags);
	if (seen && did > 0)
		meet(point);
	return did;
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	enum side s;
	REAL(ssize_t, "recv", int, void *, size_t, int);
	ssize_t did = real(fd, p, n, flags);
	if (did > 0 && (flags & MSG_PEEK) == 0 && side_of(fd, &s))
		see_read(s, &talks[fd], p, (size_t)did);
	return did;
}

/* ---- files -------------------------------------------------------------------------------------- */

static enum file file_of(int fd)
{
	char name[64], path[1024];
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	ssize_t n = faults != NULL ? readlink(name, path, sizeof path - 1) : -1;
	if (n <= 0)
		return F_OTHER;
	path[n] = '\0';
	if (strstr(path, "/spool") != NULL) {
		is_queue = true;
		is_spared = is_in_spared(path);
		return F_SPOOL;
	}
	if (strstr(path, "/log") == NULL || strstr(path, "/store") == NULL)
		return F_OTHER;
	is_committer = true;
	is_spared = is_in_spared(path);
	return F_STORE;
}

static unsigned file_point(enum file f, enum step s)
{
	return (unsigned)FILES_FROM + (unsigned)f * STEPS + (unsigned)s;
}

static void meet_file(enum file f, enum step s)
{
	if (f != F_OTHER)
		meet(file_point(f, s));
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	enum file f = file_of(fd);
	meet_file(f, AT_APPEND);
	if (f != F_OTHER && is_hit(file_point(f, IN_APPEND))) {
		struct iovec half = { iov[0].iov_base, iov[0].iov_len / 2 };
		(void)!real(fd, n > 1 ? iov : &half, 1, at);
		die();
	}
	ssize_t did = real(fd, iov, n, at);
	meet_file(f, AFTER_APPEND);
	return did;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
	enum file f = file_of(fd);
	meet_file(f, AT_MARK);
	ssize_t did = real(fd, p, n, at);
	meet_file(f, AFTER_MARK);
	return did;
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	enum file f = file_of(fd);
	meet_file(f, AT_SYNC);
	int rc = real(fd);
	meet_file(f, AFTER_SYNC);
	return rc;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	REAL(int, "fallocate", int, int, off_t, off_t);
	enum file f = file_of(fd);
	meet_file(f, AT_PUNCH);
	int rc = real(fd, mode, at, n);
	meet_file(f, AFTER_PUNCH);
	return rc;
}

int unlinkat(int dir, const char *name, int flags)
{
	REAL(int, "unlinkat", int, const char *, int);
	enum file f = file_of(dir);
	meet_file(f, AT_UNLINK);
	int rc = real(dir, name, flags);
	meet_file(f, AFTER_UNLINK);
	return rc;
}

int rename(const char *from, const char *to)
{
	REAL(int, "rename", const char *, const char *);
	bool snapshot = strstr(to, "/snapshots/") != NULL;
	if (snapshot)
		meet(RESTS_FROM + AT_SNAPSHOT);
	int rc = real(from, to);
	if (snapshot)
		meet(RESTS_FROM + AFTER_SNAPSHOT);
	return rc;
}

int mdb_txn_commit(struct MDB_txn *txn)
{
	REAL(int, "mdb_txn_commit", struct MDB_txn *);
	if (is_committer)
		meet(RESTS_FROM + AT_APPLY);
	int rc = real(txn);
	if (is_committer)
		meet(RESTS_FROM + AFTER_APPLY);
	return rc;
}

/* ---- clocks ------------------------------------------------------------------------- */

/* A master waits longer and longer before it starts again what does not live for five seconds. Here that is a tenth of a second:
 * its clock runs faster, its workers' does not, but for the committer that is spared, which
 * looks for space to give back every 40 ms. */
static bool is_fast(void)
{
	return faults != NULL && (getpid() == master || (is_spared && is_committer));
}

/* The kernel's time is not theirs. */
int epoll_wait(int fd, struct epoll_event *v, int n, int wait_ms)
{
	REAL(int, "epoll_wait", int, struct epoll_event *, int, int);
	if (is_fast() && wait_ms > 0)
		wait_ms = wait_ms / CLOCK_FACTOR + 1;
	return real(fd, v, n, wait_ms);
}

int clock_gettime(clockid_t which, struct timespec *out)
{
	REAL(int, "clock_gettime", clockid_t, struct timespec *);
	int rc = real(which, out);
	if ((which == CLOCK_MONOTONIC || which == CLOCK_MONOTONIC_COARSE) && is_fast()) {
		uint64_t ns =
		    ((uint64_t)out->tv_sec * 1000000000u + (uint64_t)out->tv_nsec) * CLOCK_FACTOR;
		out->tv_sec = (time_t)(ns / 1000000000u);
		out->tv_nsec = (long)(ns % 1000000000u);
	}
	return rc;
}
