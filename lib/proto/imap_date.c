/* imap_date.c - dates of SEARCH and APPEND; see imap_lex.h. No time zone but the one that is written. */
#include "base/check.h"
#include "proto/imap_lex.h"

enum { DAY_S = 86400, YEAR_MIN = 1900, YEAR_MAX = 9999 };

static const char month_names[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
	"Sep", "Oct", "Nov", "Dec" };

/* Counted in years that begin with March, so that the leap day is the last of its year. */
static int32_t days_of_date(int32_t year, int32_t month, int32_t day)
{
	int32_t y = month <= 2 ? year - 1 : year;
	int32_t era = y / 400;
	int32_t yoe = y - era * 400;
	int32_t doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	int32_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + doe - 719468;
}

static void date_of_days(int64_t days, int32_t *year_out, int32_t *month_out, int32_t *day_out)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	*day_out = (int32_t)(doy - (153 * mp + 2) / 5 + 1);
	*month_out = (int32_t)(mp < 10 ? mp + 3 : mp - 9);
	*year_out = (int32_t)(yoe + era * 400 + (*month_out <= 2));
}

static int32_t month_days(int32_t year, int32_t month)
{
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	static const int8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	return month == 2 && leap ? 29 : days[month - 1];
}

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
	struct span name = span_first(span_from(c->in, c->at), 3);
	for (int32_t m = 0; m < 12; m++) {
		if (c->why == NULL && span_ieq_str(name, month_names[m])) {
			c->at += 3;
			return m + 1;
		}
	}
	imap_fail(c, "Bad month in date");
	return 1;
}

/* -Mon-yyyy behind the day that was read. */
static int32_t read_date_from_day(struct imap_cursor *c, int32_t day)
{
	imap_read_char(c, '-');
	int32_t month = read_month(c);
	imap_read_char(c, '-');
	int32_t year = read_digits(c, 4, 4);
	if (c->why == NULL &&
	    (year < YEAR_MIN || year > YEAR_MAX || day < 1 || day > month_days(year, month)))
		imap_fail(c, "Date out of range");
	return c->why == NULL ? days_of_date(year, month, day) : 0;
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
	int32_t day = imap_try(c, ' ') ? read_digits(c, 1, 1) : read_digits(c, 2, 2);
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

bool imap_put_date_time(struct buf *out, int64_t unix_s)
{
	int64_t days = unix_s / DAY_S, rest = unix_s % DAY_S;
	int32_t year, month, day;
	if (rest < 0) {
		rest += DAY_S;
		days--;
	}
	date_of_days(days, &year, &month, &day);
	CHECK(month >= 1 && month <= 12);
	return buf_printf(out, "\"%02d-%s-%04d %02d:%02d:%02d +0000\"", day, month_names[month - 1],
	    year, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
}
