/* fuzz_imap_flow.c - the first byte is how much comes at a time: kinds and ends of responses must not depend on it. */
#include "base/check.h"
#include "proto/imap_flow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
	size_t responses, taken;
	uint64_t kinds;
};

static bool take(struct imap_flow *f, struct span in, struct told *t)
{
	size_t n;
	bool ends;
	enum imap_flow_kind kind = imap_flow_take(f, SPAN("a1"), in, &n, &ends);
	CHECK(n <= in.n);
	t->taken += n;
	if (ends) {
		t->responses++;
		t->kinds = t->kinds * 31 + kind;
	}
	return n > 0 && kind != IMAP_FLOW_BROKEN;
}

static struct told flow(struct span in, size_t step)
{
	struct imap_flow f;
	struct told t = { 0 };
	size_t have = 0;
	imap_flow_init(&f);
	while (have < in.n && f.kind != IMAP_FLOW_BROKEN) {
		have = in.n - have < step ? in.n : have + step;
		while (take(&f, span_of(in.p + t.taken, have - t.taken), &t))
			;
	}
	return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct span in = span_of((const char *)data + 1, size - 1);
	struct told whole = flow(in, in.n), pieces = flow(in, 1u + data[0] % 16u);
	CHECK(whole.responses == pieces.responses && whole.kinds == pieces.kinds);
	return 0;
}
