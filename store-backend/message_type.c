/* message_type.c - the kind of a message from its header. Before: index_message.c, index_adopt.c and partition_warn.c, which
 * have the cache, and expire.c, which may have read the header. Pure. */
#include "store-backend/message_type.h"

#include "base/buf.h"
#include "proto/mime.h"
#include "store-backend/parse.h"

enum { HEADER_BYTES = 64 * 1024 };

enum message_type message_type_of(struct span content_type)
{
	struct buf scratch = BUF_INIT(HEADER_BYTES);
	struct mime_value v;
	enum message_type t = TYPE_MAIL;
	if (content_type.n == 0 || !mime_parse_value(content_type, &scratch, &v))
		t = TYPE_MAIL;
	else if (span_ieq_str(v.type, "audio") || span_ieq_str(v.subtype, "voice-message"))
		t = TYPE_VOICE;
	else if (span_ieq_str(v.subtype, "tiff") || span_ieq_str(v.subtype, "fax-message"))
		t = TYPE_FAX;
	else if (span_ieq_str(v.type, "video"))
		t = TYPE_VIDEO;
	buf_end(&scratch);
	return t;
}

enum message_type message_type_in(struct span cache)
{
	struct parse_cache c;
	struct span type = SPAN_NONE;
	if (parse_cache_open(cache, &c) && c.has_fields)
		(void)mime_find_field(c.fields, "Content-Type", &type);
	return message_type_of(type);
}

void type_uses_add(struct type_uses *u, enum message_type type, uint64_t bytes, uint64_t messages)
{
	enum message_type both[] = { TYPE_ANY, type == TYPE_ANY ? TYPE_MAIL : type };
	for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
		u->of[both[i]].bytes += bytes;
		u->of[both[i]].messages += messages;
	}
}
