/* test_copies_shelved.c - everything that test_copies.c asks of the queue, while no message at rest may stay in memory. */
#define LOADED_MAX 1
#include "tests/unit/edge/test_copies.c"
