/* blob.h - the bytes of a message as a record of the commit log. */
#ifndef STORE_IMAP_BLOB_H
#define STORE_IMAP_BLOB_H

#include "commitlog/commitlog.h"
#include "store-backend/imap/message.h"
#include "store-backend/index.h"

struct imap_session;

struct blob {
	struct message_bytes bytes; /* for message_init(); points here, so a blob does not move */
	struct commitlog_reader *reader;
	log_pos pos;
	uint64_t taken; /* bytes read; the owner sets it back */
};

void blob_init(struct blob *b, struct commitlog_reader *reader, const struct index_entry *e);
/* The file that holds the range of the message, for stream_write_file(). The caller puts it. */
err_t blob_file(
    const struct blob *b, struct message_range r, struct file_ref **file_out, uint64_t *at_out);
/* Logs that a message cannot be read. */
void blob_note_unreadable(struct imap_session *s, const struct index_entry *e, err_t err);

#endif
