/* blob.c - a record of the commit log read as a message; see blob.h. Owns nothing. */
#include "store-backend/imap/blob.h"
#include "store-backend/imap/session.h"

static err_t read_blob(void *arg, uint64_t at, void *out, size_t n)
{
	struct blob *b = arg;
	b->taken += n;
	return commitlog_reader_read(b->reader, b->pos, at, out, n);
}

void blob_init(struct blob *b, struct commitlog_reader *reader, const struct index_entry *e)
{
	*b = (struct blob){ .bytes = { read_blob, b, e->size }, .reader = reader, .pos = e->blob };
}

err_t blob_file(
    const struct blob *b, struct message_range r, struct file_ref **file_out, uint64_t *at_out)
{
	uint64_t begin, size;
	err_t err = commitlog_reader_file(b->reader, b->pos, file_out, &begin, &size);
	if (err)
		return err;
	if (r.at > size || r.n > size - r.at) {
		file_ref_put(file_out);
		return ERR_CORRUPT;
	}
	*at_out = begin + r.at;
	return ERR_OK;
}

void blob_note_unreadable(struct imap_session *s, const struct index_entry *e, err_t err)
{
	log_write(&store_events[STORE_EV_MESSAGE_UNREADABLE], s->base.id.s,
	    LOG_FIELDS(LOG_STR("partition", s->partition->name), LOG_STR("user", s->user),
		LOG_U64("mailbox", s->box->id), LOG_U64("uid", e->uid), LOG_ERR("err", err)));
}
