/* cmd_table.h - the rows of every command: where it is legal, what it takes, who does it. */
#ifndef STORE_IMAP_CMD_TABLE_H
#define STORE_IMAP_CMD_TABLE_H

#include <stdint.h>

#include "base/span.h"

struct imap_session;

enum verdict {
	V_NEXT, /* the state may go on at once (it was changed, or more input may be taken) */
	V_MORE, /* more input is needed */
	V_WAIT, /* a ticket, room in the output, or news will resume it */
	V_CLOSE /* s->why says why; goodbye is written */
};
typedef enum verdict imap_cmd_fn(struct imap_session *s);

enum imap_level {
	LEVEL_LOGIN = 1,   /* before login */
	LEVEL_USER = 2,    /* logged in, nothing selected */
	LEVEL_MAILBOX = 4, /* a mailbox is selected */
	LEVEL_IN = LEVEL_USER | LEVEL_MAILBOX,
	LEVEL_ANY = LEVEL_LOGIN | LEVEL_IN
};

/* Read before the handler is called. */
enum imap_shape {
	SHAPE_NONE,          /* no arguments */
	SHAPE_MAILBOX,       /* one mailbox: cmd.name */
	SHAPE_TWO_MAILBOXES, /* cmd.name, cmd.name2 */
	SHAPE_OWN            /* the handler reads them */
};

/* Which store does it, when others of the site have mailboxes that this user may see. */
enum imap_where {
	WHERE_HERE,
	WHERE_SELECTED, /* that of the selected mailbox */
	WHERE_NAMED,    /* that of the first mailbox it names */
	WHERE_RENAMED,  /* the same, and the second must be there too */
	WHERE_TARGET,   /* that of the selected mailbox, and the one it names may be elsewhere */
	WHERE_ALL       /* all of them */
};

struct imap_row {
	const char *name;
	unsigned levels; /* enum imap_level */
	bool uid_ok;     /* may follow "UID" */
	enum imap_shape shape;
	int news; /* enum imap_news */
	imap_cmd_fn *run;
	bool literal; /* its last argument may be a literal of any size: cmd.pending */
	enum imap_where where;
};

const struct imap_row *imap_row_find(struct span name);

/* Reads an astring of the command as a mailbox name into name_out, in UTF-8 with INBOX in capitals. A name that
 * cannot exist becomes empty; syntax fails the cursor. */
struct buf;
void imap_read_mailbox(struct imap_session *s, struct buf *name_out);
/* Into the session's text: the name as the client writes it, in modified UTF-7 or (when enabled) UTF-8. */
void imap_put_name(struct imap_session *s, struct span name);
void imap_put_name_in(const struct imap_session *s, struct span name, struct buf *out);
/* As sent, to UTF-8: a name or a LIST pattern. False: it is none. */
bool imap_decode_name(const struct imap_session *s, struct span sent, struct buf *out);
/* "(F1)", the object id of a mailbox (RFC 8474). */
bool imap_put_mailboxid(struct buf *out, uint64_t object);
/* A name, or a LIST pattern, whose first level is INBOX in whatever case: as the store writes it. */
void imap_fold_inbox(struct buf *name);
/* The same as imap_read_mailbox() for an astring that was read. */
void imap_name_of(const struct imap_session *s, struct span sent, struct buf *name_out);

imap_cmd_fn cmd_enable, cmd_compress, cmd_capability, cmd_noop, cmd_logout, cmd_id, cmd_language,
    cmd_starttls, cmd_login, cmd_authenticate;
imap_cmd_fn cmd_select, cmd_examine, cmd_create, cmd_delete, cmd_rename, cmd_subscribe,
    cmd_unsubscribe;
imap_cmd_fn cmd_getquota, cmd_getquotaroot, cmd_list, cmd_lsub, cmd_namespace, cmd_status,
    cmd_append, cmd_replace, cmd_idle;
imap_cmd_fn cmd_getmetadata, cmd_setmetadata, cmd_genurlauth, cmd_resetkey, cmd_urlfetch,
    cmd_notify;
imap_cmd_fn cmd_setacl, cmd_deleteacl, cmd_getacl, cmd_listrights, cmd_myrights;
imap_cmd_fn cmd_check, cmd_close, cmd_unselect, cmd_expunge, cmd_search, cmd_sort, cmd_thread,
    cmd_fetch, cmd_store, cmd_copy, cmd_move;

#endif
