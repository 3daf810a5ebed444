/* fuzz_imap_thread.c - any messages become threads: each is told once, in parentheses that fit. A line of input is
 * a message: date, subject, id, references, separated by tabs. Also any value as a base subject, which is its own. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/sort_key.h"
#include "store-backend/imap/thread_tree.h"

enum { MESSAGES_MAX = 2000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct thread_tree *read_messages(struct span in, enum thread_how how, uint32_t *n_out)
{
	struct thread_tree *t = thread_tree_new(how);
	for (*n_out = 0; in.n > 0 && *n_out < MESSAGES_MAX;) {
		struct span line = span_cut(&in, '\n');
		struct thread_message m = { .name = ++*n_out };
		struct span date = span_cut(&line, '\t');
		m.sent = date.n > 0 ? date.p[0] : 0;
		m.refwd = date.n > 1;
		m.subject = span_cut(&line, '\t');
		m.id = span_cut(&line, '\t');
		m.references = span_cut(&line, '\t');
		m.in_reply_to = line;
		CHECK(thread_tree_add(t, &m));
	}
	thread_tree_close(t);
	return t;
}

static void check_text(struct span text, uint32_t n)
{
	bool *seen = mem_array(n + 1, sizeof *seen);
	uint32_t depth = 0, number = 0, told = 0;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (c >= '0' && c <= '9') {
			number = number * 10 + (uint32_t)(c - '0');
			continue;
		}
		if (number > 0) {
			CHECK(depth > 0 && number <= n && !seen[number]);
			seen[number] = true;
			told++;
		}
		number = 0;
		CHECK(c == '(' || c == ')' || c == ' ');
		depth += c == '(';
		CHECK(c != ')' || depth > 0);
		depth -= c == ')';
	}
	CHECK(depth == 0 && told == n);
	mem_free(seen);
}

static void check_subject(struct span value)
{
	struct buf base = BUF_INIT(1 << 20);
	(void)sort_base_subject(value, &base);
	CHECK(buf_ok(&base));
	buf_end(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	for (int how = THREAD_ORDEREDSUBJECT; how <= THREAD_REFERENCES; how++) {
		struct buf out = BUF_INIT(1 << 22);
		uint32_t n;
		struct thread_tree *t = read_messages(in, (enum thread_how)how, &n);
		while (!thread_tree_put(t, &out, buf_len(&out) + 10)) {
		}
		check_text(buf_span(&out), n);
		buf_end(&out);
		thread_tree_free(&t);
	}
	check_subject(in);
	return 0;
}
