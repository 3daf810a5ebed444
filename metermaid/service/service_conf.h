/* service_conf.h - the settings of postern-meter: section meter. */
#ifndef METERMAID_SERVICE_SERVICE_CONF_H
#define METERMAID_SERVICE_SERVICE_CONF_H

#include "conf/conf.h"

#define CONF_BLOCK meter_listener
#define CONF_DEF "metermaid/service/meter_listener.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK meter
#define CONF_DEF "metermaid/service/meter.params.def"
#include "conf/params_struct.h"

enum meter_message_at { MESSAGE_AT_END, MESSAGE_AT_DATA };      /* words of message_at */
enum meter_milter_loss { MILTER_LOSS_DEFER, MILTER_LOSS_OPEN }; /* words of milter_on_loss */

/* Conditions over several options. */
void service_conf_check(const struct conf *c, struct conf_diag *d);

/* The listener block with this title; NULL: not (any more) configured. */
const struct meter_listener_conf *service_conf_listener(
    const struct meter_conf *c, const char *name);

#endif
