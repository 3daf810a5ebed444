/* commit_unit.c - the parts of a mail as one question to the spool (part of step 5 of 6; before: commit.c, parts.c; after:
 * spool_link.c).
 *
 * Owns the parts' heads and the question. Bodies stay the transactions': parts that have the same share it there, too. */
#include "edge/commit_unit.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "edge/commit_internal.h"
#include "edge/unit.h"

#define commit_unit_MAGIC 0xc0331703u
#define unit_member_MAGIC 0xc0331704u

enum { HEADS_MAX = 256 * 1024 * 1024 };

/* A part that waits for the answer. */
struct unit_member {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct commit_unit *unit;
	struct list_node link;
	spool_put_fn *fn;
	void *arg;
};

/* Bytes of the question, in order. */
struct piece {
	struct span bytes;
	struct body *body; /* in their place */
};

struct commit_unit {
	uint32_t magic;
	struct committer *committer;
	const struct transaction *mail;
	size_t n, heard; /* parts, and those of which is known what they have for the spool */
	struct unit_part *parts; /* owned: of those that have something; body_at: which body */
	size_t *recipients;      /* owned: of each */
	size_t part_n;
	struct buf heads, index;
	struct body **bodies; /* owned, the bodies are not */
	size_t body_n;
	struct piece *pieces; /* owned */
	size_t piece_n;
	struct list_node members;
	struct ticket *ask; /* owned */
	struct soon refuse;
};

/* ---- life ------------------------------------------------------------------------------------- */

static void on_refuse(void *arg);

struct commit_unit *commit_unit_new(struct committer *k, const struct transaction *mail, size_t n)
{
	struct commit_unit *u = MEM_NEW(struct commit_unit);
	CHECK(n > 0 && n <= UNIT_PARTS_MAX);
	u->magic = commit_unit_MAGIC;
	u->committer = k;
	u->mail = mail;
	u->n = n;
	u->parts = mem_array(n, sizeof *u->parts);
	u->recipients = mem_array(n, sizeof *u->recipients);
	u->bodies = mem_array(n, sizeof(struct body *));
	u->pieces = mem_array(n + 2, sizeof *u->pieces);
	u->heads = BUF_INIT(HEADS_MAX);
	u->index = BUF_INIT(UNIT_START_BYTES + UNIT_PARTS_MAX * UNIT_PART_BYTES);
	list_init(&u->members);
	soon_init(&u->refuse, on_refuse, u);
	return u;
}

void commit_unit_free(struct commit_unit **pu)
{
	struct commit_unit *u = *pu;
	if (u == NULL)
		return;
	CHECK(list_empty(&u->members));
	ticket_cancel(&u->ask);
	soon_clear(&u->refuse);
	mem_free(u->parts);
	mem_free(u->recipients);
	mem_free(u->bodies);
	mem_free(u->pieces);
	buf_end(&u->heads);
	buf_end(&u->index);
	u->magic = 0;
	MEM_FREE(pu);
}

static void member_free(struct unit_member *m)
{
	list_remove(&m->link);
	m->magic = 0;
	mem_free(m);
}

/* Its body is about to go: the question must not read it any more. */
static void cancel(struct ticket *t)
{
	struct unit_member *m = OBJ(unit_member, t);
	ticket_cancel(&m->unit->ask);
	soon_clear(&m->unit->refuse);
	member_free(m);
}

/* ---- the answer ------------------------------------------------------------------------------- */

/* The last one's owner may free u. */
static void give(struct commit_unit *u, err_t err)
{
	struct list_node all;
	struct list_node *n;
	list_init(&all);
	while ((n = list_pop(&u->members)) != NULL)
		list_add_tail(&all, n);
	while ((n = list_pop(&all)) != NULL) {
		struct unit_member *m = LIST_OF(struct unit_member, link, n);
		spool_put_fn *fn = m->fn;
		void *arg = m->arg;
		member_free(m);
		fn(arg, err);
	}
}

static void on_put(void *arg, err_t err)
{
	struct commit_unit *u = OBJ(commit_unit, arg);
	u->ask = NULL;
	give(u, err);
}

static void on_refuse(void *arg)
{
	give(OBJ(commit_unit, arg), ERR_TOO_MANY);
}

/* ---- the question ------------------------------------------------------------------------------ */

static uint64_t piece_size(const struct piece *p)
{
	return p->body != NULL ? body_size(p->body) : p->bytes.n;
}

static struct span read_pieces(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct commit_unit *u = arg;
	*err_out = ERR_OK;
	for (size_t i = 0; i < u->piece_n; i++) {
		const struct piece *p = &u->pieces[i];
		uint64_t size = piece_size(p);
		if (at < size && p->body != NULL)
			return body_read(p->body, at, n, err_out);
		if (at < size)
			return span_first(span_from(p->bytes, (size_t)at), n);
		at -= size;
	}
	return SPAN_NONE;
}

static void add_piece(struct commit_unit *u, struct span bytes, struct body *body)
{
	u->pieces[u->piece_n++] = (struct piece){ bytes, body };
}

static void put(struct commit_unit *u, struct spool_message *m)
{
	struct spool_put_opts opts = { .message = m,
		.body = { read_pieces, u, 0 },
		.deadline_ms = u->committer->edge->spool_timeout };
	for (size_t i = 0; i < u->piece_n; i++)
		opts.body.size += piece_size(&u->pieces[i]);
	m->body_bytes = opts.body.size;
	u->ask = spool_put(u->committer->spool, &opts, on_put, u);
}

/* One part alone is a message like any other. */
static void ask_for_one(struct commit_unit *u)
{
	struct span head = span_first(buf_span(&u->heads), u->parts[0].head_bytes);
	struct spool_message m;
	add_piece(u, span_from(buf_span(&u->heads), head.n), NULL);
	add_piece(u, SPAN_NONE, u->bodies[0]);
	err_t err = spool_message_get(head, &m);
	if (err == ERR_OK)
		put(u, &m);
	else
		soon_set(u->committer->loop, &u->refuse);
	spool_message_end(&m);
}

static void put_index(struct commit_unit *u)
{
	uint64_t heads_at = UNIT_START_BYTES + u->part_n * UNIT_PART_BYTES;
	unit_put_start(&u->index, u->part_n);
	for (size_t i = 0; i < u->part_n; i++) {
		struct unit_part p = u->parts[i];
		uint64_t at = heads_at + buf_len(&u->heads);
		for (size_t b = 0; b < p.body_at; b++)
			at += body_size(u->bodies[b]);
		p.head_at += heads_at;
		p.body_at = at;
		unit_put_part(&u->index, &p);
	}
}

static void ask_for_all(struct commit_unit *u)
{
	struct spool_message m = commit_envelope(u->mail);
	struct unit_label *labels = mem_array(u->part_n, sizeof *labels);
	m.hold = false; /* that is for the parts to say */
	m.recipients = mem_array(u->part_n, sizeof *m.recipients);
	m.recipient_count = u->part_n;
	for (size_t i = 0; i < u->part_n; i++)
		unit_recipient(i, u->recipients[i], &labels[i], &m.recipients[i]);
	put_index(u);
	add_piece(u, buf_span(&u->index), NULL);
	add_piece(u, buf_span(&u->heads), NULL);
	for (size_t i = 0; i < u->body_n; i++)
		add_piece(u, SPAN_NONE, u->bodies[i]);
	put(u, &m);
	mem_free(m.recipients);
	mem_free(labels);
}

static void heard_of(struct commit_unit *u)
{
	CHECK(u->heard < u->n);
	if (++u->heard < u->n || u->part_n == 0)
		return;
	if (!buf_ok(&u->heads))
		soon_set(u->committer->loop, &u->refuse);
	else if (u->part_n == 1)
		ask_for_one(u);
	else
		ask_for_all(u);
}

/* ---- parts ------------------------------------------------------------------------------------ */

static size_t body_number(struct commit_unit *u, struct body *b)
{
	size_t i = 0;
	while (i < u->body_n && u->bodies[i] != b)
		i++;
	if (i == u->body_n)
		u->bodies[u->body_n++] = b;
	return i;
}

static void add_part(
    struct commit_unit *u, const struct transaction *part, const struct spool_message *m)
{
	struct unit_part *p = &u->parts[u->part_n];
	struct span fields = span_str(part->prefix);
	CHECK(fields.n <= UNIT_FIELDS_MAX); /* parts.c makes them */
	p->head_at = buf_len(&u->heads);
	spool_message_put(&u->heads, m);
	p->head_bytes = (uint32_t)(buf_len(&u->heads) - p->head_at);
	buf_add_span(&u->heads, fields);
	p->fields_bytes = (uint32_t)fields.n;
	p->body_at = body_number(u, part->body);
	p->body_bytes = body_size(part->body);
	u->recipients[u->part_n++] = m->recipient_count;
}

struct ticket *commit_unit_join(struct commit_unit *u, const struct transaction *part,
    const struct spool_message *m, spool_put_fn *fn, void *arg)
{
	struct unit_member *member = MEM_NEW(struct unit_member);
	member->ticket.cancel = cancel;
	member->magic = unit_member_MAGIC;
	member->unit = u;
	member->fn = fn;
	member->arg = arg;
	list_add_tail(&u->members, &member->link);
	add_part(u, part, m);
	heard_of(u);
	return &member->ticket;
}

void commit_unit_pass(struct commit_unit *u)
{
	heard_of(u);
}

struct spool_message commit_envelope(const struct transaction *t)
{
	return (struct spool_message){ .id = t->id,
		.session = t->session,
		.body_8bit = t->body_8bit,
		.smtputf8 = t->smtputf8,
		.priority = t->priority,
		.client = t->client,
		.arrived_us = t->arrived_us,
		.sender = span_str(t->sender),
		.auth_user = span_str(t->auth_user),
		.trusted = t->trusted,
		.aligned = t->aligned,
		.disowned = t->disowned,
		.hold = t->hold,
		.require_tls = t->require_tls,
		.tls_optional = t->tls_optional,
		.ret = t->ret,
		.envid = span_str(t->envid) };
}
