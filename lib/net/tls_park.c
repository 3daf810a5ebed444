/* tls_park.c - a parked session: its records from and to the descriptor, key updates, alerts.
 *
 * Before: tls_notes.c. Below: tls_record.c. Above: wire.c. Owns two buffers per process, for what
 * was received and for what is to be sent; both are empty whenever control is elsewhere. */
#include "net/tls_park.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"

#define tls_park_MAGIC 0x7a4c0001u

enum {
	RECORDS_AT_ONCE = 4,           /* of full size, sealed for one system call */
	IDLE_RECORDS_MAX = 32,         /* in a row that carry no bytes of the application */
	TICKET_MAX = 1 << 16,          /* a NewSessionTicket that is passed over */
	PART_MAX = 2 * TLS_RECORD_MAX, /* of a record that waits for its rest, when it moves */
	HANDSHAKE_NEW_TICKET = 4,      /* RFC 8446 section 4 */
	HANDSHAKE_KEY_UPDATE = 24,     /* section 4.6.3 */
	HANDSHAKE_HEAD = 4,
	KEY_UPDATE_LEN = HANDSHAKE_HEAD + 1,
	ALERT_LEN = 2
};
/* AES-GCM seals 2^24.5 full records under one key with margin (section 5.5). */
#define RECORDS_OF_A_KEY (UINT64_C(1) << 24)

/* Bytes of a record that waits for the rest of it, or for the kernel. */
struct kept {
	size_t at, n;
	size_t plain; /* to be sent: bytes of the application in it */
	char bytes[];
};

struct tls_park {
	uint32_t magic;
	bool client;
	bool owes_update;   /* KeyUpdate is to be sent before the next bytes */
	bool said_goodbye;  /* close_notify is sealed */
	bool ended, failed; /* nothing more is read: close_notify, or a fault */
	uint8_t idle_records;
	uint8_t message[KEY_UPDATE_LEN], message_n; /* of a handshake message that has begun */
	err_t fault;
	uint32_t message_skip; /* bytes of a ticket still to come */
	uint32_t record_max;
	const char *fault_text;     /* static */
	struct kept *part, *unsent; /* owned; NULL: none */
	struct tls_keys keys_in, keys_out;
};

static char received[WIRE_SCRATCH];
static char sealed[RECORDS_AT_ONCE * TLS_RECORD_MAX];

/* ---- life ---- */

struct tls_park *tls_park_new(const struct tls_facts *facts)
{
	struct tls_park *p = MEM_NEW(struct tls_park);
	CHECK(facts->record_max > 0 && facts->record_max <= TLS_PLAIN_MAX);
	p->magic = tls_park_MAGIC;
	p->client = facts->client;
	p->record_max = (uint32_t)facts->record_max;
	tls_keys_begin(&p->keys_in, facts->suite, facts->secret_in, facts->seq_in);
	tls_keys_begin(&p->keys_out, facts->suite, facts->secret_out, facts->seq_out);
	return p;
}

void tls_park_free(struct tls_park **p)
{
	struct tls_park *dying = *p;
	*p = NULL;
	if (dying == NULL)
		return;
	OBJ(tls_park, dying);
	tls_keys_end(&dying->keys_in);
	tls_keys_end(&dying->keys_out);
	mem_free(dying->part);
	mem_free(dying->unsent);
	dying->magic = 0;
	mem_free(dying);
}

static struct kept *keep(const char *p, size_t n)
{
	struct kept *k = mem_alloc(sizeof *k + n);
	k->n = n;
	memcpy(k->bytes, p, n);
	return k;
}

/* ---- sending ---- */

static enum wire_result send_some(int fd, const char *p, size_t n, size_t *put_out)
{
	ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
	*put_out = put > 0 ? (size_t)put : 0;
	if (put >= 0)
		return WIRE_OK;
	if (wire_is_later(errno))
		return WIRE_WANT_WRITE;
	return wire_fail_errno(errno);
}

/* The rest of a record whose beginning is with the kernel. */
static enum wire_result send_unsent(struct tls_park *p, int fd)
{
	while (p->unsent != NULL) {
		struct kept *k = p->unsent;
		size_t put;
		enum wire_result r = send_some(fd, k->bytes + k->at, k->n - k->at, &put);
		k->at += put;
		if (r != WIRE_OK)
			return r;
		if (k->at == k->n)
			MEM_FREE(&p->unsent);
	}
	return WIRE_OK;
}

/* A message of TLS itself; nothing may be unsent. */
static enum wire_result send_message(struct tls_park *p, int fd, enum tls_type type, struct span m)
{
	char record[TLS_SEAL_EXTRA + KEY_UPDATE_LEN] = { 0 };
	CHECK(p->unsent == NULL && m.n <= KEY_UPDATE_LEN);
	p->unsent = keep(record, tls_seal(&p->keys_out, type, m, record));
	return send_unsent(p, fd);
}

/* What a peer asked for, or what the number of records under this key demands. */
static enum wire_result update_keys_out(struct tls_park *p, int fd)
{
	static const char update[KEY_UPDATE_LEN] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0 };
	enum wire_result r =
	    send_message(p, fd, TLS_TYPE_HANDSHAKE, span_of(update, sizeof update));
	tls_keys_update(&p->keys_out);
	p->owes_update = false;
	return r;
}

/* Seals records and hands them over in one piece. A record that the kernel has begun to take is
 * kept; those behind it were never seen outside, and their numbers are used again. */
static enum wire_result send_data(struct tls_park *p, int fd, struct span bytes, size_t *put_out)
{
	size_t ends[RECORDS_AT_ONCE] = { 0 }, plain[RECORDS_AT_ONCE] = { 0 }, records = 0, n = 0,
	       sent;
	uint64_t first = p->keys_out.seq;
	while (records < RECORDS_AT_ONCE && bytes.n > 0) {
		struct span some = span_first(bytes, p->record_max);
		n += tls_seal(&p->keys_out, TLS_TYPE_DATA, some, sealed + n);
		plain[records] = some.n;
		ends[records++] = n;
		bytes = span_from(bytes, some.n);
	}
	enum wire_result r = send_some(fd, sealed, n, &sent);
	size_t whole = 0;
	while (whole < records && ends[whole] <= sent)
		*put_out += plain[whole++];
	p->keys_out.seq = first + whole;
	size_t begun_at = whole > 0 ? ends[whole - 1] : 0;
	if (sent > begun_at) {
		p->unsent = keep(sealed + sent, ends[whole] - sent);
		p->unsent->plain = plain[whole];
		p->keys_out.seq++;
	}
	return *put_out > 0 || r != WIRE_OK ? r : WIRE_WANT_WRITE;
}

enum wire_result tls_park_write(struct tls_park *p, int fd, struct span bytes, size_t *put_out)
{
	OBJ(tls_park, p);
	size_t before = p->unsent != NULL ? p->unsent->plain : 0;
	*put_out = 0;
	if (p->said_goodbye)
		return wire_fail(ERR_CONN_CLOSED, "TLS has ended");
	enum wire_result r = send_unsent(p, fd);
	if (r == WIRE_OK && before > 0) {
		*put_out = before;
		return WIRE_OK;
	}
	if (r == WIRE_OK && (p->owes_update || p->keys_out.seq >= RECORDS_OF_A_KEY))
		r = update_keys_out(p, fd);
	if (r != WIRE_OK || bytes.n == 0)
		return r;
	return send_data(p, fd, bytes, put_out);
}

enum wire_result tls_park_finish(struct tls_park *p, int fd)
{
	static const char close_notify[ALERT_LEN] = { 1, TLS_CLOSE_NOTIFY };
	OBJ(tls_park, p);
	enum wire_result r = send_unsent(p, fd);
	if (r != WIRE_OK || p->said_goodbye)
		return r;
	p->said_goodbye = true;
	return send_message(p, fd, TLS_TYPE_ALERT, span_of(close_notify, sizeof close_notify));
}

/* ---- the end of reading ---- */

static void fail(struct tls_park *p, err_t fault, const char *text)
{
	p->ended = p->failed = true;
	p->fault = fault;
	p->fault_text = text;
}

/* The peer broke the rules: it is told, if there is room, and heard no more. */
static void refuse(struct tls_park *p, int fd, enum tls_alert why)
{
	const char alert[ALERT_LEN] = { 2, (char)why };
	fail(p, ERR_PROTOCOL,
	    why == TLS_BAD_RECORD_MAC    ? "a TLS record that does not open"
	    : why == TLS_RECORD_OVERFLOW ? "a TLS record that is too long"
					 : "a TLS record that may not come here");
	if (send_unsent(p, fd) == WIRE_OK && !p->said_goodbye) {
		p->said_goodbye = true;
		send_message(p, fd, TLS_TYPE_ALERT, span_of(alert, sizeof alert));
	}
}

static enum wire_result tell_end(const struct tls_park *p)
{
	return p->failed ? wire_fail(p->fault, p->fault_text) : WIRE_EOF;
}

bool tls_park_has_end(const struct tls_park *p)
{
	return p->ended;
}

/* ---- what a record says ---- */

static enum tls_alert on_alert(struct tls_park *p, struct span m)
{
	if (m.n != ALERT_LEN)
		return TLS_DECODE_ERROR;
	if (m.p[1] == TLS_USER_CANCELED) /* close_notify follows (section 6.1) */
		return TLS_FINE;
	if (m.p[1] == TLS_CLOSE_NOTIFY)
		p->ended = true;
	else
		fail(p, ERR_PROTOCOL, "the peer sent a TLS alert");
	return TLS_FINE;
}

/* A whole head has come: tickets are passed over, we resume no session of ours. */
static enum tls_alert on_message_head(struct tls_park *p)
{
	uint32_t n = (uint32_t)p->message[1] << 16 | (uint32_t)p->message[2] << 8 | p->message[3];
	if (p->message[0] == HANDSHAKE_NEW_TICKET && p->client) {
		p->message_skip = n;
		p->message_n = 0;
		return n <= TICKET_MAX ? TLS_FINE : TLS_DECODE_ERROR;
	}
	if (p->message[0] != HANDSHAKE_KEY_UPDATE)
		return TLS_UNEXPECTED_MESSAGE;
	return n == 1 ? TLS_FINE : TLS_DECODE_ERROR;
}

/* behind: bytes of the record after it. */
static enum tls_alert on_key_update(struct tls_park *p, size_t behind)
{
	if (p->message[HANDSHAKE_HEAD] > 1)
		return TLS_ILLEGAL_PARAMETER;
	if (behind > 0)
		return TLS_UNEXPECTED_MESSAGE; /* keys change between records (section 5.1) */
	p->owes_update |= p->message[HANDSHAKE_HEAD] == 1;
	p->message_n = 0;
	tls_keys_update(&p->keys_in);
	return TLS_FINE;
}

static enum tls_alert on_handshake(struct tls_park *p, struct span m)
{
	enum tls_alert wrong = m.n == 0 ? TLS_UNEXPECTED_MESSAGE : TLS_FINE;
	while (m.n > 0 && wrong == TLS_FINE) {
		size_t skip = m.n < p->message_skip ? m.n : p->message_skip;
		p->message_skip -= (uint32_t)skip;
		m = span_from(m, skip);
		if (m.n == 0)
			break;
		p->message[p->message_n++] = (uint8_t)m.p[0];
		m = span_from(m, 1);
		if (p->message_n == HANDSHAKE_HEAD)
			wrong = on_message_head(p);
		else if (p->message_n == KEY_UPDATE_LEN)
			wrong = on_key_update(p, m.n);
	}
	return wrong;
}

static enum tls_alert on_record(struct tls_park *p, uint8_t type, struct span m)
{
	bool between = p->message_n == 0 && p->message_skip == 0;
	bool data = type == TLS_TYPE_DATA && m.n > 0;
	p->idle_records = data ? 0 : (uint8_t)(p->idle_records + 1);
	if (p->idle_records > IDLE_RECORDS_MAX || (!between && type != TLS_TYPE_HANDSHAKE))
		return TLS_UNEXPECTED_MESSAGE;
	switch (type) {
	case TLS_TYPE_DATA:
		return TLS_FINE;
	case TLS_TYPE_HANDSHAKE:
		return on_handshake(p, m);
	case TLS_TYPE_ALERT:
		return on_alert(p, m);
	default:
		return TLS_UNEXPECTED_MESSAGE;
	}
}

/* ---- receiving ---- */

/* What was received and not opened yet, and what has been opened. */
struct intake {
	struct span in;
	char *out;
	size_t got;
};

/* Opens whole records. Returns how many bytes the next one lacks; 0: nothing of it is there, or
 * not enough to know. */
static size_t open_records(struct tls_park *p, int fd, struct intake *k)
{
	while (!p->ended && k->in.n > 0) {
		struct tls_opened opened;
		enum tls_alert wrong;
		size_t n = tls_record_len(k->in, &wrong);
		if (wrong == TLS_FINE && (n == 0 || n > k->in.n))
			return n == 0 ? 0 : n - k->in.n;
		if (wrong == TLS_FINE)
			wrong =
			    tls_open(&p->keys_in, span_first(k->in, n), k->out + k->got, &opened);
		if (wrong == TLS_FINE)
			wrong = on_record(p, opened.type, span_of(k->out + k->got, opened.n));
		if (wrong != TLS_FINE) {
			refuse(p, fd, wrong);
			return 0;
		}
		k->got += opened.type == TLS_TYPE_DATA ? opened.n : 0;
		k->in = span_from(k->in, n);
	}
	return 0;
}

/* Behind `had` bytes, which are kept for the session, at most n bytes more. */
static enum wire_result receive(struct tls_park *p, int fd, size_t had, size_t n, size_t *got_out)
{
	ssize_t got = recv(fd, received + had, n, 0);
	*got_out = got > 0 ? (size_t)got : 0;
	if (got > 0)
		return WIRE_OK;
	if (got < 0 && wire_is_later(errno))
		return WIRE_WANT_READ;
	if (got < 0)
		fail(p, err_from_errno(errno), "broken below TLS");
	else if (had > 0)
		fail(p, ERR_CONN_CLOSED, "closed in the middle of a TLS record");
	p->ended = true;
	return tell_end(p);
}

/* All that is there to open stands at the front of the buffer. */
static void gather(struct tls_park *p, size_t had)
{
	if (had > 0)
		memcpy(received, p->part->bytes, had);
	MEM_FREE(&p->part);
}

enum wire_result tls_park_read(struct tls_park *p, int fd, char *out, size_t n, size_t *got_out)
{
	OBJ(tls_park, p);
	struct intake k = { .out = out };
	size_t had = p->part != NULL ? p->part->n : 0, got, more = 0;
	size_t room = WIRE_SCRATCH - TLS_RECORD_MAX - had; /* and the rest of a last record fits */
	*got_out = 0;
	CHECK(n >= WIRE_SCRATCH);
	if (p->ended)
		return tell_end(p);
	enum wire_result r = receive(p, fd, had, room, &got);
	if (r != WIRE_OK)
		return r;
	gather(p, had);
	k.in = span_of(received, had + got);
	size_t lacks = open_records(p, fd, &k);
	if (lacks > 0 && got == room) { /* the kernel has more: nothing is kept in a burst */
		memmove(received, k.in.p, k.in.n);
		receive(p, fd, k.in.n, lacks, &more);
		k.in = span_of(received, k.in.n + more);
		open_records(p, fd, &k);
	}
	if (k.in.n > 0 && !p->ended)
		p->part = keep(k.in.p, k.in.n);
	*got_out = k.got;
	if (k.got > 0)
		return WIRE_OK;
	return p->ended ? tell_end(p) : WIRE_WANT_READ;
}

/* ---- to another process ---- */

static void save_keys(const struct tls_keys *k, struct buf *out)
{
	buf_add(out, k->secret, tls_secret_len((enum tls_suite)k->suite));
	bytes_put_u64(out, k->seq);
}

/* The length, then what is left of it. */
static void save_kept(const struct kept *k, struct buf *out)
{
	size_t n = k != NULL ? k->n - k->at : 0;
	bytes_put_u32(out, n);
	if (n > 0)
		buf_add(out, k->bytes + k->at, n);
}

bool tls_park_save(const struct tls_park *p, struct buf *out)
{
	if (p->ended || p->failed || p->said_goodbye)
		return false;
	bytes_put_u8(out, p->keys_in.suite);
	bytes_put_u8(out, p->client);
	bytes_put_u8(out, p->owes_update);
	bytes_put_u8(out, p->idle_records);
	bytes_put_u8(out, p->message_n);
	buf_add(out, p->message, sizeof p->message);
	bytes_put_u32(out, p->message_skip);
	bytes_put_u32(out, p->record_max);
	save_keys(&p->keys_in, out);
	save_keys(&p->keys_out, out);
	save_kept(p->part, out);
	bytes_put_u32(out, p->unsent != NULL ? p->unsent->plain : 0);
	save_kept(p->unsent, out);
	return buf_ok(out);
}

static void load_keys(struct bytes_reader *in, unsigned suite, struct tls_keys *out)
{
	struct span secret = bytes_raw(in, tls_secret_len((enum tls_suite)suite));
	uint64_t seq = bytes_u64(in);
	if (bytes_ok(in))
		tls_keys_begin(out, (enum tls_suite)suite, (const uint8_t *)secret.p, seq);
}

static struct kept *load_kept(struct bytes_reader *in)
{
	uint32_t n = bytes_u32(in);
	struct span bytes = n <= PART_MAX ? bytes_raw(in, n) : SPAN_NONE;
	in->bad = in->bad || n > PART_MAX;
	return bytes.n > 0 ? keep(bytes.p, bytes.n) : NULL;
}

static void load_rest(struct tls_park *p, struct bytes_reader *in)
{
	p->part = load_kept(in);
	uint32_t plain = bytes_u32(in);
	p->unsent = load_kept(in);
	if (p->unsent != NULL)
		p->unsent->plain = plain;
	in->bad = in->bad || plain > TLS_PLAIN_MAX || (plain > 0 && p->unsent == NULL);
}

struct tls_park *tls_park_load(struct bytes_reader *in)
{
	unsigned suite = bytes_u8(in);
	if (suite >= TLS_SUITES || !bytes_ok(in))
		return NULL;
	struct tls_park *p = MEM_NEW(struct tls_park);
	p->magic = tls_park_MAGIC;
	p->client = bytes_u8(in) != 0;
	p->owes_update = bytes_u8(in) != 0;
	p->idle_records = bytes_u8(in);
	p->message_n = bytes_u8(in);
	struct span message = bytes_raw(in, sizeof p->message);
	p->message_skip = bytes_u32(in);
	p->record_max = bytes_u32(in);
	load_keys(in, suite, &p->keys_in);
	load_keys(in, suite, &p->keys_out);
	load_rest(p, in);
	if (bytes_ok(in) && p->idle_records <= IDLE_RECORDS_MAX && p->message_n < KEY_UPDATE_LEN &&
	    p->message_skip <= TICKET_MAX && p->record_max > 0 && p->record_max <= TLS_PLAIN_MAX) {
		memcpy(p->message, message.p, sizeof p->message);
		return p;
	}
	in->bad = true;
	tls_park_free(&p);
	return NULL;
}
