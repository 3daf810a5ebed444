/* copies.c - what other hosts have in their spools, as copies here. Beside: spool_serve.c, which takes them in;
 * copies_adopt.c, which makes them messages of this host.
 *
 * Each spool of an owner has a log of its own, with the same records: MESSAGE and BODY of what is held, DONE of what was
 * adopted. A host that is here with another spool has lost the old one for good: what is held of that is adopted. Owns those logs and what is known of their records; never a body. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmt.h"
#include "edge/copies_internal.h"
#include "edge/copy_tls.h"

enum { LOOK_MS = 1000, SILENT_MS = 10 * 1000, SEGMENT = 16 * 1024 * 1024 };

/* ---- what is known of a copy ------------------------------------------------------------------ */

struct copy *copy_find(const struct ward *w, struct ident id)
{
	return map_get(w->by_id, span_str(id.s));
}

static struct copy *copy_add(struct ward *w, struct ident id, log_pos pos)
{
	struct copy *c = MEM_NEW(struct copy);
	c->id = id;
	c->pos = pos;
	CHECK(map_set(w->by_id, span_str(id.s), c, NULL));
	w->copies->count++;
	return c;
}

static void copy_bytes(struct ward *w, struct copy *c, uint64_t bytes)
{
	w->bytes += bytes - c->bytes;
	w->copies->bytes += bytes - c->bytes;
	c->bytes = bytes;
}

static void copy_hold(struct ward *w, struct copy *c, const struct spool_message *m)
{
	c->chunk_n = m->chunk_count;
	if (m->chunk_count > 0)
		c->chunks = mem_copy(m->chunks, m->chunk_count * sizeof(*m->chunks));
	copy_bytes(w, c, m->body_bytes + COPY_BYTES_MIN);
	list_add_tail(&w->held, &c->link);
	w->held_n++;
}

void copy_let_go(struct ward *w, struct copy *c)
{
	if (c->link.next != NULL)
		w->held_n--;
	list_remove(&c->link);
	spool_forget(w->spool, c->pos);
	for (size_t i = 0; i < c->chunk_n; i++)
		spool_forget(w->spool, c->chunks[i]);
	MEM_FREE(&c->chunks);
	c->chunk_n = 0;
	copy_bytes(w, c, 0);
}

static void copy_free(struct ward *w, struct copy *c)
{
	if (c->link.next != NULL)
		w->held_n--;
	list_remove(&c->link);
	copy_bytes(w, c, 0);
	map_remove(w->by_id, span_str(c->id.s));
	w->copies->count--;
	mem_free(c->chunks);
	mem_free(c);
}

/* ---- a ward's log at start -------------------------------------------------------------------- */

static void on_message(void *arg, log_pos pos, const struct spool_message *m)
{
	struct ward *w = arg;
	if (copy_find(w, m->id) == NULL)
		copy_hold(w, copy_add(w, m->id, pos), m);
	else
		spool_forget(w->spool, pos);
}

static void on_progress(void *arg, log_pos pos, const struct spool_progress *p)
{
}

static void on_done(void *arg, log_pos pos, const struct spool_done *d)
{
	struct ward *w = arg;
	struct copy *c = copy_find(w, d->id);
	if (c == NULL)
		c = copy_add(w, d->id, pos);
	else
		copy_let_go(w, c);
	c->pos = pos;
	c->adopted = true;
}

static bool on_lives(void *arg, log_pos pos, const struct spool_message *m)
{
	const struct copy *c = copy_find(arg, m->id);
	return c != NULL && c->pos == pos;
}

static bool free_one(void *arg, struct span key, void *value)
{
	copy_free(arg, value);
	return true;
}

static void ward_close(struct ward *w)
{
	ward_adopt_stop(w);
	map_each(w->by_id, free_one, w);
	spool_close(&w->spool);
}

static void ward_dir(const struct ward *w, char out[COPIES_PATH])
{
	snprintf(out, COPIES_PATH, "%s/copies/%s+%016" PRIx64, w->copies->edge->spool, w->name,
	    w->owned);
}

static void ward_open(struct ward *w)
{
	struct copies *c = w->copies;
	char dir[COPIES_PATH];
	struct buf why = BUF_INIT(1000);
	struct commitlog_opts opts = {
		.dir = dir, .segment_bytes = SEGMENT, .unsafe_no_sync = c->unsafe_no_sync
	};
	struct spool_visitor v = { on_message, on_progress, on_done, on_lives, w };
	ward_dir(w, dir);
	w->spool = spool_open(c->loop, &opts, &why);
	if (w->spool != NULL && spool_replay(w->spool, &v, &why) != ERR_OK)
		ward_close(w);
	if (w->spool == NULL)
		log_write(&queue_events[QUEUE_EV_SPOOL_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("why", buf_cstr(&why))));
	buf_end(&why);
}

/* ---- owners ----------------------------------------------------------------------------------- */

/* A name of a host, and of a folder. */
static bool is_name(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!ascii_is_digit((unsigned char)name.p[i]) &&
		    !ascii_is_alpha((unsigned char)name.p[i]) && name.p[i] != '-' &&
		    !(name.p[i] == '.' && i > 0))
			return false;
	return name.n > 0 && name.n <= SPOOL_NAME_MAX;
}

static bool is_of(const struct ward *w, struct span name)
{
	return span_eq_str(name, w->name);
}

static void ward_free(struct ward *w)
{
	ward_close(w);
	map_free(&w->by_id);
	mem_free(w->name);
	w->magic = 0;
	mem_free(w);
}

static void remove_folder(const struct ward *w)
{
	char dir[COPIES_PATH];
	ward_dir(w, dir);
	DIR *d = opendir(dir);
	const struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
	(void)rmdir(dir);
}

/* Room for one more: that of a spool of which nothing is held, and whose owner is away. */
static bool make_room(struct copies *c)
{
	for (size_t i = 0; c->ward_n == WARDS_MAX && i < c->ward_n; i++) {
		struct ward *w = c->wards[i];
		if (w->link != NULL || w->held_n > 0 || w->adopts || w->sync != NULL)
			continue;
		ward_close(w);
		remove_folder(w);
		ward_free(w);
		memmove(&c->wards[i], &c->wards[i + 1], (--c->ward_n - i) * sizeof(*c->wards));
	}
	return c->ward_n < WARDS_MAX;
}

static struct ward *ward_get(struct copies *c, struct span name, uint64_t spool)
{
	for (size_t i = 0; i < c->ward_n; i++)
		if (is_of(c->wards[i], name) && c->wards[i]->owned == spool)
			return c->wards[i];
	if (!is_name(name) || !make_room(c))
		return NULL;
	struct ward *w = MEM_NEW(struct ward);
	w->magic = ward_MAGIC;
	w->copies = c;
	w->name = mem_span_str(name);
	w->owned = spool;
	w->by_id = map_new(COPIES_MAX);
	w->heard_ms = loop_now_ms(c->loop);
	list_init(&w->held);
	ward_adopt_init(w);
	c->wards[c->ward_n++] = w;
	ward_open(w);
	return w;
}

/* "HOST+0123456789abcdef" */
static void open_folder(struct copies *c, struct span folder)
{
	uint64_t spool = 0;
	size_t plus = span_rfind(folder, '+');
	if (plus == SIZE_MAX || folder.n - plus - 1 != 16)
		return;
	for (size_t i = plus + 1; i < folder.n; i++) {
		int digit = ascii_hex(folder.p[i]);
		if (digit < 0)
			return;
		spool = spool << 4 | (uint64_t)digit;
	}
	(void)ward_get(c, span_first(folder, plus), spool);
}

static void open_known(struct copies *c)
{
	char path[COPIES_PATH];
	snprintf(path, sizeof(path), "%s/copies", c->edge->spool);
	DIR *d = opendir(path);
	const struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL)
		open_folder(c, span_str(e->d_name));
	if (d != NULL)
		closedir(d);
}

/* ---- a link of an owner ----------------------------------------------------------------------- */

static struct spool *ward_spool(void *arg)
{
	const struct ward *w = OBJ(ward, arg);
	return w->spool;
}

static bool ward_knows(void *arg, struct ident id)
{
	return copy_find(OBJ(ward, arg), id) != NULL;
}

static const char *ward_refuses(void *arg, const struct spool_message *m)
{
	const struct copies *c = OBJ(ward, arg)->copies;
	bool full = c->count >= COPIES_MAX ||
		    c->bytes + m->body_bytes + COPY_BYTES_MIN > c->edge->copy_bytes_max;
	return full ? "there is no room for copies" : NULL;
}

static void ward_arrives(void *arg, struct spool_message *m)
{
}

static void ward_add(void *arg, log_pos pos, const struct spool_message *m)
{
	struct ward *w = OBJ(ward, arg);
	copy_hold(w, copy_add(w, m->id, pos), m);
	metric_add(&queue_metrics[QUEUE_M_COPIES_TAKEN], 1);
}

/* Not from here: the link that wrote is still at it. */
static void ward_broke(void *arg, err_t err)
{
	OBJ(ward, arg)->broken = true;
}

static void release(struct ward *w, struct ident id)
{
	struct copy *c = copy_find(w, id);
	if (c == NULL || w->spool == NULL || c->adopting)
		return;
	if (c->adopted)
		spool_forget(w->spool, c->pos);
	else
		copy_let_go(w, c);
	copy_free(w, c);
}

static bool ward_other(void *arg, struct serve_link *k, const struct spool_frame *f)
{
	struct ward *w = OBJ(ward, arg);
	struct ident id;
	bool adopted;
	w->heard_ms = loop_now_ms(w->copies->loop);
	if (f->type == SPOOL_FRAME_PING)
		return true;
	if (f->type != SPOOL_FRAME_RELEASE || !spool_id_get(f->payload, &id, &adopted))
		return false;
	release(w, id);
	return true;
}

static void ward_gone(void *arg, struct serve_link *k)
{
	struct ward *w = OBJ(ward, arg);
	if (w->link == k)
		w->link = NULL;
}

static const struct spool_taker ward_taker = {
	.spool = ward_spool,
	.knows = ward_knows,
	.refuses = ward_refuses,
	.arrives = ward_arrives,
	.add = ward_add,
	.broke = ward_broke,
	.other = ward_other,
	.gone = ward_gone,
};

/* ---- a link before it has said whose it is ---------------------------------------------------- */

static bool is_secret(struct span said, struct span kept)
{
	unsigned other = said.n != kept.n;
	for (size_t i = 0; i < said.n && kept.n > 0; i++)
		other |= (unsigned)(unsigned char)(said.p[i] ^ kept.p[i % kept.n]);
	return other == 0 && kept.n > 0;
}

static bool put_held(void *arg, struct span key, void *value)
{
	const struct copy *c = value;
	spool_id_put(arg, SPOOL_FRAME_HELD, c->id, c->adopted || c->adopting);
	return true;
}

void ward_say_list(struct ward *w)
{
	struct buf out = BUF_INIT(64 * (COPIES_MAX + 1));
	map_each(w->by_id, put_held, &out);
	spool_word_put(&out, SPOOL_FRAME_LISTED);
	if (w->link != NULL)
		spool_serve_say(w->link, buf_span(&out));
	buf_end(&out);
}

static bool stranger_other(void *arg, struct serve_link *k, const struct spool_frame *f)
{
	struct copies *c = OBJ(copies, arg);
	struct spool_hello h;
	if (f->type != SPOOL_FRAME_HELLO || !spool_hello_get(f->payload, &h) ||
	    !is_secret(h.secret, c->edge->copy_secret.bytes))
		return false;
	struct ward *w = ward_get(c, h.name, h.spool);
	if (w == NULL || w->spool == NULL)
		return false;
	if (w->link != NULL)
		spool_serve_end(w->link);
	spool_serve_become(k, &ward_taker, w);
	w->link = k;
	w->heard_ms = loop_now_ms(c->loop);
	if (ward_adopt_end(w))
		ward_say_list(w);
	return true;
}

static struct spool *stranger_spool(void *arg)
{
	return NULL;
}

static bool stranger_knows(void *arg, struct ident id)
{
	return false;
}

static bool stranger_guard(void *arg, struct ip_addr local, const struct tls_ctx **tls_out)
{
	const struct copies *c = OBJ(copies, arg);
	bool due = copy_tls_at(c->edge, local);
	*tls_out = due ? c->tls : NULL;
	return !due || c->tls != NULL;
}

static const struct spool_taker stranger_taker = {
	.guard = stranger_guard,
	.spool = stranger_spool,
	.knows = stranger_knows,
	.other = stranger_other,
};

/* ---- now and then ----------------------------------------------------------------------------- */

/* Is its host here with another spool? */
static bool is_burnt(const struct ward *w)
{
	const struct copies *c = w->copies;
	for (size_t i = 0; w->link == NULL && i < c->ward_n; i++)
		if (c->wards[i]->link != NULL && is_of(c->wards[i], span_str(w->name)))
			return true;
	return false;
}

static void look_at(struct ward *w)
{
	struct copies *c = w->copies;
	uint64_t now = loop_now_ms(c->loop), after = c->edge->copy_adopt_after;
	if (w->broken) {
		if (w->link != NULL)
			spool_serve_end(w->link);
		ward_close(w);
		w->broken = false;
	}
	if (w->spool == NULL)
		ward_open(w);
	if (w->link != NULL && now - w->heard_ms > SILENT_MS)
		spool_serve_end(w->link);
	if (w->link == NULL && after > 0 && now - w->heard_ms >= after)
		ward_adopt(w, "away");
	else if (is_burnt(w))
		ward_adopt(w, "another spool");
}

static void on_look(void *arg)
{
	struct copies *c = OBJ(copies, arg);
	size_t held = 0;
	for (size_t i = 0; i < c->ward_n; i++) {
		look_at(c->wards[i]);
		held += c->wards[i]->held_n;
	}
	metric_set(&queue_metrics[QUEUE_M_COPIES], held);
	timer_set(&c->look, LOOK_MS);
}

/* ---- control ---------------------------------------------------------------------------------- */

static const char *state_of(const struct ward *w)
{
	if (w->link != NULL)
		return "here";
	return ward_adopts(w) ? "adopting" : "away";
}

static void list(const struct copies *c, struct buf *out)
{
	buf_add_char(out, '[');
	for (size_t i = 0; i < c->ward_n; i++) {
		const struct ward *w = c->wards[i];
		uint64_t away = w->link != NULL ? 0 : loop_now_ms(c->loop) - w->heard_ms;
		size_t held = ward_holds(w);
		buf_add_str(out, i > 0 ? ",{\"owner\":" : "{\"owner\":");
		fmt_json_string(out, span_str(w->name));
		buf_printf(out,
		    ",\"state\":\"%s\",\"copies\":%zu,\"adopted\":%zu,\"bytes\":%llu,\"away_s\":%"
		    "llu}",
		    state_of(w), held, map_count(w->by_id) - held, (unsigned long long)w->bytes,
		    (unsigned long long)away / 1000);
	}
	buf_add_char(out, ']');
}

static void order_adopt(struct copies *c, const char *name, struct buf *out)
{
	const char *why = "there are no copies of this host's here";
	size_t n = 0;
	for (size_t i = 0; i < c->ward_n; i++) {
		struct ward *w = c->wards[i];
		if (!is_of(w, span_str(name)) || w->spool == NULL)
			continue;
		if (w->link != NULL) {
			why = "this host is here and delivers its mail itself";
			continue;
		}
		why = NULL;
		n += w->held_n;
		ward_adopt(w, "order");
	}
	if (why != NULL)
		buf_printf(out, "{\"error\":\"%s\"}", why);
	else
		buf_printf(out, "{\"order\":\"adopt\",\"recipients\":%zu,\"more\":false}", n);
}

bool copies_control(struct copies *c, const char *const *words, size_t n, struct buf *out)
{
	bool lists = n == 1 && span_eq_str(span_str(words[0]), "copies");
	bool adopts = n == 2 && span_eq_str(span_str(words[0]), "adopt");
	if (lists && c == NULL)
		buf_add_str(out, "[]");
	else if (lists)
		list(c, out);
	else if (adopts && c == NULL)
		buf_add_str(out, "{\"error\":\"no host leaves copies here\"}");
	else if (adopts)
		order_adopt(c, words[1], out);
	return lists || adopts;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void set_conf(struct copies *c, const struct conf *conf)
{
	struct conf *old = c->conf;
	c->conf = conf_ref(conf);
	c->edge = conf_section(conf, &edge_block);
	copy_tls_server(&c->tls, conf);
	conf_unref(&old);
}

static void on_queue_close(void *arg)
{
	struct copies *c = OBJ(copies, arg);
	for (size_t i = 0; i < c->ward_n; i++)
		ward_adopt_stop(c->wards[i]);
}

struct copies *copies_new(struct loop *l, struct queue *q, const struct conf *conf)
{
	const struct edge_conf *e = conf_section(conf, &edge_block);
	char path[COPIES_PATH];
	if (e->copy_listen.n == 0)
		return NULL;
	struct copies *c = MEM_NEW(struct copies);
	c->magic = copies_MAGIC;
	c->loop = l;
	c->queue = q;
	set_conf(c, conf);
	snprintf(path, sizeof(path), "%s/copies", e->spool);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		log_write(
		    &queue_events[QUEUE_EV_SPOOL_FAILED], NULL, LOG_FIELDS(LOG_STR("why", path)));
	c->serve = spool_serve_of(l, &stranger_taker, c);
	timer_init(&c->look, l, on_look, c);
	timer_set(&c->look, LOOK_MS);
	queue_on_close(q, QUEUE_COPIES, on_queue_close, c);
	open_known(c);
	return c;
}

void copies_listen(struct copies *c, int fd)
{
	spool_serve_listen(c->serve, fd);
}

void copies_reload(struct copies *c, const struct conf *fresh)
{
	if (c != NULL)
		set_conf(c, fresh);
}

void copies_free(struct copies **pc)
{
	struct copies *c = *pc;
	if (c == NULL)
		return;
	queue_on_close(c->queue, QUEUE_COPIES, NULL, NULL);
	spool_serve_free(&c->serve);
	tls_ctx_unref(&c->tls);
	timer_clear(&c->look);
	for (size_t i = 0; i < c->ward_n; i++)
		ward_free(c->wards[i]);
	conf_unref(&c->conf);
	c->magic = 0;
	MEM_FREE(pc);
}
