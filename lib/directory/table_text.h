/* table_text.h - the text form of a table, as postmap(1) reads it: `key value` a line. Pure.
 *
 * Empty lines, and lines whose first character that is no space is a #, do not count, wherever they stand. A line that begins
 * with a space goes on with the one before it. Spaces within double quotes are part of the key ("a b"@example.org). */
#ifndef DIRECTORY_TABLE_TEXT_H
#define DIRECTORY_TABLE_TEXT_H

#include <stddef.h>

#include "base/map.h"

enum { TABLE_VALUE_MAX = 2048, TABLE_ROWS_MAX = 10 * 1000 * 1000 };

/* The text in the memory of the caller (text_n bytes and a NUL, changed by it and longer-lived): keys in lower case, shorter
 * than TABLE_KEY_MAX, to NUL-terminated values of at most TABLE_VALUE_MAX bytes. NULL: *why_out (a constant) says what is
 * wrong, *line_out where: the line of the file, counted from 1, on which the row begins. */
struct map *table_text_parse(char *text, size_t text_n, size_t *line_out, const char **why_out);

#endif
