/* test_copy_tls.c - TLS between an owner and the host that keeps its copies: who is taken, and what is never said. */
#include "tests/unit/net/certs.h"

#include <sys/stat.h>

#include "tests/unit/edge/place.h"

#include "base/metric.h"
#include "edge/copier.h"
#include "edge/copies.h"
#include "edge/copy_tls.h"
#include "edge/spool_wire.h"
#include "net/net_facts.h"

#define SECRET "both of us know it"

/* One of the two queue processes. */
struct host {
	struct conf *conf;
	struct edge_conf *edge;
	struct dns *dns;
	struct directory *directory;
	struct queue *queue;
	struct spool_serve *serve;
	struct copier *copier;
	struct copies *copies;
	char spool[100];
	int fd;
};

static void host_up(struct host *h)
{
	static unsigned serial;
	*h = (struct host){ .conf = load(), .fd = -1 };
	h->edge = (struct edge_conf *)(uintptr_t)conf_section(h->conf, &edge_block);
	snprintf(h->spool, sizeof h->spool, "%s/host%u", dir, serial++);
	h->edge->spool = h->spool;
	h->edge->copy_secret.bytes = SPAN(SECRET);
	h->edge->copy_tls = EDGE_COPY_TLS_YES;
	h->dns = daemon_dns(loop, h->conf);
	h->directory = directory_new(loop, h->dns, h->conf);
	h->queue = queue_new(&(struct queue_opts){ .loop = loop,
	    .dns = h->dns,
	    .directory = h->directory,
	    .conf = h->conf,
	    .unsafe_no_sync = true });
	h->serve = spool_serve_new(loop, h->queue);
}

static void host_down(struct host *h)
{
	copier_free(&h->copier);
	copies_free(&h->copies);
	spool_serve_free(&h->serve);
	queue_free(&h->queue);
	directory_free(&h->directory);
	dns_free(&h->dns);
	h->edge->copy_listen = (struct conf_addresses){ 0 };
	h->edge->copy_to.host = NULL;
	h->edge->copy_secret.bytes = SPAN_NONE;
	conf_unref(&h->conf);
	if (h->fd >= 0)
		close(h->fd);
}

static struct ip_port keeper_up(struct host *h, const char *address)
{
	static struct conf_address row;
	host_up(h);
	assert_true(ip_parse_port(span_str(address), &row.at));
	h->fd = listen_open_tcp(row.at);
	assert_true(h->fd >= 0);
	h->edge->copy_listen = (struct conf_addresses){ &row, 1 };
	h->copies = copies_new(loop, h->queue, h->conf);
	copies_listen(h->copies, h->fd);
	return bound_to(h->fd);
}

static void owner_up(struct host *h, const char *host, uint16_t port)
{
	h->edge->copy_to = (struct conf_hostport){ host, port };
	h->copier = copier_new(loop, h->dns, h->queue, h->serve, h->conf);
}

static bool has_owner(struct host *h)
{
	static const char *const words[] = { "copies" };
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(h->copies, words, 1, &out));
	bool has = strstr(buf_cstr(&out), "edge.example") != NULL;
	buf_end(&out);
	return has;
}

/* ---- certificates in the folder ---- */

static struct cert stranger_ca;

static void write_pem(const char *name, struct buf *pem)
{
	write_file(name, buf_cstr(pem));
}

static void write_conf(const char *ca)
{
	char text[600];
	snprintf(text, sizeof text,
	    "hostname edge.example;\nrun_dir %s;\ndirectory { backend file; file users.ldif; }\n"
	    "tls { ca %s; cert default { chain chain.pem; key file:key.pem; } }\n"
	    "edge { smtp_tls none; listener mx { address 127.0.0.1:25; role mx; tls none; } }\n",
	    dir, ca);
	write_file("postern.conf", text);
}

static int begin(void **state)
{
	setup(state);
	certs_setup(state);
	loop_setup(state);
	cert_make(&stranger_ca, NULL, "another authority", NULL);
	write_pem("ca.pem", &test_ca.chain);
	write_pem("stranger.pem", &stranger_ca.chain);
	write_pem("chain.pem", &test_cert.chain);
	write_pem("key.pem", &test_cert.key_pem);
	char key[100];
	snprintf(key, sizeof key, "%s/key.pem", dir);
	return chmod(key, 0600);
}

static int end(void **state)
{
	cert_end(&stranger_ca);
	certs_teardown(state);
	loop_teardown(state);
	return teardown(state);
}

/* ---- tests ---- */

/* The certificate is for 127.0.0.1, of ca.pem. */
static void test_who_is_taken(void **state)
{
	static const struct {
		const char *at, *host, *ca;
		bool taken;
	} rows[] = {
		{ "127.0.0.1:0", "127.0.0.1", "ca.pem", true },
		{ "127.0.0.2:0", "127.0.0.2", "ca.pem", false },
		{ "127.0.0.1:0", "127.0.0.1", "stranger.pem", false },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct host keeper, owner;
		write_conf(rows[i].ca);
		struct ip_port at = keeper_up(&keeper, rows[i].at);
		uint64_t before = metric_get(&net_metrics[NET_DIAL_FAILURES]);
		host_up(&owner);
		owner_up(&owner, rows[i].host, at.port);
		if (rows[i].taken)
			WAIT_FOR(has_owner(&keeper));
		else
			WAIT_FOR(metric_get(&net_metrics[NET_DIAL_FAILURES]) >= before + 2);
		assert_int_equal(has_owner(&keeper), rows[i].taken);
		host_down(&owner);
		host_down(&keeper);
	}
}

/* Who speaks plaintext where TLS is due is put out, though the secret is right. */
static void test_plaintext_owner(void **state)
{
	struct host keeper;
	write_conf("ca.pem");
	int fd = door_join(keeper_up(&keeper, "127.0.0.1:0"));
	struct buf hello = BUF_INIT(5000), got = BUF_INIT(5000);
	spool_hello_put(&hello, &(struct spool_hello){ SPAN("edge.example"), SPAN(SECRET), 1 });
	raw_send(fd, buf_span(&hello));
	WAIT_FOR(raw_take(fd, &got) != RAW_OPEN);
	assert_false(has_owner(&keeper));
	close(fd);
	buf_end(&hello);
	buf_end(&got);
	host_down(&keeper);
}

static int caller = -1;

static void on_call(void *arg, const struct accepted *a)
{
	if (caller >= 0)
		close(caller);
	caller = a->fd;
}

/* What an owner says to whom it does not know is a ClientHello, and not the secret. */
static void test_secret_is_not_said(void **state)
{
	static const struct listener_opts none;
	struct host owner;
	struct ip_port at;
	int door = door_open(&at);
	struct listener *l = listener_new(loop, door, &none, on_call, NULL);
	struct buf got = BUF_INIT(100000);
	write_conf("ca.pem");
	host_up(&owner);
	owner_up(&owner, "127.0.0.1", at.port);
	WAIT_FOR(caller >= 0 && raw_take(caller, &got) == RAW_OPEN && buf_len(&got) > 100);
	raw_send(caller, SPAN("\0\0\0\0\013")); /* LISTED, as a plaintext peer might say */
	WAIT_FOR(raw_take(caller, &got) != RAW_OPEN);
	assert_int_equal(buf_cstr(&got)[0], 0x16);
	assert_null(memmem(buf_cstr(&got), buf_len(&got), SECRET, strlen(SECRET)));
	host_down(&owner);
	listener_free(&l);
	close(caller);
	close(door);
	buf_end(&got);
}

static struct ip_addr address(const char *text)
{
	struct ip_addr a = { 0 };
	assert_true(text[0] == '\0' || ip_parse(span_str(text), &a));
	return a;
}

static void test_when(void **state)
{
	static const struct {
		const char *host, *at;
		bool tls;
	} rows[] = {
		{ "127.0.0.1", "127.0.0.1", false },
		{ "::1", "::1", false },
		{ "LocalHost", "127.0.0.9", false },
		{ "/run/copies.sock", "", false },
		{ "localhost.example", "192.0.2.1", true },
		{ "10.0.0.2", "10.0.0.2", true },
		{ "2001:db8::1", "2001:db8::1", true },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct edge_conf e = { .copy_to = { .host = rows[i].host } };
		assert_int_equal(copy_tls_to(&e), rows[i].tls);
		assert_int_equal(copy_tls_at(&e, address(rows[i].at)), rows[i].tls);
		e.copy_tls = EDGE_COPY_TLS_YES;
		assert_true(copy_tls_to(&e) && copy_tls_at(&e, address(rows[i].at)));
		e.copy_tls = EDGE_COPY_TLS_NO;
		assert_false(copy_tls_to(&e) || copy_tls_at(&e, address(rows[i].at)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_taken),
		cmocka_unit_test(test_plaintext_owner),
		cmocka_unit_test(test_secret_is_not_said),
		cmocka_unit_test(test_when),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
