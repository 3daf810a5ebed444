/* every_edit.c - a filter made with libmilter that does what the field X-Do of a message says, for test_filters.py.
 *
 * usage: every_edit SOCKET   (as libmilter spells it: unix:/path or inet:port@host)
 * X-Do may stand several times. Words: add insert change delete body bigbody rcpt sender quarantine progress skip
 * reject tempfail lines discard crash-body crash-end hang-end. */
#include <libmilter/mfapi.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS_MAX = 16, BIG_PIECES = 320, BIG_PIECE = 65536 };

struct wish {
	char words[WORDS_MAX][32];
	size_t n;
	size_t pieces; /* of text that were seen */
};

static struct wish *wish_of(SMFICTX *ctx)
{
	return smfi_getpriv(ctx);
}

static bool wants(SMFICTX *ctx, const char *word)
{
	struct wish *w = wish_of(ctx);
	for (size_t i = 0; w != NULL && i < w->n; i++)
		if (strcmp(w->words[i], word) == 0)
			return true;
	return false;
}

static sfsistat forget(SMFICTX *ctx)
{
	free(wish_of(ctx));
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **words)
{
	forget(ctx);
	smfi_setpriv(ctx, calloc(1, sizeof(struct wish)));
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct wish *w = wish_of(ctx);
	if (strcmp(name, "X-Do") == 0 && w->n < WORDS_MAX)
		snprintf(w->words[w->n++], sizeof w->words[0], "%s", value + (value[0] == ' '));
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t n)
{
	if (wants(ctx, "crash-body"))
		_exit(0);
	wish_of(ctx)->pieces++;
	return wants(ctx, "skip") ? SMFIS_SKIP : SMFIS_CONTINUE;
}

/* The space behind the colon is ours to give: it was negotiated so. */
static void change_header(SMFICTX *ctx)
{
	if (wants(ctx, "add"))
		smfi_addheader(ctx, "X-Added", " one\n\ttwo");
	if (wants(ctx, "insert"))
		smfi_insheader(ctx, 1, "X-Inserted", " under Received");
	if (wants(ctx, "change"))
		smfi_chgheader(ctx, "X-Many", 2, " changed");
	if (wants(ctx, "delete"))
		smfi_chgheader(ctx, "X-Many", 1, NULL);
	if (wants(ctx, "skip")) {
		char seen[32];
		snprintf(seen, sizeof seen, " %zu", wish_of(ctx)->pieces);
		smfi_addheader(ctx, "X-Pieces", seen);
	}
}

static void change_text(SMFICTX *ctx)
{
	static unsigned char line[] = "a new text\r\n.\r\nwith a dot\r\n";
	static unsigned char big[BIG_PIECE];
	if (wants(ctx, "body"))
		smfi_replacebody(ctx, line, sizeof line - 1);
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (unsigned char)(i % 64 == 62   ? '\r'
					 : i % 64 == 63 ? '\n'
							: 'a' + i / 64 % 26);
	for (int i = 0; i < BIG_PIECES && wants(ctx, "bigbody"); i++)
		smfi_replacebody(ctx, big, sizeof big);
}

static void change_envelope(SMFICTX *ctx)
{
	static char *const many[] = { "<bob@example.org>", "<carol@example.net>" };
	if (wants(ctx, "rcpt")) {
		smfi_addrcpt(ctx, many[0]);
		smfi_addrcpt_par(ctx, many[1], "NOTIFY=NEVER");
		smfi_delrcpt(ctx, "<alice@example.org>");
	}
	if (wants(ctx, "sender"))
		smfi_chgfrom(ctx, "<changed@elsewhere.example>", "SIZE=1000");
	if (wants(ctx, "quarantine"))
		smfi_quarantine(ctx, "looks odd");
}

static sfsistat on_end(SMFICTX *ctx)
{
	for (int i = 0; i < 6 && wants(ctx, "progress"); i++) {
		poll(NULL, 0, 1000);
		smfi_progress(ctx);
	}
	if (wants(ctx, "hang-end"))
		pause();
	change_header(ctx);
	change_text(ctx);
	change_envelope(ctx);
	if (wants(ctx, "crash-end"))
		_exit(0);
	if (wants(ctx, "lines"))
		smfi_setmlreply(ctx, "554", "5.7.9", "first line", "100%% sure", NULL);
	if (wants(ctx, "discard"))
		return SMFIS_DISCARD;
	if (wants(ctx, "tempfail"))
		return SMFIS_TEMPFAIL;
	return wants(ctx, "reject") || wants(ctx, "lines") ? SMFIS_REJECT : SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps,
    unsigned long a, unsigned long b, unsigned long *want_actions, unsigned long *want_steps,
    unsigned long *c, unsigned long *d)
{
	*want_actions = actions;
	*want_steps = steps & (SMFIP_SKIP | SMFIP_HDR_LEADSPC);
	*c = *d = 0;
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "every_edit",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT |
			      SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT | SMFIF_QUARANTINE | SMFIF_CHGFROM,
		.xxfi_envfrom = on_mail,
		.xxfi_header = on_header,
		.xxfi_body = on_body,
		.xxfi_eom = on_end,
		.xxfi_close = forget,
		.xxfi_negotiate = on_negotiate,
	};
	if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
		return 64;
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
