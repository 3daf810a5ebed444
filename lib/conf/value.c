/* value.c - step 3 of loading: the types of options, one row each: parse with range check, describe.
 * Called by load.c for each option; owns nothing, results go to the arena. The way back to text is
 * value_put.c. */
#include <string.h>
#include <sys/un.h>

#include "conf/nearest.h"
#include "conf/source.h"
#include "conf/value.h"

enum { SHOWN_MAX = 80, HOST_MAX = 253 };

static void bad_value(struct value_ctx *c, const struct conf_value *v, const char *hint)
{
	struct buf text = BUF_INIT(4096);
	value_describe(c->param, &text);
	if (hint != NULL)
		buf_printf(&text, ": did you mean \"%s\"?", hint);
	conf_error(c->d, v->pos, "%s: \"%.*s\" is not %s", c->param->name,
	    SPAN_ARG(span_first(v->text, SHOWN_MAX)), buf_cstr(&text));
	buf_end(&text);
}

/* ---- numbers and their units ---------------------------------------------------------------------- */

static bool number_i64(struct span s, int64_t *out)
{
	uint64_t n;
	bool minus = s.n > 0 && s.p[0] == '-';
	if (!span_u64(span_from(s, minus), INT64_MAX, &n))
		return false;
	*out = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

static bool number_size(struct span s, uint64_t *out)
{
	static const char units[] = "kmgt";
	uint64_t n;
	unsigned shift = 0;
	const char *unit = s.n > 1 && ascii_is_alpha((unsigned char)s.p[s.n - 1])
			       ? strchr(units, ascii_lower(s.p[s.n - 1]))
			       : NULL;
	if (unit != NULL) {
		shift = (unsigned)(unit - units + 1) * 10;
		s.n--;
	}
	if (!span_u64(s, UINT64_MAX >> shift, &n))
		return false;
	*out = n << shift;
	return true;
}

/* One "30s" off the front of *s. */
static bool take_duration(struct span *s, uint64_t *out)
{
	static const struct {
		struct span name;
		uint64_t ms;
	} units[] = { { { "ms", 2 }, 1 }, { { "s", 1 }, 1000 }, { { "m", 1 }, 60000 },
		{ { "h", 1 }, 3600000 }, { { "d", 1 }, 86400000 }, { { "w", 1 }, 604800000 } };
	size_t digits = 0, letters = 0;
	uint64_t n;
	while (digits < s->n && ascii_is_digit((unsigned char)s->p[digits]))
		digits++;
	struct span unit = span_from(*s, digits);
	while (letters < unit.n && ascii_is_alpha((unsigned char)unit.p[letters]))
		letters++;
	unit = span_first(unit, letters);
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (!span_eq(unit, units[i].name) ||
		    !span_u64(span_first(*s, digits), INT64_MAX / units[i].ms, &n))
			continue;
		*s = span_from(*s, digits + letters);
		*out = n * units[i].ms;
		return true;
	}
	return false;
}

bool conf_duration(struct span text, uint64_t *ms_out)
{
	uint64_t part;
	*ms_out = 0;
	if (span_eq(text, SPAN("0")))
		return true;
	if (text.n == 0)
		return false;
	while (text.n > 0) {
		if (!take_duration(&text, &part) || part > INT64_MAX - *ms_out)
			return false;
		*ms_out += part;
	}
	return true;
}

static bool has_bound(const char *bound)
{
	return bound != NULL && bound[0] != '\0';
}

static bool within_u64(
    const struct conf_param *p, uint64_t n, bool (*number)(struct span, uint64_t *))
{
	uint64_t bound;
	if (has_bound(p->low) && number(span_str(p->low), &bound) && n < bound)
		return false;
	return !has_bound(p->high) || !number(span_str(p->high), &bound) || n <= bound;
}

/* ---- parse: text of one value to one item; false after an error was reported ---------------------- */

static bool parse_bool(struct value_ctx *c, const struct conf_value *v, void *item)
{
	bool yes = span_eq(v->text, SPAN("yes"));
	if (!yes && !span_eq(v->text, SPAN("no"))) {
		bad_value(c, v, NULL);
		return false;
	}
	*(bool *)item = yes;
	return true;
}

static bool parse_int(struct value_ctx *c, const struct conf_value *v, void *item)
{
	int64_t n, bound;
	const struct conf_param *p = c->param;
	bool ok = number_i64(v->text, &n);
	if (ok && has_bound(p->low) && number_i64(span_str(p->low), &bound))
		ok = n >= bound;
	if (ok && has_bound(p->high) && number_i64(span_str(p->high), &bound))
		ok = n <= bound;
	if (!ok) {
		bad_value(c, v, NULL);
		return false;
	}
	*(int64_t *)item = n;
	return true;
}

static bool parse_size(struct value_ctx *c, const struct conf_value *v, void *item)
{
	uint64_t n;
	if (!number_size(v->text, &n) || !within_u64(c->param, n, number_size)) {
		bad_value(c, v, NULL);
		return false;
	}
	*(uint64_t *)item = n;
	return true;
}

static bool parse_duration(struct value_ctx *c, const struct conf_value *v, void *item)
{
	uint64_t n;
	if (!conf_duration(v->text, &n) || !within_u64(c->param, n, conf_duration)) {
		bad_value(c, v, NULL);
		return false;
	}
	*(uint64_t *)item = n;
	return true;
}

static bool parse_enum(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct span words = span_str(c->param->low);
	struct nearest near;
	nearest_init(&near, v->text);
	for (int i = 0; words.n > 0; i++) {
		struct span word = span_cut(&words, '|');
		if (span_eq(word, v->text)) {
			*(int *)item = i;
			return true;
		}
		nearest_try(&near, arena_str(c->arena, word));
	}
	bad_value(c, v, near.best);
	return false;
}

static bool parse_string(struct value_ctx *c, const struct conf_value *v, void *item)
{
	*(const char **)item = v->text.n == 0 ? NULL : v->text.p;
	return true;
}

static const char *resolve(struct value_ctx *c, const struct conf_value *v, struct span path)
{
	/* A default and a command line stand in no folder: theirs is that of the main file. */
	bool in_file = v->pos.line > 0;
	return source_resolve(c->src, c->arena, in_file ? v->pos.file : source_path(c->src), path);
}

static bool parse_path(struct value_ctx *c, const struct conf_value *v, void *item)
{
	*(const char **)item = v->text.n == 0 ? NULL : resolve(c, v, v->text);
	return true;
}

static bool read_file(
    struct value_ctx *c, const struct conf_value *v, struct span path, struct conf_file *out)
{
	const char *why;
	struct span bytes;
	out->path = resolve(c, v, path);
	if (!source_read(c->src, out->path, &bytes, &why)) {
		conf_error(
		    c->d, v->pos, "%s: cannot read \"%s\": %s", c->param->name, out->path, why);
		return false;
	}
	out->bytes = arena_span(c->arena, bytes);
	return true;
}

static bool parse_file(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct span path = v->text;
	*(struct conf_file *)item = (struct conf_file){ "", SPAN_NONE };
	if (span_starts(path, SPAN("file:")))
		path = span_from(path, 5);
	return path.n == 0 || read_file(c, v, path, item);
}

/* The line end that editors put behind a password is not part of it; in a file of random bytes it is. */
static struct span without_line_end(struct span s)
{
	struct span cut = span_first(s, s.n - (s.n > 0 && s.p[s.n - 1] == '\n'));
	cut = span_first(cut, cut.n - (cut.n < s.n && cut.n > 0 && cut.p[cut.n - 1] == '\r'));
	return !span_has_control(cut) && span_is_utf8(cut) ? cut : s;
}

static bool parse_secret(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct conf_file *out = item;
	struct span text = v->text, bytes;
	*out = (struct conf_file){ "", text };
	if (span_starts(text, SPAN("file:"))) {
		if (!read_file(c, v, span_from(text, 5), out))
			return false;
		out->bytes = without_line_end(out->bytes);
	} else if (span_starts(text, SPAN("env:"))) {
		if (!source_env(c->src, text.p + 4, &bytes)) {
			conf_error(c->d, v->pos, "%s: the environment has no variable \"%s\"",
			    c->param->name, text.p + 4);
			return false;
		}
		out->path = text.p;
		out->bytes = arena_span(c->arena, bytes);
	}
	return true;
}

static bool parse_address(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct conf_address *out = item;
	*out = (struct conf_address){ .unix_path = NULL };
	if (span_starts(v->text, SPAN("unix:"))) {
		const char *path = v->text.p + 5;
		if (path[0] == '/' && v->text.n - 5 < sizeof((struct sockaddr_un *)0)->sun_path) {
			out->unix_path = path;
			return true;
		}
	} else if (ip_parse_port(v->text, &out->at)) {
		return true;
	}
	bad_value(c, v, NULL);
	return false;
}

static bool is_host(struct span s)
{
	struct ip_addr a;
	if (ip_parse(s, &a))
		return true;
	if (s.n == 0 || s.n > HOST_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if (!ascii_is_alpha(ch) && !ascii_is_digit(ch) && ch != '.' && ch != '-' &&
		    ch != '_')
			return false;
	}
	return true;
}

/* Splits host:port, [address]:port, host, or a bare IPv6 address. port is empty when left out. */
static bool split_hostport(struct span s, struct span *host, struct span *port)
{
	size_t colon = span_find(s, ':');
	*host = s;
	*port = SPAN_NONE;
	if (s.n > 0 && s.p[0] == '[') {
		size_t end = span_find(s, ']');
		if (end == SIZE_MAX)
			return false;
		*host = span_from(span_first(s, end), 1);
		*port = span_from(s, end + 1);
		if (port->n == 0)
			return true;
		*port = span_from(*port, 1);
		return s.p[end + 1] == ':' && port->n > 0;
	}
	if (colon == SIZE_MAX || span_rfind(s, ':') != colon)
		return true;
	*host = span_first(s, colon);
	*port = span_from(s, colon + 1);
	return port->n > 0;
}

static bool parse_hostport(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct conf_hostport *out = item;
	struct span host, port;
	uint64_t n = 0;
	*out = (struct conf_hostport){ NULL, 0 };
	size_t scheme = span_starts(v->text, SPAN("unix:/")) ? 5 : 0;
	if (v->text.n > scheme && v->text.p[scheme] == '/') {
		out->host = v->text.p + scheme;
		return true;
	}
	if (!split_hostport(v->text, &host, &port) || !is_host(host) ||
	    (port.n > 0 && (!span_u64(port, UINT16_MAX, &n) || n == 0))) {
		bad_value(c, v, NULL);
		return false;
	}
	out->host = arena_str(c->arena, host);
	out->port = (uint16_t)n;
	return true;
}

static bool parse_prefix(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct ip_addr a;
	if (ip_parse_prefix(v->text, item))
		return true;
	if (ip_parse(v->text, &a)) {
		*(struct ip_prefix *)item = ip_network(a, ip_is_v4(a) ? 32 : 128);
		return true;
	}
	bad_value(c, v, NULL);
	return false;
}

static bool number_rate(struct span text, struct conf_rate *out)
{
	struct span per = text, count = span_cut(&per, '/');
	return span_u64(count, INT64_MAX, &out->count) && conf_duration(per, &out->per_ms) &&
	       out->per_ms > 0;
}

static bool parse_rate(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct conf_rate *out = item;
	if (!number_rate(v->text, out) || out->count == 0) {
		*out = (struct conf_rate){ 0, 0 };
		bad_value(c, v, NULL);
		return false;
	}
	return true;
}

static bool parse_windows(struct value_ctx *c, const struct conf_value *v, void *item)
{
	struct conf_windows *out = item;
	struct span rest = v->text;
	out->n = 0;
	while (rest.p != NULL) {
		struct span one = span_cut(&rest, '+');
		if (out->n == CONF_WINDOWS_MAX || !number_rate(one, &out->v[out->n])) {
			*out = (struct conf_windows){ .n = 0 };
			bad_value(c, v, NULL);
			return false;
		}
		out->n++;
	}
	return true;
}

/* ---- the table ------------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct any_list) == sizeof(struct conf_strings) &&
		   sizeof(struct any_list) == sizeof(struct conf_ints) &&
		   sizeof(struct any_list) == sizeof(struct conf_rates) &&
		   sizeof(struct any_list) == sizeof(struct conf_addresses) &&
		   sizeof(struct any_list) == sizeof(struct conf_hostports) &&
		   sizeof(struct any_list) == sizeof(struct ip_prefixes),
    "list structs are alike");

static const struct type_row {
	bool (*parse)(struct value_ctx *c, const struct conf_value *v, void *item);
	size_t size;
	bool list;
	bool none; /* "" means none */
	const char *words;
} types[] = {
	[CONF_BOOL] = { parse_bool, sizeof(bool), false, false, "yes or no" },
	[CONF_INT] = { parse_int, sizeof(int64_t), false, false, "a whole number" },
	[CONF_SIZE] = { parse_size, sizeof(uint64_t), false, false,
	    "a size such as 512, 64k, 10M or 2G" },
	[CONF_DURATION] = { parse_duration, sizeof(uint64_t), false, false,
	    "a duration such as 250ms, 30s, 5m, 1h30m or 7d" },
	[CONF_ENUM] = { parse_enum, sizeof(int), false, false, "one of" },
	[CONF_STRING] = { parse_string, sizeof(char *), false, true, "a word or quoted text" },
	[CONF_STRINGS] = { parse_string, sizeof(char *), true, true, "words or quoted texts" },
	[CONF_PATH] = { parse_path, sizeof(char *), false, true, "a path" },
	[CONF_FILE] = { parse_file, sizeof(struct conf_file), false, true,
	    "the path of a readable file" },
	[CONF_SECRET] = { parse_secret, sizeof(struct conf_file), false, true,
	    "file:PATH, env:NAME or the secret itself" },
	[CONF_ADDRESSES] = { parse_address, sizeof(struct conf_address), true, true,
	    "a literal address:port, [address]:port or unix:/path" },
	[CONF_HOSTPORT] = { parse_hostport, sizeof(struct conf_hostport), false, true,
	    "a host name or address with an optional :port, or unix:/path" },
	[CONF_HOSTPORTS] = { parse_hostport, sizeof(struct conf_hostport), true, true,
	    "a host name or address with an optional :port, or unix:/path" },
	[CONF_PREFIXES] = { parse_prefix, sizeof(struct ip_prefix), true, true,
	    "a network such as 192.0.2.0/24 or 2001:db8::/32 (no host bits)" },
	[CONF_RATE] = { parse_rate, sizeof(struct conf_rate), false, true, "a rate such as 60/1m" },
	[CONF_RATES] = { parse_windows, sizeof(struct conf_windows), true, true,
	    "a rate such as 60/1m, or up to four windows of one count such as 60/1m+1000/1d" },
	[CONF_INTS] = { parse_int, sizeof(int64_t), true, true, "a whole number" },
};

void value_describe(const struct conf_param *p, struct buf *out)
{
	buf_add_str(out, types[p->type].words);
	if (p->type == CONF_ENUM) {
		struct span words = span_str(p->low);
		for (const char *sep = " "; words.n > 0; sep = ", ") {
			struct span word = span_cut(&words, '|');
			buf_printf(out, "%s%.*s", sep, SPAN_ARG(word));
		}
		return;
	}
	if (has_bound(p->low))
		buf_printf(out, " from %s", p->low);
	if (has_bound(p->high))
		buf_printf(out, "%s %s", has_bound(p->low) ? " to" : " up to", p->high);
}

bool value_is_list(const struct conf_param *p)
{
	return types[p->type].list;
}

size_t value_size(const struct conf_param *p)
{
	return types[p->type].size;
}

static bool set_list(struct value_ctx *c, const struct conf_value *values, void *field)
{
	const struct type_row *row = &types[c->param->type];
	struct any_list list = { NULL, 0 };
	bool ok = true;
	size_t n = 0;
	for (const struct conf_value *v = values; v != NULL; v = v->next)
		n++;
	list.v = arena_array(c->arena, n, row->size);
	for (const struct conf_value *v = values; v != NULL; v = v->next) {
		if (v->text.n == 0)
			continue; /* name ""; empties a list that has a default */
		ok = row->parse(c, v, (char *)list.v + list.n * row->size) && ok;
		list.n++;
	}
	if (list.n == 0)
		list.v = NULL;
	memcpy(field, &list, sizeof list);
	return ok;
}

bool value_set(struct value_ctx *c, const struct conf_value *values, void *field)
{
	const struct type_row *row = &types[c->param->type];
	if (row->list)
		return set_list(c, values, field);
	if (values->next != NULL) {
		conf_error(
		    c->d, values->next->pos, "%s takes one value, not a list", c->param->name);
		return false;
	}
	if (values->text.n == 0 && row->none)
		return true; /* the field is zero */
	return row->parse(c, values, field);
}

/* "a, b" to values; other types have the text itself as theirs. */
static struct conf_value *default_values(struct value_ctx *c, struct conf_pos at)
{
	struct span rest = span_str(c->param->def);
	struct conf_value *first = NULL, **tail = &first;
	do {
		struct span one = rest;
		if (value_is_list(c->param))
			one = span_trim(span_cut(&rest, ','));
		*tail = arena_alloc(c->arena, sizeof **tail);
		(*tail)->text = arena_span(c->arena, one);
		(*tail)->pos = at;
		tail = &(*tail)->next;
	} while (value_is_list(c->param) && rest.n > 0);
	return first;
}

bool value_set_default(struct value_ctx *c, struct conf_pos at, void *field)
{
	if (c->param->def[0] == '\0')
		return true;
	at.line = 0; /* relative paths: see resolve() */
	return value_set(c, default_values(c, at), field);
}
