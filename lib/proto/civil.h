/* civil.h - days since 1970-01-01 to and from dates of the Gregorian calendar, for the grammars here. */
#ifndef PROTO_CIVIL_H
#define PROTO_CIVIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct civil {
	int32_t year, month, day; /* month and day count from 1 */
};

int32_t civil_to_days(struct civil date);
struct civil civil_from_days(int64_t days);
bool civil_exists(struct civil date); /* a day of the years 1900 to 9999 */
/* 1 to 12 for the first three letters of s, case-blind; 0: no month. */
int32_t civil_month(const char *p, size_t n);
extern const char civil_month_names[12][4];

#endif
