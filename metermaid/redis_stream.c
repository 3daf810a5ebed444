/* redis_stream.c - entries to a Redis stream over the healing link. Owns the link. */
#include "metermaid/redis_stream.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

#include "metermaid/metermaid.h"
#include "metermaid/redis_link.h"

enum { NUMBER_SIZE = 24, WORDS = 8 };

struct redis_stream {
	struct redis_link *link; /* owned */
	char *name;              /* owned */
	char max[NUMBER_SIZE];   /* "": it keeps everything */
	void (*on_up)(void *arg);
	void (*on_added)(void *arg, bool taken);
	void *arg;
};

bool redis_stream_wanted(const struct conf *c)
{
	return redis_link_wanted(conf_section(c, &metermaid_block));
}

void redis_stream_prepare(void)
{
	metric_register(meter_metrics, METER_M_COUNT);
}

static void on_up(void *arg)
{
	struct redis_stream *s = arg;
	s->on_up(s->arg);
}

static void on_reply(void *arg, const struct redis_reply *r)
{
	struct redis_stream *s = arg;
	s->on_added(s->arg, r->got == REDIS_VALUES);
}

struct redis_stream *redis_stream_new(
    struct loop *l, struct dns *dns, const struct conf *c, const struct redis_stream_opts *opts)
{
	struct redis_stream *s = MEM_NEW(struct redis_stream);
	s->name = mem_str(opts->name);
	s->on_up = opts->on_up;
	s->on_added = opts->on_added;
	s->arg = opts->arg;
	if (opts->max > 0)
		(void)snprintf(s->max, sizeof s->max, "%llu", (unsigned long long)opts->max);
	s->link = redis_link_new(l, dns, conf_section(c, &metermaid_block));
	redis_link_on_up(s->link, on_up, s);
	return s;
}

void redis_stream_free(struct redis_stream **sp)
{
	struct redis_stream *s = *sp;
	if (s == NULL)
		return;
	redis_link_free(&s->link);
	mem_free(s->name);
	MEM_FREE(sp);
}

bool redis_stream_is_up(const struct redis_stream *s)
{
	return redis_link_is_up(s->link);
}

bool redis_stream_add(struct redis_stream *s, struct span field, struct span value)
{
	struct span words[WORDS] = { SPAN("XADD"), span_str(s->name) };
	size_t n = 2;
	if (s->max[0] != '\0') {
		words[n++] = SPAN("MAXLEN");
		words[n++] = SPAN("~");
		words[n++] = span_str(s->max);
	}
	words[n++] = SPAN("*");
	words[n++] = field;
	words[n++] = value;
	CHECK(n <= WORDS);
	return redis_link_call(s->link, words, n, on_reply, s);
}

void redis_stream_push(struct redis_stream *s)
{
	redis_link_push(s->link);
}
