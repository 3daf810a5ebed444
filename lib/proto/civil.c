/* civil.c - dates and day numbers; see civil.h. Owns nothing. */
#include "base/span.h"
#include "proto/civil.h"

enum { YEAR_MIN = 1900, YEAR_MAX = 9999, ERA_DAYS = 146097, EPOCH_DAY = 719468 };

const char civil_month_names[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
	"Sep", "Oct", "Nov", "Dec" };

/* Years are counted from March, so that the leap day is the last of its year; an era is 400 years. */
int32_t civil_to_days(struct civil d)
{
	int32_t y = d.month <= 2 ? d.year - 1 : d.year;
	int32_t era = y / 400;
	int32_t year_of_era = y - era * 400;
	int32_t month = d.month > 2 ? d.month - 3 : d.month + 9;
	int32_t day_of_year = (153 * month + 2) / 5 + d.day - 1;
	int32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * ERA_DAYS + day_of_era - EPOCH_DAY;
}

struct civil civil_from_days(int64_t days)
{
	int64_t z = days + EPOCH_DAY;
	int64_t era = (z >= 0 ? z : z - (ERA_DAYS - 1)) / ERA_DAYS;
	int64_t doe = z - era * ERA_DAYS;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / (ERA_DAYS - 1)) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t month = (5 * doy + 2) / 153;
	struct civil d = { .day = (int32_t)(doy - (153 * month + 2) / 5 + 1),
		.month = (int32_t)(month < 10 ? month + 3 : month - 9) };
	d.year = (int32_t)(yoe + era * 400 + (d.month <= 2));
	return d;
}

bool civil_exists(struct civil d)
{
	static const int8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	if (d.year < YEAR_MIN || d.year > YEAR_MAX || d.month < 1 || d.month > 12 || d.day < 1)
		return false;
	bool leap = (d.year % 4 == 0 && d.year % 100 != 0) || d.year % 400 == 0;
	return d.day <= days[d.month - 1] + (d.month == 2 && leap ? 1 : 0);
}

int32_t civil_month(const char *p, size_t n)
{
	for (int32_t m = 0; n >= 3 && m < 12; m++) {
		if (span_ieq_str(span_of(p, 3), civil_month_names[m]))
			return m + 1;
	}
	return 0;
}
