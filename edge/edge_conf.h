/* edge_conf.h - the settings of section `edge`. */
#ifndef EDGE_EDGE_CONF_H
#define EDGE_EDGE_CONF_H

#define CONF_BLOCK edge
#define CONF_DEF "edge/edge.params.def"
#include "conf/params_struct.h"

#endif
