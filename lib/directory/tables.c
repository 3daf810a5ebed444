/* tables.c - the one instance of this folder's events and metrics. */
#include "directory/tables.h"

#include "directory/sasl_server.h"

#include "directory/directory.h"

const struct log_event directory_events[DIRECTORY_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "directory/directory.events.def"
#undef EVENT
};

struct metric directory_metrics[DIRECTORY_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "directory/directory.metrics.def"
#undef METRIC
};

void directory_prepare(void)
{
	sasl_server_prepare();
	metric_register(directory_metrics, DIRECTORY_M_COUNT);
}
