/* commands.c - the command line: options, the table of commands, their help. After: the function of
 * the row. Owns nothing. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#include "admin/admin.h"
#include "admin/show.h"
#include "admin/tier.h"

static const char default_config[] = "/etc/postern/postern.conf";

static const char *const only_mmp[] = { "mmp", NULL };
static const char *const only_edge[] = { "edge", NULL };
static const char *const metered[] = { "mmp", "edge", "meter", NULL };
static const char *const only_store[] = { "store", NULL };

static const struct column who_columns[] = {
	{ "id", "session", COLUMN_TEXT },
	{ "user", "user", COLUMN_TEXT },
	{ "client", "client", COLUMN_TEXT },
	{ "protocol", "protocol", COLUMN_TEXT },
	{ "store", "store", COLUMN_TEXT },
	{ "tls", "tls", COLUMN_TEXT },
	{ "since", "since", COLUMN_TIME },
	{ "bytes_in", "in", COLUMN_BYTES },
	{ "bytes_out", "out", COLUMN_BYTES },
	{ "former", "former", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column kick_columns[] = {
	{ "kind", "kind", COLUMN_TEXT },
	{ "value", "value", COLUMN_TEXT },
	{ "sessions", "sessions", COLUMN_NUMBER },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column hold_columns[] = {
	{ "kind", "kind", COLUMN_TEXT },
	{ "value", "value", COLUMN_TEXT },
	{ "left_s", "left", COLUMN_SECONDS },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column queue_columns[] = {
	{ "id", "id", COLUMN_TEXT },
	{ "sender", "sender", COLUMN_TEXT },
	{ "recipient", "recipient", COLUMN_TEXT },
	{ "destination", "destination", COLUMN_TEXT },
	{ "state", "state", COLUMN_TEXT },
	{ "bytes", "size", COLUMN_BYTES },
	{ "age_s", "age", COLUMN_SECONDS },
	{ "attempts", "tries", COLUMN_NUMBER },
	{ "next_s", "next", COLUMN_SECONDS },
	{ "reason", "reason", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column summary_columns[] = {
	{ "channel", "channel", COLUMN_TEXT },
	{ "destination", "destination", COLUMN_TEXT },
	{ "reason", "reason", COLUMN_TEXT },
	{ "recipients", "recipients", COLUMN_NUMBER },
	{ "bytes", "size", COLUMN_BYTES },
	{ "oldest_s", "oldest", COLUMN_SECONDS },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column copies_columns[] = {
	{ "owner", "owner", COLUMN_TEXT },
	{ "state", "state", COLUMN_TEXT },
	{ "away_s", "away", COLUMN_SECONDS },
	{ "copies", "copies", COLUMN_NUMBER },
	{ "bytes", "size", COLUMN_BYTES },
	{ "adopted", "adopted", COLUMN_NUMBER },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column explain_columns[] = {
	{ "ms", "ms", COLUMN_NUMBER },
	{ "check", "check", COLUMN_TEXT },
	{ "answer", "answer", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column order_columns[] = {
	{ "order", "order", COLUMN_TEXT },
	{ "recipients", "recipients", COLUMN_NUMBER },
	{ "more", "more", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column meter_columns[] = {
	{ "rule", "rule", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "count", "count", COLUMN_NUMBER },
	{ "limit", "limit", COLUMN_NUMBER },
	{ "retry_s", "retry", COLUMN_SECONDS },
	{ NULL, NULL, COLUMN_TEXT },
};

static const struct column rule_columns[] = {
	{ "rule", "rule", COLUMN_TEXT },
	{ "on", "on", COLUMN_TEXT },
	{ "kind", "kind", COLUMN_TEXT },
	{ "rate", "limit", COLUMN_TEXT },
	{ "action", "action", COLUMN_TEXT },
	{ "asked", "asked", COLUMN_NUMBER },
	{ "refused", "beyond", COLUMN_NUMBER },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column key_columns[] = {
	{ "rule", "rule", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "kind", "kind", COLUMN_TEXT },
	{ "used", "used", COLUMN_NUMBER },
	{ "limit", "limit", COLUMN_TEXT },
	{ "retry_s", "retry", COLUMN_SECONDS },
	{ "left_s", "left", COLUMN_SECONDS },
	{ "state", "state", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column ban_columns[] = {
	{ "rule", "list", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "left_s", "left", COLUMN_SECONDS },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column done_columns[] = {
	{ "rule", "list", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "state", "state", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};

static const struct question ask_who = { only_mmp, who_columns, { NULL, NULL }, NULL,
	"Nobody is logged in." };
static const struct question ask_kick = { only_mmp, kick_columns, { NULL, NULL }, NULL,
	"Nobody was there." };
static const struct question ask_release = { only_mmp, hold_columns, { "kind", "value" }, "left_s",
	"It was not held." };
static const struct question ask_holds = { only_mmp, hold_columns, { "kind", "value" }, "left_s",
	"Nothing is held." };
static const struct question ask_copies = { only_edge, copies_columns, { NULL, NULL }, NULL,
	"No host leaves copies here." };
static const struct question ask_queue_rows = { only_edge, queue_columns, { NULL, NULL }, NULL,
	"The queue is empty." };
static const struct question ask_queue_summary = { only_edge, summary_columns, { NULL, NULL }, NULL,
	"The queue is empty." };
static const struct column tlsrpt_columns[] = {
	{ "domain", "domain", COLUMN_TEXT },
	{ "policy", "policy", COLUMN_TEXT },
	{ "good", "good", COLUMN_NUMBER },
	{ "bad", "bad", COLUMN_NUMBER },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct column tlsrpt_send_columns[] = {
	{ "order", "order", COLUMN_TEXT },
	{ "policies", "policies", COLUMN_NUMBER },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct question ask_tlsrpt = { only_edge, tlsrpt_columns, { NULL, NULL }, NULL,
	"No TLS session is counted." };
static const struct question ask_tlsrpt_send = { only_edge, tlsrpt_send_columns, { NULL, NULL },
	NULL, "Nothing was done." };

static int queue_list(const struct admin_args *a)
{
	return show_queue(a, &ask_queue_rows);
}

static int queue_summary(const struct admin_args *a)
{
	return show_summary(a, &ask_queue_summary);
}

static const struct question ask_queue_order = { only_edge, order_columns, { NULL, NULL }, NULL,
	"Nothing was done." };
static const struct question ask_explain = { only_edge, explain_columns, { NULL, NULL }, NULL,
	"No worker knows this id (any more): look in the log." };
static const struct column table_columns[] = {
	{ "table", "table", COLUMN_TEXT },
	{ "answer", "answer", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "value", "value", COLUMN_TEXT },
	{ NULL, NULL, COLUMN_TEXT },
};
static const struct question ask_table = { only_edge, table_columns, { NULL, NULL }, NULL,
	"Such a question means nothing: the third word is client, name or address." };
static const struct question ask_explain_login = { only_mmp, explain_columns, { NULL, NULL }, NULL,
	"No worker has answered." };
static const struct question ask_meter_top = { metered, meter_columns, { "rule", "key" }, "count",
	"No key is counted now." };
static const struct question ask_meter_rules = { metered, rule_columns, { "rule", NULL }, "asked",
	"There is no rule." };
static const struct question ask_meter_show = { metered, key_columns, { "rule", "key" }, "used",
	"Nothing is counted under this key." };
static const struct question ask_meter_reset = { metered, key_columns, { "rule", "key" }, "used",
	"Nothing was counted under this key." };
static const struct question ask_meter_ban = { metered, done_columns, { "rule", "key" }, "left_s",
	"Nobody was banned." };
static const struct question ask_meter_unban = { metered, done_columns, { "rule", "key" }, "left_s",
	"Nobody was on the list." };
static const struct question ask_meter_bans = { metered, ban_columns, { "rule", "key" }, "left_s",
	"Nobody is banned." };

static int cmd_reload(const struct admin_args *a)
{
	return show_done(a, NULL, "reload", "reloaded");
}

/* A login is the multiplexor's, everything else the edge's. */
static int cmd_explain(const struct admin_args *a)
{
	for (size_t i = 1; i < a->word_count; i++)
		if (span_eq_str(span_str(a->words[i]), "--login"))
			return show_rows(a, &ask_explain_login);
	return show_rows(a, &ask_explain);
}

static int cmd_drain(const struct admin_args *a)
{
	return show_done(a, NULL, "drain", "draining");
}

static int cmd_upgrade(const struct admin_args *a)
{
	static const char *only[2];
	if (a->word_count == 1)
		return show_done(a, NULL, "upgrade", "upgraded");
	only[0] = a->words[1];
	for (size_t i = 0; tier_program_names[i] != NULL; i++)
		if (strcmp(only[0], tier_program_names[i]) == 0)
			return show_done(a, only, "upgrade", "upgraded");
	fprintf(stderr, "postern: there is no program \"%.100s\"\n", only[0]);
	return ADMIN_USAGE;
}

static int cmd_snapshot(const struct admin_args *a)
{
	return show_done(a, only_store, "snapshot", "being written");
}

/* What the tool of the store takes is a word. */
static int cmd_expire(const struct admin_args *a)
{
	bool dry = a->word_count == 3;
	if (dry && strcmp(a->words[2], "dry-run") != 0)
		return ADMIN_USAGE;
	return dry ? admin_store(a) : show_done(a, only_store, "expire", "looking");
}

static const struct command {
	const char *name;   /* one or two words */
	const char *more;   /* further words, for help */
	size_t least, most; /* how many of them */
	int (*fn)(const struct admin_args *a);
	const struct question *rows; /* fn NULL: programs are asked this */
	const char *help;
} commands[] = {
	{ "run", "", 0, 0, admin_run, NULL,
	    "Runs every program whose section is in the files, and starts again what dies. HUP "
	    "reloads, TERM "
	    "and INT drain and stop." },
	{ "check", "", 0, 0, admin_check, NULL,
	    "Checks the files as every program reads them; tells all errors." },
	{ "status", "", 0, 0, show_status, NULL,
	    "Programs and workers: state, health, restarts, configuration." },
	{ "who", "", 0, 8, NULL, &ask_who,
	    "Sessions that are logged in through the multiplexor. former: served by a process that "
	    "an "
	    "upgrade has replaced, and what keeps it from moving." },
	{ "kick", "user|client|store|id VALUE [SECONDS]", 2, 3, NULL, &ask_kick,
	    "Ends sessions of the multiplexor, at once or spread over so many seconds: 30 for "
	    "those of a "
	    "store. client: an address or a network." },
	{ "hold", "user|store VALUE [SECONDS]", 2, 3, NULL, &ask_holds,
	    "Logins of the user or at the store are told to try again later, for 600 seconds "
	    "unless "
	    "said otherwise." },
	{ "release", "user|store VALUE", 2, 2, NULL, &ask_release,
	    "Ends a hold; what is remembered of the user's place is asked anew." },
	{ "holds", "", 0, 0, NULL, &ask_holds, "What is held." },
	{ "explain", "ID | --ip A [--helo H] --from F --rcpt R | --ip A --login USER", 1, 24,
	    cmd_explain, NULL,
	    "What each check answered about a connection or a message: the id is in every "
	    "refusal. Or a "
	    "dry run: what would be answered to this client, sender and recipient (more of "
	    "them with "
	    "more --rcpt), on --listener NAME, for a --user who has authenticated." },
	{ "table query", "TABLE KEY [client|name|address]", 2, 3, NULL, &ask_table,
	    "What is in a table that access rules look into: KEY as it is, or the keys that a "
	    "client, a name or an address has there." },
	{ "table build", "TEXT [FILE]", 1, 2, admin_table_build, NULL,
	    "Makes an LMDB file (TEXT.lmdb) of a text with `key value` lines, and puts it whole in "
	    "the "
	    "place of an old one: programs that run see it within two seconds." },
	{ "table get", "FILE KEY", 2, 2, admin_table_get, NULL,
	    "The value of a key in an LMDB file; status 1 when it is not there." },
	{ "queue list", "[WHICH...] [after=ID]", 0, 15, queue_list, NULL,
	    "Messages that this host still has to deliver, and why. WHICH: ID, all, sender=, "
	    "recipient=, domain=, destination=, reason=, state=, older=2h, younger=2h; * stands "
	    "for any text. After 5000 recipients it ends and says how it goes on." },
	{ "queue summary", "[WHICH...]", 0, 15, queue_summary, NULL,
	    "How much waits, by channel, destination and kind of reason, and how old the oldest "
	    "is." },
	{ "queue show", "ID", 1, 1, NULL, &ask_queue_rows,
	    "Every recipient of a message in the queue." },
	{ "queue cat", "ID", 1, 1, show_cat, NULL, "The message itself." },
	{ "queue copies", "", 0, 0, NULL, &ask_copies,
	    "Copies of other hosts' mail that this host keeps, and whether those hosts are here." },
	{ "queue adopt", "HOST", 1, 1, NULL, &ask_queue_order,
	    "That host is gone for good: what it had in its spool is delivered from here." },
	{ "queue hold", "WHICH...", 1, 16, NULL, &ask_queue_order,
	    "Keeps them until they are released." },
	{ "queue release", "WHICH...", 1, 16, NULL, &ask_queue_order, "Lets go what was held." },
	{ "queue retry", "[WHICH...]", 0, 16, NULL, &ask_queue_order,
	    "Tries them now; without WHICH, all that wait." },
	{ "queue reroute", "to=HOST[:PORT] WHICH...", 2, 16, NULL, &ask_queue_order,
	    "Sends them there by SMTP; to=- takes that back." },
	{ "queue bounce", "WHICH...", 1, 16, NULL, &ask_queue_order,
	    "Gives them up; their senders are told." },
	{ "queue delete", "WHICH...", 1, 16, NULL, &ask_queue_order,
	    "Throws them away; nobody is told." },
	{ "tlsrpt show", "", 0, 0, NULL, &ask_tlsrpt,
	    "Sessions under TLS, and those that failed, since the last report to their domains." },
	{ "tlsrpt send", "", 0, 0, NULL, &ask_tlsrpt_send,
	    "Reports them now to the domains that ask for it, in place of tonight." },
	{ "meter rules", "", 0, 0, NULL, &ask_meter_rules,
	    "The limits, and how often they were asked and gone beyond." },
	{ "meter top", "[RULE]", 0, 1, NULL, &ask_meter_top, "The heaviest keys of the limits." },
	{ "meter show", "KEY [RULE]", 1, 2, NULL, &ask_meter_show,
	    "What is counted under a key: an address, a network, a user, or as \"meter top\" "
	    "prints it." },
	{ "meter reset", "KEY [RULE]", 1, 2, NULL, &ask_meter_reset,
	    "Forgets what is counted under a key; seen by all within a second." },
	{ "meter ban", "NET|USER [--for DURATION] [--list RULE]", 1, 5, NULL, &ask_meter_ban,
	    "Puts a network or a user on a list, for an hour or as long as is said." },
	{ "meter unban", "NET|USER [--list RULE]", 1, 3, NULL, &ask_meter_unban,
	    "Takes it off the list." },
	{ "meter bans", "", 0, 0, NULL, &ask_meter_bans,
	    "Who is on a list by command or by a rule." },
	{ "meter watch", "[FILTER...] [--for DURATION]", 0, 10, admin_watch, NULL,
	    "Decisions as they are made, until interrupted. FILTER: rule=NAME, on=MOMENT, "
	    "client=NET, "
	    "user=NAME, action=ACTION, limited; all must hold." },
	{ "meter simulate", "--rules FILE LOG...", 1, ADMIN_WORDS_MAX - 2, admin_simulate, NULL,
	    "Recorded decisions again under the rules of another file: who would be treated "
	    "otherwise. "
	    "LOG: a file of records, or the folder." },
	{ "reload", "", 0, 0, cmd_reload, NULL,
	    "New configuration and certificates for new sessions." },
	{ "upgrade", "[PROGRAM]", 0, 1, cmd_upgrade, NULL,
	    "Starts the programs anew, from program_dir, in the place of those that run: no "
	    "connection is "
	    "refused, no session ends. One that does not become healthy is given up." },
	{ "drain", "", 0, 0, cmd_drain, NULL,
	    "Not ready any more: no new sessions, running ones finish." },
	{ "config dump", "", 0, 0, admin_config_dump, NULL,
	    "Every effective option with its origin." },
	{ "config sample", "", 0, 0, admin_config_sample, NULL,
	    "A commented file with every option." },
	{ "config reference", "", 0, 0, admin_config_reference, NULL,
	    "Every option, in Markdown." },
	{ "store check", "[USER [FOLDER]]", 0, 2, admin_store, NULL,
	    "Counts everything in the index again and reads every message; of one user, or one "
	    "mailbox." },
	{ "store snapshot", "", 0, 0, cmd_snapshot, NULL, "Copies the index durably, now." },
	{ "store expire", "[--dry-run]", 0, 1, cmd_expire, NULL,
	    "Looks for messages that expire by the rules, now; --dry-run: tells which would go: "
	    "user, "
	    "uidvalidity, uid, bytes, rule, what is done, mailbox." },
	{ "store domains", "[DOMAIN]", 0, 1, admin_store, NULL,
	    "What the users of each domain have in this store, and may have by its rules and the "
	    "directory." },
	{ "store reconstruct", "PARTITION [skip-damaged] | USER [FOLDER]", 1, 2, admin_store, NULL,
	    "Makes a partition's index anew from snapshot and log; the store must not run. "
	    "skip-damaged: leaves out changes that cannot be read. Of a user: puts the mailboxes "
	    "right by snapshot and log, one after the other, while the store runs." },
	{ "store export", "maildir|mbox USER FOLDER", 3, 3, admin_store, NULL,
	    "Writes a user's mailboxes as a Maildir++ or as mbox files." },
	{ "store import", "maildir|mbox USER FOLDER", 3, 3, admin_store, NULL,
	    "Appends what export writes to a user's mailboxes; the store must run." },
	{ "user move", "USER FROM TO [abort]", 3, 4, admin_user_move, NULL,
	    "Moves a user's mail between stores of section move, with all numbers clients know; "
	    "the "
	    "same command goes on after an interruption, abort gives up before the new store "
	    "opens." },
	{ "store stay", "USER", 1, 1, admin_store, NULL,
	    "Where the store believes a user's mail to be: absent, here, leaving, arriving or "
	    "gone." },
	{ "ask", "PROGRAM WORD...", 2, 16, show_any, NULL,
	    "Any other question to a program's control socket." },
};

static void put_options(FILE *to)
{
	fprintf(to,
	    "options:\n"
	    "  -c, --config FILE      configuration; may be repeated (default %s)\n"
	    "  -o, --option A.B=V     sets an option over the file's value\n"
	    "      --run-dir DIR      where the control sockets are (default: as the file says)\n"
	    "      --json             answers as JSON\n"
	    "      --for DURATION     of a ban, or of watching: how long\n"
	    "      --list RULE        of a ban: which list (default ban)\n"
	    "      --dry-run          of store expire: tells, and changes nothing\n"
	    "      --rules FILE       of a simulation: a configuration with the new rules\n"
	    "      --ip ADDRESS --helo NAME --from SENDER --rcpt RECIPIENT --listener NAME\n"
	    "      --user USER        of a dry run of explain for a mail\n"
	    "      --login USER --protocol imap|pop3|managesieve|submission\n"
	    "                         of one for a login, with --ip and perhaps --listener\n"
	    "  -h, --help             this text, or that of the command\n"
	    "  -V, --version          the version\n",
	    default_config);
}

static void put_help(FILE *to, const struct command *one)
{
	if (one != NULL) {
		fprintf(to, "usage: postern %s %s%s[option]...\n%s\n", one->name, one->more,
		    one->more[0] != '\0' ? " " : "", one->help);
	} else {
		fprintf(to, "usage: postern COMMAND [option]...\ncommands:\n");
		for (size_t i = 0; i < COUNT_OF(commands); i++)
			fprintf(to, "  %-18s %s\n", commands[i].name, commands[i].help);
	}
	put_options(to);
}

/* The row whose words begin the command line; *words_out: how many they are. */
static const struct command *find_command(const struct admin_args *a, size_t *words_out)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		struct span second = span_str(commands[i].name), first = span_cut(&second, ' ');
		bool two = second.p != NULL;
		if (a->word_count < 1u + two || !span_eq_str(first, a->words[0]))
			continue;
		if (two && !span_eq_str(second, a->words[1]))
			continue;
		*words_out = 1u + two;
		return &commands[i];
	}
	return NULL;
}

static bool put_in(const char **list, size_t *n, size_t max, const char *what)
{
	if (*n == max) {
		fprintf(stderr, "postern: too many arguments at \"%.100s\"\n", what);
		return false;
	}
	list[(*n)++] = what;
	return true;
}

enum option_letter {
	OPTION_RUN_DIR = 256,
	OPTION_JSON,
	OPTION_FOR,
	OPTION_LIST,
	OPTION_DRY_RUN,
	OPTION_RULES,
	OPTION_IP, /* of explain: in the order of explain_options */
	OPTION_HELO,
	OPTION_FROM,
	OPTION_RCPT,
	OPTION_LISTENER,
	OPTION_USER,
	OPTION_LOGIN,
	OPTION_PROTOCOL
};

static const char *const explain_options[] = { "--ip", "--helo", "--from", "--rcpt", "--listener",
	"--user", "--login", "--protocol" };

struct asked_for {
	bool help, version;
};

/* Options of a command go behind its other words. */
static bool put_tail(struct admin_args *a, const char *name, const char *value)
{
	return put_in(a->tail, &a->tail_count, ADMIN_TAIL_MAX, name) &&
	       put_in(a->tail, &a->tail_count, ADMIN_TAIL_MAX, value);
}

static bool take_option(struct admin_args *a, int letter, struct asked_for *asked)
{
	switch (letter) {
	case 'c':
		return put_in(a->configs, &a->config_count, ADMIN_CONFIGS_MAX, optarg);
	case 'o':
		return put_in(a->overrides, &a->override_count, ADMIN_OVERRIDES_MAX, optarg);
	case 'h':
		return asked->help = true;
	case 'V':
		return asked->version = true;
	case OPTION_RUN_DIR:
		a->run_dir = optarg;
		return true;
	case OPTION_JSON:
		return a->json = true;
	case OPTION_FOR:
		return put_tail(a, "--for", optarg);
	case OPTION_LIST:
		return put_tail(a, "--list", optarg);
	case OPTION_DRY_RUN:
		return put_in(a->tail, &a->tail_count, ADMIN_TAIL_MAX, "dry-run");
	case OPTION_RULES:
		a->rules = optarg;
		return true;
	case OPTION_IP:
	case OPTION_HELO:
	case OPTION_FROM:
	case OPTION_RCPT:
	case OPTION_LISTENER:
	case OPTION_USER:
	case OPTION_LOGIN:
	case OPTION_PROTOCOL:
		return put_tail(a, explain_options[letter - OPTION_IP], optarg);
	default:
		return false;
	}
}

static bool parse_args(int argc, char **argv, struct admin_args *a, struct asked_for *asked)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "option", required_argument, NULL, 'o' },
		{ "run-dir", required_argument, NULL, OPTION_RUN_DIR },
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "for", required_argument, NULL, OPTION_FOR },
		{ "list", required_argument, NULL, OPTION_LIST },
		{ "dry-run", no_argument, NULL, OPTION_DRY_RUN },
		{ "rules", required_argument, NULL, OPTION_RULES },
		{ "ip", required_argument, NULL, OPTION_IP },
		{ "helo", required_argument, NULL, OPTION_HELO },
		{ "from", required_argument, NULL, OPTION_FROM },
		{ "rcpt", required_argument, NULL, OPTION_RCPT },
		{ "listener", required_argument, NULL, OPTION_LISTENER },
		{ "user", required_argument, NULL, OPTION_USER },
		{ "login", required_argument, NULL, OPTION_LOGIN },
		{ "protocol", required_argument, NULL, OPTION_PROTOCOL },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int letter;
	optind = 0; /* glibc: start afresh, also in tests */
	while ((letter = getopt_long(argc, argv, "c:o:hV", options, NULL)) != -1)
		if (!take_option(a, letter, asked))
			return false;
	for (int i = optind; i < argc; i++)
		if (!put_in(a->words, &a->word_count, ADMIN_WORDS_MAX, argv[i]))
			return false;
	for (size_t i = 0; i < a->tail_count; i++)
		if (!put_in(a->words, &a->word_count, ADMIN_WORDS_MAX, a->tail[i]))
			return false;
	if (a->config_count == 0 && a->run_dir == NULL)
		a->configs[a->config_count++] = default_config;
	return true;
}

int admin_main(int argc, char **argv)
{
	struct admin_args a = { .config_count = 0 };
	struct asked_for asked = { false, false };
	size_t words = 0;
	if (!parse_args(argc, argv, &a, &asked)) {
		put_options(stderr);
		return ADMIN_USAGE;
	}
	if (asked.version) {
		printf("postern %s\n", POSTERN_VERSION);
		return ADMIN_OK;
	}
	const struct command *c = find_command(&a, &words);
	if (asked.help) {
		put_help(stdout, c);
		return ADMIN_OK;
	}
	if (c == NULL || a.word_count < words + c->least || a.word_count > words + c->most) {
		if (c == NULL && a.word_count > 0)
			fprintf(stderr, "postern: unknown command \"%.100s\"\n", a.words[0]);
		put_help(stderr, c);
		return ADMIN_USAGE;
	}
	return c->fn != NULL ? c->fn(&a) : show_rows(&a, c->rows);
}
