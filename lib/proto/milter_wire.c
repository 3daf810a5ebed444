/* milter_wire.c - the milter protocol (version 6), the mail server's side; no I/O. */
#include "proto/milter_wire.h"

#include "base/check.h"

enum { NAME_MAX_BYTES = 256, TEXT_RAW_MAX = 16384 };

/* ---- out --------------------------------------------------------------------------------------- */

static void put_u32(char to[4], uint32_t v)
{
	for (int i = 0; i < 4; i++)
		to[i] = (char)(v >> (24 - 8 * i));
}

static bool put_head(struct buf *out, enum milter_command cmd, size_t n)
{
	char head[MILTER_HEAD];
	if (n > MILTER_DATA_MAX) {
		out->over = true;
		return false;
	}
	put_u32(head, (uint32_t)n + 1);
	head[4] = (char)cmd;
	return buf_add(out, head, sizeof head);
}

bool milter_put(struct buf *out, enum milter_command cmd, struct span data)
{
	return put_head(out, cmd, data.n) && buf_add_span(out, data);
}

bool milter_put_strings(
    struct buf *out, enum milter_command cmd, const struct span *strings, size_t n)
{
	size_t bytes = n;
	for (size_t i = 0; i < n; i++)
		bytes += strings[i].n;
	bool ok = put_head(out, cmd, bytes);
	for (size_t i = 0; i < n && ok; i++)
		ok = buf_add_span(out, strings[i]) && buf_add_char(out, '\0');
	return ok;
}

bool milter_put_optneg(struct buf *out, uint32_t actions, uint32_t steps)
{
	char data[12];
	put_u32(data, MILTER_VERSION);
	put_u32(data + 4, actions);
	put_u32(data + 8, steps);
	return milter_put(out, MILTER_OPTNEG, span_of(data, sizeof data));
}

bool milter_put_connect(struct buf *out, struct span host, struct ip_port client)
{
	char text[IP_TEXT_SIZE];
	if (ip_is_none(client.addr))
		return put_head(out, MILTER_CONNECT, host.n + 2) && buf_add_span(out, host) &&
		       buf_add(out, "\0U", 2);
	struct span addr = span_str(ip_text(client.addr, text));
	char family[3] = { ip_is_v4(client.addr) ? '4' : '6', (char)(client.port >> 8),
		(char)client.port };
	return put_head(out, MILTER_CONNECT, host.n + 1 + sizeof family + addr.n + 1) &&
	       buf_add_span(out, host) && buf_add_char(out, '\0') &&
	       buf_add(out, family, sizeof family) && buf_add_span(out, addr) &&
	       buf_add_char(out, '\0');
}

/* ---- reading fields: sticky --------------------------------------------------------------------- */

struct fields {
	struct span rest;
	bool bad;
};

static uint32_t take_u32(struct fields *f)
{
	const unsigned char *p = (const unsigned char *)f->rest.p;
	if (f->rest.n < 4) {
		f->bad = true;
		return 0;
	}
	f->rest = span_from(f->rest, 4);
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct span take_string(struct fields *f)
{
	size_t n = span_find(f->rest, '\0');
	if (f->bad || n == SIZE_MAX) {
		f->bad = true;
		return SPAN_NONE;
	}
	struct span s = span_first(f->rest, n);
	f->rest = span_from(f->rest, n + 1);
	return s;
}

enum milter_rx milter_take(struct span input, struct milter_packet *out, size_t *eat_out)
{
	struct fields f = { .rest = input };
	uint32_t n = take_u32(&f);
	*eat_out = 0;
	if (f.bad)
		return MILTER_MORE;
	if (n == 0 || n - 1 > MILTER_REPLY_MAX)
		return MILTER_BAD;
	if (f.rest.n < n)
		return MILTER_MORE;
	out->code = f.rest.p[0];
	out->data = span_first(span_from(f.rest, 1), n - 1);
	*eat_out = 4 + (size_t)n;
	return MILTER_READY;
}

/* ---- negotiation --------------------------------------------------------------------------------- */

err_t milter_parse_optneg(
    struct span data, uint32_t actions, uint32_t steps, struct milter_optneg *out)
{
	struct fields f = { .rest = data };
	*out = (struct milter_optneg){ .version = take_u32(&f) };
	out->actions = take_u32(&f);
	out->steps = take_u32(&f);
	if (f.bad || out->version < MILTER_VERSION_MIN || out->version > MILTER_VERSION)
		return ERR_PROTOCOL;
	if ((out->actions & ~actions) != 0 || (out->steps & ~steps) != 0)
		return ERR_PROTOCOL;
	while (f.rest.n > 0) {
		uint32_t stage = take_u32(&f);
		struct span names = take_string(&f);
		if (f.bad || stage >= MILTER_M_COUNT)
			return ERR_PROTOCOL;
		out->macros[stage] = names;
	}
	return ERR_OK;
}

/* ---- a reply for the client ---------------------------------------------------------------------- */

/* "5.7.1" of the code's class at the start of text, with the space behind it; 0: there is none. */
static size_t enhanced_size(struct span text, char class)
{
	size_t at = 0, dots = 0, digits = 0;
	if (text.n < 6 || text.p[0] != class)
		return 0;
	for (; at < text.n && text.p[at] != ' '; at++) {
		if (ascii_is_digit((unsigned char)text.p[at]) && digits < 3) {
			digits++;
		} else if (text.p[at] == '.' && digits > 0 && dots < 2) {
			dots++;
			digits = 0;
		} else {
			return 0;
		}
	}
	return at < text.n && dots == 2 && digits > 0 ? at + 1 : 0;
}

/* Doubled percent signs stand for one (printf lived there once); a lone one is dropped. */
static err_t add_words(struct milter_text *out, size_t *used, struct span words)
{
	for (size_t i = 0; i < words.n; i++) {
		bool twice = i + 1 < words.n && words.p[i + 1] == '%';
		if (words.p[i] == '%' && !twice)
			continue;
		if (words.p[i] == '%')
			i++;
		if (*used >= MILTER_TEXT_MAX)
			return ERR_TOO_LONG;
		out->text[(*used)++] = words.p[i] >= 0x20 && words.p[i] < 0x7f ? words.p[i] : '?';
	}
	return ERR_OK;
}

/* One line "ddd-d.d.d words": its code must be that of the first one. */
static err_t add_line(struct milter_text *out, size_t *used, struct span line)
{
	uint64_t code;
	if (line.n < 3 || !span_u64(span_first(line, 3), 599, &code) || code < 400)
		return ERR_PROTOCOL;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return ERR_PROTOCOL;
	if (out->code != 0 && code != out->code)
		return ERR_PROTOCOL;
	struct span words = span_from(line, 4);
	size_t n = enhanced_size(words, line.p[0]);
	if (n > sizeof out->enhanced)
		return ERR_PROTOCOL;
	if (n > 0 && out->code == 0) {
		memcpy(out->enhanced, words.p, n - 1);
		out->enhanced[n - 1] = '\0';
	}
	out->code = (uint16_t)code;
	return add_words(out, used, span_from(words, n));
}

err_t milter_parse_text(struct span data, struct milter_text *out)
{
	struct fields f = { .rest = data };
	struct span rest = take_string(&f);
	size_t used = 0;
	*out = (struct milter_text){ 0 };
	if (f.bad || f.rest.n > 0 || rest.n > TEXT_RAW_MAX)
		return ERR_PROTOCOL;
	for (unsigned lines = 0; lines == 0 || rest.n > 0; lines++) {
		struct span line = span_cut(&rest, '\n');
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (lines >= MILTER_TEXT_LINES_MAX || used >= MILTER_TEXT_MAX)
			return ERR_TOO_LONG;
		if (lines > 0)
			out->text[used++] = '\n';
		err_t err = add_line(out, &used, line);
		if (err)
			return err;
	}
	return ERR_OK;
}

/* ---- edits --------------------------------------------------------------------------------------- */

uint32_t milter_change_needs(char code)
{
	switch (code) {
	case MILTER_R_ADD_HEADER:
	case MILTER_R_INSERT_HEADER:
		return MILTER_MAY_ADD_HEADERS;
	case MILTER_R_CHANGE_HEADER:
		return MILTER_MAY_CHANGE_HEADERS;
	case MILTER_R_ADD_RCPT:
		return MILTER_MAY_ADD_RCPT;
	case MILTER_R_ADD_RCPT_PAR:
		return MILTER_MAY_ADD_RCPT_PAR;
	case MILTER_R_DELETE_RCPT:
		return MILTER_MAY_DELETE_RCPT;
	case MILTER_R_CHANGE_FROM:
		return MILTER_MAY_CHANGE_FROM;
	case MILTER_R_REPLACE_BODY:
		return MILTER_MAY_CHANGE_BODY;
	case MILTER_R_QUARANTINE:
		return MILTER_MAY_QUARANTINE;
	default:
		return 0;
	}
}

/* RFC 5322 section 2.2: printable ASCII without the colon. */
static bool name_ok(struct span name)
{
	return name.n > 0 && name.n <= NAME_MAX_BYTES && span_is_visible(name) &&
	       span_find(name, ':') == SIZE_MAX;
}

err_t milter_parse_change(const struct milter_packet *p, struct milter_change *out)
{
	struct fields f = { .rest = p->data };
	*out = (struct milter_change){ 0 };
	switch (p->code) {
	case MILTER_R_INSERT_HEADER:
	case MILTER_R_CHANGE_HEADER:
		out->index = take_u32(&f);
		/* fall through */
	case MILTER_R_ADD_HEADER:
		out->name = take_string(&f);
		out->value = take_string(&f);
		f.bad = f.bad || f.rest.n > 0 || !name_ok(out->name);
		break;
	case MILTER_R_ADD_RCPT:
	case MILTER_R_ADD_RCPT_PAR:
	case MILTER_R_DELETE_RCPT:
	case MILTER_R_CHANGE_FROM:
		out->address = take_string(&f);
		break;
	case MILTER_R_QUARANTINE:
		out->value = take_string(&f);
		break;
	case MILTER_R_REPLACE_BODY:
		out->value = f.rest;
		break;
	default:
		BUG("that code is no edit");
	}
	return f.bad ? ERR_PROTOCOL : ERR_OK;
}
