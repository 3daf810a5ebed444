/* text_list.h - texts one behind the other, each with its NUL: read-only, part of a record. */
#ifndef DIRECTORY_TEXT_LIST_H
#define DIRECTORY_TEXT_LIST_H

#include <stddef.h>
#include <string.h>

struct text_list {
	const char *p; /* the first text, or NULL */
	size_t n;      /* texts */
};

/* for (const char *t = l.p; i < l.n; i++, t = text_list_next(t)) */
static inline const char *text_list_next(const char *text)
{
	return text + strlen(text) + 1;
}

#endif
