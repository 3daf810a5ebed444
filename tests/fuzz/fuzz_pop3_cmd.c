/* fuzz_pop3_cmd.c - POP3 command and response lines. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/pop3_cmd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct pop3_cmd c;
	struct pop3_response r;
	err_t err = pop3_cmd_parse(in, &c);
	CHECK((err == ERR_OK) == (c.why == NULL));
	if (err == ERR_OK && (c.verb == POP3_VERB_RETR || c.verb == POP3_VERB_TOP))
		CHECK(c.message > 0);
	if (pop3_response_parse(in, &r))
		CHECK(r.code.n + r.text.n <= in.n);
	return 0;
}
