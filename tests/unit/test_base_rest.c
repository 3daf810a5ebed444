/* test_base_rest.c - the parts of lib/base that other tests only pass by: memory, text of addresses,
 * wiping, keyed hashes, random bytes, the log's counter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/fmt.h"
#include "base/hash.h"
#include "base/ip.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"

static void test_memory(void **state)
{
	static const char zero[64];
	char *p = mem_alloc(64);
	assert_memory_equal(p, zero, 64);
	memcpy(p, "kept", 5);
	p = mem_resize(p, 100000);
	assert_string_equal(p, "kept");
	mem_wipe(p, 5);
	assert_memory_equal(p, zero, 5);
	mem_free(p);
	uint32_t *v = mem_array(16, sizeof *v);
	assert_memory_equal(v, zero, 16 * sizeof *v);
	v[15] = 7;
	v = mem_grow(v, 1000, sizeof *v);
	assert_int_equal(v[15], 7);
	MEM_FREE(&v);
	assert_null(v);
	mem_free(NULL);
	mem_free(mem_alloc(0));
	assert_null(mem_str(NULL));
	char *s = mem_str("text"), *t = mem_span_str(SPAN("a\0b")), *c = mem_copy("xyz", 3);
	assert_string_equal(s, "text");
	assert_memory_equal(t, "a\0b", 4);
	assert_memory_equal(c, "xyz", 3);
	mem_free(s);
	mem_free(t);
	mem_free(c);
	s = mem_span_str(SPAN_NONE);
	assert_string_equal(s, "");
	mem_free(s);
}

/* What must end the process does so, with a line on standard error. */
static int dies(void (*fn)(void), struct buf *words)
{
	int v[2], status = 0;
	char piece[500];
	assert_int_equal(pipe(v), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(v[1], 2);
		fn();
		_exit(0);
	}
	close(v[1]);
	for (ssize_t n; (n = read(v[0], piece, sizeof piece)) > 0;)
		buf_add(words, piece, (size_t)n);
	close(v[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void overflow_array(void)
{
	mem_free(mem_array(SIZE_MAX / 4, 8));
}

static void overflow_grow(void)
{
	mem_free(mem_grow(NULL, SIZE_MAX / 2, 3));
}

struct thing {
	uint32_t magic;
};
#define thing_MAGIC 0x7419a001u

static void wrong_magic(void)
{
	struct thing t = { .magic = 1 };
	(void)OBJ(thing, &t);
}

static void eat_too_much(void)
{
	struct buf b = BUF_INIT(10);
	buf_eat(&b, 1);
}

static void test_checks_end_the_process(void **state)
{
	static void (*const deadly[])(
	    void) = { overflow_array, overflow_grow, wrong_magic, eat_too_much };
	struct thing t = { .magic = thing_MAGIC };
	assert_ptr_equal(OBJ(thing, &t), &t);
	for (size_t i = 0; i < COUNT_OF(deadly); i++) {
		struct buf words = BUF_INIT(10000);
		assert_int_not_equal(dies(deadly[i], &words), 0);
		assert_true(buf_len(&words) > 0);
		buf_end(&words);
	}
}

__attribute__((format(printf, 2, 3))) static bool add_with_list(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	bool ok = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return ok;
}

static void test_buffers(void **state)
{
	struct buf b = BUF_INIT(8);
	assert_true(add_with_list(&b, "%d-%s", 12, "ab"));
	assert_string_equal(buf_cstr(&b), "12-ab");
	assert_false(add_with_list(&b, "%d", 12345));
	assert_false(buf_ok(&b));
	assert_string_equal(buf_cstr(&b), "12-ab"); /* nothing of it */
	buf_wipe_end(&b);
	assert_null(b.p);
	assert_true(buf_ok(&b) && buf_len(&b) == 0);
	buf_wipe_end(&b);
	assert_true(fmt_hex(&b, SPAN("\x00\xff\x1a")));
	assert_string_equal(buf_cstr(&b), "00ff1a");
	assert_false(fmt_hex(&b, SPAN("xx")));
	buf_end(&b);
}

static void test_text(void **state)
{
	char lower[8];
	span_lower_to(lower, SPAN("A@[Zz\xc4"));
	assert_memory_equal(lower, "a@[zz\xc4", 6);
	assert_true(span_ieq_str(SPAN("HeLO"), "hElo"));
	assert_false(span_ieq_str(SPAN("HeLO"), "hEl"));
	for (int c = 0; c < 256; c++) {
		unsigned char u = (unsigned char)c;
		bool upper = c >= 'A' && c <= 'Z', small = c >= 'a' && c <= 'z';
		assert_int_equal(ascii_is_alpha(u), upper || small);
		assert_int_equal(ascii_is_digit(u), c >= '0' && c <= '9');
		assert_int_equal((unsigned char)ascii_lower((char)u), upper ? c + 32 : c);
	}
}

static void test_addresses(void **state)
{
	static const struct {
		const char *prefix, *in, *out;
	} cases[] = {
		{ "192.0.2.0/24", "192.0.2.255", "192.0.3.0" },
		{ "192.0.2.128/25", "192.0.2.128", "192.0.2.127" },
		{ "192.0.2.1/32", "192.0.2.1", "192.0.2.0" },
		{ "0.0.0.0/0", "255.255.255.255", "2001:db8::1" },
		{ "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
	};
	char text[IP_TEXT_SIZE];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_prefix p;
		struct ip_addr in, out;
		assert_true(ip_parse_prefix(span_str(cases[i].prefix), &p));
		assert_true(ip_parse(span_str(cases[i].in), &in));
		assert_true(ip_parse(span_str(cases[i].out), &out));
		assert_true(ip_in_prefix(in, p));
		assert_false(ip_in_prefix(out, p));
		assert_string_equal(ip_text(in, text), cases[i].in);
	}
}

static void test_randomness(void **state)
{
	unsigned char a[32] = { 0 }, b[32] = { 0 };
	rand_bytes(a, sizeof a);
	rand_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	assert_true(rand_u64() != rand_u64());
	assert_true(hash_keyed(SPAN("a")) == hash_keyed(SPAN("a")));
	assert_true(hash_keyed(SPAN("a")) != hash_keyed(SPAN("b")));
	/* A child's pool is not its parent's. */
	int v[2];
	uint64_t theirs = 0;
	assert_int_equal(pipe(v), 0);
	pid_t pid = fork();
	if (pid == 0) {
		uint64_t mine = rand_u64();
		_exit(write(v[1], &mine, sizeof mine) != sizeof mine);
	}
	assert_int_equal(read(v[0], &theirs, sizeof theirs), sizeof theirs);
	assert_true(theirs != rand_u64());
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(v[0]);
	close(v[1]);
}

static void test_clock(void **state)
{
	clock_fake_off();
	uint64_t from = clock_wall_us();
	assert_true(from > 1700000000ull * 1000000);
	clock_fake(5, 6000);
	clock_fake_advance(2);
	assert_int_equal(clock_mono_ms(), 7);
	assert_int_equal(clock_wall_us(), 8000);
	clock_fake_off();
	assert_true(clock_wall_us() >= from);
}

static unsigned counted;

static void on_counted(const struct log_event *ev)
{
	counted += ev->level == LOG_DEBUG ? 1 : 100;
}

/* Counted also when the level keeps it out of the log. */
static void test_log_counter(void **state)
{
	static const struct log_event quiet = { "test.quiet", LOG_DEBUG, "", "" };
	log_set_counter(on_counted);
	log_write(&quiet, NULL, NULL);
	log_set_counter(NULL);
	log_write(&quiet, NULL, NULL);
	assert_int_equal(counted, 1);
}

/* What has come through the pipe since the last time. */
static const char *came(int fd)
{
	static char text[8 * LOG_LINE_MAX];
	ssize_t n = read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* Each line comes once and in order: with the flush, before a warning, when no more fit, and not from a child. */
static void test_log_gathers(void **state)
{
	static const struct log_event said = { "test.said", LOG_INFO, "", "" },
				      wrong = { "test.wrong", LOG_WARN, "", "" };
	char value[LOG_VALUE_MAX + 1] = { 0 };
	int v[2];
	memset(value, 'x', LOG_VALUE_MAX);
	assert_int_equal(pipe2(v, O_NONBLOCK), 0);
	log_set_fd(v[1]);
	log_gather(true);
	log_write(&said, "1", NULL);
	log_write(&said, "2", NULL);
	assert_string_equal(came(v[0]), "");
	log_flush();
	const char *both = came(v[0]);
	assert_true(strstr(both, "id=1") != NULL && strstr(both, "id=1") < strstr(both, "id=2"));
	log_write(&said, "3", NULL);
	log_write(&wrong, "4", NULL);
	const char *warned = came(v[0]);
	assert_true(
	    strstr(warned, "id=3") != NULL && strstr(warned, "id=3") < strstr(warned, "id=4"));
	size_t n = 0, lines = 0;
	for (; n == 0; lines++) { /* until they are written by themselves */
		log_write(&said, "5", LOG_FIELDS(LOG_STR("v", value)));
		n = strlen(came(v[0]));
	}
	assert_true(lines > 2 && n > LOG_LINE_MAX / 2 && n <= LOG_LINE_MAX);
	pid_t pid = fork(); /* it takes what waits with it */
	if (pid == 0)
		exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	const char *last = came(v[0]);
	assert_non_null(strstr(last, "id=5"));
	assert_null(strstr(strstr(last, "id=5") + 1, "id=5"));
	log_gather(false);
	log_write(&said, "6", NULL);
	assert_non_null(strstr(came(v[0]), "id=6"));
	log_set_fd(STDERR_FILENO);
	close(v[0]);
	close(v[1]);
}

/* A line names the process that writes it, a child's too. */
static void test_log_pid(void **state)
{
	static const struct log_event said = { "test.said", LOG_INFO, "", "" };
	char own[32], childs[32], text[512] = { 0 };
	int v[2];
	assert_int_equal(pipe(v), 0);
	log_set_fd(v[1]);
	log_write(&said, NULL, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		log_write(&said, NULL, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	log_write(&said, NULL, NULL);
	log_set_fd(STDERR_FILENO);
	assert_true(read(v[0], text, sizeof text - 1) > 0);
	snprintf(own, sizeof own, "[%d] info", (int)getpid());
	snprintf(childs, sizeof childs, "[%d] info", (int)pid);
	const char *first = strstr(text, own), *second = strstr(text, childs);
	assert_non_null(first);
	assert_non_null(second);
	assert_true(first < second);
	assert_non_null(strstr(second, own));
	close(v[0]);
	close(v[1]);
}

static void test_gauge(void **state)
{
	static struct metric m = { "test_gauge", METRIC_GAUGE, "", NULL, 0 };
	metric_set(&m, 5);
	metric_sub(&m, 2);
	assert_int_equal(metric_get(&m), 3);
	uint64_t cell = 40;
	m.cell = &cell;
	metric_add(&m, 2);
	assert_int_equal(*metric_cell(&m), 42);
}

/* A pipe takes a long text in pieces; a full device and a missing folder are told. */
static void test_whole_writes(void **state)
{
	enum { LONG = 1 << 20 };
	int v[2], status = 0;
	char *text = mem_alloc(LONG), *read_back = mem_alloc(LONG);
	for (size_t i = 0; i < LONG; i++)
		text[i] = (char)(i * 7 >> 3);
	assert_int_equal(pipe(v), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(v[0]);
		_exit(fd_write_all(v[1], span_of(text, LONG)) == ERR_OK ? 0 : 1);
	}
	close(v[1]);
	size_t have = 0;
	for (ssize_t n; (n = read(v[0], read_back + have, LONG - have)) > 0;)
		have += (size_t)n;
	close(v[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(have, LONG);
	assert_memory_equal(read_back, text, LONG);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_int_equal(fd_write_all(full, SPAN("x")), ERR_NO_SPACE);
	assert_int_equal(fd_write_all(full, SPAN_NONE), ERR_OK);
	close(full);
	assert_int_equal(fd_sync_dir("/tmp"), ERR_OK);
	assert_int_equal(fd_sync_dir("/nonexistent"), ERR_NOT_FOUND);
	mem_free(text);
	mem_free(read_back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_checks_end_the_process),
		cmocka_unit_test(test_buffers),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_randomness),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_log_counter),
		cmocka_unit_test(test_log_gathers),
		cmocka_unit_test(test_log_pid),
		cmocka_unit_test(test_gauge),
		cmocka_unit_test(test_whole_writes),
	};
	return cmocka_run_group_tests_name("base_rest", tests, NULL, NULL);
}
