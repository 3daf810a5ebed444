/* cmd_table.c - the rows of every command, and how a mailbox name in its arguments is read; see cmd_table.h.
 *
 * Before: input.c. After: the handlers. */
#include "base/check.h"
#include "proto/imap_utf7.h"

#include "store-backend/imap/session.h"

enum { WIRE_NAME_MAX = 4 * STORE_MAILBOX_NAME_MAX };

static const struct imap_row rows[] = {
	{ "CAPABILITY", LEVEL_ANY, false, SHAPE_NONE, NEWS_ALL, cmd_capability, false, WHERE_HERE },
	{ "NOOP", LEVEL_ANY, false, SHAPE_NONE, NEWS_ALL, cmd_noop, false, WHERE_SELECTED },
	{ "LOGOUT", LEVEL_ANY, false, SHAPE_NONE, NEWS_NONE, cmd_logout, false, WHERE_HERE },
	{ "ID", LEVEL_ANY, false, SHAPE_OWN, NEWS_ALL, cmd_id, false, WHERE_HERE },
	{ "LANGUAGE", LEVEL_ANY, false, SHAPE_OWN, NEWS_ALL, cmd_language, false, WHERE_HERE },

	{ "STARTTLS", LEVEL_LOGIN, false, SHAPE_NONE, NEWS_NONE, cmd_starttls, false, WHERE_HERE },
	{ "LOGIN", LEVEL_LOGIN, false, SHAPE_OWN, NEWS_NONE, cmd_login, false, WHERE_HERE },
	{ "AUTHENTICATE", LEVEL_LOGIN, false, SHAPE_OWN, NEWS_NONE, cmd_authenticate, false,
	    WHERE_HERE },

	{ "ENABLE", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_enable, false, WHERE_HERE },
	{ "COMPRESS", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_compress, false, WHERE_HERE },
	{ "SELECT", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_select, false, WHERE_NAMED },
	{ "EXAMINE", LEVEL_IN, false, SHAPE_OWN, NEWS_NONE, cmd_examine, false, WHERE_NAMED },
	{ "CREATE", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_create, false, WHERE_NAMED },
	{ "DELETE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_delete, false, WHERE_NAMED },
	{ "RENAME", LEVEL_IN, false, SHAPE_TWO_MAILBOXES, NEWS_ALL, cmd_rename, false,
	    WHERE_RENAMED },
	{ "SUBSCRIBE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_subscribe, false, WHERE_HERE },
	{ "UNSUBSCRIBE", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_unsubscribe, false,
	    WHERE_HERE },
	{ "LIST", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_list, false, WHERE_ALL },
	{ "LSUB", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_lsub, false, WHERE_HERE },
	{ "GETQUOTA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_getquota, false, WHERE_HERE },
	{ "GETQUOTAROOT", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_getquotaroot, false,
	    WHERE_NAMED },
	{ "GETMETADATA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_getmetadata, false,
	    WHERE_NAMED },
	{ "SETMETADATA", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_setmetadata, true, WHERE_NAMED },
	{ "NOTIFY", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_notify, false, WHERE_HERE },
	{ "GENURLAUTH", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_genurlauth, false, WHERE_HERE },
	{ "RESETKEY", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_resetkey, false, WHERE_HERE },
	{ "URLFETCH", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_urlfetch, false, WHERE_HERE },
	{ "SETACL", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_setacl, false, WHERE_NAMED },
	{ "DELETEACL", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_deleteacl, false, WHERE_NAMED },
	{ "GETACL", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_getacl, false, WHERE_NAMED },
	{ "LISTRIGHTS", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_listrights, false, WHERE_NAMED },
	{ "MYRIGHTS", LEVEL_IN, false, SHAPE_MAILBOX, NEWS_ALL, cmd_myrights, false, WHERE_NAMED },
	{ "NAMESPACE", LEVEL_IN, false, SHAPE_NONE, NEWS_ALL, cmd_namespace, false, WHERE_HERE },
	{ "STATUS", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_status, false, WHERE_NAMED },
	{ "APPEND", LEVEL_IN, false, SHAPE_OWN, NEWS_ALL, cmd_append, true, WHERE_NAMED },
	{ "IDLE", LEVEL_IN, false, SHAPE_NONE, NEWS_ALL, cmd_idle, false, WHERE_SELECTED },

	{ "CHECK", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_ALL, cmd_check, false, WHERE_SELECTED },
	{ "CLOSE", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_NONE, cmd_close, false, WHERE_SELECTED },
	{ "UNSELECT", LEVEL_MAILBOX, false, SHAPE_NONE, NEWS_NONE, cmd_unselect, false,
	    WHERE_SELECTED },
	{ "EXPUNGE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_expunge, false, WHERE_SELECTED },
	{ "SEARCH", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_search, false,
	    WHERE_SELECTED },
	{ "SORT", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_sort, false,
	    WHERE_SELECTED },
	{ "THREAD", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_thread, false,
	    WHERE_SELECTED },
	{ "FETCH", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_fetch, false,
	    WHERE_SELECTED },
	{ "STORE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_NO_EXPUNGE, cmd_store, false,
	    WHERE_SELECTED },
	{ "REPLACE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_replace, true, WHERE_TARGET },
	{ "COPY", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_copy, false, WHERE_TARGET },
	{ "MOVE", LEVEL_MAILBOX, true, SHAPE_OWN, NEWS_ALL, cmd_move, false, WHERE_TARGET },
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

void imap_put_name_in(const struct imap_session *s, struct span name, struct buf *out)
{
	struct buf wire = BUF_INIT(WIRE_NAME_MAX);
	if (names_are_utf8(s))
		imap_put_utf8_astring(out, name);
	else if (imap_utf7_encode(name, &wire))
		imap_put_astring(out, buf_span(&wire));
	buf_end(&wire);
}

void imap_put_name(struct imap_session *s, struct span name)
{
	imap_put_name_in(s, name, &s->text);
}

bool imap_put_mailboxid(struct buf *out, uint64_t object)
{
	return buf_printf(out, "(F%llu)", (unsigned long long)object);
}
