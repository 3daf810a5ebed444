/* fuzz_smtp_body.c - what the encoder sends, the decoder gives back, with every line end a CRLF; the
 * decoder alone gives the same whole and byte by byte. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/smtp_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span decode_with(
    struct smtp_body_decoder *d, struct span in, size_t step, bool normalize, struct buf *out)
{
	struct span got;
	smtp_body_decoder_init(d, 64);
	d->normalize = normalize;
	while (in.n > 0) {
		struct span piece = span_first(in, step);
		size_t had = piece.n;
		enum smtp_body_rx rx;
		while ((rx = smtp_body_decode(d, &piece, &got)) == SMTP_BODY_SPAN)
			CHECK(buf_add_span(out, got));
		in = span_from(in, had - piece.n);
		if (rx == SMTP_BODY_END)
			break;
	}
	return in;
}

static struct span decode(struct smtp_body_decoder *d, struct span in, size_t step, struct buf *out)
{
	return decode_with(d, in, step, false, out);
}

static void check_decoder(struct span in)
{
	struct smtp_body_decoder a, b;
	struct buf whole = BUF_INIT(1 << 20), bytes = BUF_INIT(1 << 20);
	struct span rest_a = decode(&a, in, in.n, &whole), rest_b = decode(&b, in, 1, &bytes);
	CHECK(rest_a.n == rest_b.n && a.faults == b.faults && a.fault_at == b.fault_at);
	CHECK(span_eq(buf_span(&whole), buf_span(&bytes)));
	buf_end(&whole);
	buf_end(&bytes);
}

/* Normalised, no byte sequence is left that could end a line elsewhere than here. */
static void check_normalized(struct span in)
{
	struct smtp_body_decoder d;
	struct buf out[2] = { BUF_INIT(1 << 20), BUF_INIT(1 << 20) };
	size_t rest[2];
	for (size_t i = 0; i < 2; i++)
		rest[i] = decode_with(&d, in, i == 0 ? in.n : 1, true, &out[i]).n;
	struct span got = buf_span(&out[0]);
	CHECK(rest[0] == rest[1] && span_eq(got, buf_span(&out[1])));
	for (size_t i = 0; i < got.n; i++)
		CHECK(got.p[i] == '\r' ? i + 1 < got.n && got.p[i + 1] == '\n'
				       : got.p[i] != '\n' || (i > 0 && got.p[i - 1] == '\r'));
	buf_end(&out[0]);
	buf_end(&out[1]);
}

/* What the message must look like on the other side. */
static void put_normal(struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
			i++;
		if (in.p[i] == '\r' || in.p[i] == '\n')
			buf_add_str(out, "\r\n");
		else
			buf_add_char(out, in.p[i]);
	}
	struct span done = buf_span(out);
	if (done.n > 0 && done.p[done.n - 1] != '\n')
		buf_add_str(out, "\r\n");
}

static void check_round_trip(struct span in, size_t room)
{
	struct smtp_body_encoder e = { 0 };
	struct smtp_body_decoder d;
	struct buf some = BUF_INIT(room), wire = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
	struct buf want = BUF_INIT(1 << 20);
	for (size_t at = 0; at < in.n;) {
		size_t used = smtp_body_encode(&e, span_from(in, at), &some);
		CHECK(used > 0);
		at += used;
		buf_add_span(&wire, buf_span(&some));
		buf_clear(&some);
	}
	CHECK(smtp_body_encode_end(&e, &some));
	buf_add_span(&wire, buf_span(&some));
	put_normal(in, &want);
	CHECK(decode(&d, buf_span(&wire), SIZE_MAX, &back).n == 0);
	CHECK(d.state == SMTP_BODY_ST_END);
	CHECK((d.faults & (SMTP_BODY_BARE_CR | SMTP_BODY_BARE_LF)) == 0);
	CHECK(span_eq(buf_span(&want), buf_span(&back)));
	buf_end(&some);
	buf_end(&wire);
	buf_end(&back);
	buf_end(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_decoder(span_of(data, size));
	check_normalized(span_of(data, size));
	check_round_trip(span_of(data, size), 7 + size % 60);
	return 0;
}
