/* test_queue_control_shelved.c - test_queue_control.c, while no message at rest may stay in memory. */
#define LOADED_MAX 1
#include "tests/unit/edge/test_queue_control.c"
