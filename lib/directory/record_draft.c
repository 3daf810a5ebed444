/* record_draft.c - records drafted with texts aside, then joined. Owns a draft's texts until it is finished. */
#include "directory/record_draft.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/name.h"

void draft_init(struct draft *d, enum record_kind kind, size_t text_max)
{
	*d = (struct draft){ .text = BUF_INIT(text_max) };
	d->r.magic = record_MAGIC;
	d->r.refs = 1;
	d->r.kind = kind;
}

void draft_fail(struct draft *d, const char *why)
{
	if (d->why == NULL)
		d->why = why;
}

void draft_text(struct draft *d, const char **member, struct span s)
{
	CHECK(d->fixes < DRAFT_TEXTS_MAX);
	d->fix[d->fixes].member = (size_t)((char *)member - (char *)&d->r);
	d->fix[d->fixes++].at = buf_len(&d->text);
	buf_add_span(&d->text, s);
	buf_add_char(&d->text, '\0');
}

void draft_list(struct draft *d, struct text_list *list, const struct entry *e, const char *attr)
{
	struct span value;
	size_t at = 0;
	while (attr != NULL && (value = entry_next(e, attr, &at)).p != NULL) {
		value = span_trim(value);
		if (value.n == 0)
			continue;
		if (!name_is_clean(value, RECORD_TEXT_MAX / 4))
			draft_fail(d, "a value is too long, or has controls in it");
		if (list->n++ == 0) {
			draft_text(d, &list->p, value);
			continue;
		}
		buf_add_span(&d->text, value);
		buf_add_char(&d->text, '\0');
	}
}

struct record *draft_finish(struct draft *d, const char **why_out)
{
	struct record *r = NULL;
	struct span text = buf_span(&d->text);
	if (!buf_ok(&d->text))
		draft_fail(d, "too long");
	if (d->why == NULL) {
		r = mem_alloc(sizeof *r + text.n);
		*r = d->r;
		r->text = (char *)(r + 1);
		r->text_n = text.n;
		memcpy(r->text, text.p, text.n);
		for (size_t i = 0; i < d->fixes; i++)
			*(const char **)((char *)r + d->fix[i].member) = r->text + d->fix[i].at;
	}
	*why_out = d->why;
	buf_wipe_end(&d->text);
	return r;
}
