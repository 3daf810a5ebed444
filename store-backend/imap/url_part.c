/* url_part.c - what a URL names; see url_part.h. Before: append.c (CATENATE), urlauth.c; after: fetch_put.c, which knows the
 * parts of messages. Owns the text of header fields. */
#include "store-backend/imap/url_part.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* "BODY.PEEK[section]<from.count>", as FETCH would say it. */
static bool read_section(
    const struct imap_url *u, struct buf *text, struct buf *scratch, struct fetch_request *req)
{
	struct imap_cursor c;
	buf_printf(text, "BODY.PEEK[%.*s]", SPAN_ARG(u->section));
	if (u->partial)
		buf_printf(text, "<%u.%u>", u->from, u->count);
	imap_cursor_init(&c, buf_span(text), scratch);
	fetch_parse(&c, false, req);
	imap_read_end(&c);
	return buf_ok(text) && imap_ok(&c) && req->n == 1;
}

static bool find_bytes(struct url_part *p, const struct fetch_request *req, struct message *m)
{
	enum fetch_section s = fetch_section(req, &req->v[0], m, &p->text, &p->range);
	p->in_text = s == SECTION_TEXT;
	return s == SECTION_RANGE || s == SECTION_TEXT;
}

bool url_part_open(struct url_part *p, const struct imap_url *u, const struct store_partition *in,
    struct index_view *v, const struct index_mailbox *m)
{
	struct buf text = BUF_INIT(2 * IMAP_URL_MAX), scratch = BUF_INIT(2 * IMAP_URL_MAX);
	struct fetch_request req;
	struct index_entry e;
	struct message message;
	*p = (struct url_part){ .text = BUF_INIT(FETCH_TEXT_MAX) };
	bool ok = (u->uidvalidity == 0 || u->uidvalidity == m->uidvalidity) &&
		  read_section(u, &text, &scratch, &req) && index_entry(v, m->id, u->uid, &e);
	if (ok) {
		blob_init(&p->blob, in->reader, &e);
		message_init(&message, &p->blob.bytes);
		message_set_cache(&message, index_cache(v, e.blob));
		ok = find_bytes(p, &req, &message);
		message_rest(&message);
		message_end(&message);
		message_init(&p->message, &p->blob.bytes);
		p->section = req.v[0];
	}
	buf_end(&text);
	buf_end(&scratch);
	return ok;
}

/* A URL's own user must be this one: what others have opened is below "Other Users/". With a host and no user it is of whoever
 * needs no name there, not of this session (RFC 4469 section 3). A host is not compared: behind a proxy a store does not know
 * by which names its clients call it. */
static bool is_ours(const struct imap_session *s, const struct imap_url *u)
{
	struct span user = span_str(s->user);
	return (u->user.n == 0 && !u->absolute) || span_ieq(u->user, user) ||
	       span_ieq(u->user, span_first(user, span_find(user, '@')));
}

static bool find_mailbox(
    struct imap_session *s, struct index_view *v, struct span name, struct index_mailbox *out)
{
	if (name.n > 0)
		return shared_find(s, v, name, ACL_READ, out) == OPR_OK;
	return index_mailbox_get(v, s->box->id, out) &&
	       (index_rights(v, out, span_str(s->user)) & ACL_READ) != 0;
}

bool url_part_open_ours(struct url_part *p, const struct imap_url *u, struct imap_session *s)
{
	struct index_mailbox m;
	struct buf name = BUF_INIT(IMAP_NAME_BYTES);
	bool ok = is_ours(s, u) && buf_add_span(&name, u->mailbox) &&
		  (u->mailbox.n > 0 || s->box != NULL);
	imap_fold_inbox(&name);
	struct span whole = buf_span(&name);
	struct store_partition *in = whole.n > 0 ? shared_partition(s, whole) : s->box_in;
	struct index_view *v = ok ? index_view_begin(in->index) : NULL;
	ok = v != NULL && find_mailbox(s, v, whole, &m) && url_part_open(p, u, in, v, &m);
	index_view_end(&v);
	buf_end(&name);
	return ok;
}

err_t url_part_read(struct url_part *p, struct buf *out)
{
	struct message_range *r = &p->range;
	size_t n = r->n < URL_PIECE_MAX ? (size_t)r->n : URL_PIECE_MAX;
	char *room;
	err_t err = ERR_OK;
	if (n == 0)
		return ERR_OK;
	if (p->in_text) {
		if (!buf_add_span(out, span_of(buf_span(&p->text).p + r->at, n)))
			err = ERR_TOO_LONG;
	} else if (buf_room(out, n, &room) < n) {
		err = ERR_TOO_LONG;
	} else {
		err = p->blob.bytes.read(p->blob.bytes.arg, r->at, room, n);
		buf_added(out, err ? 0 : n);
	}
	r->at += n;
	r->n -= n;
	return err;
}

enum url_binary url_part_decode(struct url_part *p)
{
	if (p->section.text != TEXT_WHOLE && p->section.text != TEXT_TEXT)
		return URL_AS_IS;
	enum fetch_binary_start start = fetch_binary_start(&p->binary, &p->message, &p->section);
	message_rest(&p->message);
	if (start == BINARY_UNKNOWN)
		return URL_UNKNOWN;
	if (start != BINARY_STARTED)
		return URL_UNREADABLE;
	p->binary.silent = true;
	return p->binary.how == TRANSFER_NONE ? URL_AS_IS : URL_DECODED;
}

void url_part_end(struct url_part *p)
{
	buf_end(&p->text);
	message_end(&p->message);
	*p = (struct url_part){ .in_text = false };
}
