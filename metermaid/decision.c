/* decision.c - the grammar of decision records; see decision.h. Owns nothing. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "metermaid/decision.h"
#include "metermaid/rule.h"

static const char *const hows[DECIDED_HOWS] = { "asked", "tokens", "kept", "lost", "local" };
static const char *const modes[] = { "take", "peek", "force" };
static const char *const actions[] = { "allow", "defer", "refuse", "delay" };

/* ---- writing ---- */

static bool is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '%' && c != ',' && c != '/';
}

void decision_put_name(struct buf *out, struct span name)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t begun = 0;
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (is_plain(c))
			continue;
		const char three[] = { '%', hex[c >> 4], hex[c & 15] };
		buf_add(out, name.p + begun, i - begun);
		buf_add(out, three, sizeof three);
		begun = i + 1;
	}
	buf_add(out, name.p + begun, name.n - begun);
}

static void put_text(struct buf *out, const char *field, struct span v)
{
	if (v.n == 0)
		return;
	buf_printf(out, " %s=", field);
	decision_put_name(out, v);
}

static void put_number(struct buf *out, const char *field, uint64_t v)
{
	if (v != 0)
		buf_printf(out, " %s=%" PRIu64, field, v);
}

static void put_hex(struct buf *out, const char *field, uint64_t v)
{
	if (v != 0)
		buf_printf(out, " %s=%" PRIx64, field, v);
}

static void put_facts(struct buf *out, const struct meter_facts *f)
{
	char ip[IP_TEXT_SIZE];
	if (!ip_is_none(f->client))
		buf_printf(out, " c=%s", ip_text(f->client, ip));
	put_text(out, "u", f->user);
	put_text(out, "s", f->sender);
	put_text(out, "r", f->recipient);
	put_text(out, "h", f->helo);
	put_text(out, "l", f->listener);
	put_number(out, "n", f->recipients);
	put_number(out, "b", f->bytes);
	put_number(out, "a", f->authenticated);
	put_hex(out, "x", f->secret_hash);
	put_number(out, "k", f->known_ms);
}

static void put_decided(struct buf *out, const struct decision *d)
{
	buf_printf(out, " m=%s q=%s how=%s", rule_moments[d->moment], modes[d->mode], hows[d->how]);
	put_facts(out, &d->f);
	if (d->letter == 'D')
		buf_printf(out, " v=%s", actions[d->action]);
	put_number(out, "off", d->disconnect);
	put_text(out, "by", d->rule);
	put_number(out, "tier", d->tier);
	put_number(out, "window", d->window);
	put_number(out, "wait", d->wait_us);
	put_text(out, "tag", d->tag);
	put_hex(out, "g", d->lease);
	if (d->tokens.n > 0)
		buf_printf(out, " t=%.*s", SPAN_ARG(d->tokens));
	if (d->bans.n > 0)
		buf_printf(out, " bans=%.*s", SPAN_ARG(d->bans));
}

bool decision_put(const struct decision *d, struct buf *out)
{
	struct buf line = BUF_INIT(DECISION_LINE_MAX);
	buf_printf(&line, "%c %" PRIu64 " %" PRIu32, d->letter, d->us, d->seq);
	if (d->letter == 'D' || d->letter == 'C') {
		put_decided(&line, d);
	} else {
		put_text(&line, "by", d->rule);
		put_text(&line, "key", d->key);
		put_facts(&line, &d->f);
		put_hex(&line, "g", d->lease);
		put_hex(&line, "is", d->is);
	}
	buf_add_char(&line, '\n');
	bool ok = buf_ok(&line) && buf_add_span(out, buf_span(&line));
	buf_end(&line);
	return ok;
}

/* ---- reading ---- */

static bool decode(struct span v, struct buf *out)
{
	while (v.n > 0) {
		char c;
		if (!span_cut_escaped(&v, &c))
			return false;
		buf_add_char(out, c);
	}
	return buf_ok(out);
}

bool decision_take_name(struct span *rest, char sep, struct buf *out)
{
	if (rest->p == NULL || rest->n == 0)
		return false;
	buf_clear(out);
	return decode(span_cut(rest, sep), out);
}

static bool take_hex(struct span v, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < v.n; i++) {
		int digit = ascii_hex(v.p[i]);
		if (digit < 0)
			return false;
		*out = *out << 4 | (uint64_t)digit;
	}
	return v.n > 0 && v.n <= 16;
}

static bool take_word(struct span v, const char *const *words, size_t n, int *out)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_str(v, words[i])) {
			*out = (int)i;
			return true;
		}
	return false;
}

enum field_kind { F_TEXT, F_RAW, F_U64, F_HEX, F_HEX32, F_BOOL, F_UINT, F_IP, F_WORD };

static const struct field {
	const char *name;
	enum field_kind kind;
	size_t at;
	const char *const *words;
	size_t word_count;
} fields[] = {
	{ "m", F_WORD, offsetof(struct decision, moment), rule_moments, METER_MOMENTS },
	{ "q", F_WORD, offsetof(struct decision, mode), modes, COUNT_OF(modes) },
	{ "how", F_WORD, offsetof(struct decision, how), hows, COUNT_OF(hows) },
	{ "v", F_WORD, offsetof(struct decision, action), actions, COUNT_OF(actions) },
	{ "c", F_IP, offsetof(struct decision, f.client), NULL, 0 },
	{ "u", F_TEXT, offsetof(struct decision, f.user), NULL, 0 },
	{ "s", F_TEXT, offsetof(struct decision, f.sender), NULL, 0 },
	{ "r", F_TEXT, offsetof(struct decision, f.recipient), NULL, 0 },
	{ "h", F_TEXT, offsetof(struct decision, f.helo), NULL, 0 },
	{ "l", F_TEXT, offsetof(struct decision, f.listener), NULL, 0 },
	{ "n", F_U64, offsetof(struct decision, f.recipients), NULL, 0 },
	{ "b", F_U64, offsetof(struct decision, f.bytes), NULL, 0 },
	{ "a", F_BOOL, offsetof(struct decision, f.authenticated), NULL, 0 },
	{ "x", F_HEX32, offsetof(struct decision, f.secret_hash), NULL, 0 },
	{ "k", F_U64, offsetof(struct decision, f.known_ms), NULL, 0 },
	{ "off", F_BOOL, offsetof(struct decision, disconnect), NULL, 0 },
	{ "by", F_TEXT, offsetof(struct decision, rule), NULL, 0 },
	{ "tier", F_UINT, offsetof(struct decision, tier), NULL, 0 },
	{ "window", F_UINT, offsetof(struct decision, window), NULL, 0 },
	{ "wait", F_U64, offsetof(struct decision, wait_us), NULL, 0 },
	{ "tag", F_TEXT, offsetof(struct decision, tag), NULL, 0 },
	{ "g", F_HEX, offsetof(struct decision, lease), NULL, 0 },
	{ "is", F_HEX, offsetof(struct decision, is), NULL, 0 },
	{ "t", F_RAW, offsetof(struct decision, tokens), NULL, 0 },
	{ "bans", F_RAW, offsetof(struct decision, bans), NULL, 0 },
	{ "key", F_TEXT, offsetof(struct decision, key), NULL, 0 },
};

/* Decoded behind what is in scratch, which has room for the whole line and so does not move. */
static bool set_text(struct span v, struct buf *scratch, struct span *out)
{
	size_t at = buf_len(scratch);
	*out = v;
	if (memchr(v.p, '%', v.n) == NULL)
		return true;
	if (!decode(v, scratch))
		return false;
	*out = span_of(buf_span(scratch).p + at, buf_len(scratch) - at);
	return true;
}

static bool set_number(const struct field *f, struct span v, void *to)
{
	uint64_t n;
	if (f->kind == F_HEX || f->kind == F_HEX32 ? !take_hex(v, &n) : !span_u64(v, INT64_MAX, &n))
		return false;
	switch (f->kind) {
	case F_U64:
	case F_HEX:
		*(uint64_t *)to = n;
		return true;
	case F_HEX32:
		*(uint32_t *)to = (uint32_t)n;
		return n <= UINT32_MAX;
	case F_UINT:
		*(unsigned *)to = (unsigned)n;
		return n < 256;
	default:
		*(bool *)to = n == 1;
		return n <= 1;
	}
}

static bool is_printable(struct span v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= 0x20 || v.p[i] >= 0x7f)
			return false;
	return true;
}

static bool set_field(
    const struct field *f, struct span v, struct buf *scratch, struct decision *out)
{
	void *to = (char *)out + f->at;
	int word;
	switch (f->kind) {
	case F_TEXT:
		return set_text(v, scratch, to);
	case F_RAW:
		*(struct span *)to = v;
		return is_printable(v);
	case F_IP:
		return ip_parse(v, to);
	case F_WORD:
		if (!take_word(v, f->words, f->word_count, &word))
			return false;
		memcpy(to, &word, sizeof word);
		return true;
	default:
		return set_number(f, v, to);
	}
}

static const struct field *find_field(struct span name)
{
	for (size_t i = 0; i < COUNT_OF(fields); i++)
		if (span_eq_str(name, fields[i].name))
			return &fields[i];
	return NULL;
}

bool decision_parse_time(struct span *line, struct decision *out)
{
	uint64_t seq;
	struct span letter = span_cut(line, ' ');
	*out = (struct decision){ .letter = letter.n == 1 ? letter.p[0] : '\0' };
	bool ok = out->letter != '\0' && strchr("DCERUZX", out->letter) != NULL &&
		  line->p != NULL && span_u64(span_cut(line, ' '), INT64_MAX, &out->us) &&
		  line->p != NULL && span_u64(span_cut(line, ' '), UINT32_MAX, &seq);
	out->seq = ok ? (uint32_t)seq : 0;
	return ok;
}

bool decision_parse(struct span line, struct buf *scratch, struct decision *out)
{
	char *unused;
	buf_clear(scratch);
	if (line.n > DECISION_LINE_MAX || !decision_parse_time(&line, out))
		return false;
	buf_room(scratch, DECISION_LINE_MAX, &unused);
	while (line.p != NULL && line.n > 0) {
		struct span v = span_cut(&line, ' '), name = span_cut(&v, '=');
		const struct field *f = find_field(name);
		if (v.p == NULL || v.n == 0)
			return false;
		if (f != NULL && !set_field(f, v, scratch, out)) /* others are of later versions */
			return false;
	}
	return true;
}
