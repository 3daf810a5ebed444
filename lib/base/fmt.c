/* fmt.c - escaping for logs, JSON and protocol lines; durations and sizes as text. */
#include <inttypes.h>

#include "base/fmt.h"

/* Bits of the characters that need no quotes: '!' to '~' without '"', '=' and '\\'. */
static bool is_plain(struct span v)
{
	static const uint64_t plain[4] = { 0xdffffffa00000000u, 0x7fffffffefffffffu };
	size_t i = 0;
	for (; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		if ((plain[c / 64] >> c % 64 & 1) == 0)
			break;
	}
	return i == v.n && i > 0;
}

static void put_log_char(struct buf *out, unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		buf_add_char(out, '\\');
		buf_add_char(out, (char)c);
		break;
	case '\n':
		buf_add_str(out, "\\n");
		break;
	case '\r':
		buf_add_str(out, "\\r");
		break;
	case '\t':
		buf_add_str(out, "\\t");
		break;
	default:
		if (c < ' ' || c >= 0x7f)
			buf_printf(out, "\\x%02x", c);
		else
			buf_add_char(out, (char)c);
	}
}

bool fmt_log_value(struct buf *out, struct span v, size_t max)
{
	struct span cut = span_first(v, max);
	if (is_plain(v) && cut.n == v.n)
		return buf_add_span(out, v);
	buf_add_char(out, '"');
	for (size_t i = 0; i < cut.n; i++)
		put_log_char(out, (unsigned char)cut.p[i]);
	buf_add_str(out, cut.n < v.n ? "...\"" : "\"");
	return buf_ok(out);
}

static void put_json_ascii(struct buf *out, unsigned char c)
{
	if (c == '"' || c == '\\') {
		buf_add_char(out, '\\');
		buf_add_char(out, (char)c);
	} else if (c < ' ' || c == 0x7f) {
		buf_printf(out, "\\u%04x", c);
	} else {
		buf_add_char(out, (char)c);
	}
}

/* Length of the UTF-8 sequence that starts v, or 0 when it is broken. */
static size_t utf8_step(struct span v)
{
	for (size_t n = 1; n <= 4 && n <= v.n; n++)
		if (span_is_utf8(span_first(v, n)))
			return n;
	return 0;
}

static bool is_json_plain(unsigned char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

bool fmt_json_string(struct buf *out, struct span v)
{
	buf_add_char(out, '"');
	while (v.n > 0) {
		size_t plain = 0;
		while (plain < v.n && is_json_plain((unsigned char)v.p[plain]))
			plain++;
		buf_add(out, v.p, plain);
		v = span_from(v, plain);
		if (v.n == 0)
			break;
		size_t step = utf8_step(v);
		if (step == 1)
			put_json_ascii(out, (unsigned char)v.p[0]);
		else if (step == 0)
			buf_add_str(out, "\xef\xbf\xbd");
		else
			buf_add_span(out, span_first(v, step));
		v = span_from(v, step > 0 ? step : 1);
	}
	buf_add_char(out, '"');
	return buf_ok(out);
}

bool fmt_line_text(struct buf *out, struct span v, size_t max)
{
	v = span_first(v, max);
	while (v.n > 0) {
		size_t plain = 0;
		while (plain < v.n && (unsigned char)v.p[plain] >= ' ' && v.p[plain] != 0x7f)
			plain++;
		buf_add(out, v.p, plain);
		if (plain < v.n)
			buf_add_char(out, '?');
		v = span_from(v, plain + 1);
	}
	return buf_ok(out);
}

bool fmt_hex(struct buf *out, struct span raw)
{
	for (size_t i = 0; i < raw.n; i++)
		buf_printf(out, "%02x", (unsigned char)raw.p[i]);
	return buf_ok(out);
}

bool fmt_duration(struct buf *out, uint64_t ms)
{
	static const struct {
		uint64_t ms;
		const char *unit;
	} units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" },
		{ 1, "ms" } };
	if (ms == 0)
		return buf_add_str(out, "0s");
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (ms >= units[i].ms)
			buf_printf(out, "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
		ms %= units[i].ms;
	}
	return buf_ok(out);
}

bool fmt_size(struct buf *out, uint64_t bytes)
{
	static const char suffixes[] = "kMGT";
	int unit = -1;
	while (unit < 3 && bytes > 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	buf_printf(out, "%" PRIu64, bytes);
	return unit < 0 ? buf_ok(out) : buf_add_char(out, suffixes[unit]);
}
