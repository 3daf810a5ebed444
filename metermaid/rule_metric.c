/* rule_metric.c - rows of metrics whose names come with the configuration. A row without a name yet is
 * not shown. Owns the names, in memory shared by the daemon's processes. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "metermaid/rule_metric.h"
#include "metermaid/shared.h"

enum { SLOTS = 192, NAME_MAX_BYTES = 64, TEXT_MAX = 128, SPINS = 1000 };
enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_READY };
enum { ASKED, OVER, KINDS };

struct slot {
	int state;
	char name[NAME_MAX_BYTES];
	char text[KINDS][TEXT_MAX]; /* empty until it is ready */
};

static struct slot *slots;
static struct metric rows[KINDS * SLOTS]; /* a family's rows stand together */

static const struct {
	const char *family, *help;
} kinds[KINDS] = {
	[ASKED] = { "postern_meter_rule_asked_total", "Questions a rule has looked at." },
	[OVER] = { "postern_meter_rule_over_total", "Questions beyond a rule's limit." },
};

void rule_metric_prepare(void)
{
	if (slots != NULL)
		return;
	slots = shared_map(SLOTS * sizeof *slots, true);
	for (size_t k = 0; k < KINDS; k++)
		for (size_t i = 0; i < SLOTS; i++)
			rows[k * SLOTS + i] = (struct metric){ .name = slots[i].text[k],
				.kind = METRIC_COUNTER,
				.help = kinds[k].help };
	metric_register(rows, KINDS * SLOTS);
}

static void name_slot(struct slot *s, struct span name)
{
	memcpy(s->name, name.p, name.n);
	for (size_t k = 0; k < KINDS; k++)
		snprintf(s->text[k], sizeof s->text[k], "%s{rule=\"%.*s\"}", kinds[k].family,
		    SPAN_ARG(name));
	__atomic_store_n(&s->state, SLOT_READY, __ATOMIC_RELEASE);
}

/* Another worker writes a name just now; one that died there leaves a slot that nobody uses. */
static void wait_ready(const struct slot *s)
{
	for (int i = 0; i < SPINS && __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == SLOT_BUSY; i++)
		sched_yield();
}

size_t rule_metric_slot(struct span name)
{
	name = span_first(name, NAME_MAX_BYTES - 1);
	rule_metric_prepare();
	for (size_t i = 0; i < SLOTS; i++) {
		int none = SLOT_FREE;
		if (__atomic_compare_exchange_n(&slots[i].state, &none, SLOT_BUSY, false,
			__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			name_slot(&slots[i], name);
			return i;
		}
		wait_ready(&slots[i]);
		if (span_eq_str(name, slots[i].name))
			return i;
	}
	return SIZE_MAX;
}

void rule_metric_add(size_t slot, bool over)
{
	if (slot < SLOTS)
		metric_add(&rows[(over ? (size_t)OVER : ASKED) * SLOTS + slot], 1);
}
