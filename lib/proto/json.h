/* json.h - single members of a JSON object (RFC 8259), for claims of tokens. The whole text is checked. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { JSON_DEPTH_MAX = 8 };

enum json_type { JSON_ABSENT, JSON_STRING, JSON_NUMBER, JSON_ARRAY, JSON_OTHER };

struct json_value {
	enum json_type type;
	/* STRING: between the quotes, without any escape in it; else as written. */
	struct span text;
};

/* The member `key` of the object. False: the text is not one object, nested too deep, or has the key twice. A
 * string with an escape in it is JSON_OTHER: what is compared must not have two spellings. */
bool json_get(struct span text, const char *key, struct json_value *out);

/* Is the string one of the elements of a JSON_ARRAY? */
bool json_array_has(struct span array, struct span string);

/* The whole part of a JSON_NUMBER that is not negative and has no exponent. */
bool json_u64(const struct json_value *v, uint64_t *out);

#endif
