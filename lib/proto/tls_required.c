/* tls_required.c - one word of the header; no I/O. */
#include "proto/tls_required.h"

#include "proto/header.h"
#include "proto/mime.h"

bool tls_required_is_no(struct span header)
{
	struct header_field f;
	struct span name = SPAN("TLS-Required");
	return header_find(header, name, 0, &f) && mime_is_token(f.value, "no") &&
	       header_count(header, name) == 1;
}
