/* edge_conf.c - the tables of section `edge`. */
#include "edge/edge_conf.h"

#define CONF_BLOCK edge
#define CONF_DEF "edge/edge.params.def"
#define CONF_PROSE "Reception, commit and delivery of mail."
#include "conf/params_table.h"
