/* partition_record.c - what the log of a partition holds beside the messages: every change with all the facts that
 * replaying it needs. Written by partition_batch.c, read by partition_recover.c. Owns nothing. */
#include "store-backend/partition_internal.h"

/* Client, sequence, seconds, blob. */
enum { FACTS_BYTES = 32, PRUNE_BYTES = 24, EVENTS_BYTES = 36, BASE_BYTES = 32 };

err_t record_operation(struct partition *p, struct index_facts *facts, struct span head)
{
	struct buf b = BUF_INIT(FACTS_BYTES);
	wire_put_u64(&b, facts->client);
	wire_put_u64(&b, facts->sequence);
	wire_put_u64(&b, facts->wall_s);
	wire_put_u64(&b, facts->blob);
	struct span parts[2] = { buf_span(&b), head };
	err_t err = commitlog_append(p->log, LOG_OPERATION, parts, 2, &facts->at);
	buf_end(&b);
	return err;
}

bool record_get_operation(struct span in, struct index_facts *facts_out, struct span *head_out)
{
	struct wire_in w = { .rest = in };
	facts_out->at = 0; /* where the record is: its reader knows */
	facts_out->client = wire_get_u64(&w);
	facts_out->sequence = wire_get_u64(&w);
	facts_out->wall_s = wire_get_u64(&w);
	facts_out->blob = wire_get_u64(&w);
	*head_out = w.rest;
	return !w.bad;
}

err_t record_prune(struct partition *p, const struct prune *what)
{
	struct buf b = BUF_INIT(PRUNE_BYTES);
	log_pos pos;
	wire_put_u64(&b, what->before_s);
	wire_put_u64(&b, what->keep_max);
	wire_put_u64(&b, what->most);
	struct span part = buf_span(&b);
	err_t err = commitlog_append(p->log, LOG_PRUNE, &part, 1, &pos);
	buf_end(&b);
	return err;
}

bool record_get_prune(struct span in, struct prune *out)
{
	struct wire_in w = { .rest = in };
	out->before_s = wire_get_u64(&w);
	out->keep_max = wire_get_u64(&w);
	out->most = wire_get_u64(&w);
	return !w.bad && w.rest.n == 0;
}

err_t record_events(struct partition *p, const struct index_events_done *what)
{
	struct buf b = BUF_INIT(EVENTS_BYTES);
	log_pos pos;
	wire_put_u64(&b, what->sent.at);
	wire_put_u32(&b, what->sent.n);
	wire_put_u64(&b, what->before_s);
	wire_put_u64(&b, what->over);
	wire_put_u64(&b, what->most);
	struct span part = buf_span(&b);
	err_t err = commitlog_append(p->log, LOG_EVENTS, &part, 1, &pos);
	buf_end(&b);
	return err;
}

bool record_get_events(struct span in, struct index_events_done *out)
{
	struct wire_in w = { .rest = in };
	*out = (struct index_events_done){ .sent = { .at = wire_get_u64(&w) } };
	out->sent.n = wire_get_u32(&w);
	out->before_s = wire_get_u64(&w);
	out->over = (size_t)wire_get_u64(&w);
	out->most = (size_t)wire_get_u64(&w);
	return !w.bad && w.rest.n == 0;
}

err_t record_base_rows(struct commitlog *log, log_pos before, struct span piece, log_pos *pos_out)
{
	struct buf b = BUF_INIT(sizeof before);
	wire_put_u64(&b, before);
	struct span parts[2] = { buf_span(&b), piece };
	err_t err = commitlog_append(log, LOG_BASE_ROWS, parts, 2, pos_out);
	buf_end(&b);
	return err;
}

bool record_get_base_rows(struct span in, log_pos *before_out, struct span *piece_out)
{
	struct wire_in w = { .rest = in };
	*before_out = wire_get_u64(&w);
	*piece_out = w.rest;
	return !w.bad;
}

err_t record_base(struct commitlog *log, const struct base_end *what, log_pos *pos_out)
{
	struct buf b = BUF_INIT(BASE_BYTES);
	wire_put_u64(&b, what->last);
	wire_put_u64(&b, what->pieces);
	wire_put_u64(&b, what->covered);
	wire_put_u64(&b, what->bytes);
	struct span part = buf_span(&b);
	err_t err = commitlog_append(log, LOG_BASE, &part, 1, pos_out);
	buf_end(&b);
	return err;
}

bool record_get_base(struct span in, struct base_end *out)
{
	struct wire_in w = { .rest = in };
	out->last = wire_get_u64(&w);
	out->pieces = wire_get_u64(&w);
	out->covered = wire_get_u64(&w);
	out->bytes = wire_get_u64(&w);
	return !w.bad && w.rest.n == 0;
}
