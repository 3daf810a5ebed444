/* outcome.c - words of other hosts become one clean line before anybody sees them. */
#include "edge/outcome.h"

#include <stdio.h>

#include "base/fmt.h"

void outcome_set(
    struct outcome *o, enum fate fate, unsigned code, const char *enhanced, struct span text)
{
	struct buf line = BUF_INIT(REPLY_TEXT_SIZE - 1);
	fmt_line_text(&line, text, REPLY_TEXT_SIZE - 1);
	o->fate = fate;
	o->code = (uint16_t)code;
	o->remote = false;
	if (enhanced == NULL || enhanced[0] == '\0')
		snprintf(o->enhanced, sizeof(o->enhanced), "%u.0.0", code / 100 % 10);
	else
		snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
	snprintf(o->text, sizeof(o->text), "%s", buf_cstr(&line));
	buf_end(&line);
}

void outcome_from_reply(struct outcome *o, const struct smtp_reply *reply)
{
	struct buf line = BUF_INIT(REPLY_TEXT_SIZE);
	struct span text = span_first(reply->text, REPLY_TEXT_SIZE);
	for (size_t i = 0; i < text.n; i++)
		buf_add_char(&line, text.p[i] == '\n' ? ' ' : text.p[i]);
	static const enum fate fates[] = {
		[2] = FATE_DELIVERED, [4] = FATE_LATER, [5] = FATE_REFUSED
	};
	unsigned class = reply->code / 100;
	bool expected = class == 2 || class == 4 || class == 5;
	if (expected)
		outcome_set(o, fates[class], reply->code, reply->enhanced, buf_span(&line));
	else
		outcome_set(o, FATE_LATER, 451, "4.5.0", SPAN("unexpected reply of the next hop"));
	o->remote = expected;
	buf_end(&line);
}
