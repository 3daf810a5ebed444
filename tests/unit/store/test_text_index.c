/* test_text_index.c - what a text index says of messages: never no to one that has the text; files that are damaged, cut, of
 * somebody else, or about messages that are gone; and the grams of mail beside what a search finds in it. */
#include "fixture.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/search.h"
#include "store-backend/text_index.h"
#include "tests/unit/store/memory_message.h"

enum { TEXTS = 300, TEXT_SIZE = 120 };

static char root[] = "/tmp/test_text_index.XXXXXX";
static const struct text_index_key key = { root, 7, 11 };

/* ---- the file ------------------------------------------------------------------------------------ */

/* Of few letters, so that texts have much in common. */
static void make_text(unsigned at, char out[TEXT_SIZE + 1])
{
	unsigned seed = at * 2654435761u + 1;
	for (size_t i = 0; i < TEXT_SIZE; i++) {
		seed = seed * 1103515245u + 12345u;
		out[i] = (char)('a' + (seed >> 16) % 5);
	}
	out[TEXT_SIZE] = '\0';
}

static struct text_index *open_good(bool writing)
{
	err_t err;
	struct text_index *x = text_index_open(&key, writing, &err);
	assert_int_equal(err, ERR_OK);
	return x;
}

static void add_texts(struct text_index *x, uint32_t first, uint32_t last)
{
	struct text_grams grams;
	char text[TEXT_SIZE + 1];
	text_grams_init(&grams);
	for (uint32_t uid = first; uid <= last; uid++) {
		make_text(uid, text);
		text_grams_put(&grams, span_str(text));
		assert_int_equal(text_index_add(x, uid, &grams), ERR_OK);
		text_grams_clear(&grams);
	}
	text_grams_end(&grams);
}

static void fill(uint32_t first, uint32_t last, uint32_t live)
{
	struct text_index *x = open_good(true);
	uint32_t upto;
	assert_int_equal(text_index_begin(x, live, &upto), ERR_OK);
	assert_int_equal(upto, first - 1);
	add_texts(x, first, last);
	assert_int_equal(text_index_commit(x, last), ERR_OK);
	text_index_close(&x);
}

static void remove_all(void)
{
	text_index_remove(root, key.mailbox);
}

static size_t count_may(const char *text, uint32_t last)
{
	struct text_window w;
	struct text_index *x = open_good(false);
	size_t n = 0;
	assert_int_equal(text_index_look(x, span_str(text), 0, &w), ERR_OK);
	for (uint32_t uid = 1; uid <= last; uid++)
		n += text_window_may(&w, uid);
	text_index_close(&x);
	return n;
}

/* Every text is found by every piece of it, and pieces that no text has find nothing. */
static void test_never_a_wrong_no(void **state)
{
	struct text_window w;
	char text[TEXT_SIZE + 1];
	size_t spared = 0;
	fill(1, TEXTS, TEXTS);
	struct text_index *x = open_good(false);
	for (uint32_t uid = 1; uid <= TEXTS; uid++) {
		make_text(uid, text);
		size_t at = uid * 7 % (TEXT_SIZE / 2), n = TEXT_GRAM + uid % (TEXT_SIZE / 2 - 2);
		assert_int_equal(text_index_look(x, span_of(text + at, n), 0, &w), ERR_OK);
		assert_true(text_window_may(&w, uid));
		for (uint32_t other = 1; other <= TEXTS; other++)
			spared += !text_window_may(&w, other);
	}
	assert_true(spared > (size_t)TEXTS * TEXTS / 4);
	assert_int_equal(text_index_look(x, SPAN("xyz"), 0, &w), ERR_OK);
	assert_false(text_window_may(&w, TEXTS));
	assert_true(text_window_may(&w, TEXTS + 1)); /* nobody knows */
	assert_int_equal(text_index_look(x, SPAN("\"\" OR *"), 0, &w), ERR_OK);
	assert_false(text_window_may(&w, 1));
	text_index_close(&x);
	remove_all();
}

static void test_windows(void **state)
{
	const uint32_t far = 3 * TEXT_WINDOW + 5;
	struct text_window w;
	struct text_grams grams;
	uint32_t upto;
	struct text_index *x = open_good(true);
	text_grams_init(&grams);
	text_grams_put(&grams, SPAN("needle"));
	assert_int_equal(text_index_begin(x, 3, &upto), ERR_OK);
	assert_int_equal(text_index_add(x, TEXT_WINDOW - 1, &grams), ERR_OK);
	assert_int_equal(text_index_add(x, far, NULL), ERR_OK); /* has to be read */
	assert_int_equal(text_index_commit(x, far + 10), ERR_OK);
	assert_int_equal(text_index_look(x, SPAN("needle"), 0, &w), ERR_OK);
	assert_true(text_window_may(&w, TEXT_WINDOW - 1));
	assert_false(text_window_may(&w, TEXT_WINDOW - 2));
	assert_int_equal(text_index_look(x, SPAN("other"), 3 * TEXT_WINDOW, &w), ERR_OK);
	assert_true(text_window_may(&w, far));
	assert_false(text_window_may(&w, far + 1));
	text_grams_end(&grams);
	text_index_close(&x);
	remove_all();
}

static void test_too_many_grams(void **state)
{
	struct text_grams grams;
	char bytes[4096];
	unsigned seed = 1;
	text_grams_init(&grams);
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < sizeof bytes; i++) {
			seed = seed * 1103515245u + 12345u;
			bytes[i] = (char)(seed >> 16);
		}
		text_grams_put(&grams, span_of(bytes, sizeof bytes));
	}
	assert_true(grams.too_many);
	assert_int_equal(grams.n, TEXT_GRAMS_MAX);
	text_grams_clear(&grams);
	assert_false(grams.too_many);
	text_grams_put(&grams, SPAN("abab"));
	text_grams_put(&grams, SPAN("ab"));
	assert_int_equal(grams.n, 2);
	text_grams_end(&grams);
}

/* What a writer that is killed had begun is not there; what it had committed is. */
static void test_killed_writer(void **state)
{
	int status;
	fill(1, 10, 10);
	pid_t child = fork();
	if (child == 0) {
		uint32_t upto;
		struct text_index *x = open_good(true);
		(void)text_index_begin(x, 20, &upto);
		add_texts(x, 11, 20);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	fill(11, 20, 20);
	assert_int_equal(count_may("xyz", 20), 0);
	assert_int_equal(count_may("xyz", 25), 5);
	remove_all();
}

static void test_begins_anew(void **state)
{
	uint32_t upto;
	fill(1, 1100, 1100);
	fill(1101, 1101, 60);
	struct text_index *x = open_good(true);
	assert_int_equal(text_index_begin(x, 10, &upto), ERR_OK);
	assert_int_equal(upto, 0);
	text_index_close(&x); /* not committed */
	x = open_good(true);
	assert_int_equal(text_index_begin(x, 10, &upto), ERR_OK);
	add_texts(x, 1090, 1101);
	assert_int_equal(text_index_commit(x, 1101), ERR_OK);
	text_index_close(&x);
	char text[TEXT_SIZE + 1];
	make_text(1095, text);
	assert_int_equal(count_may(text, 1101), 1);
	remove_all();
}

static void overwrite(const char *path, size_t at, size_t n)
{
	char junk[256];
	memset(junk, 0x5a, sizeof junk);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (; n > 0; n -= n < sizeof junk ? n : sizeof junk, at += sizeof junk)
		assert_true(pwrite(fd, junk, n < sizeof junk ? n : sizeof junk, (off_t)at) > 0);
	close(fd);
}

static err_t look_once(void)
{
	struct text_window w;
	err_t err;
	struct text_index *x = text_index_open(&key, false, &err);
	if (x != NULL)
		err = text_index_look(x, SPAN("abc"), 0, &w);
	text_index_close(&x);
	return err;
}

static void test_damaged(void **state)
{
	char path[200];
	(void)snprintf(path, sizeof path, "%s/text/%016x", root, 7);
	assert_int_equal(look_once(), ERR_NOT_FOUND);
	fill(1, 50, 50);
	overwrite(path, 0, 100);
	assert_int_equal(look_once(), ERR_CORRUPT);
	text_index_mark(&key);
	assert_int_equal(look_once(), ERR_NOT_FOUND);
	remove_all();
	fill(1, 50, 50);
	overwrite(path, 4096, 16 * 1024);
	assert_int_equal(look_once(), ERR_CORRUPT);
	remove_all();
	fill(1, 50, 50);
	const struct text_index_key other = { root, 7, 12 }; /* a mailbox of another life */
	struct text_window w;
	err_t err;
	struct text_index *x = text_index_open(&other, false, &err);
	assert_int_equal(text_index_look(x, SPAN("abc"), 0, &w), ERR_CORRUPT);
	text_index_close(&x);
	remove_all();
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool ours, mark;
	} cases[] = { { "0000000000000007", true, false }, { "00000000000000ff-wal", true, false },
		{ "0000000000000007.bad", true, true }, { "0000000000000007.bas", false, false },
		{ "000000000000007", false, false }, { "000000000000000g", false, false },
		{ "..", false, false }, { "00000000000000077", false, false } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t mailbox;
		bool mark = false;
		if (text_index_name(cases[i].name, &mailbox, &mark) != cases[i].ours ||
		    (cases[i].ours && mark != cases[i].mark))
			fail_msg("%s", cases[i].name);
	}
}

/* ---- mail ---------------------------------------------------------------------------------------- */

static const char mail[] =
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus?= Wien\r\nFrom: A <a@b.example>\r\n"
    "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; "
    "charset=iso-8859-1\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n\r\nEin langer Text =\r\nmit =C4rger und "
    "Worten\r\n"
    "--x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "PHA+SGVsbG8gd29ybGQsIHRoaXMgaXMgdGV4dDwvcD4=\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: inside it\r\n\r\nthe inner body\r\n--x--\r\n";

static bool is_found(struct message *m, struct span text)
{
	struct search_node n = { .key = KEY_TEXT, .text = BUF_INIT(1000) };
	struct search_scan scan;
	enum search_answer a;
	buf_add_span(&n.text, text);
	search_scan_begin(&scan, &n);
	while ((a = search_scan_step(&scan, m)) == ANSWER_UNKNOWN)
		;
	search_scan_end(&scan);
	buf_end(&n.text);
	return a == ANSWER_YES;
}

static bool has_all(const struct text_grams *have, struct span text)
{
	struct text_grams want;
	bool all = true;
	text_grams_init(&want);
	text_grams_put(&want, text);
	for (size_t i = 0; i < want.n; i++)
		all = all && (have->seen[want.v[i] / 64] >> want.v[i] % 64 & 1) != 0;
	text_grams_end(&want);
	return all;
}

static void test_what_is_found_is_known(void **state)
{
	static const char *const there[] = { "gr\xc3\xbc\xc3\x9f"
					     "e aus wien",
		"\xc3\xa4rger", "text mit ", "hello world", "inside it", "inner body",
		"subject: ", "a@b.example" };
	static const char *const not_there[] = { "aus graz", "zzz", "phA+" };
	struct span bytes = span_str(mail);
	struct text_grams grams;
	struct search_scan scan;
	struct message m;
	memory_message_init(&m, &bytes, SPAN_NONE);
	text_grams_init(&grams);
	search_scan_begin_grams(&scan, &grams);
	while (search_scan_step(&scan, &m) == ANSWER_UNKNOWN)
		;
	search_scan_end(&scan);
	for (size_t i = 0; i < COUNT_OF(there); i++)
		if (!is_found(&m, span_str(there[i])) || !has_all(&grams, span_str(there[i])))
			fail_msg("%s", there[i]);
	for (size_t i = 0; i < COUNT_OF(not_there); i++)
		if (is_found(&m, span_str(not_there[i])) || has_all(&grams, span_str(not_there[i])))
			fail_msg("%s", not_there[i]);
	text_grams_end(&grams);
	message_end(&m);
}

static int make_root(void **state)
{
	return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
	char text[200];
	(void)snprintf(text, sizeof text, "%s/text", root);
	return rmdir(text) != 0 || rmdir(root) != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_a_wrong_no),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_too_many_grams),
		cmocka_unit_test(test_killed_writer),
		cmocka_unit_test(test_begins_anew),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_what_is_found_is_known),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
