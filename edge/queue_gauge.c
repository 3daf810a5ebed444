/* queue_gauge.c - rows of metrics for each channel of the queue; beside queue.c (step 6 of 6). A row without a name yet is
 * not shown. Owns the names. */
#include "edge/queue_gauge.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "edge/channel.h"
#include "metermaid/shared.h"

enum { TEXT_MAX = 192, LABELS_MAX = CAUSES, ROWS = GAUGES_MAX * LABELS_MAX * GAUGE_KINDS };

struct gauge_names {
	char channel[CHANNEL_NAME_MAX + 1]; /* "": free */
	char text[GAUGE_KINDS][LABELS_MAX][TEXT_MAX];
};

static const struct metric families[GAUGE_KINDS] = {
#define METRIC METRIC_TABLE_ROW
#include "edge/channel.metrics.def"
#undef METRIC
};

static struct gauge_names *names;
static struct metric rows[ROWS]; /* a family's rows stand together */

static const char *const phases[PHASES] = { "before", "queued", "setup", "talk" };

static size_t label_count(enum gauge g)
{
	if (g == GAUGE_LATER || g == GAUGE_FAILED)
		return CAUSES;
	return g == GAUGE_DELAY ? PHASES : 1;
}

static struct metric *row_of(size_t slot, enum gauge g, size_t label)
{
	return &rows[((size_t)g * GAUGES_MAX + slot) * LABELS_MAX + label];
}

void queue_gauge_prepare(void)
{
	if (names != NULL)
		return;
	names = shared_map(GAUGES_MAX * sizeof *names, true);
	for (size_t g = 0; g < GAUGE_KINDS; g++)
		for (size_t s = 0; s < GAUGES_MAX; s++)
			for (size_t l = 0; l < LABELS_MAX; l++)
				*row_of(s, (enum gauge)g, l) =
				    (struct metric){ .name = names[s].text[g][l],
					    .kind = families[g].kind,
					    .help = families[g].help };
	metric_register(rows, ROWS);
}

/* Whoever reads sees an empty name or a whole one. */
static void set_text(char to[TEXT_MAX], const char *text)
{
	size_t n = strlen(text);
	memcpy(to + 1, text + 1, n);
	__atomic_store_n(&to[0], text[0], __ATOMIC_RELEASE);
}

static void name_row(struct gauge_names *n, enum gauge g, size_t label)
{
	char text[TEXT_MAX];
	const char *family = families[g].name, *channel = n->channel;
	if (g == GAUGE_LATER || g == GAUGE_FAILED)
		snprintf(text, sizeof text, "%s{channel=\"%s\",reason=\"%s\"}", family, channel,
		    cause_word((enum cause)label));
	else if (g == GAUGE_DELAY)
		snprintf(text, sizeof text, "%s{channel=\"%s\",phase=\"%s\"}", family, channel,
		    phases[label]);
	else
		snprintf(text, sizeof text, "%s{channel=\"%s\"}", family, channel);
	set_text(n->text[g][label], text);
}

size_t queue_gauge_slot(struct span channel)
{
	queue_gauge_prepare();
	size_t s = 0;
	channel = span_first(channel, CHANNEL_NAME_MAX);
	while (s < GAUGES_MAX && names[s].channel[0] != '\0' &&
	       !span_eq_str(channel, names[s].channel))
		s++;
	if (s == GAUGES_MAX)
		return SIZE_MAX;
	if (names[s].channel[0] != '\0')
		return s;
	snprintf(names[s].channel, sizeof names[s].channel, "%.*s", SPAN_ARG(channel));
	for (size_t g = 0; g < GAUGE_KINDS; g++)
		for (size_t l = 0; l < label_count((enum gauge)g); l++)
			name_row(&names[s], (enum gauge)g, l);
	return s;
}

void queue_gauge_set(size_t slot, enum gauge g, uint64_t value)
{
	if (slot < GAUGES_MAX)
		metric_set(row_of(slot, g, 0), value);
}

void queue_gauge_add(size_t slot, enum gauge g, uint64_t n)
{
	if (slot < GAUGES_MAX)
		metric_add(row_of(slot, g, 0), n);
}

void queue_gauge_ended(size_t slot, enum gauge g, enum cause why)
{
	if (slot < GAUGES_MAX)
		metric_add(row_of(slot, g, why), 1);
}

void queue_gauge_delay(size_t slot, enum gauge_phase phase, uint64_t ms)
{
	if (slot < GAUGES_MAX)
		metric_add(row_of(slot, GAUGE_DELAY, phase), ms);
}

uint64_t queue_gauge_get(size_t slot, enum gauge g, size_t label)
{
	return slot < GAUGES_MAX ? metric_get(row_of(slot, g, label)) : 0;
}
