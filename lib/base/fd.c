/* fd.c - see fd.h. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

err_t fd_write_all(int fd, struct span bytes)
{
	while (bytes.n > 0) {
		ssize_t n = write(fd, bytes.p, bytes.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_NO_SPACE;
		bytes = span_from(bytes, (size_t)n);
	}
	return ERR_OK;
}

err_t fd_sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = fsync(fd) == 0 ? ERR_OK : ERR_IO;
	close(fd);
	return err;
}

err_t fd_sync_dir_of(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	size_t n = slash != NULL ? (size_t)(slash - path) + 1 : 0;
	if (n >= sizeof dir)
		return ERR_TOO_LONG;
	memcpy(dir, path, n);
	dir[n] = '\0';
	return fd_sync_dir(n > 0 ? dir : ".");
}

size_t fd_take_passed(struct msghdr *m, int *out, size_t max)
{
	size_t kept = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (kept < max)
				out[kept++] = fd;
			else
				close(fd);
		}
	}
	return kept;
}
