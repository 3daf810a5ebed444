/* show.h - commands that ask daemons and print what they say: one row each. */
#ifndef ADMIN_SHOW_H
#define ADMIN_SHOW_H

#include "admin/admin.h"
#include "admin/table.h"

struct question {
	const char *const *programs;  /* who is asked, NULL-terminated; NULL: all */
	const struct column *columns; /* of the rows; NULL: as they come */
	const char *unique[2]; /* rows that agree in these members are one; first NULL: all rows */
	const char *greatest;  /* the one with the greatest of this member stays */
	const char *none;      /* what is said when there are no rows */
};

/* Appends the rows of all answers; returns how many programs have answered. quiet: those that have not are
 * not told about. */
struct show_words {
	const char *const *v;
	size_t n;
	bool quiet;
};
size_t show_gather(const struct admin_args *a, const struct question *q, struct show_words words,
    json_t *rows, int *status_out);

/* queue list: asks on until it has everything or SHOW_LIST_MAX rows, and says when that is not all. */
enum { SHOW_LIST_MAX = 5000 };
int show_queue(const struct admin_args *a, const struct question *q);
/* queue summary: says when not everything was counted. */
int show_summary(const struct admin_args *a, const struct question *q);
/* The words of the command line are the question. */
int show_rows(const struct admin_args *a, const struct question *q);
/* queue cat ID: the bytes of a message in the queue, as they are. */
int show_cat(const struct admin_args *a);
int show_status(const struct admin_args *a);
/* A command without more of an answer, to the programs of `only` (NULL: all). */
int show_done(
    const struct admin_args *a, const char *const *only, const char *word, const char *said);
/* postern ask PROGRAM WORD...: whatever it answers. */
int show_any(const struct admin_args *a);

#endif
