/* service_conf.c - settings of postern-meter; the rows of its options, events and metrics as tables. */
#include "metermaid/service/service_conf.h"

#include "base/span.h"
#include "metermaid/metermaid.h"

#include "metermaid/service/service_tables.h"

#define CONF_BLOCK meter_listener
#define CONF_DEF "metermaid/service/meter_listener.params.def"
#define CONF_PROSE "Where mail servers ask."
#include "conf/params_table.h"

#define CONF_BLOCK meter
#define CONF_DEF "metermaid/service/meter.params.def"
#define CONF_PROSE                                                                                 \
	"postern-meter: the limits for other mail servers, as a Postfix policy service and a "     \
	"milter."
#include "conf/params_table.h"

const struct log_event service_events[SERVICE_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "metermaid/service/service.events.def"
#undef EVENT
};

struct metric service_metrics[SERVICE_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "metermaid/service/service.metrics.def"
#undef METRIC
};

const struct meter_listener_conf *service_conf_listener(
    const struct meter_conf *c, const char *name)
{
	for (size_t i = 0; i < c->listener_n; i++)
		if (span_eq_str(span_str(name), c->listener[i]->head.title))
			return c->listener[i];
	return NULL;
}

void service_conf_check(const struct conf *c, struct conf_diag *d)
{
	const struct meter_conf *m = conf_section(c, &meter_block);
	if (!conf_has_section(c, &meter_block))
		conf_error(d, m->head.pos, "there is no section meter");
	for (size_t i = 0; i < m->listener_n; i++) {
		const struct conf_head *head = &m->listener[i]->head;
		if (head->title[0] == '\0')
			conf_error(d, head->pos, "a listener needs a name: listener NAME { ... }");
		else if (service_conf_listener(m, head->title) != m->listener[i])
			conf_error(
			    d, head->pos, "second listener with the name \"%s\"", head->title);
	}
	if (m->milter.n > 1)
		conf_error(d, m->head.pos, "milter: one address");
	if (m->listener_n == 0 && m->milter.n == 0)
		conf_error(d, m->head.pos, "section meter has neither a listener nor a milter");
	metermaid_check(c, d);
}
