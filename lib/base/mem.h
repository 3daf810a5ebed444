/* mem.h - allocation that never fails to its caller: out of memory ends the process, so no
 * input may size an allocation beyond its own cap before it gets here. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/span.h"

void *mem_alloc(size_t n);                  /* zeroed; n may be 0 */
void *mem_resize(void *take_p, size_t n);   /* like realloc; new bytes not zeroed */
void *mem_array(size_t count, size_t size); /* zeroed; overflow of the product aborts */
void *mem_grow(
    void *take_p, size_t count, size_t size); /* resize to count*size, overflow-checked */
void *mem_copy(const void *p, size_t n);
char *mem_str(const char *s);      /* strdup; NULL gives NULL */
char *mem_span_str(struct span s); /* NUL-terminated copy; bytes as they are */
void mem_free(void *p);            /* NULL is fine */
size_t mem_in_use(void);          /* bytes taken by these calls, and libraries of lib/net, in all */
void mem_wipe(void *p, size_t n); /* for secrets: not optimised away */

#define MEM_NEW(type) ((type *)mem_alloc(sizeof(type)))
/* Frees *pp and nulls it: the last line of every x_free(struct x **). */
#define MEM_FREE(pp) (mem_free(*(pp)), (void)(*(pp) = NULL))

#endif
