/* table.h - JSON for people: rows of objects as aligned columns, anything else by its own shape. */
#ifndef ADMIN_TABLE_H
#define ADMIN_TABLE_H

#include <jansson.h>

#include "base/buf.h"

enum { TABLE_COLUMNS_MAX = 16, TABLE_OUTPUT_MAX = 256 * 1024 * 1024 };

enum column_kind { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_BYTES, COLUMN_SECONDS, COLUMN_TIME };

struct column {
	const char *key;   /* member of each row */
	const char *title; /* NULL ends the list */
	enum column_kind kind;
};

/* rows: an array of objects. columns NULL: the members of the first row. Controls in values become
 * '?', since values come from peers. */
bool table_put(const json_t *rows, const struct column *columns, struct buf *out);

/* Any JSON: arrays of objects as tables, objects as "name  value" lines, else one value a line. */
bool table_put_any(const json_t *value, struct buf *out);

#endif
