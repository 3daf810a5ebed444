/* fuzz_conf.c - any bytes as a configuration file: no crash, and what loads survives dump and reload
 * with the same revision. Reads from a bundle, so no input can touch the disk. */
#include "base/check.h"
#include "tests/unit/conf/demo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct conf_schema schema = { &demo_root_block, demo_sections, demo_foreign, NULL };

static struct conf *load(struct span text)
{
	struct buf packed = BUF_INIT(1 << 20);
	struct conf_diag *d = conf_diag_new();
	struct conf *c = NULL;
	buf_printf(&packed, "PSTNCNF1M%08x%08x/f/m/", 4, 1);
	buf_printf(&packed, "F%08x%08x/f/m", 4, (unsigned)text.n);
	buf_add_span(&packed, text);
	struct conf_source *src = buf_ok(&packed) ? conf_source_unpack(buf_span(&packed)) : NULL;
	if (src != NULL)
		c = conf_load(&schema, src, NULL, d);
	CHECK(src == NULL || (c == NULL) == (conf_error_count(d) > 0));
	conf_source_free(&src);
	conf_diag_free(&d);
	buf_end(&packed);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct conf_source *bundle = conf_source_unpack(span_of(data, n));
	conf_source_free(&bundle);
	struct conf *c = load(span_of(data, n));
	if (c == NULL)
		return 0;
	const struct demo_conf *demo = conf_section(c, &demo_block);
	struct buf dump = BUF_INIT(1 << 20);
	if (conf_dump(c, &dump) && demo->password.bytes.n == 0) {
		struct conf *again = load(buf_span(&dump));
		CHECK(again != NULL && conf_revision(again) == conf_revision(c));
		conf_unref(&again);
	}
	buf_end(&dump);
	conf_unref(&c);
	return 0;
}
