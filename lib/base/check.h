/* check.h - assertions that stay on in production.
 *
 * CHECK(x) is for what only our own code can break; input from a peer, a file or a helper must
 * never reach it (such input gets an err_t). A failed CHECK prints file, line and the expression
 * on standard error and aborts: the master restarts the worker and counts the crash. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdint.h>
#include <stdnoreturn.h>

noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(x) ((x) ? (void)0 : check_failed(__FILE__, __LINE__, #x))
#define BUG(why) check_failed(__FILE__, __LINE__, (why))

/* Objects that cross a void * carry a magic word as their first use of `uint32_t magic`.
 * OBJ(session, arg) casts a callback's argument and proves that it is alive:
 *	struct session *s = OBJ(session, arg);       with #define session_MAGIC 0x5e551031u */
#define OBJ(type, arg)                                                                             \
	((struct type *)check_magic(&((struct type *)(arg))->magic, type##_MAGIC, (arg)))

static inline void *check_magic(const uint32_t *magic, uint32_t want, void *obj)
{
	if (*magic != want)
		BUG("magic word: wrong type or object already freed");
	return obj;
}

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
