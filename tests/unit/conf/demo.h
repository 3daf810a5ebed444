/* demo.h - block kinds for the tests of lib/conf: every type once.. */
#ifndef TEST_CONF_DEMO_H
#define TEST_CONF_DEMO_H

#define CONF_BLOCK demo_root
#define CONF_DEF "tests/unit/conf/demo_root.params.def"
#include "conf/params_struct.h"
#define CONF_BLOCK demo
#define CONF_DEF "tests/unit/conf/demo.params.def"
#include "conf/params_struct.h"
#define CONF_BLOCK demo_listener
#define CONF_DEF "tests/unit/conf/demo_listener.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK demo_root
#define CONF_DEF "tests/unit/conf/demo_root.params.def"
#include "conf/params_table.h"
#define CONF_BLOCK demo
#define CONF_DEF "tests/unit/conf/demo.params.def"
#define CONF_PROSE "The section of the tests."
#include "conf/params_table.h"
#define CONF_BLOCK demo_listener
#define CONF_DEF "tests/unit/conf/demo_listener.params.def"
#include "conf/params_table.h"

static const struct conf_block *const demo_sections[] = { &demo_block, NULL };
static const char *const demo_foreign[] = { "edge", "store", NULL };

#endif
