/* fuzz_alias_file.c - alias files: a table or a line and a reason; every target is an address. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "directory/alias_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	const char *why;
	size_t line;
	struct alias_table *t = alias_table_parse(in, "d.test", &line, &why);
	CHECK((t == NULL) == (why != NULL));
	if (t == NULL) {
		CHECK(line >= 1 || span_find(in, '\0') != SIZE_MAX);
		return 0;
	}
	struct text_list l = alias_table_get(t, SPAN("a@d.test"));
	const char *text = l.p;
	CHECK(l.n <= ALIAS_TARGETS_MAX);
	for (size_t i = 0; i < l.n; i++, text = text_list_next(text))
		CHECK(span_find(span_str(text), '@') != SIZE_MAX);
	alias_table_free(&t);
	return 0;
}
