/* limit.c - what answers of MeterMaid leave behind: notes in the decision record, marks for the mail. */
#include "edge/limit.h"

#include "edge/mail.h"

enum { MAIL_TAGS_MAX = 512 };

void limit_tag_mail(struct session *s, const char *tag)
{
	s->mail->tags.max = MAIL_TAGS_MAX;
	meter_add_tag(&s->mail->tags, tag);
}

void limit_note(struct session *s, const char *moment, const struct meter_answer *a)
{
	static const char *const words[] = { [METER_ALLOW] = "allow",
		[METER_DELAY] = "delay",
		[METER_DEFER] = "defer",
		[METER_REFUSE] = "refuse" };
	bool ruled = a->rule != NULL && a->rule[0] != '\0';
	session_notef(s, moment, "%s%s%s%s%s%s", words[a->action], ruled ? " by rule " : "",
	    ruled ? a->rule : "", a->tag != NULL ? ", tagged " : "", a->tag != NULL ? a->tag : "",
	    a->degraded ? ", degraded" : "");
	if (a->tag == NULL)
		return;
	s->tags.max = METER_TAGS_MAX;
	if (s->mail != NULL)
		limit_tag_mail(s, a->tag);
	else
		meter_add_tag(&s->tags, a->tag);
}

const char *limit_tags(const struct session *s)
{
	static char text[MAIL_TAGS_MAX + 1];
	struct buf all = BUF_INIT(MAIL_TAGS_MAX);
	meter_add_tags(&all, buf_span(&s->tags));
	if (s->mail != NULL)
		meter_add_tags(&all, buf_span(&s->mail->tags));
	struct span got = buf_span(&all);
	memcpy(text, got.p, got.n);
	text[got.n] = '\0';
	buf_end(&all);
	return text;
}

bool limit_put_tags(const struct session *s, struct buf *lines)
{
	const char *tags = limit_tags(s);
	return tags[0] == '\0' || buf_printf(lines, "%s: %s\r\n", meter_tag_field, tags);
}
