/* err.c - the error table and the map from errno to it. */
#include <errno.h>
#include <stddef.h>

#include "base/check.h"
#include "base/err.h"

static const struct {
	const char *name;
	enum err_class class;
	const char *text;
} rows[ERR_COUNT] = {
#define ERR(name, class, text) [ERR_##name] = { #name, ERR_CLASS_##class, text },
#include "base/err.def"
#undef ERR
};

static const struct {
	int errnum;
	err_t err;
} from_errno[] = {
	{ 0, ERR_OK },
	{ EAGAIN, ERR_AGAIN },
	{ ETIMEDOUT, ERR_TIMEOUT },
	{ ECONNREFUSED, ERR_CONN_REFUSED },
	{ ENOENT, ERR_NOT_FOUND },
	{ EEXIST, ERR_EXISTS },
	{ EACCES, ERR_DENIED },
	{ EPERM, ERR_DENIED },
	{ ECONNRESET, ERR_CONN_RESET },
	{ EPIPE, ERR_CONN_RESET },
	{ EHOSTUNREACH, ERR_CONN_UNREACHABLE },
	{ ENETUNREACH, ERR_CONN_UNREACHABLE },
	{ EADDRNOTAVAIL, ERR_CONN_UNREACHABLE },
	{ EMFILE, ERR_NO_DESCRIPTORS },
	{ ENFILE, ERR_NO_DESCRIPTORS },
	{ ENOSPC, ERR_NO_SPACE },
	{ EDQUOT, ERR_NO_SPACE },
};

const char *err_name(err_t e)
{
	CHECK((unsigned)e < ERR_COUNT);
	return rows[e].name;
}

const char *err_text(err_t e)
{
	CHECK((unsigned)e < ERR_COUNT);
	return rows[e].text;
}

enum err_class err_class(err_t e)
{
	CHECK((unsigned)e < ERR_COUNT);
	return rows[e].class;
}

err_t err_from_errno(int errnum)
{
	for (size_t i = 0; i < COUNT_OF(from_errno); i++)
		if (from_errno[i].errnum == errnum)
			return from_errno[i].err;
	return ERR_IO;
}
