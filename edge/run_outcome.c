/* run_outcome.c - see run_outcome.h. Owns nothing.
 *
 * What is wrong with this host or with the program's settings is tried again: no mail is lost by a mistake that
 * somebody will mend. What is wrong with the message or its recipient is not. */
#include "edge/run_outcome.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum {
	CODE_SIZE = 12,
	SHELL_NOT_STARTED = 126, /* what a shell says of a program that it could not start ... */
	SHELL_NOT_FOUND = 127,
	SHELL_SIGNAL =
	    128, /* ... and, from this + 1 to this + 64, of one that a signal has ended */
	SIGNALS = 64
};

static const struct {
	enum fate fate;
	const char *enhanced, *text;
} statuses[] = {
	[EX_OK] = { FATE_DELIVERED, "2.0.0", "delivered" },
	[EX_USAGE] = { FATE_LATER, "4.3.5", "the program does not understand its arguments" },
	[EX_DATAERR] = { FATE_REFUSED, "5.6.0", "the program cannot use the message" },
	[EX_NOINPUT] = { FATE_LATER, "4.3.0", "the program cannot read a file" },
	[EX_NOUSER] = { FATE_REFUSED, "5.1.1", "there is no such user" },
	[EX_NOHOST] = { FATE_REFUSED, "5.1.2", "there is no such host" },
	[EX_UNAVAILABLE] = { FATE_REFUSED, "5.3.0", "the service is not available" },
	[EX_SOFTWARE] = { FATE_LATER, "4.3.0", "the program failed" },
	[EX_OSERR] = { FATE_LATER, "4.3.0", "the system failed the program" },
	[EX_OSFILE] = { FATE_LATER, "4.3.5", "a file of the system is missing" },
	[EX_CANTCREAT] = { FATE_LATER, "4.2.0", "the program cannot write its output" },
	[EX_IOERR] = { FATE_LATER, "4.3.0", "the program could not read or write" },
	[EX_TEMPFAIL] = { FATE_LATER, "4.2.0", "not now" },
	[EX_PROTOCOL] = { FATE_REFUSED, "5.5.0", "the program met a wrong protocol" },
	[EX_NOPERM] = { FATE_REFUSED, "5.7.0", "the program refuses it" },
	[EX_CONFIG] = { FATE_LATER, "4.3.5", "the program's settings are wrong" },
};

/* "4.2.2 words": the code goes to *code, the rest is returned. */
static struct span take_code(struct span text, char class, char code[CODE_SIZE])
{
	struct span rest = text, word = span_cut(&rest, ' ');
	size_t dots = 0;
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] == '.')
			dots++;
		else if (!ascii_is_digit((unsigned char)word.p[i]))
			return text;
	}
	if (dots != 2 || word.n < 5 || word.n >= CODE_SIZE || word.p[0] != class ||
	    word.p[1] != '.' || word.p[word.n - 1] == '.')
		return text;
	snprintf(code, CODE_SIZE, "%.*s", SPAN_ARG(word));
	return rest;
}

static void set(
    struct outcome *o, enum fate fate, const char *enhanced, struct span text, const char *instead)
{
	static const struct {
		unsigned code;
		char class;
	} fates[] = {
		[FATE_DELIVERED] = { 250, '2' },
		[FATE_REFUSED] = { 550, '5' },
		[FATE_LATER] = { 451, '4' },
	};
	char code[CODE_SIZE];
	snprintf(code, sizeof code, "%s", enhanced);
	struct span words = span_trim(take_code(span_trim(text), fates[fate].class, code));
	outcome_set(o, fate, fates[fate].code, code, words.n > 0 ? words : span_str(instead));
}

static void set_exited(struct outcome *o, unsigned status, struct span text)
{
	char words[60];
	if (status < sizeof statuses / sizeof statuses[0] && statuses[status].text != NULL) {
		set(o, statuses[status].fate, statuses[status].enhanced, text,
		    statuses[status].text);
		return;
	}
	snprintf(words, sizeof words, "the program ended with status %u", status);
	if (status == SHELL_NOT_STARTED || status == SHELL_NOT_FOUND)
		set(o, FATE_LATER, "4.3.5", text, words);
	else if (status > SHELL_SIGNAL && status <= SHELL_SIGNAL + SIGNALS)
		set(o, FATE_LATER, "4.3.0", text, words);
	else
		set(o, FATE_REFUSED, "5.3.0", text, words);
}

void run_outcome(struct outcome *o, const struct run_result *r)
{
	const struct run_answer *a = &r->answer;
	char words[60];
	if (r->looped) {
		set(o, FATE_REFUSED, "5.4.6", SPAN_NONE,
		    "the message has been delivered here before: it goes round in a loop");
		return;
	}
	switch (a->end) {
	case RUN_EXITED:
		set_exited(o, a->code, a->text);
		break;
	case RUN_KILLED:
		snprintf(words, sizeof words, "the program was ended by signal %u", a->code);
		set(o, FATE_LATER, "4.3.0", SPAN_NONE, words);
		break;
	case RUN_LATE:
		set(o, FATE_LATER, "4.3.0", SPAN_NONE, "the program did not end in time");
		break;
	case RUN_REFUSED:
	default:
		set(o, FATE_LATER, "4.3.0", a->text, "the program was not started");
	}
}
