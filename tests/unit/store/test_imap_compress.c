/* test_imap_compress.c - COMPRESS=DEFLATE (RFC 4978): a client with zlib of its own talks to a session. */
#include "tests/unit/store/imap_fixture.h"

#include <zlib.h>

/* Packs what is said and unpacks what is heard. */
struct packer {
	struct talk t;
	z_stream out, in;
	struct buf heard; /* unpacked */
};

static void start(struct packer *p, struct fixture *f)
{
	*p = (struct packer){ .t = talk_login(f), .heard = BUF_INIT(TALK_MAX) };
	assert_int_equal(deflateInit2(&p->out, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(inflateInit2(&p->in, -15), Z_OK);
	talk_expect(&p->t, "z COMPRESS DEFLATE\r\n", "z OK Compression begins\r\n");
	buf_clear(&p->t.heard);
}

static void stop(struct packer *p)
{
	deflateEnd(&p->out);
	inflateEnd(&p->in);
	buf_end(&p->heard);
	talk_close(&p->t);
}

static void say(struct packer *p, struct span bytes, size_t cut)
{
	char packed[65536];
	p->out.next_in = (Bytef *)(uintptr_t)bytes.p;
	p->out.avail_in = (uInt)bytes.n;
	do {
		p->out.next_out = (Bytef *)packed;
		p->out.avail_out = sizeof packed;
		assert_int_equal(deflate(&p->out, Z_SYNC_FLUSH), Z_OK);
		talk_send_cut(&p->t, span_of(packed, sizeof packed - p->out.avail_out), cut);
	} while (p->out.avail_out == 0);
}

static void unpack_heard(struct packer *p)
{
	char bytes[65536];
	talk_listen(&p->t);
	struct span raw = buf_span(&p->t.heard);
	p->in.next_in = (Bytef *)(uintptr_t)raw.p;
	p->in.avail_in = (uInt)raw.n;
	do {
		p->in.next_out = (Bytef *)bytes;
		p->in.avail_out = sizeof bytes;
		int r = inflate(&p->in, Z_SYNC_FLUSH);
		assert_true(r == Z_OK || r == Z_BUF_ERROR);
		buf_add(&p->heard, bytes, sizeof bytes - p->in.avail_out);
	} while (p->in.avail_out == 0);
	buf_clear(&p->t.heard);
}

static const char *ask(struct packer *p, const char *command, const char *last, size_t cut)
{
	uint64_t until = clock_mono_ms() + TALK_WAIT_MS;
	buf_clear(&p->heard);
	if (*command != '\0')
		say(p, span_str(command), cut);
	unpack_heard(p);
	while (strstr(buf_cstr(&p->heard), last) == NULL) {
		assert_true(clock_mono_ms() < until && !p->t.ended);
		loop_step(p->t.w->loop, 20);
		unpack_heard(p);
	}
	return buf_cstr(&p->heard);
}

static void test_conversation(void **state)
{
	for (size_t cut = 1; cut != 0; cut = cut == 1 ? SIZE_MAX : 0) {
		struct fixture *f = fixture_open();
		struct packer p;
		start(&p, f);
		assert_string_equal(ask(&p, "a NOOP\r\n", "a OK", cut), "a OK NOOP completed\r\n");
		ask(&p, "a APPEND INBOX {9}\r\n", "+ go on\r\n", cut);
		assert_non_null(strstr(ask(&p, "Subject: \r\n", "a OK", cut), "[APPENDUID "));
		ask(&p, "a SELECT INBOX\r\n", "a OK [READ-WRITE]", cut);
		assert_string_equal(
		    ask(&p, "a FETCH 1 BODY.PEEK[]\r\nb COMPRESS DEFLATE\r\n", "b NO", cut),
		    "* 1 FETCH (BODY[] {9}\r\nSubject: )\r\na OK FETCH completed\r\n"
		    "b NO [COMPRESSIONACTIVE] It is active already\r\n");
		assert_string_equal(ask(&p, "a LOGOUT\r\n", "a OK", cut),
		    "* BYE Logging out\r\na OK LOGOUT completed\r\n");
		stop(&p);
		fixture_close(&f);
	}
}

/* From the log's file through the compressor, both ways larger than any buffer. */
static void test_large(void **state)
{
	struct fixture *f = fixture_open();
	struct packer p;
	struct buf b = BUF_INIT(1 << 20);
	start(&p, f);
	buf_add_str(&b, "a APPEND INBOX {900000+}\r\n");
	size_t at = buf_len(&b);
	for (unsigned i = 0; buf_len(&b) < at + 899980; i++)
		buf_printf(&b, "line %u of many\r\n", i * 2654435761u);
	while (buf_len(&b) < at + 899998)
		buf_add_char(&b, 'x');
	buf_add_str(&b, "\r\n\r\n");
	assert_non_null(strstr(ask(&p, buf_cstr(&b), "a ", SIZE_MAX), "a OK [APPENDUID"));
	ask(&p, "a EXAMINE INBOX\r\n", "a OK", SIZE_MAX);
	const char *heard = ask(&p, "c FETCH 1 BODY[]\r\n", ")\r\nc OK FETCH", SIZE_MAX);
	const char *body = strstr(heard, "{900000}\r\n");
	assert_non_null(body);
	assert_memory_equal(body + 10, buf_cstr(&b) + at, 900000);
	buf_end(&b);
	stop(&p);
	fixture_close(&f);
}

static void test_idle_news(void **state)
{
	struct fixture *f = fixture_open();
	struct packer p;
	start(&p, f);
	ask(&p, "a SELECT INBOX\r\n", "a OK", SIZE_MAX);
	ask(&p, "i IDLE\r\n", "+ idling\r\n", SIZE_MAX);
	fixture_put(f, "INBOX", "", "a: b\r\n\r\n");
	ask(&p, "", "* 1 EXISTS\r\n", SIZE_MAX);
	ask(&p, "DONE\r\n", "i OK", SIZE_MAX);
	stop(&p);
	fixture_close(&f);
}

/* What is pipelined behind the command is taken for packed; plain text is not, and ends the session. */
static void test_rubbish(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	talk_send(&t, "z COMPRESS DEFLATE\r\nb NOOP\r\n");
	talk_until(&t, NULL);
	assert_null(strstr(buf_cstr(&t.heard), "b OK"));
	talk_close(&t);
	t = talk_login(f);
	talk_expect(&t, "z COMPRESS LZW\r\n", "z NO [CANNOT] Only DEFLATE is offered\r\n");
	talk_expect(&t, "z COMPRESS\r\n", "z BAD Missing argument\r\n");
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_idle_news),
		cmocka_unit_test(test_rubbish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
