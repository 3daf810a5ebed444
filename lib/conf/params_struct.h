/* params_struct.h - expands a .params.def file into the struct that a block of it fills.
 *
 *	#define CONF_BLOCK mmp_listener
 *	#define CONF_DEF "mmp/mmp_listener.params.def"
 *	#include "conf/params_struct.h"
 *
 * yields struct mmp_listener_conf and the declaration of mmp_listener_block; both macros are
 * undefined again, so that one header can declare several kinds. Meant to be included many times:
 * no include guard. A kind used in BLOCKS(field, kind, ...) is declared here and may be defined in
 * any order. See conf/conf.h for the rows. */
#include "conf/conf.h"

#define BLOCKS(field, kind, max, prose)                                                            \
	struct kind##_conf;                                                                        \
	extern const struct conf_block kind##_block;
#define PARAM(field, type, def, low, high, when, prose)
#include CONF_DEF
#undef BLOCKS
#undef PARAM

struct CONF_CAT(CONF_BLOCK, _conf) {
	struct conf_head head;
#define PARAM(field, type, def, low, high, when, prose) CONF_C_##type field;
#define BLOCKS(field, kind, max, prose)                                                            \
	struct kind##_conf **field;                                                                \
	size_t field##_n;
#include CONF_DEF
#undef PARAM
#undef BLOCKS
};

extern const struct conf_block CONF_CAT(CONF_BLOCK, _block);

#undef CONF_BLOCK
#undef CONF_DEF
