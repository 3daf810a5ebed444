/* script.h - meter.lua as it was when this was built. */
#ifndef METERMAID_SCRIPT_H
#define METERMAID_SCRIPT_H

#include "base/span.h"

struct span meter_script(void);
const char *meter_script_sha1(void); /* 40 hex digits: what EVALSHA wants */

#endif
