/* tool_stay.c - postern-store stay: where this store believes a user's mail to be, and what it is to believe from
 * now on. A step of a move between stores, told as one word: absent, here, leaving, arriving, gone. */
#include <stdio.h>
#include <string.h>

#include "store-backend/tool_internal.h"
#include "store-backend/tool_link.h"

static bool read_stay(
    const struct store_partition_conf *pc, struct span user, const char **word_out)
{
	struct tool_partition p;
	struct index_user u;
	if (!tool_open(pc, &p))
		return false;
	struct index_view *v = index_view_begin(p.index);
	if (v != NULL) {
		enum store_stay stay = index_stay(v, user);
		bool there = stay != STAY_HERE || index_user(v, user, &u);
		*word_out = there ? store_stay_name(stay) : "absent";
	}
	bool ok = v != NULL;
	index_view_end(&v);
	tool_close(&p);
	return ok;
}

static bool parse_stay(const char *word, enum store_stay *out)
{
	for (int i = 0; i < STAY_COUNT; i++)
		if (strcmp(word, store_stay_name((enum store_stay)i)) == 0) {
			*out = (enum store_stay)i;
			return true;
		}
	return false;
}

/* Mailboxes of one who is gone go one by one. */
static enum operation_result set_stay(
    const struct conf *c, struct tool_link *l, struct span user, enum store_stay stay)
{
	const struct store_conf *s = store_options(c);
	struct operation op;
	enum operation_result r;
	operation_init(&op, OP_STAY);
	op.user = user;
	op.adopted.stay = stay;
	op.quota_bytes = s->quota_bytes;
	op.quota_messages = (uint64_t)s->quota_messages;
	do {
		r = tool_link_ask(l, &op);
	} while (r == OPR_OK && stay == STAY_GONE && l->last.uid > 0);
	return r;
}

static int change_stay(const struct conf *c, const struct store_partition_conf *pc,
    struct span user, enum store_stay stay)
{
	struct tool_link l;
	enum operation_result r = OPR_LATER;
	if (tool_link_open(c, pc, &l)) {
		r = set_stay(c, &l, user, stay);
		tool_link_close(&l);
	}
	if (r != OPR_OK)
		fprintf(stderr, "postern-store: %.*s cannot be \"%s\" here: %s\n", SPAN_ARG(user),
		    store_stay_name(stay), operation_result_name(r));
	return r == OPR_OK ? 0 : TOOL_FAILED;
}

static int stay_of_user(const struct conf *c, struct span user, const char *order)
{
	enum store_stay stay = STAY_HERE;
	const char *word = "";
	if (order != NULL && !parse_stay(order, &stay))
		return TOOL_USAGE;
	const struct store_partition_conf *pc = tool_partition_of(store_options(c), user);
	if (pc == NULL)
		return TOOL_FAILED;
	int status = order == NULL ? 0 : change_stay(c, pc, user, stay);
	if (status == 0 && !read_stay(pc, user, &word))
		status = TOOL_FAILED;
	if (status == 0)
		printf("%s\n", word);
	return status;
}

int tool_stay(const struct conf *c, const char *const *words)
{
	struct buf user;
	int status = TOOL_USAGE;
	if (tool_user(words[0], &user))
		status = stay_of_user(c, buf_span(&user), words[1]);
	buf_end(&user);
	return status;
}
