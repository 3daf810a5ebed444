/* imap_date.c - dates of SEARCH and APPEND; see imap_lex.h. No time zone but the one that is written. */
#include "proto/civil.h"
#include "proto/imap_lex.h"

enum { DAY_S = 86400 };

static int32_t read_digits(struct imap_cursor *c, unsigned least, unsigned most)
{
	int32_t n = 0;
	unsigned got = 0;
	for (; got < most && imap_peek(c) >= '0' && imap_peek(c) <= '9'; got++)
		n = n * 10 + (c->in.p[c->at++] - '0');
	if (got < least)
		imap_fail(c, "Bad date");
	return n;
}

static int32_t read_month(struct imap_cursor *c)
{
	struct span left = span_from(c->in, c->at);
	int32_t month = c->why == NULL ? civil_month(left.p, left.n) : 0;
	if (month == 0)
		imap_fail(c, "Bad month in date");
	else
		c->at += 3;
	return month;
}

/* -Mon-yyyy behind the day that was read. */
static int32_t read_date_from_day(struct imap_cursor *c, int32_t day)
{
	imap_read_char(c, '-');
	int32_t month = read_month(c);
	imap_read_char(c, '-');
	int32_t year = read_digits(c, 4, 4);
	struct civil date = { year, month, day };
	if (!civil_exists(date))
		imap_fail(c, "Date out of range");
	return c->why == NULL ? civil_to_days(date) : 0;
}

int32_t imap_read_date(struct imap_cursor *c)
{
	bool quoted = imap_try(c, '"');
	int32_t days = read_date_from_day(c, read_digits(c, 1, 2));
	if (quoted)
		imap_read_char(c, '"');
	return c->why == NULL ? days : 0;
}

static int32_t read_zone_s(struct imap_cursor *c)
{
	bool west = imap_try(c, '-');
	if (!west)
		imap_read_char(c, '+');
	int32_t hours = read_digits(c, 2, 2), minutes = read_digits(c, 2, 2);
	if (hours > 23 || minutes > 59)
		imap_fail(c, "Bad time zone");
	int32_t s = hours * 3600 + minutes * 60;
	return west ? -s : s;
}

int64_t imap_read_date_time(struct imap_cursor *c)
{
	imap_read_char(c, '"');
	/* One digit without the space before it is wrong (date-day-fixed), and what imapflow sends. */
	int32_t day = imap_try(c, ' ') ? read_digits(c, 1, 1) : read_digits(c, 1, 2);
	int64_t days = read_date_from_day(c, day);
	imap_read_sp(c);
	int32_t h = read_digits(c, 2, 2);
	imap_read_char(c, ':');
	int32_t m = read_digits(c, 2, 2);
	imap_read_char(c, ':');
	int32_t s = read_digits(c, 2, 2);
	if (h > 23 || m > 59 || s > 60)
		imap_fail(c, "Bad time of day");
	imap_read_sp(c);
	int32_t zone = read_zone_s(c);
	imap_read_char(c, '"');
	return c->why == NULL ? days * DAY_S + h * 3600 + m * 60 + s - zone : 0;
}

bool imap_put_date_time_zone(struct buf *out, int64_t unix_s, int zone_min)
{
	int64_t local_s = unix_s + (int64_t)zone_min * 60;
	int64_t days = local_s / DAY_S, rest = local_s % DAY_S;
	unsigned zone = (unsigned)(zone_min < 0 ? -zone_min : zone_min);
	if (rest < 0) {
		rest += DAY_S;
		days--;
	}
	struct civil d = civil_from_days(days);
	return buf_printf(out, "\"%02d-%s-%04d %02d:%02d:%02d %c%02u%02u\"", d.day,
	    civil_month_names[d.month - 1], d.year, (int)(rest / 3600), (int)(rest / 60 % 60),
	    (int)(rest % 60), zone_min < 0 ? '-' : '+', zone / 60, zone % 60);
}

bool imap_put_date_time(struct buf *out, int64_t unix_s)
{
	return imap_put_date_time_zone(out, unix_s, 0);
}
