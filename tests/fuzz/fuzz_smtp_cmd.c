/* fuzz_smtp_cmd.c - command lines with their paths and parameters. A path that was accepted must be
 * accepted again in its canonical form, and give the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/line.h"
#include "proto/smtp_cmd.h"
#include "proto/smtp_ext.h"
#include "proto/smtp_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(struct span path)
{
	enum { ANY = SMTP_PATH_UTF8_OK | SMTP_PATH_NULL_OK | SMTP_PATH_POSTMASTER_OK };
	struct smtp_path p, again;
	struct span user, detail;
	if (smtp_path_parse(path, ANY, &p, NULL) || p.kind == SMTP_PATH_NULL)
		return;
	CHECK(p.len <= SMTP_ADDRESS_MAX && p.local_len <= SMTP_LOCAL_MAX);
	smtp_path_split(&p, '+', &user, &detail);
	CHECK(smtp_address_parse(smtp_path_text(&p), ANY, &again, NULL) == ERR_OK);
	CHECK(span_eq(smtp_path_text(&p), smtp_path_text(&again)));
	CHECK(p.kind == again.kind && p.local_len == again.local_len);
}

/* What was accepted goes to a next hop without SMTPUTF8 as ASCII that means the same, or not at all. */
static void check_orcpt(struct span orcpt)
{
	struct buf was = BUF_INIT(SMTP_ORCPT_MAX), is = BUF_INIT(SMTP_ORCPT_MAX);
	struct buf sent = BUF_INIT(4 * SMTP_ORCPT_MAX);
	if (smtp_orcpt_get(orcpt, &was) && smtp_orcpt_put(&sent, orcpt, false)) {
		CHECK(span_is_ascii(buf_span(&sent)));
		CHECK(smtp_orcpt_get(buf_span(&sent), &is));
		CHECK(span_eq(buf_span(&was), buf_span(&is)));
	}
	buf_end(&was);
	buf_end(&is);
	buf_end(&sent);
}

static void check_line(struct span line)
{
	struct smtp_cmd c;
	struct smtp_mail_ext m;
	struct smtp_rcpt_ext r;
	err_t err = smtp_cmd_parse(line, &c);
	CHECK((err == ERR_OK) == (c.why == NULL));
	check_path(c.path);
	smtp_ext_mail(c.params, 0xffff, &m);
	if (smtp_ext_rcpt(c.params, 0xffff, &r) == ERR_OK)
		check_orcpt(r.orcpt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), line;
	struct line_scan s = LINE_SCAN_INIT(SMTP_LINE_MAX);
	size_t eat;
	check_line(in);
	for (;;) {
		enum line_rx rx = line_take(&s, in, &line, &eat);
		CHECK(eat <= in.n);
		if (rx == LINE_READY)
			check_line(line);
		in = span_from(in, eat);
		if (rx == LINE_MORE || rx == LINE_BAD)
			return 0;
	}
}
