/* cmd_table.c - the rows of every command, and how a mailbox name in its arguments is read; see cmd_table.h.
 *
 * Before: input.c. After: the handlers. */
#include "base/check.h"
#include "proto/imap_utf7.h"

#include "store-backend/imap/session.h"

enum { WIRE_NAME_MAX = 4 * STORE_MAILBOX_NAME_MAX };

static const struct imap_row rows[] = {
	{ "CAPABILITY", LEVEL_ANY, false, SHAPE_NONE, NEWS_ALL, cmd_capability, false },
	{ "NOOP", LEVEL_ANY, false, SHAPE_NONE, NEWS_ALL, cmd_noop, false },
	{ "LOGOUT", LEVEL_ANY, false, SHAPE_NONE, NEWS_NONE, cmd_logout, false },
	{ "ID", LEVEL_ANY, false, SHAPE_OWN, NEWS_ALL, cmd_id, false },
	{ "LANGUAGE", LEVEL_ANY, false, SHAPE_OWN, NEWS_ALL, cmd_language, false },

	{ "STARTTLS", LEVEL_LOGIN, false, SHAPE_NONE, NEWS_NONE, cmd_starttls, false },
	{ "LOGIN", LEVEL_LOGIN, false, SHAPE_OWN, NEWS_NONE, cmd_login, false },
	{ "AUTHENTICATE", LEVEL_LOGIN, false, SHAPE_OWN, NEWS_NONE, cmd_authenticate, false },

	{ "ENABLE", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_enable, false },
	{ "COMPRESS", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_compress, false },
	{ "SELECT", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_select, false },
	{ "EXAMINE", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_examine, false },
	{ "CREATE", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_create, false },
	{ "DELETE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_delete, false },
	{ "RENAME", LEVEL_IN, false, SHAPE_TWO_MAILBOXES, NEWS_ALL, cmd_rename, false },
	{ "SUBSCRIBE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_subscribe, false },
	{ "UNSUBSCRIBE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_unsubscribe, false },
	{ "LIST", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_list, false },
	{ "LSUB", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_lsub, false },
	{ "GETQUOTA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_getquota, false },
	{ "GETQUOTAROOT", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_getquotaroot, false },
	{ "GETMETADATA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_getmetadata, false },
	{ "SETMETADATA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_setmetadata, true },
	{ "NOTIFY", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_notify, false },
	{ "GENURLAUTH", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_genurlauth, false },
	{ "RESETKEY", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_resetkey, false },
	{ "URLFETCH", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_urlfetch, false },
	{ "SETACL", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_setacl, false },
	{ "DELETEACL", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_deleteacl, false },
	{ "GETACL", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_getacl, false },
	{ "LISTRIGHTS", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_listrights, false },
	{ "MYRIGHTS", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_myrights, false },
	{ "NAMESPACE", LEVEL_IN, false, SHAPE_NONE, NEWS_ALL, cmd_namespace, false },
	{ "STATUS", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_status, false },
	{ "APPEND", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_append, true },
	{ "IDLE", LEVEL_IN, false, SHAPE_NONE, NEWS_ALL, cmd_idle, false },

	{ "CHECK", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_ALL, cmd_check, false },
	{ "CLOSE", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_NONE, cmd_close, false },
	{ "UNSELECT", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_NONE, cmd_unselect, false },
	{ "EXPUNGE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_expunge, false },
	{ "SEARCH", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_search, false },
	{ "SORT", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_sort, false },
	{ "THREAD", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_thread, false },
	{ "FETCH", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_fetch, false },
	{ "STORE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_store, false },
	{ "REPLACE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_replace, true },
	{ "COPY", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_copy, false },
	{ "MOVE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_move, false },
};

const struct imap_row *imap_row_find(struct span name)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (span_ieq_str(name, rows[i].name))
			return &rows[i];
	}
	return NULL;
}

void imap_fold_inbox(struct buf *name)
{
	struct span whole = buf_span(name), rest = whole;
	struct span first = span_cut(&rest, '/');
	if (!span_ieq_str(first, "INBOX") || span_eq_str(first, "INBOX"))
		return;
	struct buf folded = BUF_INIT(IMAP_NAME_BYTES);
	buf_add_str(&folded, "INBOX");
	buf_add_span(&folded, span_from(whole, first.n));
	buf_end(name);
	*name = folded;
}

static bool names_are_utf8(const struct imap_session *s)
{
	return (s->enabled & (ENABLED_UTF8 | ENABLED_REV2)) != 0;
}

bool imap_decode_name(const struct imap_session *s, struct span sent, struct buf *out)
{
	if (!names_are_utf8(s))
		return imap_utf7_decode(sent, out);
	return span_is_utf8(sent) && buf_add_span(out, sent);
}

void imap_name_of(const struct imap_session *s, struct span sent, struct buf *name_out)
{
	if (!imap_decode_name(s, sent, name_out))
		buf_clear(name_out);
	imap_fold_inbox(name_out);
	if (!operation_name_ok(buf_span(name_out)))
		buf_clear(name_out);
}

void imap_read_mailbox(struct imap_session *s, struct buf *name_out)
{
	struct span sent = imap_read_astring(&s->cmd.args);
	if (imap_ok(&s->cmd.args))
		imap_name_of(s, sent, name_out);
}

void imap_put_name(struct imap_session *s, struct span name)
{
	struct buf wire = BUF_INIT(WIRE_NAME_MAX);
	if (names_are_utf8(s))
		imap_put_utf8_astring(&s->text, name);
	else if (imap_utf7_encode(name, &wire))
		imap_put_astring(&s->text, buf_span(&wire));
	buf_end(&wire);
}

bool imap_put_mailboxid(struct buf *out, uint64_t object)
{
	return buf_printf(out, "(F%llu)", (unsigned long long)object);
}
