/* fuzz_convert.c - parts are taken out of any message: what comes out has none of them any more. */
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/check.h"

#include "edge/convert.c"
#include "edge/convert_rule.c"
#include "edge/pattern.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No rule here has a program. */
void convert_run(struct conversion *c, size_t part, const struct part_facts *f,
    const struct edge_part_conf *rule, struct part_result *out)
{
	BUG("no program");
}

void convert_dir_end(struct conversion *c)
{
}

static int run(int message, int result)
{
	static const char *types[] = { "application/*" };
	struct edge_part_conf rule = { .type = { types, 1 }, .action = PART_DELETE };
	struct edge_part_conf *rules[] = { &rule };
	struct edge_channel_conf c = { .part = rules, .part_n = 1, .time = 1000 };
	struct buf why = BUF_INIT(1000);
	struct convert_ask a = { .channel = &c, .message = message, .result = result };
	int status = convert(&a, &why);
	buf_end(&why);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int message = memfd_create("message", 0), result = memfd_create("result", 0);
	CHECK(message >= 0 && result >= 0);
	CHECK(write(message, data, size) == (ssize_t)size);
	int status = run(message, result);
	CHECK(status == EX_OK || status == CONVERT_SAME || (size == 0 && status == EX_TEMPFAIL));
	close(message);
	close(result);
	return 0;
}
