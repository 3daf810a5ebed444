/* clock.c - monotonic and wall clock; a test may hold them still. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static struct {
	bool on;
	uint64_t mono_ms, wall_us;
} fake;

uint64_t clock_mono_ms(void)
{
	struct timespec t;
	if (fake.on)
		return fake.mono_ms;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_wall_us(void)
{
	struct timespec t;
	if (fake.on)
		return fake.wall_us;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void clock_fake(uint64_t mono_ms, uint64_t wall_us)
{
	fake.on = true;
	fake.mono_ms = mono_ms;
	fake.wall_us = wall_us;
}

void clock_fake_advance(uint64_t ms)
{
	fake.mono_ms += ms;
	fake.wall_us += ms * 1000;
}

void clock_fake_off(void)
{
	fake.on = false;
}

static struct tm utc(uint64_t wall_us)
{
	time_t sec = (time_t)(wall_us / 1000000);
	struct tm tm = { 0 };
	gmtime_r(&sec, &tm);
	return tm;
}

/* The text up to the second is made once in a second, by each thread: log lines come by the thousand. */
const char *clock_rfc3339(uint64_t wall_us, char out[CLOCK_RFC3339_SIZE])
{
	static _Thread_local char head[CLOCK_RFC3339_SIZE];
	static _Thread_local uint64_t head_s = UINT64_MAX;
	static _Thread_local size_t head_n;
	unsigned us = (unsigned)(wall_us % 1000000);
	if (wall_us / 1000000 != head_s) {
		struct tm tm = utc(wall_us);
		head_n = strftime(head, sizeof head - sizeof ".000000Z", "%Y-%m-%dT%H:%M:%S.", &tm);
		head_s = wall_us / 1000000;
	}
	memcpy(out, head, head_n);
	for (size_t i = 6; i-- > 0; us /= 10)
		out[head_n + i] = (char)('0' + us % 10);
	out[head_n + 6] = 'Z';
	out[head_n + 7] = '\0';
	return out;
}

const char *clock_rfc5322(uint64_t wall_us, char out[CLOCK_RFC5322_SIZE])
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	struct tm tm = utc(wall_us);
	snprintf(out, CLOCK_RFC5322_SIZE, "%s, %02u %s %04u %02u:%02u:%02u +0000",
	    days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
	    (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
	    (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
	return out;
}
