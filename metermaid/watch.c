/* watch.c - see watch.h. Owns who watches and what each has not yet fetched. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "metermaid/rule.h"
#include "metermaid/watch.h"

enum { ID_MAX = 32, FILTER_TEXT_MAX = 320 };

#define watchers_MAGIC 0x3e7e4a7cu

enum filter_kind { BY_RULE, BY_MOMENT, BY_CLIENT, BY_USER, BY_ACTION, BY_LIMITED, FILTERS };

struct filter {
	enum filter_kind kind;
	struct ip_prefix net;
	char text[FILTER_TEXT_MAX];
};

struct watcher {
	char id[ID_MAX]; /* empty: free */
	struct filter filters[WATCH_FILTERS_MAX];
	size_t filter_n;
	struct buf rows; /* JSON objects, separated by commas */
	uint64_t lost;
	uint64_t asked_ms;
};

struct watchers {
	uint32_t magic;
	struct loop *loop;
	struct timer clock;
	size_t n;
	struct watcher v[WATCHERS_MAX];
};

static const char *const actions[] = { "allow", "defer", "refuse", "delay" };

/* ---- filters ---- */

static const struct {
	const char *name;
	bool takes;
} names[FILTERS] = {
	[BY_RULE] = { "rule", true },
	[BY_MOMENT] = { "on", true },
	[BY_CLIENT] = { "client", true },
	[BY_USER] = { "user", true },
	[BY_ACTION] = { "action", true },
	[BY_LIMITED] = { "limited", false },
};

static bool parse_net(struct span text, struct ip_prefix *out)
{
	struct ip_addr a;
	if (!ip_parse(text, &a))
		return ip_parse_prefix(text, out);
	*out = ip_network(a, ip_is_v4(a) ? 32 : 128);
	return true;
}

static bool parse_filter(const char *word, struct filter *out)
{
	struct span value = span_str(word), name = span_cut(&value, '=');
	*out = (struct filter){ .kind = FILTERS };
	for (int i = 0; i < FILTERS; i++)
		if (span_eq_str(name, names[i].name) && (value.p != NULL) == names[i].takes)
			out->kind = (enum filter_kind)i;
	if (out->kind == FILTERS || value.n >= sizeof out->text)
		return false;
	if (value.p != NULL)
		span_lower_to(out->text, value);
	return out->kind != BY_CLIENT || parse_net(value, &out->net);
}

static bool holds(const struct filter *f, const struct decision *d)
{
	switch (f->kind) {
	case BY_RULE:
		return span_ieq_str(d->rule, f->text);
	case BY_MOMENT:
		return strcmp(rule_moments[d->moment], f->text) == 0;
	case BY_CLIENT:
		return !ip_is_none(d->f.client) && ip_in_prefix(d->f.client, f->net);
	case BY_USER:
		return span_ieq_str(d->f.user, f->text);
	case BY_ACTION:
		return strcmp(actions[d->action], f->text) == 0;
	case BY_LIMITED:
		return d->action != METER_ALLOW;
	case FILTERS:
		break;
	}
	return false;
}

static bool is_wanted(const struct watcher *w, const struct decision *d)
{
	for (size_t i = 0; i < w->filter_n; i++)
		if (!holds(&w->filters[i], d))
			return false;
	return true;
}

/* ---- rows ---- */

static void put_text(struct buf *out, const char *name, struct span v)
{
	if (v.n == 0)
		return;
	buf_printf(out, ",\"%s\":", name);
	fmt_json_string(out, v);
}

static void put_row(const struct decision *d, struct buf *out)
{
	static const char *const hows[DECIDED_HOWS] = { "asked", "tokens", "kept", "lost",
		"local" };
	char at[CLOCK_RFC3339_SIZE], ip[IP_TEXT_SIZE];
	buf_printf(out, "{\"at\":\"%s\",\"on\":\"%s\",\"action\":\"%s\"", clock_rfc3339(d->us, at),
	    rule_moments[d->moment], actions[d->action]);
	put_text(out, "rule", d->rule);
	put_text(out, "tag", d->tag);
	if (!ip_is_none(d->f.client))
		buf_printf(out, ",\"client\":\"%s\"", ip_text(d->f.client, ip));
	put_text(out, "user", d->f.user);
	put_text(out, "sender", d->f.sender);
	put_text(out, "recipient", d->f.recipient);
	put_text(out, "listener", d->f.listener);
	buf_printf(out, ",\"retry_ms\":%" PRIu64 ",\"how\":\"%s\"}", (d->wait_us + 999) / 1000,
	    hows[d->how]);
}

void watchers_tell(struct watchers *w, const struct decision *d)
{
	struct buf row = BUF_INIT(DECISION_LINE_MAX);
	for (size_t i = 0; i < WATCHERS_MAX; i++) {
		struct watcher *one = &w->v[i];
		if (one->id[0] == '\0' || !is_wanted(one, d))
			continue;
		if (buf_len(&row) == 0)
			put_row(d, &row);
		bool fits = buf_ok(&row) && buf_len(&one->rows) + buf_len(&row) + 1 < WATCH_BYTES;
		if (fits && buf_len(&one->rows) > 0)
			buf_add_char(&one->rows, ',');
		if (fits)
			buf_add_span(&one->rows, buf_span(&row));
		else
			one->lost++;
	}
	buf_end(&row);
}

/* ---- who ---- */

static void forget(struct watchers *w, struct watcher *one)
{
	buf_end(&one->rows);
	*one = (struct watcher){ .id = "" };
	w->n--;
}

static void on_clock(void *arg)
{
	struct watchers *w = OBJ(watchers, arg);
	uint64_t now = loop_now_ms(w->loop);
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		if (w->v[i].id[0] != '\0' && now - w->v[i].asked_ms >= WATCH_IDLE_MS)
			forget(w, &w->v[i]);
	if (w->n > 0)
		timer_set(&w->clock, WATCH_IDLE_MS / 2);
}

static struct watcher *find(struct watchers *w, const char *id)
{
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		if (strcmp(w->v[i].id, id) == 0)
			return &w->v[i];
	return NULL;
}

/* NULL: *why_out says why not. */
static struct watcher *begin(
    struct watchers *w, const char *const *words, size_t n, const char **why_out)
{
	struct watcher *one = find(w, "");
	*why_out = "too many are watching already";
	if (one == NULL)
		return NULL;
	*why_out = "a filter is rule=NAME, on=MOMENT, client=NET, user=NAME, action=ACTION or "
		   "limited";
	if (n - 1 > WATCH_FILTERS_MAX)
		return NULL;
	for (size_t i = 1; i < n; i++)
		if (!parse_filter(words[i], &one->filters[i - 1]))
			return NULL;
	memcpy(one->id, words[0], strlen(words[0]) + 1);
	one->filter_n = n - 1;
	one->rows = BUF_INIT(WATCH_BYTES);
	w->n++;
	timer_set(&w->clock, WATCH_IDLE_MS / 2);
	return one;
}

bool watchers_ask(struct watchers *w, const char *const *words, size_t n, struct buf *out)
{
	const char *why = NULL;
	if (n == 0 || words[0][0] == '\0' || strlen(words[0]) >= ID_MAX)
		return false;
	struct watcher *one = find(w, words[0]);
	if (one == NULL)
		one = begin(w, words, n, &why);
	if (one == NULL)
		return buf_printf(out, "{\"error\":\"%s\"}", why);
	one->asked_ms = loop_now_ms(w->loop);
	buf_add_char(out, '[');
	buf_add_span(out, buf_span(&one->rows));
	if (one->lost > 0)
		buf_printf(
		    out, "%s{\"lost\":%" PRIu64 "}", buf_len(&one->rows) > 0 ? "," : "", one->lost);
	one->lost = 0;
	buf_clear(&one->rows);
	return buf_add_char(out, ']');
}

bool watchers_are_here(const struct watchers *w)
{
	return w->n > 0;
}

struct watchers *watchers_new(struct loop *l)
{
	struct watchers *w = MEM_NEW(struct watchers);
	w->magic = watchers_MAGIC;
	w->loop = l;
	timer_init(&w->clock, l, on_clock, w);
	return w;
}

void watchers_free(struct watchers **w)
{
	struct watchers *gone = *w;
	*w = NULL;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		buf_end(&gone->v[i].rows);
	timer_clear(&gone->clock);
	gone->magic = 0;
	mem_free(gone);
}
