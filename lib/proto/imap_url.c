/* imap_url.c - URLs of messages (RFC 5092, RFC 4467); see imap_url.h. Owns what was decoded. */
#include "proto/imap_url.h"

#include "proto/civil.h"

void imap_url_end(struct imap_url *u)
{
	buf_end(&u->decoded);
}

/* ---- pieces -------------------------------------------------------------------------------------------------- */

/* Appends with "%41" as "A"; the room was made before, so earlier spans stay. NUL and broken escapes are refused. */
static bool decode(struct imap_url *u, struct span in, struct span *out)
{
	size_t from = buf_len(&u->decoded);
	while (in.n > 0) {
		char c;
		if (!span_cut_escaped(&in, &c) || c == '\0' || !buf_add_char(&u->decoded, c))
			return false;
	}
	*out = span_from(buf_span(&u->decoded), from);
	return true;
}

/* Index of the first (last) `what`, case-blind; SIZE_MAX: it is not there. */
static size_t find_word(struct span s, struct span what, bool last)
{
	size_t found = SIZE_MAX;
	for (size_t i = 0; i + what.n <= s.n && (last || found == SIZE_MAX); i++)
		if (span_istarts(span_from(s, i), what))
			found = i;
	return found;
}

/* Cuts *s before `what` and gives what stands behind it; false: it is not there. */
static bool cut_word(struct span *s, struct span what, bool last, struct span *behind)
{
	size_t at = find_word(*s, what, last);
	if (at == SIZE_MAX)
		return false;
	*behind = span_from(*s, at + what.n);
	*s = span_first(*s, at);
	return true;
}

static bool read_nz(struct span s, uint32_t *out)
{
	uint64_t n;
	bool ok = span_u64(s, UINT32_MAX, &n) && n > 0;
	*out = ok ? (uint32_t)n : 0;
	return ok;
}

/* ---- EXPIRE (RFC 3339) ----------------------------------------------------------------------------------------- */

static bool digits(struct span *s, size_t n, int32_t *out)
{
	uint64_t v;
	if (s->n < n || !span_u64(span_first(*s, n), 9999, &v))
		return false;
	*out = (int32_t)v;
	*s = span_from(*s, n);
	return true;
}

static bool take(struct span *s, char c)
{
	if (s->n == 0 || ascii_lower(s->p[0]) != ascii_lower(c))
		return false;
	*s = span_from(*s, 1);
	return true;
}

/* "Z", "+01:00"; minutes east. */
static bool zone(struct span *s, int32_t *out)
{
	int32_t hours, minutes;
	*out = 0;
	if (take(s, 'z'))
		return true;
	bool east = s->n > 0 && s->p[0] == '+';
	if (!take(s, '+') && !take(s, '-'))
		return false;
	if (!digits(s, 2, &hours) || !take(s, ':') || !digits(s, 2, &minutes) || hours > 23 ||
	    minutes > 59)
		return false;
	*out = (hours * 60 + minutes) * (east ? 1 : -1);
	return true;
}

static bool read_time(struct span s, int64_t *out)
{
	struct civil d;
	int32_t h, m, sec, east;
	if (!digits(&s, 4, &d.year) || !take(&s, '-') || !digits(&s, 2, &d.month) ||
	    !take(&s, '-') || !digits(&s, 2, &d.day) || !take(&s, 't') || !civil_exists(d))
		return false;
	if (!digits(&s, 2, &h) || !take(&s, ':') || !digits(&s, 2, &m) || !take(&s, ':') ||
	    !digits(&s, 2, &sec) || h > 23 || m > 59 || sec > 60)
		return false;
	if (take(&s, '.')) {
		if (s.n == 0 || !ascii_is_digit((unsigned char)s.p[0]))
			return false;
		while (s.n > 0 && ascii_is_digit((unsigned char)s.p[0]))
			s = span_from(s, 1);
	}
	if (!zone(&s, &east) || s.n > 0)
		return false;
	*out = (int64_t)civil_to_days(d) * 86400 + h * 3600 + m * 60 + sec - east * 60;
	return true;
}

/* ---- the tail: EXPIRE and URLAUTH -------------------------------------------------------------------------------- */

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (ascii_hex(s.p[i]) < 0)
			return false;
	return s.n >= 32 && s.n <= IMAP_URL_TOKEN_MAX;
}

/* access[:mechanism:token] */
static bool read_auth(struct imap_url *u, struct span whole, struct span auth)
{
	struct span rest = auth, access = span_cut(&rest, ':');
	u->rump = span_first(whole, (size_t)(access.p - whole.p) + access.n);
	if (access.n == 0 || !decode(u, access, &u->access))
		return false;
	if (rest.p == NULL)
		return true;
	u->mechanism = span_cut(&rest, ':');
	u->token = rest;
	return u->mechanism.n > 0 && rest.p != NULL && is_token(u->token);
}

static bool read_tail(struct imap_url *u, struct span whole, struct span *s)
{
	struct span auth, expire;
	bool has_auth = cut_word(s, SPAN(";URLAUTH="), true, &auth);
	u->rump = whole;
	if (has_auth && !read_auth(u, whole, auth))
		return false;
	u->expires = cut_word(s, SPAN(";EXPIRE="), true, &expire);
	return !u->expires || (has_auth && read_time(expire, &u->expire_s));
}

/* ---- the front: server and mailbox -------------------------------------------------------------------------------- */

/* user;AUTH=x@host */
static bool read_server(struct imap_url *u, struct span server)
{
	struct span user = server, mechanism;
	size_t at = span_rfind(server, '@');
	u->absolute = true;
	u->host = at == SIZE_MAX ? server : span_from(server, at + 1);
	if (u->host.n == 0)
		return false;
	if (at == SIZE_MAX)
		return true;
	user = span_first(server, at);
	(void)cut_word(&user, SPAN(";AUTH="), false, &mechanism);
	return decode(u, user, &u->user);
}

static bool read_mailbox(struct imap_url *u, struct span s)
{
	struct span validity;
	if (cut_word(&s, SPAN(";UIDVALIDITY="), true, &validity) &&
	    !read_nz(validity, &u->uidvalidity))
		return false;
	return decode(u, s, &u->mailbox) && span_is_utf8(u->mailbox) &&
	       (s.n > 0 || u->uidvalidity == 0);
}

/* ---- the message -------------------------------------------------------------------------------------------------- */

static bool read_partial(struct imap_url *u, struct span s)
{
	struct span rest = s, from = span_cut(&rest, '.');
	uint64_t n;
	u->partial = true;
	u->count = UINT32_MAX;
	if (!span_u64(from, UINT32_MAX, &n))
		return false;
	u->from = (uint32_t)n;
	return rest.p == NULL || rest.n == 0 || read_nz(rest, &u->count);
}

/* uid[/;SECTION=..][/;PARTIAL=..] */
static bool read_message(struct imap_url *u, struct span s)
{
	struct span section = SPAN_NONE, partial;
	if (cut_word(&s, SPAN("/;PARTIAL="), true, &partial) && !read_partial(u, partial))
		return false;
	if (cut_word(&s, SPAN("/;SECTION="), false, &section) &&
	    (section.n == 0 || !decode(u, section, &u->section)))
		return false;
	return read_nz(s, &u->uid);
}

static bool parse(struct imap_url *u, struct span whole)
{
	struct span s = whole, message;
	if (!read_tail(u, whole, &s))
		return false;
	if (span_istarts(s, SPAN("imap://"))) {
		s = span_from(s, 7);
		size_t slash = span_find(s, '/');
		if (slash == SIZE_MAX || !read_server(u, span_first(s, slash)))
			return false;
		s = span_from(s, slash);
	}
	if (!cut_word(&s, SPAN("/;UID="), false, &message)) {
		if (u->absolute || !span_istarts(s, SPAN(";UID=")))
			return false;
		message = span_from(s, 5);
		s = SPAN("");
	}
	bool path = s.n > 1 && s.p[0] == '/';
	if (s.n > 0 && !path)
		return false;
	if (u->absolute && !path)
		return false;
	return read_mailbox(u, span_from(s, path ? 1 : 0)) && read_message(u, message);
}

bool imap_url_parse(struct imap_url *u, struct span url)
{
	char *room;
	*u = (struct imap_url){ .decoded = BUF_INIT(IMAP_URL_MAX) };
	if (url.n == 0 || url.n > IMAP_URL_MAX)
		return false;
	(void)buf_room(&u->decoded, IMAP_URL_MAX, &room);
	return parse(u, url);
}
