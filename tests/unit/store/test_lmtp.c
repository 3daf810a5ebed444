/* test_lmtp.c - how an LMTP session begins: plain, by TLS from the first byte, and without a certificate. */
#include "store_fixture.h"

#include "store-backend/lmtp/lmtp_session.h"

static const char options[] =
    "listener lmtp { address 127.0.0.1:24; protocol lmtp; }\n"
    "listener lmtps { address 127.0.0.1:25; protocol lmtp; tls implicit; }\n";

static int setup(void **state)
{
	fixture_start(options);
	return 0;
}

static int teardown(void **state)
{
	fixture_stop();
	return 0;
}

static void test_plain(void **state)
{
	struct talk t = talk_begin(&store, lmtp_session_start, "lmtp", "127.0.0.1");
	talk_until(&t, "220 store1.example.org LMTP Postern ready");
	talk_send_cut(&t, SPAN("QUIT\r\n"), SIZE_MAX);
	talk_until(&t, NULL);
	talk_close(&t);
}

static void test_drained(void **state)
{
	store.draining = true;
	struct talk t = talk_begin(&store, lmtp_session_start, "lmtp", "127.0.0.1");
	store.draining = false;
	talk_until(&t, NULL);
	assert_int_equal(strncmp(buf_cstr(&t.heard), "421 4.3.2 Service shuts down [", 30), 0);
	assert_int_equal(store.session_n, 0);
	talk_close(&t);
}

static void test_implicit_tls_says_nothing_plain(void **state)
{
	struct talk t = talk_begin(&store, lmtp_session_start, "lmtps", "127.0.0.1");
	for (int i = 0; i < 5; i++)
		loop_step(store.loop, 1);
	talk_listen(&t);
	assert_int_equal(buf_len(&t.heard), 0);
	assert_int_equal(store.session_n, 1);
	shutdown(t.fd, SHUT_WR);
	talk_until(&t, NULL);
	talk_close(&t);
	assert_int_equal(store.session_n, 0);
}

static void test_no_certificate(void **state)
{
	struct tls_ctx *kept = store.tls;
	store.tls = NULL;
	struct talk t = talk_begin(&store, lmtp_session_start, "lmtps", "127.0.0.1");
	talk_until(&t, NULL);
	assert_int_equal(buf_len(&t.heard), 0);
	assert_int_equal(store.session_n, 0);
	talk_close(&t);
	store.tls = kept;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_implicit_tls_says_nothing_plain),
		cmocka_unit_test(test_no_certificate),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
