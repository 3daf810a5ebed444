/* policy_wire.c - requests and answers of Postfix's policy delegation; no I/O. */
#include "proto/policy_wire.h"

#include "base/check.h"

static const struct {
	const char *name;
	size_t max;
} attrs[POLICY_ATTRS] = {
	[POLICY_REQUEST] = { "request", 64 },
	[POLICY_STATE] = { "protocol_state", 32 },
	[POLICY_CLIENT] = { "client_address", 64 },
	[POLICY_HELO] = { "helo_name", 2048 },
	[POLICY_SENDER] = { "sender", 2048 },
	[POLICY_RECIPIENT] = { "recipient", 2048 },
	[POLICY_RECIPIENTS] = { "recipient_count", 20 },
	[POLICY_SIZE] = { "size", 20 },
	[POLICY_USER] = { "sasl_username", 1024 },
	[POLICY_INSTANCE] = { "instance", 128 },
	[POLICY_QUEUE_ID] = { "queue_id", 128 },
	[POLICY_CONTEXT] = { "policy_context", 128 },
};

static size_t attr_of(struct span name)
{
	size_t i = 0;
	while (i < POLICY_ATTRS && !span_eq_str(name, attrs[i].name))
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

void policy_put(struct buf *out, enum policy_attr attr, struct span value)
{
	CHECK(attr < POLICY_ATTRS);
	buf_add_str(out, attrs[attr].name);
	buf_add_char(out, '=');
	for (size_t i = 0; i < value.n && i < attrs[attr].max; i++) {
		char c = value.p[i];
		buf_add_char(out, c == '\0' || c == '\n' ? '?' : c);
	}
	buf_add_char(out, '\n');
}

void policy_put_end(struct buf *out)
{
	buf_add_char(out, '\n');
}

void policy_answer_put(struct buf *out, struct span text)
{
	CHECK(span_find(text, '\n') == SIZE_MAX);
	buf_add_str(out, "action=");
	buf_add_span(out, text);
	buf_add_str(out, "\n\n");
}

enum policy_rx policy_answer_take(struct span input, struct span *action_out)
{
	size_t at = 0, end = find_end(&at, input);
	if (end == SIZE_MAX)
		return input.n >= POLICY_ANSWER_MAX ? POLICY_BAD : POLICY_MORE;
	struct span text = span_first(input, end);
	*action_out = SPAN_NONE;
	while (text.n > 0) {
		struct span line = span_cut(&text, '\n');
		if (span_starts(line, SPAN("action=")))
			*action_out = span_from(line, 7);
	}
	return action_out->n > 0 && end < POLICY_ANSWER_MAX ? POLICY_READY : POLICY_BAD;
}
