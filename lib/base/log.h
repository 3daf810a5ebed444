/* log.h - the structured log: one line per fact, key=value, every event a declared row.
 *
 * A program or library declares its events in NAME.events.def, one row each:
 *	EVENT(SESSION_END, "session.end", INFO, "client user store bytes_in bytes_out why", "prose")
 * and instantiates them once with LOG_TABLE_ROW. Code logs with
 *	log_write(&mmp_events[MMP_SESSION_END], s->id.s,
 *	    LOG_FIELDS(LOG_ADDR("client", s->client), LOG_U64("bytes_in", n), LOG_STR("why", why)));
 * Lines go to standard error, one write(2) each (or several: log_gather()), at most LOG_LINE_MAX bytes; values are escaped
 * and cut at LOG_VALUE_MAX. Secrets are never passed to a log call. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"
#include "base/span.h"

enum { LOG_LINE_MAX = 4096, LOG_VALUE_MAX = 256 };

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_event {
	const char *name; /* "session.end" */
	enum log_level level;
	const char *fields; /* keys it may carry, for docs/events.md */
	const char *prose;  /* what it means and what to do about it */
};

/* #define EVENT LOG_TABLE_ROW, then include the .def inside  const struct log_event x_events[] = {} ;
 * the matching enum uses a prefix of the module's own. */
#define LOG_TABLE_ROW(id, name, level, fields, prose) { (name), LOG_##level, (fields), (prose) },

enum log_type { LOG_T_END, LOG_T_SPAN, LOG_T_U64, LOG_T_I64, LOG_T_IP, LOG_T_IP_PORT, LOG_T_ERR };

struct log_field {
	const char *key;
	enum log_type type;
	unsigned key_n; /* length of key */
	union {
		struct span span;
		uint64_t u64;
		int64_t i64;
		struct ip_addr ip;
		struct ip_port ip_port;
		err_t err;
	} v;
};

#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__, { .type = LOG_T_END } })
#define LOG_KEY(k) .key = "" k, .key_n = sizeof(k) - 1
#define LOG_SPAN(k, s)                                                                             \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_SPAN, .v.span = (s)                                      \
	}
#define LOG_STR(k, s)                                                                              \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_SPAN, .v.span = span_str(s)                              \
	}
#define LOG_U64(k, n)                                                                              \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_U64, .v.u64 = (n)                                        \
	}
#define LOG_I64(k, n)                                                                              \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_I64, .v.i64 = (n)                                        \
	}
#define LOG_IP(k, a)                                                                               \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_IP, .v.ip = (a)                                          \
	}
#define LOG_ADDR(k, e)                                                                             \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_IP_PORT, .v.ip_port = (e)                                \
	}
#define LOG_ERR(k, e)                                                                              \
	{                                                                                          \
		LOG_KEY(k), .type = LOG_T_ERR, .v.err = (e)                                        \
	}

/* id: session or transaction id, "" or NULL for none. fields: LOG_FIELDS(...) or NULL. */
void log_write(const struct log_event *ev, const char *id, const struct log_field *fields);

/* Process-wide settings, made at start and after fork. program: "mmp", "edge/queue" ... */
void log_setup(const char *program, enum log_level least, bool json);
void log_set_fd(int fd); /* default 2 */

/* on: lines below WARN may wait, LOG_LINE_MAX bytes of them, for log_flush(), which the event loop calls each time
 * before it lets output go and before it waits; others take those that wait with them. So a program that writes several
 * lines in a round makes one system call of them. They are also written before a fork, at exit() and when a check
 * fails; a process that is killed loses those of the round. Only the thread that runs the loop may log then. */
void log_gather(bool on);
void log_flush(void);

/* Called for each event written or suppressed by level: lib/daemon counts them. NULL: none. */
void log_set_counter(void (*fn)(const struct log_event *ev));

#endif
