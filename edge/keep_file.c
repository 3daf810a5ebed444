/* keep_file.c - small files, read and replaced whole. Owns a descriptor during each call. */
#include "edge/keep_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"

enum { PIECE = 16 * 1024, PATH_SIZE = 1100 };

err_t keep_file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = ERR_OK;
	ssize_t n = 1;
	while (!err && n > 0) {
		char piece[PIECE];
		n = read(fd, piece, sizeof piece);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			err = err_from_errno(errno);
		else if (!buf_add(out, piece, (size_t)n))
			err = ERR_TOO_LONG;
	}
	close(fd);
	return err;
}

err_t keep_file_write(const char *path, struct span bytes)
{
	char fresh[PATH_SIZE];
	if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
		return ERR_TOO_LONG;
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = fd_write_all(fd, bytes);
	if (close(fd) != 0 && !err)
		err = err_from_errno(errno);
	if (!err && rename(fresh, path) != 0)
		err = err_from_errno(errno);
	if (err)
		unlink(fresh);
	return err;
}
