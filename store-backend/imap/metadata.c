/* metadata.c - GETMETADATA and SETMETADATA (RFC 5464): annotations of mailboxes and of the server. Before: input.c; after:
 * index_metadata.c decides about changes, here only what is looked at. Owns nothing. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/metadata_parse.h"
#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* The mailbox of the command: "" is the server, whose id is 0. */
static bool read_target(struct imap_session *s)
{
	struct span sent = imap_read_astring(&s->cmd.args);
	if (imap_ok(&s->cmd.args) && sent.n > 0)
		imap_name_of(s, sent, &s->cmd.name);
	return sent.n == 0;
}

/* ---- GETMETADATA ------------------------------------------------------------------------------------------------- */

struct get {
	struct imap_session *s;
	struct metadata_request *req;
	const struct metadata_entry *root; /* asked for */
	bool any;                          /* the line is begun */
	bool here;                         /* the root itself was among them */
	size_t longest;                    /* of those left out for MAXSIZE */
};

static void begin_entry(struct get *g, struct span name)
{
	imap_say(g->s, g->any ? " " : "* METADATA ");
	if (!g->any) {
		if (buf_len(&g->s->cmd.name) > 0)
			imap_put_name(g->s, buf_span(&g->s->cmd.name));
		else
			imap_say(g->s, "\"\"");
		imap_say(g->s, " (");
	}
	g->any = true;
	imap_put_astring(&g->s->text, name);
	imap_say(g->s, " ");
}

static void say_value(struct get *g, struct span value)
{
	if (span_find(value, '\0') != SIZE_MAX)
		imap_say(g->s, "~");
	if (span_find(value, '\0') != SIZE_MAX)
		imap_put_literal(&g->s->text, value, false);
	else
		imap_put_string(&g->s->text, value);
}

static bool on_entry(void *arg, struct span name, struct span value)
{
	struct get *g = arg;
	if (name.p[0] != '/' || !metadata_covers(g->req, g->root, name))
		return true;
	g->here = g->here || span_eq(name, metadata_name(g->root));
	if (g->req->has_maxsize && value.n > g->req->maxsize) {
		g->longest = value.n > g->longest ? value.n : g->longest;
		return true;
	}
	begin_entry(g, name);
	say_value(g, value);
	return true;
}

/* What the configuration says of the server. */
static void each_of_server(struct get *g)
{
	const char *comment = g->s->opts->metadata_comment, *admin = g->s->opts->metadata_admin;
	if (admin != NULL && admin[0] != '\0')
		(void)on_entry(g, SPAN("/shared/admin"), span_str(admin));
	if (comment != NULL && comment[0] != '\0')
		(void)on_entry(g, SPAN("/shared/comment"), span_str(comment));
}

static void get_one(struct get *g, struct index_view *v, uint64_t mailbox)
{
	bool shared = span_starts(metadata_name(g->root), SPAN("/shared"));
	g->here = false;
	if (shared && mailbox == 0)
		each_of_server(g);
	else
		index_metadata(v, mailbox, shared ? SPAN("") : span_str(g->s->user), on_entry, g);
	if (!g->here && g->req->depth == 0) {
		begin_entry(g, metadata_name(g->root));
		imap_say(g->s, "NIL");
	}
}

static enum verdict get_all(
    struct imap_session *s, struct metadata_request *req, struct index_view *v, uint64_t mailbox)
{
	struct get g = { .s = s, .req = req };
	for (size_t i = 0; i < req->n; i++) {
		g.root = &req->v[i];
		get_one(&g, v, mailbox);
	}
	if (g.any)
		imap_say(s, ")\r\n");
	if (g.longest > 0)
		return imap_finishf(
		    s, "OK", "[METADATA LONGENTRIES %zu] GETMETADATA completed", g.longest);
	return imap_finish_done(s);
}

/* Whoever sees the mailbox and may do anything with its messages. */
static enum operation_result find_annotated(
    struct imap_session *s, struct index_view *v, uint32_t rights, struct index_mailbox *out)
{
	enum operation_result r =
	    shared_find(s, v, buf_span(&s->cmd.name), ACL_LOOKUP | rights, out);
	if (r == OPR_OK && (index_rights(v, out, span_str(s->user)) & ACL_METADATA) == 0)
		return OPR_DENIED;
	return r;
}

static enum verdict get_from(struct imap_session *s, struct metadata_request *req, bool server)
{
	struct index_mailbox m = { 0 };
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = server ? OPR_OK : find_annotated(s, v, 0, &m);
	enum verdict next = r == OPR_OK ? get_all(s, req, v, m.id) : imap_finish_result(s, r);
	index_view_end(&v);
	return next;
}

enum verdict cmd_getmetadata(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct metadata_request *req = mem_array(1, sizeof *req);
	imap_read_sp(c);
	metadata_parse_options(c, req);
	bool server = read_target(s);
	imap_read_sp(c);
	metadata_parse_names(c, req);
	imap_read_end(c);
	enum verdict v = imap_ok(c) ? get_from(s, req, server) : imap_finish_bad(s, c->why);
	mem_free(req);
	return v;
}

/* ---- SETMETADATA ------------------------------------------------------------------------------------------------- */

static void on_set(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	if (a->result == OPR_TOO_MANY)
		imap_step(s, imap_finish(s, "NO", "[METADATA TOOMANY] Too many annotations"));
	else
		imap_step(s,
		    a->result == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, a->result));
}

static enum verdict too_long(struct imap_session *s)
{
	return imap_finishf(s, "NO", "[METADATA MAXSIZE %llu] The value is too long",
	    (unsigned long long)s->opts->metadata_value_max);
}

static enum verdict ask(struct imap_session *s, struct operation *op, bool server)
{
	struct index_mailbox m = { 0 };
	struct index_view *v = server ? NULL : index_view_begin(s->partition->index);
	if (server) {
		op->user = span_str(s->user);
		return imap_operate(s, op, on_set);
	}
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = find_annotated(s, v, 0, &m);
	index_view_end(&v);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	op->mailbox = m.id;
	shared_act(s, op, shared_parse(s, buf_span(&s->cmd.name)).owner);
	return imap_operate(s, op, on_set);
}

/* CREATE gives a mailbox its use: an annotation that says otherwise would lie (RFC 6154 section 4). */
static bool gives_use(const struct metadata_request *req)
{
	for (size_t i = 0; i < req->n; i++)
		if (!req->v[i].nil && span_eq_str(metadata_name(&req->v[i]), "/private/specialuse"))
			return true;
	return false;
}

static enum verdict set(struct imap_session *s, const struct metadata_request *req, bool server)
{
	struct op_entry *v = mem_array(req->n, sizeof *v);
	struct operation op;
	enum verdict next = V_NEXT;
	bool fits = true;
	operation_init(&op, OP_SET_METADATA);
	for (size_t i = 0; i < req->n; i++) {
		v[i] =
		    (struct op_entry){ metadata_name(&req->v[i]), req->v[i].value, req->v[i].nil };
		fits = fits && v[i].value.n <= s->opts->metadata_value_max;
	}
	op.entries = v;
	op.entry_n = req->n;
	op.quota_messages = (uint64_t)s->opts->metadata_entries_max;
	if (gives_use(req))
		next = imap_finish(s, "NO", "[USEATTR] CREATE gives a mailbox its use");
	else
		next = fits ? ask(s, &op, server) : too_long(s);
	mem_free(v);
	return next;
}

enum verdict cmd_setmetadata(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct metadata_request *req = mem_array(1, sizeof *req);
	enum verdict v;
	imap_read_sp(c);
	bool server = read_target(s);
	imap_read_sp(c);
	req->n = 0;
	metadata_parse_values(c, req);
	imap_read_end(c);
	if (s->cmd.pending)
		v = too_long(s); /* a literal longer than any value may be */
	else
		v = imap_ok(c) ? set(s, req, server) : imap_finish_bad(s, c->why);
	mem_free(req);
	return v;
}
