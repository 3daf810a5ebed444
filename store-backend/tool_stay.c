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

/* words: the stay and perhaps the move, or nothing. */
static bool parse_order(const struct store_conf *s, const char *const *words, struct operation *out)
{
	operation_init(out, OP_STAY);
	out->quota_bytes = s->quota_bytes;
	out->quota_messages = (uint64_t)s->quota_messages;
	return words[0] == NULL ||
	       (parse_stay(words[0], &out->adopted.stay) &&
		   (words[1] == NULL || tool_move(words[1], &out->unchanged_since)));
}

/* Mailboxes of one who is gone go one by one. */
static enum operation_result carry_out(struct tool_link *l, const struct operation *op)
{
	enum operation_result r;
	do {
		r = tool_link_ask(l, op);
	} while (r == OPR_OK && op->adopted.stay == STAY_GONE && l->last.uid > 0);
	return r;
}

static int change_stay(
    const struct conf *c, const struct store_partition_conf *pc, const struct operation *op)
{
	struct tool_link l;
	enum operation_result r = OPR_LATER;
	if (tool_link_open(c, pc, &l)) {
		r = carry_out(&l, op);
		tool_link_close(&l);
	}
	if (r != OPR_OK)
		fprintf(stderr, "postern-store: %.*s cannot be \"%s\" here: %s\n",
		    SPAN_ARG(op->user), store_stay_name(op->adopted.stay),
		    r == OPR_AWAY ? "another move of the user has begun since"
				  : operation_result_name(r));
	return r == OPR_OK ? 0 : TOOL_FAILED;
}

static int stay_of_user(const struct conf *c, struct span user, const char *const *words)
{
	const char *word = "";
	struct operation op;
	if (!parse_order(store_options(c), words, &op))
		return TOOL_USAGE;
	op.user = user;
	const struct store_partition_conf *pc = tool_partition_of(store_options(c), user);
	if (pc == NULL)
		return TOOL_FAILED;
	int status = words[0] == NULL ? 0 : change_stay(c, pc, &op);
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
		status = stay_of_user(c, buf_span(&user), words + 1);
	buf_end(&user);
	return status;
}
