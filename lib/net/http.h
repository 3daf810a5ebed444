/* http.h - the admin HTTP server for /metrics and /healthz, on libevent's evhttp.
 *
 * For a loopback address or a unix socket only. GET only; request head at most 16 KiB, body at most
 * 64 KiB, every connection at most 10 seconds and one request, and at most 64 connections at once.
 * A Host that is neither "localhost" nor a literal address is refused (421), so that a web page
 * cannot reach it by rebinding a name. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"
#include "net/loop.h"

struct http_admin;

enum { HTTP_ADMIN_BODY_MAX = 16 * 1024 * 1024 };

/* Answers one request at once: appends the body to out (which holds HTTP_ADMIN_BODY_MAX), sets the
 * content type if it is not "text/plain; charset=utf-8", and returns the status (200, 404, 503 ...).
 * path is as sent, without the query, always beginning with '/'. */
typedef int http_admin_fn(
    void *arg, struct span path, struct buf *out, const char **content_type_out);

/* fd: a listening non-blocking socket, borrowed: never closed here. NULL when it is not a unix
 * socket or bound to a loopback address. */
struct http_admin *http_admin_new(struct loop *l, int fd, http_admin_fn *fn, void *arg);
void http_admin_free(struct http_admin **h);

#endif
