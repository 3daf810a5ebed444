/* value_put.c - typed values back to text that lib/conf reads again; for dump, revision and the list
 * of options that need a restart. Before: load.c; owns nothing. */
#include <inttypes.h>
#include <string.h>

#include "base/fmt.h"

#include "conf/lex.h"
#include "conf/value.h"

typedef void put_fn(const struct conf_param *p, const void *item, struct buf *out);

static void put_bool(const struct conf_param *p, const void *item, struct buf *out)
{
	buf_add_str(out, *(const bool *)item ? "yes" : "no");
}

static void put_int(const struct conf_param *p, const void *item, struct buf *out)
{
	buf_printf(out, "%" PRId64, *(const int64_t *)item);
}

static void put_size(const struct conf_param *p, const void *item, struct buf *out)
{
	fmt_size(out, *(const uint64_t *)item);
}

static void put_duration(const struct conf_param *p, const void *item, struct buf *out)
{
	fmt_duration(out, *(const uint64_t *)item);
}

static void put_enum(const struct conf_param *p, const void *item, struct buf *out)
{
	struct span words = span_str(p->low), word = SPAN_NONE;
	for (int i = *(const int *)item; i >= 0; i--)
		word = span_cut(&words, '|');
	buf_add_span(out, word);
}

static void put_text(const char *s, struct buf *out)
{
	if (s != NULL)
		lex_quote(span_str(s), out);
}

static void put_string(const struct conf_param *p, const void *item, struct buf *out)
{
	put_text(*(const char *const *)item, out);
}

static void put_file(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_file *f = item;
	if (f->path != NULL && f->path[0] != '\0')
		put_text(f->path, out);
}

static void put_secret(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_file *f = item;
	struct buf text = BUF_INIT(64 * 1024);
	if (f->path == NULL || f->path[0] == '\0') {
		buf_add_str(out, f->bytes.n > 0 ? "\"(hidden)\"" : "");
		return;
	}
	buf_printf(&text, "%s%s", f->path[0] == '/' ? "file:" : "", f->path);
	lex_quote(buf_span(&text), out);
	buf_end(&text);
}

static void put_address(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_address *a = item;
	char text[IP_TEXT_SIZE];
	if (a->unix_path == NULL) {
		buf_add_str(out, ip_port_text(a->at, text));
		return;
	}
	struct buf path = BUF_INIT(512);
	buf_printf(&path, "unix:%s", a->unix_path);
	lex_quote(buf_span(&path), out);
	buf_end(&path);
}

static void put_hostport(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_hostport *h = item;
	if (h->host == NULL)
		return;
	bool v6 = span_find(span_str(h->host), ':') != SIZE_MAX && h->host[0] != '/';
	if (v6)
		buf_printf(out, "[%s]", h->host);
	else
		put_text(h->host, out);
	if (h->port != 0)
		buf_printf(out, ":%u", h->port);
}

static void put_prefix(const struct conf_param *p, const void *item, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	buf_add_str(out, ip_prefix_text(*(const struct ip_prefix *)item, text));
}

static void put_rate(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_rate *r = item;
	if (r->count == 0)
		return;
	buf_printf(out, "%" PRIu64 "/", r->count);
	fmt_duration(out, r->per_ms);
}

static void put_windows(const struct conf_param *p, const void *item, struct buf *out)
{
	const struct conf_windows *w = item;
	for (size_t i = 0; i < w->n; i++) {
		buf_printf(out, "%s%" PRIu64 "/", i > 0 ? "+" : "", w->v[i].count);
		fmt_duration(out, w->v[i].per_ms);
	}
}

static put_fn *const puts_of[] = {
	[CONF_BOOL] = put_bool,
	[CONF_INT] = put_int,
	[CONF_SIZE] = put_size,
	[CONF_DURATION] = put_duration,
	[CONF_ENUM] = put_enum,
	[CONF_STRING] = put_string,
	[CONF_STRINGS] = put_string,
	[CONF_PATH] = put_string,
	[CONF_FILE] = put_file,
	[CONF_SECRET] = put_secret,
	[CONF_ADDRESSES] = put_address,
	[CONF_HOSTPORT] = put_hostport,
	[CONF_HOSTPORTS] = put_hostport,
	[CONF_PREFIXES] = put_prefix,
	[CONF_RATE] = put_rate,
	[CONF_RATES] = put_windows,
	[CONF_INTS] = put_int,
};

void value_put(const struct conf_param *p, const void *field, struct buf *out)
{
	struct any_list list;
	if (!value_is_list(p)) {
		puts_of[p->type](p, field, out);
		return;
	}
	memcpy(&list, field, sizeof list);
	for (size_t i = 0; i < list.n; i++) {
		if (i > 0)
			buf_add_str(out, ", ");
		puts_of[p->type](p, (const char *)list.v + i * value_size(p), out);
	}
}

bool value_is_hidden(const struct conf_param *p, const void *field)
{
	const struct conf_file *f = field;
	return p->type == CONF_SECRET && f->bytes.n > 0 && (f->path == NULL || f->path[0] == '\0');
}
