/* floor.c - the least that moving bytes between two connections can cost: what a multiplexor's pipe is compared with.
 *
 * usage: floor splice PORT TARGET            splice() both ways through one kernel pipe
 *        floor ssl PORT TARGET CHAIN KEY     TLS 1.3 at PORT: recv() of 64 KiB, SSL_write(), and back
 * WORKERS processes at one door, as the others have them; epoll, writes that wait. Nothing is parsed, counted or limited. */
#include <openssl/ssl.h>

#include "bench/bench.h"

enum { WORKERS = 2, EVENTS = 64, PIECE = 65536, SPLICE_MAX = 262144 };

struct end {
	int fd;
	SSL *ssl;
	struct end *other;
	bool gone;
};

static int epoll, kernel_pipe[2];
static SSL_CTX *ctx;
static char piece[PIECE];

static void close_both(struct end *e)
{
	struct end *both[] = { e, e->other };
	for (int i = 0; i < 2; i++) {
		SSL_free(both[i]->ssl);
		close(both[i]->fd);
		both[i]->gone = true; /* never freed: events of this round may still name it */
	}
}

static void set_blocking(int fd)
{
	MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0);
}

static bool splice_on(struct end *e)
{
	ssize_t got = splice(e->fd, NULL, kernel_pipe[1], NULL, SPLICE_MAX, SPLICE_F_MOVE);
	for (ssize_t left = got, put; left > 0; left -= put)
		if ((put = splice(kernel_pipe[0], NULL, e->other->fd, NULL, (size_t)left,
			 SPLICE_F_MOVE)) <= 0)
			return false;
	return got > 0;
}

static bool encrypt_on(struct end *e)
{
	size_t put;
	ssize_t got = recv(e->fd, piece, PIECE, 0);
	return got > 0 && SSL_write_ex(e->other->ssl, piece, (size_t)got, &put) == 1;
}

static bool decrypt_on(struct end *e)
{
	size_t got;
	do {
		if (SSL_read_ex(e->ssl, piece, PIECE, &got) != 1)
			return false;
		if (send(e->other->fd, piece, got, MSG_NOSIGNAL) != (ssize_t)got)
			return false;
	} while (SSL_pending(e->ssl) > 0);
	return true;
}

static bool move(struct end *e)
{
	if (ctx == NULL)
		return splice_on(e);
	return e->ssl != NULL ? decrypt_on(e) : encrypt_on(e);
}

static void on_door(int door, uint64_t target)
{
	struct sockaddr_in to = bench_loopback(0, target);
	int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct end *two = calloc(2, sizeof *two);
	MUST(two != NULL);
	two[0] = (struct end){ .fd = fd, .other = &two[1] };
	two[1] =
	    (struct end){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .other = &two[0] };
	if (ctx != NULL) {
		two[0].ssl = SSL_new(ctx);
		MUST(two[0].ssl != NULL && SSL_set_fd(two[0].ssl, fd) == 1);
		if (SSL_accept(two[0].ssl) != 1) { /* somebody looks whether the port answers */
			close_both(&two[0]);
			return;
		}
	}
	MUST(connect(two[1].fd, (struct sockaddr *)&to, sizeof to) == 0);
	for (int i = 0; i < 2; i++) {
		bench_no_delay(two[i].fd);
		set_blocking(two[i].fd);
		bench_watch(epoll, EPOLL_CTL_ADD, two[i].fd, EPOLLIN, &two[i]);
	}
}

static void make_context(const char *chain, const char *key)
{
	ctx = SSL_CTX_new(TLS_server_method());
	MUST(ctx != NULL && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1);
	MUST(SSL_CTX_use_certificate_chain_file(ctx, chain) == 1);
	MUST(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	MUST(argc >= 4);
	bench_begin();
	if (argc == 6)
		make_context(argv[4], argv[5]);
	int door = bench_listen(bench_number(argv[2]));
	uint64_t target = bench_number(argv[3]);
	for (int i = 1; i < WORKERS; i++) {
		pid_t pid = fork();
		MUST(pid >= 0);
		if (pid > 0)
			continue;
		bench_begin(); /* with the first one */
		break;
	}
	MUST(pipe2(kernel_pipe, O_CLOEXEC) == 0);
	fcntl(kernel_pipe[1], F_SETPIPE_SZ, SPLICE_MAX);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	bench_watch(epoll, EPOLL_CTL_ADD, door, EPOLLIN, NULL);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct end *e = events[i].data.ptr;
			if (e == NULL)
				on_door(door, target);
			else if (!e->gone && !move(e))
				close_both(e);
		}
	}
}
