/* thread.c - THREAD and UID THREAD (RFC 5256): what a search finds, as threads.
 *
 * Before: search.c finds the messages, sort_key.c reads them. After: thread_tree.c. Owns the tree. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/search_sink.h"
#include "store-backend/imap/sort_key.h"
#include "store-backend/imap/thread_tree.h"

enum { TELL_BYTES = 16 * 1024 };

struct threader {
	struct search_sink sink;  /* first member */
	struct thread_tree *tree; /* owned */
	bool begun;
};

static struct threader *threader_of(struct search_sink *k)
{
	return LIST_OF(struct threader, sink, k);
}

static void end_threader(struct search_sink *k)
{
	struct threader *t = threader_of(k);
	thread_tree_free(&t->tree);
	mem_free(t);
}

static bool on_found(struct search_sink *k, struct search_subject *of, uint32_t name)
{
	struct buf subject = BUF_INIT(4 * SORT_TEXT_MAX);
	struct thread_message m = { .name = name, .sent = sort_sent(of) };
	m.refwd = sort_subject(of, &subject);
	m.subject = buf_span(&subject);
	m.id = sort_field(of, "Message-ID");
	m.references = sort_field(of, "References");
	m.in_reply_to = sort_field(of, "In-Reply-To");
	bool room = thread_tree_add(threader_of(k)->tree, &m);
	buf_end(&subject);
	return room;
}

static enum verdict tell(struct imap_session *s, struct search_sink *k, bool *done_out)
{
	struct threader *t = threader_of(k);
	size_t empty = buf_len(&s->text);
	thread_tree_close(t->tree);
	if (!t->begun)
		buf_add_char(&s->text, ' ');
	*done_out = thread_tree_put(t->tree, &s->text, TELL_BYTES);
	if (!t->begun && buf_len(&s->text) == empty + 1)
		s->text.tail = s->text.head + empty; /* no thread, no space */
	t->begun = true;
	return V_NEXT;
}

static enum thread_how read_how(struct imap_cursor *c)
{
	struct span word = imap_read_atom(c);
	if (span_ieq_str(word, "ORDEREDSUBJECT"))
		return THREAD_ORDEREDSUBJECT;
	if (!span_ieq_str(word, "REFERENCES"))
		imap_fail(c, "Unknown algorithm");
	return THREAD_REFERENCES;
}

enum verdict cmd_thread(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct threader *t = MEM_NEW(struct threader);
	imap_read_sp(c);
	t->sink = (struct search_sink){ on_found, tell, end_threader, false };
	t->tree = thread_tree_new(read_how(c));
	imap_read_sp(c);
	return imap_start_search(s, &t->sink);
}
