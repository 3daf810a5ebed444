/* urlauth.c - GENURLAUTH, RESETKEY, URLFETCH (RFC 4467, RFC 5524): URLs that let others read one message, or a part of one, of a user's
 * own mailboxes. Before: input.c. After: url_part.c finds the bytes, operation.c makes keys.
 *
 * A token is an HMAC over the URL, made with two keys of the user that are kept as annotations nobody sees: one for all
 * mailboxes and one for each. RESETKEY makes one of them anew, so that all URLs made with it are void. Owns the URLs' job. */
#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/digest.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/url_part.h"

enum { URLS_MAX = 64, KEY_BYTES = 32, TEXT_HIGH = 32 * 1024, TURN_BYTES = 256 * 1024 };
#define KEY_NAME SPAN("!urlkey")
#define TOKEN_VERSION "01"

/* What URLFETCH is to tell of a URL; nothing of these: its bytes, as they are. */
enum { WANT_BODY = 1, WANT_BINARY = 2, WANT_STRUCTURE = 4 };

struct url_ask {
	struct span url; /* points into the command */
	unsigned want;
};

enum url_step { URL_BEGINS, URL_COUNTING, URL_TELLING };

struct url_job {
	struct imap_job job; /* first member */
	size_t n, at;
	struct url_ask v[URLS_MAX];
	/* of URLFETCH, the one that is being told */
	enum url_step step;
	enum url_binary binary;
	struct url_part part; /* owned */
};

static void end_urls(struct imap_job *job)
{
	struct url_job *j = (struct url_job *)job;
	url_part_end(&j->part);
	mem_free(j);
}

/* ---- keys and tokens ------------------------------------------------------------------------------------------------ */

/* False: one of them is not there; *missing_out says which (0: of all mailboxes). */
static bool read_keys(struct index_view *v, struct span user, uint64_t mailbox,
    uint8_t out[2 * KEY_BYTES], uint64_t *missing_out)
{
	uint64_t ids[2] = { 0, mailbox };
	struct span key;
	for (int i = 0; i < 2; i++) {
		*missing_out = ids[i];
		if (!index_metadata_get(v, ids[i], user, KEY_NAME, &key) || key.n != KEY_BYTES)
			return false;
		memcpy(out + i * KEY_BYTES, key.p, KEY_BYTES);
	}
	return true;
}

static bool put_token(struct buf *out, const uint8_t keys[2 * KEY_BYTES], struct span rump)
{
	uint8_t mac[DIGEST_LEN_MAX];
	size_t n = digest_hmac(DIGEST_SHA256, span_of(keys, 2 * KEY_BYTES), rump, mac);
	return buf_add_str(out, TOKEN_VERSION) && fmt_hex(out, span_of(mac, n));
}

/* In a time that tells nothing of where they differ. */
static bool same_token(struct span a, struct span b)
{
	unsigned differs = a.n != b.n;
	for (size_t i = 0; i < a.n && i < b.n; i++)
		differs |= (unsigned)(ascii_hex(a.p[i]) ^ ascii_hex(b.p[i]));
	return differs == 0;
}

static enum verdict make_key(struct imap_session *s, uint64_t mailbox, bool anew, operation_fn *fn)
{
	uint8_t key[KEY_BYTES];
	struct op_entry e = { .name = KEY_NAME, .value = span_of(key, sizeof key) };
	struct operation op;
	rand_bytes(key, sizeof key);
	operation_init(&op, OP_SET_METADATA);
	op.user = span_str(s->user);
	op.mailbox = mailbox;
	op.entries = &e;
	op.entry_n = 1;
	op.how = anew ? FLAGS_SET : FLAGS_ADD; /* another session's key of a moment ago stays */
	return imap_operate(s, &op, fn);
}

/* ---- URLs ---------------------------------------------------------------------------------------------------------- */

/* A name without a domain is of the session's own. */
static bool put_user(const struct imap_session *s, struct span said, struct buf *out)
{
	struct span own = span_str(s->user);
	char lower[STORE_USER_MAX];
	if (said.n == 0 || said.n > sizeof lower)
		return false;
	span_lower_to(lower, said);
	buf_add_span(out, span_of(lower, said.n));
	if (span_find(said, '@') == SIZE_MAX)
		buf_add_span(out, span_from(own, span_rfind(own, '@')));
	return buf_ok(out) && operation_user_ok(buf_span(out));
}

static bool find_own(
    struct index_view *v, struct span user, struct span sent, struct index_mailbox *out)
{
	struct buf name = BUF_INIT(IMAP_NAME_BYTES);
	bool ok = buf_add_span(&name, sent);
	imap_fold_inbox(&name);
	ok = ok && operation_name_ok(buf_span(&name)) &&
	     index_mailbox_find(v, user, buf_span(&name), out);
	buf_end(&name);
	return ok;
}

/* "submit+fred", "user+fred", "authuser", "anonymous" */
static bool access_ok(struct span access)
{
	if (span_ieq_str(access, "anonymous") || span_ieq_str(access, "authuser"))
		return true;
	return (span_istarts(access, SPAN("submit+")) && access.n > 7) ||
	       (span_istarts(access, SPAN("user+")) && access.n > 5);
}

static bool is_submission(const struct imap_session *s)
{
	for (size_t i = 0; i < s->opts->urlauth_submit_users.n; i++)
		if (span_ieq_str(span_str(s->opts->urlauth_submit_users.v[i]), s->user))
			return true;
	return false;
}

/* May this session's user fetch what the access says? */
static bool may_fetch(const struct imap_session *s, struct span access)
{
	struct buf user = BUF_INIT(2 * STORE_USER_MAX);
	bool ok = false;
	if (span_istarts(access, SPAN("submit+")))
		return is_submission(s);
	if (!span_istarts(access, SPAN("user+")))
		return true; /* whoever has logged in */
	ok = put_user(s, span_from(access, 5), &user) && span_eq_str(buf_span(&user), s->user);
	buf_end(&user);
	return ok;
}

static bool has_expired(const struct imap_url *u)
{
	return u->expires && u->expire_s <= (int64_t)(clock_wall_us() / 1000000);
}

/* ---- GENURLAUTH ------------------------------------------------------------------------------------------------------- */

static void on_key(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct imap_job *job = s->job;
	imap_answered(s);
	imap_step(
	    s, a->result == OPR_OK ? imap_start_job(s, job) : imap_finish_result(s, a->result));
}

static bool is_own_url(const struct imap_session *s, const struct imap_url *u)
{
	struct buf user = BUF_INIT(2 * STORE_USER_MAX);
	bool ok = u->absolute && u->mailbox.n > 0 && u->token.n == 0 && access_ok(u->access) &&
		  put_user(s, u->user, &user) && span_eq_str(buf_span(&user), s->user);
	buf_end(&user);
	return ok;
}

static void say_authorized(struct imap_session *s, const struct imap_url *u, const uint8_t *keys)
{
	struct buf url = BUF_INIT(IMAP_URL_MAX + 256);
	buf_add_span(&url, u->rump);
	buf_add_str(&url, ":internal:");
	put_token(&url, keys, u->rump);
	imap_say(s, "* GENURLAUTH ");
	imap_put_string(&s->text, buf_span(&url));
	imap_say(s, "\r\n");
	buf_end(&url);
}

static enum verdict authorize(struct imap_session *s, const struct imap_url *u)
{
	struct index_mailbox m;
	uint8_t keys[2 * KEY_BYTES];
	uint64_t missing = 0;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	bool there = find_own(v, span_str(s->user), u->mailbox, &m);
	uint64_t id = there ? m.id : 0;
	bool known = there && read_keys(v, span_str(s->user), id, keys, &missing);
	index_view_end(&v);
	if (!there)
		return imap_finish(s, "NO", "[NONEXISTENT] No such mailbox of your own");
	if (!known)
		return make_key(s, missing, false, on_key);
	say_authorized(s, u, keys);
	((struct url_job *)s->job)->at++;
	return V_NEXT;
}

static enum verdict run_authorize(struct imap_session *s, struct imap_job *job)
{
	struct url_job *j = (struct url_job *)job;
	struct imap_url u;
	if (j->at == j->n)
		return imap_finish_done(s);
	bool ok = imap_url_parse(&u, j->v[j->at].url) && is_own_url(s, &u);
	enum verdict v =
	    ok ? authorize(s, &u) : imap_finish_bad(s, "No URL that can be authorized");
	imap_url_end(&u);
	return v;
}

static struct url_job *new_urls(struct imap_job job)
{
	struct url_job *j = MEM_NEW(struct url_job);
	j->job = job;
	return j;
}

static struct url_ask *add_url(struct imap_cursor *c, struct url_job *j)
{
	struct url_ask ask = { .url = imap_read_astring(c) };
	if (j->n == URLS_MAX)
		imap_fail(c, "Too many URLs");
	else
		j->v[j->n++] = ask;
	return &j->v[j->n - 1];
}

static enum verdict start(struct imap_session *s, struct url_job *take_job)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_end(c);
	if (imap_ok(c))
		return imap_start_job(s, &take_job->job);
	end_urls(&take_job->job);
	return imap_finish_bad(s, c->why);
}

enum verdict cmd_genurlauth(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct url_job *j = new_urls((struct imap_job){ .run = run_authorize, .end = end_urls });
	imap_read_sp(c);
	do {
		add_url(c, j);
		imap_read_sp(c);
		if (!span_ieq_str(imap_read_atom(c), "INTERNAL"))
			imap_fail(c, "The mechanism is INTERNAL");
	} while (imap_try(c, ' '));
	return start(s, j);
}

/* ---- RESETKEY ----------------------------------------------------------------------------------------------------------- */

static void on_reset(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, a->result == OPR_OK
			 ? imap_finish(s, "OK", "[URLMECH INTERNAL] RESETKEY completed")
			 : imap_finish_result(s, a->result));
}

enum verdict cmd_resetkey(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct index_mailbox m = { 0 };
	bool all = imap_at_end(c);
	if (!all) {
		imap_read_sp(c);
		imap_read_mailbox(s, &s->cmd.name);
	}
	while (!all && imap_try(c, ' '))
		if (!span_ieq_str(imap_read_atom(c), "INTERNAL"))
			imap_fail(c, "The mechanism is INTERNAL");
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (all)
		return make_key(s, 0, true, on_reset);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	bool there = find_own(v, span_str(s->user), buf_span(&s->cmd.name), &m);
	index_view_end(&v);
	return there ? make_key(s, m.id, true, on_reset)
		     : imap_finish(s, "NO", "[NONEXISTENT] No such mailbox of your own");
}

/* ---- URLFETCH ----------------------------------------------------------------------------------------------------------- */

/* Of whoever the URL names, in that user's partition. */
static bool open_in(
    struct imap_session *s, const struct imap_url *u, struct span user, struct url_part *part)
{
	struct store_partition *p = store_partition_of(s->base.worker, user);
	struct index_view *v = index_view_begin(p->index);
	struct buf token = BUF_INIT(2 * IMAP_URL_TOKEN_MAX);
	struct index_mailbox m;
	uint8_t keys[2 * KEY_BYTES];
	uint64_t missing;
	bool ok = v != NULL && index_stay(v, user) == STAY_HERE &&
		  find_own(v, user, u->mailbox, &m) && read_keys(v, user, m.id, keys, &missing) &&
		  put_token(&token, keys, u->rump) && same_token(buf_span(&token), u->token) &&
		  url_part_open(part, u, p, v, &m);
	index_view_end(&v);
	buf_end(&token);
	return ok;
}

static bool open_url(struct imap_session *s, struct span url, struct url_part *part)
{
	struct imap_url u;
	struct buf user = BUF_INIT(2 * STORE_USER_MAX);
	bool ok = imap_url_parse(&u, url) && u.absolute && u.mailbox.n > 0 && u.token.n > 0 &&
		  span_ieq_str(u.mechanism, "INTERNAL") && access_ok(u.access) &&
		  may_fetch(s, u.access) && !has_expired(&u) && put_user(s, u.user, &user) &&
		  open_in(s, &u, buf_span(&user), part);
	imap_url_end(&u);
	buf_end(&user);
	return ok;
}

static void say_url(struct imap_session *s, const struct url_job *j)
{
	imap_say(s, "* URLFETCH ");
	imap_put_string(&s->text, j->v[j->at].url);
}

static void end_url(struct url_job *j)
{
	url_part_end(&j->part);
	j->step = URL_BEGINS;
	j->at++;
}

static void say_nil(struct imap_session *s, struct url_job *j)
{
	say_url(s, j);
	imap_say(s, " NIL\r\n");
	end_url(j);
}

/* False: it cannot be read. */
static bool put_structure(struct url_job *j, struct buf *out)
{
	const struct fetch_binary *b = &j->part.binary;
	struct parse_decoded decoded = { j->binary == URL_DECODED, b->size, b->lines };
	buf_add_str(out, " (BODYPARTSTRUCTURE ");
	bool ok = fetch_put_part_structure(out, &j->part.message, &j->part.section, &decoded);
	message_rest(&j->part.message);
	return ok && buf_add_char(out, ')');
}

/* What follows is a literal of so many bytes, if any. */
static bool announce_bytes(struct imap_session *s, struct url_job *j, unsigned want)
{
	bool decoded = j->binary == URL_DECODED;
	unsigned long long n = decoded ? j->part.binary.count : j->part.range.n;
	if (want == WANT_STRUCTURE)
		return false;
	if ((want & WANT_BINARY) != 0 && j->binary == URL_UNKNOWN) {
		imap_say(s, " (BINARY NIL)");
		return false;
	}
	imap_say(s, want == 0 ? " " : (want & WANT_BINARY) != 0 ? " (BINARY " : " (BODY ");
	imap_say(s, decoded && j->part.binary.zeros ? "~{%llu}\r\n" : "{%llu}\r\n", n);
	return true;
}

static void announce(struct imap_session *s, struct url_job *j)
{
	struct buf structure = BUF_INIT(FETCH_TEXT_MAX);
	unsigned want = j->v[j->at].want;
	if ((want & WANT_STRUCTURE) != 0 && !put_structure(j, &structure)) {
		say_nil(s, j);
	} else {
		say_url(s, j);
		buf_add_span(&s->text, buf_span(&structure));
		if (announce_bytes(s, j, want)) {
			j->step = URL_TELLING;
		} else {
			imap_say(s, "\r\n");
			end_url(j);
		}
	}
	buf_end(&structure);
}

static void begin_url(struct imap_session *s, struct url_job *j)
{
	const struct url_ask *ask = &j->v[j->at];
	j->binary = URL_AS_IS;
	bool ok = open_url(s, ask->url, &j->part);
	if (ok && (ask->want & WANT_BINARY) != 0)
		j->binary = url_part_decode(&j->part);
	if (!ok || j->binary == URL_UNREADABLE)
		say_nil(s, j);
	else if (j->binary == URL_DECODED)
		j->step = URL_COUNTING;
	else
		announce(s, j);
}

/* How many bytes are there, decoded? Nothing is said before that is known. */
static enum verdict count_piece(struct imap_session *s, struct url_job *j)
{
	struct buf nothing = BUF_INIT(1);
	enum fetch_binary_step next =
	    fetch_binary_step(&j->part.binary, &j->part.message, "", &nothing);
	buf_end(&nothing);
	if (next == BINARY_FAILED)
		say_nil(s, j);
	else if (j->part.binary.telling)
		announce(s, j);
	return V_NEXT;
}

/* Appends the next bytes; *done_out: there are no more. */
static err_t read_piece(struct url_job *j, struct buf *out, bool *done_out)
{
	struct fetch_binary *b = &j->part.binary;
	if (j->binary != URL_DECODED) {
		size_t before = buf_len(out);
		err_t err = url_part_read(&j->part, out);
		*done_out = buf_len(out) == before;
		return err;
	}
	enum fetch_binary_step next = b->told >= b->from + b->count
					  ? BINARY_DONE
					  : fetch_binary_step(b, &j->part.message, "", out);
	*done_out = next == BINARY_DONE;
	return next == BINARY_FAILED ? ERR_IO : ERR_OK;
}

/* A failure behind the announcement of a literal cannot be said any more. */
static enum verdict tell_piece(struct imap_session *s, struct url_job *j)
{
	bool done;
	if (read_piece(j, &s->text, &done))
		return imap_bye(s, "message-unreadable", "A message cannot be read now");
	if (!done)
		return V_NEXT;
	imap_say(s, j->v[j->at].want != 0 ? ")\r\n" : "\r\n");
	end_url(j);
	return imap_yield(s);
}

/* Others come first after some bytes: a client that reads fast, or a count, would keep them out. */
static enum verdict go_on(struct imap_session *s, struct url_job *j)
{
	enum verdict v = j->step == URL_COUNTING ? count_piece(s, j) : tell_piece(s, j);
	if (v != V_NEXT || j->part.blob.taken < TURN_BYTES)
		return v;
	j->part.blob.taken = 0;
	return imap_yield(s);
}

static enum verdict run_fetch(struct imap_session *s, struct imap_job *job)
{
	struct url_job *j = (struct url_job *)job;
	if (buf_len(&s->text) > TEXT_HIGH && !imap_flush(s))
		return V_WAIT;
	if (j->step != URL_BEGINS)
		return go_on(s, j);
	if (j->at == j->n)
		return imap_finish_done(s);
	begin_url(s, j);
	return V_NEXT;
}

static unsigned read_want(struct imap_cursor *c)
{
	static const char *const names[] = { "BODY", "BINARY", "BODYPARTSTRUCTURE" };
	struct span word = imap_read_atom(c);
	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (span_ieq_str(word, names[i]))
			return 1u << i;
	imap_fail(c, "BODY, BINARY or BODYPARTSTRUCTURE expected");
	return 0;
}

/* "(" URL *(SP word) ")" of RFC 5524; each word once, and not BODY and BINARY. */
static void read_extended(struct imap_cursor *c, struct url_job *j)
{
	struct url_ask *ask = add_url(c, j);
	while (imap_ok(c) && imap_try(c, ' ')) {
		unsigned more = read_want(c), both = WANT_BODY | WANT_BINARY;
		if ((ask->want & more) != 0 || ((ask->want | more) & both) == both)
			imap_fail(c, "Each once, and not both BODY and BINARY");
		ask->want |= more;
	}
	imap_read_char(c, ')');
}

enum verdict cmd_urlfetch(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct url_job *j = new_urls((struct imap_job){ .run = run_fetch, .end = end_urls });
	imap_read_sp(c);
	do {
		if (imap_try(c, '('))
			read_extended(c, j);
		else
			add_url(c, j);
	} while (imap_ok(c) && imap_try(c, ' '));
	return start(s, j);
}
