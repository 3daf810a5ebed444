/* tool_move.h - what two stores say to each other while a user moves: `serve` at the old store answers on its
 * standard output what `pull` at the new store asks on its own. One frame each: u32 length of what follows, u8
 * kind, fields as in operation_wire.h. The two are joined by pipes, over ssh when they are not on one host.
 *
 * Both speak the same version or do nothing: what one of them does not know of a message would be lost without a word. It
 * grows with any change of what is said here, and of what goes into index_mailbox_digest().
 *
 * Neither trusts the other further than its user's mail: every length has its bound. */
#ifndef STORE_TOOL_MOVE_H
#define STORE_TOOL_MOVE_H

#include <stdio.h>

#include "base/buf.h"
#include "store-backend/operation_wire.h"

enum move_frame {
	MOVE_ASK_USER = 1,   /* u32 version, user */
	MOVE_ASK_MAILBOXES,  /* */
	MOVE_ASK_ENTRIES,    /* u64 mailbox */
	MOVE_ASK_MESSAGE,    /* u64 mailbox, u32 uid */
	MOVE_ASK_DELIVERIES, /* */
	MOVE_ASK_METADATA,   /* u64 mailbox; 0: of the user at the server */
	MOVE_USER, /* u8 there, u8 stay, u64 quota_bytes, u64 quota_messages, u32 version; not
	                             there when the versions differ. Stores of before it was told end
	                             with the quotas */
	MOVE_MAILBOX, /* u64 id, name, u32 uses uidvalidity uidnext recent_from, u64 modseq vanished_from
	                      digest object, u32 count, keywords */
	MOVE_ACL,          /* who, u32 rights: of the mailbox before */
	MOVE_SUBSCRIPTION, /* name */
	MOVE_ENTRIES,  /* rows of MOVE_ENTRY_BYTES: u32 uid, u64 modseq, u32 flags, u64 keywords */
	MOVE_VANISHED, /* rows of MOVE_VANISHED_BYTES: u32 uid, u64 modseq; in order of modseq */
	MOVE_MESSAGE,  /* u8 there, u64 size, u64 date, u32 zone, u64 saved, u32 flags, u64 keywords
	                      modseq object; and then the message's bytes, outside of the frame */
	MOVE_DELIVERY, /* id, u64 folder_hash */
	MOVE_METADATA, /* whose, name, value */
	MOVE_END,      /* of a list */
	MOVE_KIND_COUNT
};
enum {
	MOVE_VERSION = 2,
	MOVE_ENTRY_BYTES = 24,
	MOVE_VANISHED_BYTES = 12,
	MOVE_ROWS = 1000, /* in one frame */
	MOVE_FRAME_MAX = 65536
};

/* Writes a frame; what is buffered goes with the next flush. False: the other end is gone. */
bool move_put(FILE *to, enum move_frame kind, struct span body);
/* Reads the next frame into b, which is emptied first. False: the end, or nonsense. */
bool move_get(FILE *from, enum move_frame *kind_out, struct buf *b);

#endif
