/* script.c - embeds meter.lua in the program and knows its digest. */
#include "base/fmt.h"
#include "metermaid/script.h"
#include "net/digest.h"

__asm__(".section .rodata\n"
	"meter_script_begin:\n"
	".incbin \"metermaid/meter.lua\"\n"
	"meter_script_end:\n"
	".byte 0\n"
	".previous\n");

extern const char meter_script_begin[], meter_script_end[];

struct span meter_script(void)
{
	/* cppcheck-suppress comparePointers ; both labels stand in one section */
	return span_of(meter_script_begin, (size_t)(meter_script_end - meter_script_begin));
}

const char *meter_script_sha1(void)
{
	static char hex[2 * DIGEST_SHA1_LEN + 1];
	uint8_t raw[DIGEST_LEN_MAX];
	if (hex[0] == '\0') {
		struct buf b = BUF_INIT(sizeof hex);
		digest_make(DIGEST_SHA1, meter_script(), raw);
		fmt_hex(&b, span_of(raw, DIGEST_SHA1_LEN));
		memcpy(hex, buf_cstr(&b), sizeof hex);
		buf_end(&b);
	}
	return hex;
}
