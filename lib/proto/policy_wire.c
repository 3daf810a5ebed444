/* policy_wire.c - requests and answers of Postfix's policy delegation; no I/O. */
#include "proto/policy_wire.h"

#include "base/check.h"

#define SPAN_INIT(word)                                                                            \
	{                                                                                          \
		(word), sizeof(word) - 1                                                           \
	}
static const struct {
	struct span name;
	size_t max;
} attrs[POLICY_ATTRS] = {
	[POLICY_REQUEST] = { SPAN_INIT("request"), 64 },
	[POLICY_STATE] = { SPAN_INIT("protocol_state"), 32 },
	[POLICY_CLIENT] = { SPAN_INIT("client_address"), 64 },
	[POLICY_HELO] = { SPAN_INIT("helo_name"), 2048 },
	[POLICY_SENDER] = { SPAN_INIT("sender"), 2048 },
	[POLICY_RECIPIENT] = { SPAN_INIT("recipient"), 2048 },
	[POLICY_RECIPIENTS] = { SPAN_INIT("recipient_count"), 20 },
	[POLICY_SIZE] = { SPAN_INIT("size"), 20 },
	[POLICY_USER] = { SPAN_INIT("sasl_username"), 1024 },
	[POLICY_INSTANCE] = { SPAN_INIT("instance"), 128 },
	[POLICY_QUEUE_ID] = { SPAN_INIT("queue_id"), 128 },
	[POLICY_CONTEXT] = { SPAN_INIT("policy_context"), 128 },
};

static size_t attr_of(struct span name)
{
	size_t i = 0;
	while (i < POLICY_ATTRS && !span_eq(name, attrs[i].name))
		i++;
	return i;
}

/* NULL, or what is wrong with the line. */
static const char *parse_line(struct span line, struct policy_request *out)
{
	struct span value = line, name = span_cut(&value, '=');
	if (value.p == NULL || name.n == 0 || name.n > POLICY_NAME_MAX)
		return "a line is not name=value";
	size_t i = attr_of(name);
	if (i == POLICY_ATTRS)
		return NULL;
	if (out->v[i].p != NULL)
		return "an attribute stands twice";
	if (value.n > attrs[i].max)
		return "an attribute is too long";
	out->v[i] = value;
	return NULL;
}

static const char *parse_request(struct span text, struct policy_request *out)
{
	size_t lines = 0;
	*out = (struct policy_request){ 0 };
	if (span_find(text, '\0') != SIZE_MAX)
		return "a NUL byte";
	while (text.n > 0) {
		const char *why = ++lines > POLICY_LINES_MAX
				      ? "too many attributes"
				      : parse_line(span_cut(&text, '\n'), out);
		if (why != NULL)
			return why;
	}
	if (!span_eq(out->v[POLICY_REQUEST], SPAN("smtpd_access_policy")))
		return "request is not smtpd_access_policy";
	return NULL;
}

/* Where the empty line begins, or SIZE_MAX; *at moves to where the search goes on. */
static size_t find_end(size_t *at, struct span input)
{
	if (input.n > 0 && input.p[0] == '\n')
		return 0;
	size_t found = span_find_span(span_from(input, *at), SPAN("\n\n"));
	if (found != SIZE_MAX)
		return *at + found + 1;
	*at = input.n > 0 ? input.n - 1 : 0;
	return SIZE_MAX;
}

enum policy_rx policy_take(size_t *at, struct span input, struct policy_request *out,
    size_t *eat_out, const char **why_out)
{
	size_t end = find_end(at, input);
	*eat_out = 0;
	*why_out = "a request is too long";
	if (end == SIZE_MAX)
		return input.n >= POLICY_REQUEST_MAX ? POLICY_BAD : POLICY_MORE;
	if (end >= POLICY_REQUEST_MAX)
		return POLICY_BAD;
	*why_out = parse_request(span_first(input, end), out);
	if (*why_out != NULL)
		return POLICY_BAD;
	*eat_out = end + 1;
	return POLICY_READY;
}

void policy_answer_put(struct buf *out, struct span text)
{
	CHECK(span_find(text, '\n') == SIZE_MAX);
	buf_add_str(out, "action=");
	buf_add_span(out, text);
	buf_add_str(out, "\n\n");
}
