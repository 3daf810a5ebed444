/* copy_tls.h - is the link between two hosts that keep copies TLS (option copy_tls), and with what.
 *
 * auto: TLS, but for a loopback address, "localhost" and a unix socket, which no network sees. The owner dials and
 * verifies the other host's certificate by the name in copy_to, with tls.ca (RFC 9525); the secret is said behind that.
 * The other host shows a certificate of section tls, and takes nobody in plaintext where TLS is due. */
#ifndef EDGE_COPY_TLS_H
#define EDGE_COPY_TLS_H

#include "base/ip.h"
#include "conf/conf.h"
#include "edge/edge_conf.h"
#include "net/tls_ctx.h"

bool copy_tls_to(const struct edge_conf *e); /* towards copy_to, which is set */
bool copy_tls_at(const struct edge_conf *e, struct ip_addr local); /* local none: a unix socket */

/* What conf has for it, in place of *ctx, which the caller unrefs. Cannot be made: said to the log, and *ctx is what it
 * was. Not due: *ctx stays NULL, or what it was. */
void copy_tls_client(struct tls_ctx **ctx, const struct conf *conf);
void copy_tls_server(struct tls_ctx **ctx, const struct conf *conf);

void copy_tls_check(const struct conf *conf, const struct edge_conf *e, struct conf_diag *d);

#endif
