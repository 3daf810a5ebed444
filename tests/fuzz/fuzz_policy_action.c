/* fuzz_policy_action.c - a reply is the same whatever the pieces; what an action says can stand in a reply and in a
 * header section. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "proto/policy_action.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), action, again;
	size_t eat, eat2;
	enum policy_reply_rx rx = policy_reply_take(in, &action, &eat);
	struct policy_action a;
	for (size_t n = 0; n < in.n && rx == POLICY_REPLY_READY && n < 2 * eat; n++) {
		enum policy_reply_rx part = policy_reply_take(span_first(in, n), &again, &eat2);
		CHECK(n < eat ? part != POLICY_REPLY_READY
			      : part == POLICY_REPLY_READY && eat2 == eat);
	}
	if (rx == POLICY_REPLY_READY)
		CHECK(eat <= in.n && action.n < eat);
	policy_action_parse(rx == POLICY_REPLY_READY ? action : in, &a);
	CHECK(strlen(a.text) <= POLICY_TEXT_MAX);
	check_text(a.text);
	CHECK(a.code == 0 || (a.code >= 400 && a.code < 600));
	return 0;
}
