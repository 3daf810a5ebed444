/* dial.c - an outgoing connection as a ticket: resolve, connect address by address, TLS.
 *
 * Each address gets an equal share of what is left of the deadline, so that one dead address does
 * not use it up. Whatever fails, the next address is tried; the last failure is the answer. Owns
 * descriptor and stream until the answer hands the stream over. */
#include "net/dial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/loop_internal.h"
#include "net/net_facts.h"
#include "net/stream_internal.h"

#define dial_MAGIC 0xd1a10001u

enum {
	HOST_MAX = 1024,
	FIRST_MAX = 65536,
	GREETING_MS = 100 /* a server that says nothing for so long may be connected all the same */
};

enum dial_state { DIAL_BEGIN, DIAL_RESOLVE, DIAL_CONNECT, DIAL_SECURE };
static const char *const while_doing[] = {
	[DIAL_BEGIN] = "before it began",
	[DIAL_RESOLVE] = "while looking up the name",
	[DIAL_CONNECT] = "while connecting",
	[DIAL_SECURE] = "during the TLS handshake",
};

struct dial {
	struct ticket ticket; /* first */
	uint32_t magic;
	enum dial_state state;
	struct loop *loop;
	struct dns *dns;
	void (*fn)(void *arg, const struct dial_result *);
	void *arg;

	char *host; /* owned, as the next five */
	struct tls_ctx *tls;
	char *tls_name, *alpn;
	char *first;
	size_t first_n;
	uint16_t port;
	bool greets, foreign;
	size_t skip;
	struct stream_limits limits;
	uint64_t ends_ms, each_ms; /* the deadline; what one address may take of it */

	struct soon begin;
	struct timer deadline, share; /* of all; of this address */
	struct timer silent;          /* a greeting is awaited, see await_greeting() */
	struct ticket *ask;           /* owned in DIAL_RESOLVE */
	struct ip_addr addrs[DNS_ADDRS_MAX];
	size_t addr_n, at; /* addresses, and the next one to try */
	int fd;            /* owned in DIAL_CONNECT without a stream, else -1 */
	struct watch watch;
	struct stream
	    *stream; /* owned in DIAL_SECURE, and in DIAL_CONNECT where a greeting is awaited */

	struct ip_port tried;
	err_t err; /* of the last failure */
	char text[256];
};

static void try_next(struct dial *d);

/* ---- life ---- */

/* Ends the attempt at one address. */
static void drop_attempt(struct dial *d)
{
	timer_clear(&d->share);
	timer_clear(&d->silent);
	watch_end(&d->watch);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	stream_free(&d->stream);
}

static void dial_end(struct dial *d)
{
	drop_attempt(d);
	ticket_cancel(&d->ask);
	soon_clear(&d->begin);
	timer_clear(&d->deadline);
	mem_free(d->host);
	tls_ctx_unref(&d->tls);
	mem_free(d->tls_name);
	mem_free(d->alpn);
	mem_free(d->first);
	d->magic = 0;
	mem_free(d);
}

static void on_cancel(struct ticket *t)
{
	dial_end(OBJ(dial, t));
}

static void on_unowned(void *arg, enum stream_event ev)
{
	BUG("a dialled stream was not given an owner");
}

static void answer(struct dial *d, err_t err)
{
	char text[sizeof d->text];
	struct dial_result r = { .err = err,
		.addr = d->tried,
		.tried = d->at,
		.more = d->at < d->addr_n,
		.text = text };
	void (*fn)(void *, const struct dial_result *) = d->fn;
	void *arg = d->arg;
	snprintf(text, sizeof text, "%s", err ? d->text : "");
	if (err) {
		metric_add(&net_metrics[NET_DIAL_FAILURES], 1);
	} else {
		stream_set_owner(d->stream, d->limits, on_unowned, NULL);
		r.stream = d->stream;
		d->stream = NULL;
	}
	dial_end(d);
	fn(arg, &r);
}

static void note(struct dial *d, err_t err, const char *text)
{
	d->err = err;
	snprintf(d->text, sizeof d->text, "%s", text);
}

static void fail_address(struct dial *d, err_t err, const char *text)
{
	note(d, err, text);
	drop_attempt(d);
	try_next(d);
}

static void on_deadline(void *arg)
{
	struct dial *d = OBJ(dial, arg);
	snprintf(d->text, sizeof d->text, "deadline passed %s", while_doing[d->state]);
	answer(d, ERR_TIMEOUT);
}

static void on_share_over(void *arg)
{
	struct dial *d = OBJ(dial, arg);
	char text[80];
	snprintf(text, sizeof text, "no answer in time %s", while_doing[d->state]);
	fail_address(d, ERR_TIMEOUT, text);
}

/* ---- connected ---- */

static void on_stream(void *arg, enum stream_event ev)
{
	struct dial *d = OBJ(dial, arg);
	if (ev == STREAM_SECURED || (d->state == DIAL_CONNECT && ev != STREAM_FAILED))
		answer(d, ERR_OK);
	else if (ev == STREAM_FAILED)
		fail_address(d, stream_err(d->stream), stream_err_text(d->stream));
}

static void make_stream(struct dial *d)
{
	int fd = d->fd;
	watch_end(&d->watch); /* the stream watches from here on */
	d->fd = -1;
	d->stream = stream_new(d->loop, fd, d->limits, on_stream, d);
}

static void on_connected(struct dial *d)
{
	d->state = DIAL_SECURE;
	make_stream(d);
	if (d->first_n > 0 && !stream_write(d->stream, d->first, d->first_n)) {
		fail_address(d, ERR_TOO_LONG, "the first bytes do not fit the output limit");
		return;
	}
	if (d->tls == NULL) {
		answer(d, ERR_OK);
		return;
	}
	const char *name = d->tls_name != NULL ? d->tls_name : d->host;
	stream_start_tls_client(d->stream, d->tls, name[0] == '/' ? NULL : name, d->alpn);
}

static void fail_errno(struct dial *d, int errnum)
{
	fail_address(d, errnum == EAGAIN ? ERR_AGAIN : err_from_errno(errnum), strerror(errnum));
}

static void on_writable(void *arg, unsigned events)
{
	struct dial *d = OBJ(dial, arg);
	int errnum = 0;
	socklen_t n = sizeof errnum;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &errnum, &n) < 0)
		errnum = errno;
	if (errnum != 0)
		fail_errno(d, errnum);
	else
		on_connected(d);
}

static void await_writable(struct dial *d)
{
	watch_init(&d->watch, d->loop, d->fd, on_writable, d);
	watch_set(&d->watch, WATCH_WRITE);
}

static void on_silent(void *arg)
{
	struct dial *d = OBJ(dial, arg);
	struct wire w = stream_take_wire(&d->stream); /* plaintext, of which nothing was read */
	d->fd = w.fd;
	await_writable(d);
}

/* The first words of a server come with the news that it is there, or just behind it: only one that keeps silent is
 * asked whether it is. */
static void await_greeting(struct dial *d)
{
	make_stream(d);
	timer_set(&d->silent, d->each_ms / 2 < GREETING_MS ? d->each_ms / 2 : GREETING_MS);
}

static void connect_to(struct dial *d, const struct sockaddr_storage *sa, socklen_t n)
{
	d->state = DIAL_CONNECT;
	d->fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0) {
		fail_errno(d, errno);
		return;
	}
	if (connect(d->fd, (const struct sockaddr *)sa, n) == 0) {
		on_connected(d);
		return;
	}
	if (errno != EINPROGRESS) {
		fail_errno(d, errno);
		return;
	}
	if (d->greets && d->tls == NULL && d->first_n == 0)
		await_greeting(d);
	else
		await_writable(d);
}

/* ---- which address ---- */

static void set_share(struct dial *d)
{
	uint64_t now = loop_now_ms(d->loop), left = d->ends_ms > now ? d->ends_ms - now : 0;
	size_t ways = d->addr_n - d->at;
	/* The last one has all that is left: the deadline of the whole ends it. */
	d->each_ms = left / ways;
	if (ways > 1)
		timer_set(&d->share, d->each_ms);
}

/* Recursion through fail_address() is bounded by DNS_ADDRS_MAX. */
static void try_next(struct dial *d)
{
	struct sockaddr_storage sa;
	if (d->at == d->addr_n) {
		answer(d, d->err);
		return;
	}
	set_share(d);
	d->tried = (struct ip_port){ d->addrs[d->at++], d->port };
	socklen_t n = ip_to_sockaddr(d->tried, &sa);
	connect_to(d, &sa, n);
}

/* It would be this host, or nobody. */
static bool is_none_of_it(struct ip_addr a)
{
	bool multicast = ip_is_v4(a) ? a.b[12] >= 224 : a.b[0] == 0xff;
	return multicast || ip_is_loopback(a) || ip_is_any(a) || (ip_is_v4(a) && a.b[12] == 0);
}

static void put_addrs(struct dial *d, const struct ip_addr *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!d->foreign || !is_none_of_it(v[i]))
			d->addrs[d->addr_n++] = v[i];
	if (d->addr_n == 0)
		note(d, ERR_DNS_ABSENT,
		    "the name has no address but of the host that asks, or of none");
	d->at = d->skip < d->addr_n ? d->skip : 0;
}

static void on_addrs(void *arg, const struct dns_addrs *found)
{
	struct dial *d = OBJ(dial, arg);
	d->ask = NULL;
	if (found->status == DNS_ABSENT) {
		note(d, ERR_DNS_ABSENT, "the name has no address");
	} else if (found->status == DNS_FAILED) {
		note(d, ERR_DNS_FAILED, "no name server could answer");
	} else {
		put_addrs(d, found->v, found->n);
	}
	try_next(d);
}

static void dial_unix(struct dial *d)
{
	struct sockaddr_storage sa = { 0 };
	struct sockaddr_un *un = (struct sockaddr_un *)&sa;
	size_t n = strlen(d->host);
	if (n >= sizeof un->sun_path) {
		fail_address(d, ERR_TOO_LONG, "the path of the socket is too long");
		return;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, d->host, n);
	connect_to(d, &sa, sizeof *un);
}

static void on_begin(void *arg)
{
	struct dial *d = OBJ(dial, arg);
	struct span host = span_str(d->host);
	struct ip_addr literal;
	metric_add(&net_metrics[NET_DIALS], 1);
	if (d->err) { /* noted by dial_start() */
		answer(d, d->err);
	} else if (d->host[0] == '/') {
		dial_unix(d);
	} else if (ip_parse(host, &literal)) {
		put_addrs(d, &literal, 1);
		try_next(d);
	} else if (d->dns == NULL) {
		note(d, ERR_CONFIG, "a name was given where only an address may stand");
		answer(d, d->err);
	} else {
		d->state = DIAL_RESOLVE;
		d->ask = dns_addr(d->dns, host, on_addrs, d);
	}
}

struct ticket *dial_start(struct loop *l, struct dns *dns, const struct dial_target *target,
    void (*fn)(void *arg, const struct dial_result *), void *arg)
{
	struct dial *d = MEM_NEW(struct dial);
	d->ticket.cancel = on_cancel;
	d->magic = dial_MAGIC;
	d->loop = l;
	d->dns = dns;
	d->fn = fn;
	d->arg = arg;
	d->fd = -1;
	/* A name may come out of a directory or from DNS: hostile. */
	if (target->host.n == 0 || target->host.n > HOST_MAX ||
	    memchr(target->host.p, '\0', target->host.n) != NULL)
		note(d, ERR_SYNTAX, "not a host name");
	else if (target->first.n > FIRST_MAX)
		note(d, ERR_TOO_LONG, "too many bytes to send first");
	d->host = mem_span_str(d->err ? SPAN_NONE : target->host);
	d->first_n = d->err ? 0 : target->first.n;
	if (d->first_n > 0)
		d->first = mem_span_str(target->first);
	d->tls = target->tls != NULL ? tls_ctx_ref(target->tls) : NULL;
	d->tls_name = mem_str(target->tls_name);
	d->alpn = mem_str(target->alpn);
	d->port = target->port;
	d->greets = target->greets;
	d->foreign = target->foreign;
	d->skip = target->skip;
	d->limits = target->limits;
	timer_init(&d->deadline, l, on_deadline, d);
	timer_init(&d->share, l, on_share_over, d);
	timer_init(&d->silent, l, on_silent, d);
	soon_init(&d->begin, on_begin, d);
	d->ends_ms = loop_now_ms(l) + target->deadline_ms;
	timer_set(&d->deadline, target->deadline_ms);
	soon_set(l, &d->begin);
	return &d->ticket;
}
