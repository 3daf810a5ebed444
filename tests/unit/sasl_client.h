/* sasl_client.h - a client's side of SASL exchanges, for tests of whoever is the server. */
#ifndef TESTS_SASL_CLIENT_H
#define TESTS_SASL_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/base64.h"
#include "directory/scram_keys.h"
#include "net/digest.h"

/* One of four texts that live until four more were made. */
static const char *base64(struct span raw)
{
	static char text[4][4096];
	static unsigned at;
	struct buf b = BUF_INIT(4000);
	char *out = text[at++ % 4];
	assert_true(base64_put(&b, raw));
	snprintf(out, sizeof text[0], "%s", buf_cstr(&b));
	buf_end(&b);
	return out;
}

/* client-final for what the server said first; binding: gs2-header and the channel's bytes. */
__attribute__((unused)) static const char *scram_final(
    const char *bare, struct span server_first, const char *secret, struct span binding)
{
	struct scram_keys k;
	struct buf salt = BUF_INIT(100), all = BUF_INIT(4000), final = BUF_INIT(2000);
	uint8_t salted[DIGEST_LEN_MAX], key[DIGEST_LEN_MAX], proof[DIGEST_LEN_MAX];
	struct span rest = server_first, nonce = span_from(span_cut(&rest, ','), 2);
	uint64_t rounds;
	assert_true(base64_get(span_from(span_cut(&rest, ','), 2), &salt));
	assert_true(span_u64(span_from(rest, 2), 100000, &rounds));
	k.rounds = (unsigned)rounds;
	k.salt_n = buf_len(&salt);
	memcpy(k.salt, buf_span(&salt).p, k.salt_n);
	scram_keys_derive(&k, span_str(secret));
	digest_pbkdf2(DIGEST_SHA256, span_str(secret), buf_span(&salt), k.rounds, salted);
	digest_hmac(DIGEST_SHA256, span_of(salted, 32), SPAN("Client Key"), key);
	buf_printf(&final, "c=%s,r=%.*s", base64(binding), SPAN_ARG(nonce));
	buf_printf(&all, "%s,%.*s,%s", bare, SPAN_ARG(server_first), buf_cstr(&final));
	digest_hmac(DIGEST_SHA256, span_of(k.stored, 32), buf_span(&all), proof);
	for (size_t i = 0; i < 32; i++)
		proof[i] ^= key[i];
	buf_printf(&final, ",p=%s", base64(span_of(proof, 32)));
	const char *text = base64(buf_span(&final));
	buf_end(&salt);
	buf_end(&all);
	buf_end(&final);
	return text;
}

/* The last "+ ..." that came, decoded. */
__attribute__((unused)) static struct span last_challenge(struct buf *heard, struct buf *raw)
{
	const char *at = NULL;
	*raw = BUF_INIT(4000);
	for (const char *p = buf_cstr(heard); (p = strstr(p, "+ ")) != NULL; p++)
		at = p;
	assert_non_null(at);
	assert_true(base64_get(span_of(at + 2, strcspn(at + 2, "\r")), raw));
	return buf_span(raw);
}

#endif
