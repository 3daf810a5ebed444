/* err.h - error rows: what went wrong, and of which class it is.
 *
 * An err_t is the row's number; ERR_OK is 0, so `if (err)` reads well. The class says how to
 * answer: TEMP try later, PERM will not work, PEER the peer broke the protocol, LIMIT a bound of
 * ours, BUG our fault (told as TEMP to peers). Each protocol has one table from class to reply. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_class {
	ERR_CLASS_OK,
	ERR_CLASS_TEMP,
	ERR_CLASS_PERM,
	ERR_CLASS_PEER,
	ERR_CLASS_LIMIT,
	ERR_CLASS_BUG
};

typedef enum err {
#define ERR(name, class, text) ERR_##name,
#include "base/err.def"
#undef ERR
	ERR_COUNT
} err_t;

const char *err_name(err_t e); /* "CONN_REFUSED": stable, for logs and tests */
const char *err_text(err_t e); /* the row's sentence */
enum err_class err_class(err_t e);
err_t err_from_errno(int errnum); /* nearest row; IO when none is nearer */

#endif
