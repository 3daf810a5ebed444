/* null_milter.c - a filter made with libmilter that listens to everything and changes nothing, for bench/edge-in.
 *
 * usage: null_milter SOCKET   (as libmilter spells it: inet:port@host) */
#include <libmilter/mfapi.h>
#include <stdbool.h>

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	return SMFIS_CONTINUE;
}

static sfsistat on_word(SMFICTX *ctx, char *word)
{
	return SMFIS_CONTINUE;
}

static sfsistat on_words(SMFICTX *ctx, char **words)
{
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	return SMFIS_CONTINUE;
}

static sfsistat on_text(SMFICTX *ctx, unsigned char *bytes, size_t n)
{
	return SMFIS_CONTINUE;
}

static sfsistat on_step(SMFICTX *ctx)
{
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "null_milter",
		.xxfi_version = SMFI_VERSION,
		.xxfi_connect = on_connect,
		.xxfi_helo = on_word,
		.xxfi_envfrom = on_words,
		.xxfi_envrcpt = on_words,
		.xxfi_header = on_header,
		.xxfi_eoh = on_step,
		.xxfi_body = on_text,
		.xxfi_eom = on_step,
	};
	if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
		return 64;
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
