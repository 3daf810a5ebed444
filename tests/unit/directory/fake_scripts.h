/* fake_scripts.h - what the fake LDAP server does with a request, from good to malicious. */
#ifndef TEST_DIRECTORY_FAKE_SCRIPTS_H
#define TEST_DIRECTORY_FAKE_SCRIPTS_H

#include "tests/unit/directory/fake_ldap.h"

#define ALICE "alice@example.org"
#define ALICE_DN "uid=alice,dc=x"

static struct buf fresh(void)
{
	return BUF_INIT(FAKE_BYTES_MAX);
}

static void good(struct fake_ask *a)
{
	struct buf out = fresh();
	bool alice = span_find_span(a->message, SPAN(ALICE)) != SIZE_MAX;
	if (a->op == OP_BIND) {
		bool right = span_find_span(a->message, SPAN("right")) != SIZE_MAX;
		put_result(&out, a->id, RE_BIND, right ? 0 : 49);
	} else {
		if (alice)
			put_user(&out, a->id, ALICE_DN, ALICE);
		put_result(&out, a->id, RE_DONE, 0);
	}
	fake_send(a->conn, &out);
}

static void silent(struct fake_ask *a)
{
}

static void close_it(struct fake_ask *a)
{
	stream_close(&a->conn->io, 1);
}

static void coded(struct fake_ask *a)
{
	fake_result(a, a->op == OP_BIND ? RE_BIND : RE_DONE, a->fake->code);
}

static void half(struct fake_ask *a)
{
	struct buf out = fresh(), part = fresh();
	put_user(&out, a->id, ALICE_DN, ALICE);
	put_result(&out, a->id, RE_DONE, 0);
	buf_add_span(&part, span_first(buf_span(&out), buf_len(&out) - 3));
	buf_end(&out);
	fake_send(a->conn, &part);
}

static void half_and_close(struct fake_ask *a)
{
	half(a);
	close_it(a);
}

static void entry_and_close(struct fake_ask *a)
{
	struct buf out = fresh();
	put_user(&out, a->id, ALICE_DN, ALICE);
	fake_send(a->conn, &out);
	close_it(a);
}

static void slow(struct fake_ask *a)
{
	struct buf out = fresh();
	put_result(&out, a->id, RE_DONE, 0);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send_slowly(a->conn, &out);
}

static void garbage(struct fake_ask *a)
{
	struct buf out = fresh();
	buf_add_str(&out, "HTTP/1.0 400 Bad Request\r\n\r\n");
	fake_send(a->conn, &out);
}

/* The list of attributes says it is empty, and is not: not to be taken for an entry without a name. */
static void lying_length(struct fake_ask *a)
{
	struct buf out = fresh(), inner = fresh();
	put_tlv(&inner, 0x04, SPAN(ALICE_DN));
	put_tlv(&inner, 0x30, SPAN_NONE);
	put_attribute(&inner, "mail", ALICE);
	put_message(&out, a->id, RE_ENTRY, &inner);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

static void empty_sequence(struct fake_ask *a)
{
	struct buf out = fresh();
	buf_add(&out, "\x30\x00", 2);
	fake_send(a->conn, &out);
}

static void announced_too_long(struct fake_ask *a)
{
	struct buf out = fresh();
	buf_add(&out, "\x30\x84\x7f\xff\xff\xff\x02\x01", 8);
	buf_add_char(&out, (char)a->id);
	fake_send(a->conn, &out);
}

static void really_too_long(struct fake_ask *a)
{
	struct buf out = fresh(), attributes = fresh();
	char *value = mem_alloc(400 * 1024);
	memset(value, 'x', 400 * 1024 - 1);
	put_attribute(&attributes, "mail", ALICE);
	put_attribute(&attributes, "mailHost", value);
	put_entry(&out, a->id, ALICE_DN, &attributes);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
	mem_free(value);
}

static void too_many_values(struct fake_ask *a)
{
	struct buf out = fresh(), attributes = fresh();
	put_attribute(&attributes, "mail", ALICE);
	for (int i = 0; i < 5000; i++)
		put_attribute(&attributes, "m", "v");
	put_entry(&out, a->id, ALICE_DN, &attributes);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

static void wrong_kind(struct fake_ask *a)
{
	fake_result(a, a->op == OP_BIND ? RE_DONE : RE_BIND, 0);
}

static void notice(struct fake_ask *a)
{
	a->id = 0;
	fake_result(a, RE_EXTENDED, 52);
}

static void two_entries(struct fake_ask *a)
{
	struct buf out = fresh();
	put_user(&out, a->id, ALICE_DN, ALICE);
	put_user(&out, a->id, "uid=alice,dc=y", ALICE);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

static void size_limit(struct fake_ask *a)
{
	struct buf out = fresh();
	put_user(&out, a->id, ALICE_DN, ALICE);
	put_result(&out, a->id, RE_DONE, 4);
	fake_send(a->conn, &out);
}

static void no_attributes(struct fake_ask *a)
{
	struct buf out = fresh(), none = fresh();
	put_entry(&out, a->id, ALICE_DN, &none);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

/* A reference, late words about another search, an entry that is not alice's, then alice. */
static void distracting(struct fake_ask *a)
{
	struct buf out = fresh(), inner = fresh();
	put_tlv(&inner, 0x04, SPAN("ldap://elsewhere.example/dc=x"));
	put_message(&out, a->id, RE_REFERENCE, &inner);
	put_result(&out, a->id + 1000, RE_DONE, 32);
	put_user(&out, a->id, "uid=alicia,dc=x", "alicia@example.org");
	put_user(&out, a->id, ALICE_DN, ALICE);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

static void only_reference(struct fake_ask *a)
{
	struct buf out = fresh(), inner = fresh();
	put_tlv(&inner, 0x04, SPAN("ldap://elsewhere.example/dc=x"));
	put_message(&out, a->id, RE_REFERENCE, &inner);
	put_result(&out, a->id, RE_DONE, 0);
	fake_send(a->conn, &out);
}

/* Good while the connection is made ready, silent afterwards: no sign of life either. */
static void dead_later(struct fake_ask *a)
{
	if (a->fake->searches == 0 && a->base)
		fake_result(a, RE_DONE, 0);
}

/* A replica without our data may say of everybody that there is no such name. */
static void empty_replica(struct fake_ask *a)
{
	fake_result(a, RE_DONE, a->base ? 32 : 0);
}

static void close_when_ready(struct fake_ask *a)
{
	fake_result(a, RE_DONE, 0);
	close_it(a);
}

/* What was said in the clear would be taken for answers to what is asked under TLS. */
static void inject_behind_starttls(struct fake_ask *a)
{
	struct buf out = fresh();
	if (a->op != OP_EXTENDED)
		return;
	put_result(&out, a->id, RE_EXTENDED, 0);
	put_result(&out, a->id + 1, RE_BIND, 0);
	put_result(&out, a->id + 2, RE_DONE, 0);
	fake_send(a->conn, &out);
	stream_start_tls_server(a->conn->io, a->fake->tls);
}

static void start_tls(struct fake_ask *a)
{
	if (a->op == OP_EXTENDED) {
		fake_result(a, RE_EXTENDED, 0);
		stream_start_tls_server(a->conn->io, a->fake->tls);
	} else if (a->op == OP_BIND || a->base) {
		fake_result(a, a->op == OP_BIND ? RE_BIND : RE_DONE, 0);
	} else {
		good(a);
	}
}

static void refuse_starttls(struct fake_ask *a)
{
	fake_result(a, RE_EXTENDED, 2);
}

#endif
