/* log.c - builds one line per event in a fixed buffer and writes it with one call, or several lines with one. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
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

/* Lines that wait, and room for one more: no more wait than a pipe takes in one piece (PIPE_BUF), or those of several
 * processes would be mixed. */
static struct {
	bool on;
	size_t n;
	char bytes[2 * LOG_LINE_MAX + 1];
} kept;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* The part of a line between its time and its level, which all lines of a process have; n 0: to be made. */
static struct {
	size_t n;
	char bytes[128];
} who;

static void forget_who(void)
{
	who.n = 0;
}

void log_setup(const char *program, enum log_level least, bool json)
{
	cfg.program = program;
	cfg.least = least;
	cfg.json = json;
	forget_who();
}

void log_set_fd(int fd)
{
	log_flush();
	cfg.fd = fd;
}

static void write_all(struct span lines)
{
	while (lines.n > 0) {
		ssize_t n = write(cfg.fd, lines.p, lines.n);
		if (n <= 0)
			break; /* nobody to tell: standard error is gone or full */
		lines = span_from(lines, (size_t)n);
	}
}

void log_flush(void)
{
	size_t n = kept.n;
	kept.n = 0;
	write_all(span_of(kept.bytes, n));
}

void log_gather(bool on)
{
	static bool watches;
	log_flush();
	kept.on = on;
	if (!watches) /* a child must not write them once more */
		CHECK(pthread_atfork(log_flush, NULL, NULL) == 0 && atexit(log_flush) == 0);
	watches = true;
}

/* A line of n bytes has been built behind those that wait. */
static void take_line(enum log_level level, size_t n)
{
	if (kept.n + n > LOG_LINE_MAX) {
		size_t before = kept.n;
		log_flush();
		memmove(kept.bytes, kept.bytes + before, n);
	}
	kept.n += n;
	if (level >= LOG_WARN)
		log_flush();
}

void log_set_counter(void (*fn)(const struct log_event *ev))
{
	cfg.counter = fn;
}

/* Fields are put together by hand: printf() would cost more than all else that a login costs of our own. */

static struct span number_text(uint64_t n, bool negative, char tmp[IP_TEXT_SIZE])
{
	size_t at = IP_TEXT_SIZE;
	do {
		tmp[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	if (negative)
		tmp[--at] = '-';
	return span_of(tmp + at, IP_TEXT_SIZE - at);
}

static struct span field_text(const struct log_field *f, char tmp[IP_TEXT_SIZE])
{
	switch (f->type) {
	case LOG_T_SPAN:
		return f->v.span;
	case LOG_T_U64:
		return number_text(f->v.u64, false, tmp);
	case LOG_T_I64:
		return number_text(
		    f->v.i64 < 0 ? 0 - (uint64_t)f->v.i64 : (uint64_t)f->v.i64, f->v.i64 < 0, tmp);
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

static void put_pair(struct buf *b, struct span key, struct span v)
{
	if (cfg.json) {
		buf_add_str(b, ",\"");
		buf_add_span(b, key);
		buf_add_str(b, "\":");
		fmt_json_string(b, span_first(v, LOG_VALUE_MAX));
	} else {
		buf_add_char(b, ' ');
		buf_add_span(b, key);
		buf_add_char(b, '=');
		fmt_log_value(b, v, LOG_VALUE_MAX);
	}
}

/* What stands between the parts of a head, in both forms. */
static const struct head_form {
	const char *open, *program, *pid, *level, *event, *close;
} head_forms[] = {
	{ "", " ", "[", "] ", " ", "" },
	{ "{\"time\":\"", "\",\"program\":\"", "\",\"pid\":", ",\"level\":\"", "\",\"event\":\"",
	    "\"" },
};

static void learn_who(const struct head_form *form)
{
	static bool watches;
	struct buf b = { .p = who.bytes, .cap = sizeof who.bytes, .max = sizeof who.bytes - 1 };
	if (!watches)
		CHECK(pthread_atfork(NULL, NULL, forget_who) == 0);
	watches = true;
	buf_add_str(&b, form->program);
	buf_add_str(&b, cfg.program);
	buf_add_str(&b, form->pid);
	buf_add_number(&b, (uint64_t)getpid());
	buf_add_str(&b, form->level);
	who.n = buf_len(&b);
}

static void put_head(struct buf *b, const struct log_event *ev)
{
	char stamp[CLOCK_RFC3339_SIZE];
	const struct head_form *form = &head_forms[cfg.json];
	if (who.n == 0)
		learn_who(form);
	buf_add_str(b, form->open);
	buf_add_str(b, clock_rfc3339(clock_wall_us(), stamp));
	buf_add(b, who.bytes, who.n);
	buf_add_str(b, level_names[ev->level]);
	buf_add_str(b, form->event);
	buf_add_str(b, ev->name);
	buf_add_str(b, form->close);
}

void log_write(const struct log_event *ev, const char *id, const struct log_field *fields)
{
	char tmp[IP_TEXT_SIZE];
	if (cfg.counter != NULL)
		cfg.counter(ev);
	if (ev->level < cfg.least)
		return;
	char own[LOG_LINE_MAX + 1]; /* as much as it can need: the buffer never asks for more */
	struct buf b = {
		.p = kept.on ? kept.bytes + kept.n : own, .cap = sizeof own, .max = LOG_LINE_MAX - 2
	};
	put_head(&b, ev);
	if (id != NULL && id[0] != '\0')
		put_pair(&b, SPAN("id"), span_str(id));
	for (; fields != NULL && fields->type != LOG_T_END; fields++)
		put_pair(&b, span_of(fields->key, fields->key_n), field_text(fields, tmp));
	b.max = LOG_LINE_MAX;
	b.over = false;
	buf_add_str(&b, cfg.json ? "}\n" : "\n");
	if (kept.on)
		take_line(ev->level, buf_len(&b));
	else
		write_all(buf_span(&b));
}
