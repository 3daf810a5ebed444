/* tags.c - the marks of rules with action tag, as a list for a header field and the log. */
#include "metermaid/metermaid.h"

const char meter_tag_field[] = "X-Postern-Tag";

void meter_add_tag(struct buf *tags, const char *tag)
{
	struct buf clean = BUF_INIT(METER_TAG_MAX);
	for (; *tag != '\0'; tag++)
		buf_add_char(&clean, *tag > 0x20 && *tag < 0x7f && *tag != ',' ? *tag : '?');
	struct span rest = buf_span(tags);
	bool there = buf_len(&clean) == 0 || !buf_ok(&clean);
	while (rest.n > 0 && !there)
		there = span_eq(span_trim(span_cut(&rest, ',')), buf_span(&clean));
	if (!there && buf_len(tags) + buf_len(&clean) + 2 <= tags->max) {
		buf_add_str(tags, buf_len(tags) > 0 ? ", " : "");
		buf_add_span(tags, buf_span(&clean));
	}
	buf_end(&clean);
}

void meter_add_tags(struct buf *tags, struct span more)
{
	char tag[METER_TAG_MAX + 1];
	while (more.n > 0) {
		struct span one = span_first(span_trim(span_cut(&more, ',')), METER_TAG_MAX);
		memcpy(tag, one.p, one.n);
		tag[one.n] = '\0';
		meter_add_tag(tags, tag);
	}
}
