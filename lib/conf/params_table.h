/* params_table.h - expands a .params.def file into the table that the parser works from.
 *
 * In exactly one .c file for each kind, after the header that declares its struct:
 *
 *	#define CONF_BLOCK mmp_listener
 *	#define CONF_DEF "mmp/mmp_listener.params.def"
 *	#define CONF_PROSE "A group of addresses that speak one protocol."     // optional
 *	#include "conf/params_table.h"
 *
 * yields mmp_listener_block. The section of a file that a top-level kind reads has the kind's
 * name; a nested kind is written with the name of the field that holds it. */
#include "conf/conf.h"

#ifndef CONF_PROSE
#define CONF_PROSE ""
#endif

static const struct conf_param CONF_CAT(CONF_BLOCK, _params)[] = {
#define CONF_AT(field) offsetof(struct CONF_CAT(CONF_BLOCK, _conf), field)
#define PARAM(field, kind, text, least, most, applies, words)                                      \
	{ .name = #field,                                                                          \
		.type = CONF_##kind,                                                               \
		.offset = CONF_AT(field),                                                          \
		.def = (text),                                                                     \
		.low = (least),                                                                    \
		.high = (most),                                                                    \
		.when = CONF_##applies,                                                            \
		.prose = (words) },
#define BLOCKS(field, kind, most, words)                                                           \
	{ .name = #field,                                                                          \
		.type = CONF_BLOCKS,                                                               \
		.offset = CONF_AT(field),                                                          \
		.prose = (words),                                                                  \
		.block = &kind##_block,                                                            \
		.count_offset = CONF_AT(field##_n),                                                \
		.max = (most) },
#include CONF_DEF
#undef PARAM
#undef BLOCKS
#undef CONF_AT
};

const struct conf_block CONF_CAT(CONF_BLOCK, _block) = {
	.name = CONF_TEXT(CONF_BLOCK),
	.prose = CONF_PROSE,
	.size = sizeof(struct CONF_CAT(CONF_BLOCK, _conf)),
	.params = CONF_CAT(CONF_BLOCK, _params),
	.count = sizeof CONF_CAT(CONF_BLOCK, _params) / sizeof(struct conf_param),
};

#undef CONF_BLOCK
#undef CONF_DEF
#undef CONF_PROSE
