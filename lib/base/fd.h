/* fd.h - whole writes and durable names, where the file is local and waiting is right. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/err.h"
#include "base/span.h"

/* All of bytes, at the descriptor's own position; an interruption is no failure. ERR_NO_SPACE, ERR_IO ...: some
 * of them may have been written. */
err_t fd_write_all(int fd, struct span bytes);

/* Makes the names in a directory durable: files created, renamed or removed there before. */
err_t fd_sync_dir(const char *dir);
/* The same for the directory that the name stands in. */
err_t fd_sync_dir_of(const char *path);

/* The descriptors that came with a message of recvmsg(): the first `max` into out, the rest is closed. How many were kept. */
struct msghdr;
size_t fd_take_passed(struct msghdr *m, int *out, size_t max);

#endif
