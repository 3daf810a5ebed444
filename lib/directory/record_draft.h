/* record_draft.h - a record in the making: texts aside, then all of it in one piece of memory. For the makers
 * of records only. */
#ifndef DIRECTORY_RECORD_DRAFT_H
#define DIRECTORY_RECORD_DRAFT_H

#include "base/buf.h"
#include "directory/record.h"

enum { DRAFT_TEXTS_MAX = 48 };

/* Texts are put into `text`; the members that shall point to them are listed. */
struct draft {
	struct record r;
	struct buf text;
	struct {
		size_t member; /* offset of the pointer in struct record */
		size_t at;     /* offset of its text */
	} fix[DRAFT_TEXTS_MAX];
	size_t fixes;
	const char *why; /* first reason why the entry cannot be used */
};

void draft_init(struct draft *d, enum record_kind kind, size_t text_max);
void draft_fail(struct draft *d, const char *why); /* why: a constant */
/* member: a const char * inside d->r. */
void draft_text(struct draft *d, const char **member, struct span s);
/* All values of an attribute; list: inside d->r. */
void draft_list(struct draft *d, struct text_list *list, const struct entry *e, const char *attr);
/* NULL: *why_out says why. Ends the draft. */
struct record *draft_finish(struct draft *d, const char **why_out);

/* Values that several kinds have. */
enum account_status record_status_of(const struct entry *e, const char *first, const char *second);
bool record_is_address(struct span s);
/* ACCOUNT_TO_*; `without` when there is no value. */
unsigned record_delivery(const struct entry *e, const char *attr, unsigned without);

#endif
