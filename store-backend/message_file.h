/* message_file.h - messages of the store as files: what export writes, and what the rules of expiry archive.
 *
 * Line ends become LF. A Maildir++ has a folder for each mailbox below `root`: its levels are parted by ".", a "." in a
 * name is "_", INBOX is `root` itself. All calls block on the disk: for tools and for a thread of its own. What fails
 * leaves errno, or for the log *err_out, as each says. */
#ifndef STORE_MESSAGE_FILE_H
#define STORE_MESSAGE_FILE_H

#include <stdio.h>

#include "commitlog/commitlog.h"
#include "store-backend/index.h"

enum { MESSAGE_FILE_PATH_SIZE = 4096 };

/* Flags as letters in the name of a Maildir file, in the order of ASCII, as maildir(5) wants them. */
enum { MESSAGE_LETTER_COUNT = 5 };
extern const struct message_letter {
	char letter;
	uint32_t flag;
} message_letters[MESSAGE_LETTER_COUNT];

/* Where a message is to be put. */
struct message_dir {
	char path[MESSAGE_FILE_PATH_SIZE]; /* of the mailbox */
	uint32_t uidvalidity;
};

/* Appends the bytes of a message, whose checksum is looked at before. quote_from: for mbox, as mboxrd does. Takes the memory of
 * the whole message. ERR_IO for the file; else as commitlog_reader_read(). */
err_t message_put(
    FILE *to, struct commitlog_reader *r, const struct index_entry *e, bool quote_from);

/* Makes the folders of a mailbox below root, which is there. */
err_t message_dir_make(const char *root, struct span mailbox, struct message_dir *out);
/* Writes one file, whose name says INTERNALDATE, UIDVALIDITY, UID and flags and whose time is INTERNALDATE. Another file of the
 * same message, whatever its flags, is replaced: what is written twice is there once. durable: its bytes
 * are on the disk afterwards, and its name after message_dir_sync(). */
err_t message_dir_add(const struct message_dir *d, struct commitlog_reader *r,
    const struct index_entry *e, bool durable);
err_t message_dir_sync(const char *root, const struct message_dir *d);

#endif
