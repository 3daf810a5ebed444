/* fuzz_milter_wire.c - replies of a hostile filter: whole and byte by byte must mean the same; nothing that a
 * parser lets through can hurt a header or an SMTP reply. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"
#include "proto/milter_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct span data)
{
	struct milter_text t;
	if (milter_parse_text(data, &t))
		return;
	CHECK(t.code >= 400 && t.code < 600);
	CHECK(t.enhanced[0] == '\0' || t.enhanced[0] - '0' == t.code / 100);
	CHECK(strlen(t.text) <= MILTER_TEXT_MAX);
	for (const char *p = t.text; *p != '\0'; p++)
		CHECK(*p == '\n' || (*p >= 0x20 && *p < 0x7f));
}

static void check_change(const struct milter_packet *p)
{
	struct milter_change c;
	if (milter_change_needs(p->code) == 0 || milter_parse_change(p, &c))
		return;
	CHECK(span_find(c.name, '\n') == SIZE_MAX && span_find(c.name, ':') == SIZE_MAX);
	CHECK(c.address.n <= p->data.n && c.value.n <= p->data.n);
	CHECK(span_find(c.address, '\0') == SIZE_MAX);
}

static uint32_t read_all(struct span in, size_t step)
{
	uint32_t sum = 0;
	size_t eaten = 0, there = 0, eat;
	for (;;) {
		struct milter_packet p;
		struct milter_optneg o;
		enum milter_rx rx = milter_take(span_of(in.p + eaten, there - eaten), &p, &eat);
		CHECK(eat <= there - eaten);
		eaten += eat;
		if (rx == MILTER_READY) {
			milter_parse_optneg(p.data, MILTER_MAY_ALL, MILTER_STEPS_ALL, &o);
			check_text(p.data);
			check_change(&p);
			sum = hash_crc32c(sum, &p.code, 1);
			sum = hash_crc32c(sum, p.data.p, p.data.n);
		} else if (rx == MILTER_BAD || there == in.n) {
			return sum;
		} else {
			there = in.n - there < step ? in.n : there + step;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	if (size > 0)
		CHECK(read_all(in, size) == read_all(in, 1));
	return 0;
}
