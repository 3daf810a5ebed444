/* log.c - builds one line per event in a fixed buffer and writes it with one call. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/log.h"

static struct {
	const char *program;
	enum log_level least;
	bool json;
	int fd;
	void (*counter)(const struct log_event *);
} cfg = { .program = "postern", .least = LOG_INFO, .fd = 2 };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_setup(const char *program, enum log_level least, bool json)
{
	cfg.program = program;
	cfg.least = least;
	cfg.json = json;
}

void log_set_fd(int fd)
{
	cfg.fd = fd;
}

void log_set_counter(void (*fn)(const struct log_event *ev))
{
	cfg.counter = fn;
}

static struct span field_text(const struct log_field *f, char tmp[IP_TEXT_SIZE])
{
	switch (f->type) {
	case LOG_T_SPAN:
		return f->v.span;
	case LOG_T_U64:
		snprintf(tmp, IP_TEXT_SIZE, "%" PRIu64, f->v.u64);
		break;
	case LOG_T_I64:
		snprintf(tmp, IP_TEXT_SIZE, "%" PRId64, f->v.i64);
		break;
	case LOG_T_IP:
		ip_text(f->v.ip, tmp);
		break;
	case LOG_T_IP_PORT:
		ip_port_text(f->v.ip_port, tmp);
		break;
	case LOG_T_ERR:
		return span_str(err_name(f->v.err));
	case LOG_T_END:
		return SPAN_NONE;
	}
	return span_str(tmp);
}

static void put_pair(struct buf *b, const char *key, struct span v)
{
	if (cfg.json) {
		buf_printf(b, ",\"%s\":", key);
		fmt_json_string(b, span_first(v, LOG_VALUE_MAX));
	} else {
		buf_printf(b, " %s=", key);
		fmt_log_value(b, v, LOG_VALUE_MAX);
	}
}

static void put_head(struct buf *b, const struct log_event *ev)
{
	char stamp[CLOCK_RFC3339_SIZE];
	clock_rfc3339(clock_wall_us(), stamp);
	buf_printf(b,
	    cfg.json
		? "{\"time\":\"%s\",\"program\":\"%s\",\"pid\":%d,\"level\":\"%s\",\"event\":\"%s\""
		: "%s %s[%d] %s %s",
	    stamp, cfg.program, (int)getpid(), level_names[ev->level], ev->name);
}

void log_write(const struct log_event *ev, const char *id, const struct log_field *fields)
{
	char tmp[IP_TEXT_SIZE];
	if (cfg.counter != NULL)
		cfg.counter(ev);
	if (ev->level < cfg.least)
		return;
	struct buf b = BUF_INIT(LOG_LINE_MAX - 2);
	put_head(&b, ev);
	if (id != NULL && id[0] != '\0')
		put_pair(&b, "id", span_str(id));
	for (; fields != NULL && fields->type != LOG_T_END; fields++)
		put_pair(&b, fields->key, field_text(fields, tmp));
	b.max = LOG_LINE_MAX;
	b.over = false;
	buf_add_str(&b, cfg.json ? "}\n" : "\n");
	struct span line = buf_span(&b);
	while (line.n > 0) {
		ssize_t n = write(cfg.fd, line.p, line.n);
		if (n <= 0)
			break; /* nobody to tell: standard error is gone or full */
		line = span_from(line, (size_t)n);
	}
	buf_end(&b);
}
