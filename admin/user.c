/* user.c - postern user move: the mail of a user goes to another store, and every client finds it as it left it.
 *
 *	copy     the new store takes over what there is while the user works (move_pull)
 *	hold     logins wait at the multiplexors, sessions are ended, the old store refuses changes
 *	last     what has changed since the copy
 *	switch   the directory names the new store
 *	open     the new store takes logins and mail
 *	release  logins go on
 *	purge    the old store forgets the mail, and remembers that the user is gone
 *
 * How far a move has come is what the two stores say of the user, each durably; so the same command goes on after
 * whatever has stopped it. There is no moment at which both stores take a change: between hold and open none
 * does, and mail is told to come again. Each run has a number. With it it takes the user over at both stores (copy, hold;
 * or take_over() when it finds a move that has come further), and from then on neither opens for another run's
 * order: not for one that a killed tool or a slow line left behind, nor for a second tool's. So a run that gives the
 * user back knows that nobody else has opened the new store, even while that cannot be asked. */
#include <stdio.h>
#include <string.h>

#include "admin/move.h"

enum { ADMIN_TEMPFAIL = 75 };

static void tell(const struct move *m, const char *step)
{
	fprintf(stderr, "postern: %s: %s\n", m->user, step);
}

static int stuck(const struct move *m, const char *what)
{
	fprintf(stderr,
	    "postern: %s: %s; nothing is lost: give the same command again, or the same with "
	    "\"abort\"\n",
	    m->user, what);
	return ADMIN_TEMPFAIL;
}

/* ---- steps -------------------------------------------------------------------------------------------------- */

/* From an earlier run, which does not say how far it came: perhaps to the directory. */
static int take_over(struct move *m)
{
	m->switched = true;
	if (m->to_stay == STAY_ARRIVING)
		m->to_stay = move_stay(m, m->to, STAY_ARRIVING);
	if (m->to_stay != STAY_UNKNOWN && m->from_stay == STAY_LEAVING)
		m->from_stay = move_stay(m, m->from, STAY_LEAVING);
	bool ok = m->to_stay != STAY_UNKNOWN && m->from_stay != STAY_UNKNOWN;
	return ok ? ADMIN_OK : stuck(m, "is not in the hands of this command");
}

static int copy(struct move *m)
{
	tell(m, "copy");
	if (!move_directory(m, MOVE_LOOK))
		return ADMIN_TEMPFAIL;
	m->to_stay = move_stay(m, m->to, STAY_ARRIVING);
	if (m->to_stay != STAY_ARRIVING)
		return ADMIN_TEMPFAIL;
	return move_pull(m, false) ? ADMIN_OK : ADMIN_TEMPFAIL;
}

/* Kicked twice: a login that was under way when the hold began. */
static int hold(struct move *m)
{
	tell(m, "hold");
	move_order(m, "hold");
	m->from_stay = move_stay(m, m->from, STAY_LEAVING);
	move_order(m, "kick");
	if (m->from_stay == STAY_LEAVING)
		return ADMIN_OK;
	move_order(m, "release");
	return stuck(m, "the old store does not let go");
}

/* The store first: it knows whether the user is still this run's. */
static bool give_back(struct move *m)
{
	if (m->from_stay == STAY_LEAVING)
		m->from_stay = move_stay(m, m->from, STAY_HERE);
	bool back = m->from_stay != STAY_UNKNOWN;
	if (back && m->switched)
		back = move_directory(m, MOVE_BACK);
	move_order(m, "release");
	return back;
}

/* Whatever does not work here is undone at once: the user waits. */
static int last(struct move *m)
{
	tell(m, "last");
	if (move_pull(m, true) || move_pull(m, true))
		return ADMIN_OK;
	return stuck(m, give_back(m) ? "stays where it was" : "waits between the stores");
}

static int change_directory(struct move *m)
{
	tell(m, "switch");
	return move_directory(m, MOVE_SWITCH) ? ADMIN_OK : stuck(m, "waits between the stores");
}

static int open_new(struct move *m)
{
	tell(m, "open");
	m->to_stay = move_stay(m, m->to, STAY_HERE);
	return m->to_stay == STAY_HERE ? ADMIN_OK : stuck(m, "waits between the stores");
}

static int release(struct move *m)
{
	tell(m, "release");
	move_order(m, "kick"); /* who was let in at the old store can only read there */
	move_order(m, "release");
	return ADMIN_OK;
}

static int purge(struct move *m)
{
	tell(m, "purge");
	m->from_stay = move_stay(m, m->from, STAY_GONE);
	return m->from_stay == STAY_GONE ? ADMIN_OK : stuck(m, "is at the new store");
}

/* ---- the order of steps ---------------------------------------------------------------------------------------- */

static const struct {
	enum stay from, to; /* where a move that has come so far begins */
	int (*fn)(struct move *m);
} steps[] = {
	{ STAY_HERE, STAY_UNKNOWN, copy }, /* unknown: whatever the new store allows */
	{ STAY_HERE, STAY_UNKNOWN, hold },
	{ STAY_LEAVING, STAY_ARRIVING, last },
	{ STAY_LEAVING, STAY_ARRIVING, change_directory },
	{ STAY_LEAVING, STAY_ARRIVING, open_new },
	{ STAY_LEAVING, STAY_HERE, release },
	{ STAY_LEAVING, STAY_HERE, purge },
	{ STAY_GONE, STAY_HERE, release },
};
enum { STEP_COUNT = sizeof steps / sizeof steps[0], STEP_DONE = STEP_COUNT - 1 };

static size_t first_step(const struct move *m)
{
	for (size_t i = 0; i < STEP_COUNT; i++)
		if (steps[i].from == m->from_stay &&
		    (steps[i].to == STAY_UNKNOWN || steps[i].to == m->to_stay))
			return i;
	return STEP_COUNT;
}

static int go_on(struct move *m)
{
	size_t i = first_step(m);
	int status = i < STEP_COUNT ? ADMIN_OK : ADMIN_USAGE;
	if (status != ADMIN_OK)
		fprintf(stderr, "postern: %s: not at %s%s\n", m->user, m->from->head.title,
		    m->from_stay == STAY_LEAVING ? " any more, nor on its way to the other store: "
						   "give the command with \"abort\""
						 : "");
	if (status == ADMIN_OK && m->from_stay == STAY_LEAVING)
		status = take_over(m);
	size_t end = i == STEP_DONE ? STEP_COUNT : STEP_DONE;
	for (; status == ADMIN_OK && i < end; i++)
		status = steps[i].fn(m);
	if (status == ADMIN_OK)
		printf("%s is at %s\n", m->user, m->to->head.title);
	return status;
}

/* Nothing has ever come for the user: the old store is told to take nothing, and that is all there is to move. */
static bool has_no_mail(const struct move *m)
{
	return (m->from_stay == STAY_ABSENT || m->from_stay == STAY_GONE) &&
	       (m->to_stay == STAY_ABSENT || m->to_stay == STAY_GONE);
}

static int move_nothing(struct move *m)
{
	int status = move_directory(m, MOVE_LOOK) ? purge(m) : ADMIN_TEMPFAIL;
	if (status == ADMIN_OK)
		status = change_directory(m);
	if (status == ADMIN_OK && m->to_stay == STAY_GONE) {
		m->to_stay =
		    move_stay(m, m->to, STAY_GONE); /* by this run, so that it may open it */
		if (m->to_stay == STAY_GONE)
			m->to_stay = move_stay(m, m->to, STAY_HERE);
		status = m->to_stay != STAY_UNKNOWN ? ADMIN_OK : stuck(m, "has no mail");
	}
	if (status == ADMIN_OK)
		printf("%s has no mail, and is at %s from now on\n", m->user, m->to->head.title);
	return status;
}

/* Only what has not been opened can be given up. */
static int give_up(struct move *m)
{
	if (m->to_stay == STAY_HERE || m->from_stay == STAY_GONE)
		return stuck(m, "is at the new store already");
	int status = take_over(m);
	if (status != ADMIN_OK)
		return status;
	bool back = give_back(m);
	if (back && m->to_stay == STAY_ARRIVING)
		m->to_stay = move_stay(m, m->to, STAY_GONE);
	if (!back || m->to_stay == STAY_UNKNOWN)
		return stuck(m, "the move is not undone");
	printf("%s is at %s\n", m->user, m->from->head.title);
	return ADMIN_OK;
}

int admin_user_move(const struct admin_args *a)
{
	struct move m;
	bool abort = a->word_count == 6;
	if (abort && strcmp(a->words[5], "abort") != 0)
		return ADMIN_USAGE;
	int status = move_load(a, &m);
	if (status == ADMIN_OK) {
		m.from_stay = move_stay(&m, m.from, STAY_UNKNOWN);
		m.to_stay = move_stay(&m, m.to, STAY_UNKNOWN);
		bool known = m.from_stay != STAY_UNKNOWN && m.to_stay != STAY_UNKNOWN;
		status = !known            ? ADMIN_UNAVAILABLE
			 : abort           ? give_up(&m)
			 : has_no_mail(&m) ? move_nothing(&m)
					   : go_on(&m);
	}
	move_end(&m);
	return status;
}
