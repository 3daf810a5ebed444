# Postern: one Makefile, no recursion. `make help` lists the targets.
#
#   CC=clang-14     another compiler        SAN=1   ASan+UBSan, leaks fatal (build/san)
#   V=1             show the commands       COV=1   gcov coverage (build/cov)
#   TESTS=...       pytest arguments        FUZZ_SECS=n seconds for each fuzzer

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

# ---- packages: the only list; `make deps` installs what is missing -------------------------------
DEPS_build := gcc libc6-dev make pkg-config libevent-dev libssl-dev libc-ares-dev libhiredis-dev \
	libldap-dev libmilter-dev liblmdb-dev libjansson-dev zlib1g-dev libsqlite3-dev
DEPS_run := redis-server openssl curl python3 netbase
DEPS_test := libcmocka-dev python3-pytest clang-14 libclang-rt-14-dev llvm-14 \
	slapd ldap-utils dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved \
	sieve-connect python3-sievelib haproxy swaks libnet-ssleay-perl mutt isync \
	fetchmail procps gsasl opendkim spamassassin spamd rspamd
DEPS_test += postfix postfix-lmdb lmdb-utils postgrey postfix-policyd-spf-python unbound ldnsutils msmtp node-nodemailer \
	libdb5.3 libgnutls-dane0 libidn12 libpcre2-8-0 procmail maildrop \
	libsisimai-perl libmail-deliverystatus-bounceparser-perl php-cli php-mbstring
DEPS_bench := iproute2 nginx-light libnginx-mod-mail postfix dovecot-imapd dovecot-lmtpd haproxy rspamd
# Servers that cannot be installed beside each other or start by themselves, clients that would bring a web server with them:
# unpacked, run by tests in a root of their own
DEPS_unpacked := exim4-base exim4-daemon-light opensmtpd cyrus-common cyrus-imapd cyrus-pop3d sasl2-bin libical3 libxapian30 \
	libzephyr4 libclamav12 libmspack0 c-icap libicapapi5 libc-icap-mod-virus-scan getmail6 roundcube-core \
	nsd libfstrm0 libprotobuf-c1
DEPS_lint := clang-format-14 cppcheck universal-ctags

, := ,
# A client that Debian does not package, by npm into build/node: without it the tests that use it fail, the others run
NODE_PACKAGES := imapflow@1.0.164

# ---- variants -----------------------------------------------------------------------------------
CC := gcc
BUILD := build
VARIANT := $(if $(SAN),san,$(if $(COV),cov,$(if $(findstring clang,$(CC)),clang,opt)))
B := $(BUILD)/$(VARIANT)
Q := $(if $(V),,@)

WARN := -Wall -Wextra -Wno-unused-parameter -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Werror
HARDEN := -fstack-protector-strong -fPIE $(if $(SAN)$(COV),,-D_FORTIFY_SOURCE=2)
OPT := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=address$(,)undefined \
	-fno-sanitize-recover=all,$(if $(COV),-O0 --coverage,-O2))
VERSION := 0.1
CPPFLAGS := -I. -Ilib -D_GNU_SOURCE -DPOSTERN_VERSION='"$(VERSION)"'
CFLAGS := -std=c17 -g $(OPT) $(WARN) $(HARDEN) -ffunction-sections -fdata-sections -pthread
LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--gc-sections -Wl,--as-needed -pthread $(OPT)
LIBS := -levent_core -levent_extra -lssl -lcrypto -lcares -lhiredis -lldap -llber -llmdb -ljansson \
	-lcrypt -lz -lsqlite3

# ---- sources: every .c of a folder belongs to it; main.c is the program -------------------------
LIB_DIRS := lib/base lib/conf lib/proto lib/net lib/directory lib/commitlog lib/daemon metermaid
LIB_SRC := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
PROGRAMS := mmp edge store meter admin
SRC_mmp := $(wildcard mmp/*.c)
SRC_edge := $(wildcard edge/*.c)
SRC_store := $(wildcard store-backend/*.c store-backend/*/*.c)
SRC_meter := $(wildcard metermaid/service/*.c)
SRC_admin := $(wildcard admin/*.c)
BIN_mmp := postern-mmp
BIN_edge := postern-edge
BIN_store := postern-store
BIN_meter := postern-meter
BIN_admin := postern
EXTRA_meter := -lmilter

obj = $(patsubst %.c,$(B)/%.o,$(1))
# Programs whose main.c exists are built; the tree may hold fewer than the whole set.
BUILT := $(foreach p,$(PROGRAMS),$(if $(filter %/main.c,$(SRC_$(p))),$(p)))
BINS := $(foreach p,$(BUILT),$(BUILD)/bin/$(BIN_$(p)))

LIBPOSTERN := $(B)/libpostern.a
ALL_OBJ := $(call obj,$(LIB_SRC) $(foreach p,$(PROGRAMS),$(SRC_$(p))))

$(B)/metermaid/script.o $(BUILD)/fuzz/metermaid/script.o: metermaid/meter.lua

$(LIBPOSTERN): $(call obj,$(LIB_SRC))
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define program
$(B)/lib$(1).a: $(call obj,$(filter-out %/main.c,$(SRC_$(1))))
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
$(B)/bin/$(BIN_$(1)): $(call obj,$(filter %/main.c,$(SRC_$(1)))) $(B)/lib$(1).a $(LIBPOSTERN)
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo "  LD $$@")
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS) $$(EXTRA_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

# build/bin holds the variant that was built last; RUN_BIN says where a test finds its programs.
$(BUILD)/bin/%: $(B)/bin/% FORCE
	@mkdir -p $(@D)
	@cmp -s $< $@ || cp -f --remove-destination $< $@

.PHONY: all compile crash FORCE help deps deps-build deps-run deps-test deps-unpacked deps-node deps-bench deps-lint check unit system lint run bench fuzz \
	fuzz-build install docs clean format
all: deps-build $(BINS) ## build/bin/postern-*
compile: deps-build $(foreach p,$(BUILT),$(B)/bin/$(BIN_$(p))) ## build without touching build/bin
FORCE:

# ---- packages -----------------------------------------------------------------------------------
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
define install_deps
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' \
		|| echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing: $$missing"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$$missing >/dev/null; fi
endef
deps: deps-build deps-run deps-test deps-unpacked deps-node deps-bench deps-lint ## install every Debian package that any target needs
deps-build deps-run deps-test deps-bench deps-lint: deps-%: $(BUILD)/.deps-%
$(BUILD)/.deps-%: Makefile
	$(call install_deps,$(DEPS_$*))
	@mkdir -p $(@D) && touch $@

deps-unpacked: $(BUILD)/.deps-unpacked
$(BUILD)/.deps-unpacked: Makefile
	@rm -rf $(BUILD)/unpacked && mkdir -p $(BUILD)/unpacked/deb && $(SUDO) apt-get update -qq
	@cd $(BUILD)/unpacked/deb && apt-get download -qq $(DEPS_unpacked) && \
		for d in *.deb; do dpkg -x $$d ../root || exit 1; done
	@touch $@

deps-node: $(BUILD)/.deps-node
$(BUILD)/.deps-node: Makefile
	@command -v npm >/dev/null || { $(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null; }
	@rm -rf $(BUILD)/node && mkdir -p $(BUILD)/node
	@npm install --prefix $(BUILD)/node --no-package-lock --no-save --no-audit --no-fund --ignore-scripts --loglevel=error \
		$(NODE_PACKAGES) >/dev/null && touch $@ || echo "$(NODE_PACKAGES) could not be installed: its tests will fail"

# ---- unit tests: tests/unit/test_X.c needs the library, tests/unit/PROGRAM/test_X.c its program ---
UNIT_LIB := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
UNIT_PROG := $(foreach p,$(PROGRAMS),$(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(p)/test_*.c)))
UNITS := $(UNIT_LIB) $(UNIT_PROG)
$(UNIT_LIB): %: %.o $(LIBPOSTERN)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)
define unit_program
$(filter $(B)/tests/unit/$(1)/%,$(UNIT_PROG)): %: %.o $(B)/lib$(1).a $(LIBPOSTERN)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LIBS) $$(EXTRA_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call unit_program,$(p))))

SAN_ENV := ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 \
	LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0

unit: deps-build deps-test $(UNITS) ## unit tests only
	@$(SAN_ENV) tests/run-units $(B) $(UNITS)

# make unit-span runs tests/unit/test_span.c (any program's folder too)
unit-%: deps-build deps-test
	@+$(MAKE) --no-print-directory $(filter %/test_$*,$(UNITS)) && \
		for t in $(filter %/test_$*,$(UNITS)); do $(SAN_ENV) $$t || exit 1; done

# ---- fuzzers: clang's libFuzzer, the whole library built for it ---------------------------------
FUZZ_CC := clang-14
FUZZ_SECS := 3
FB := $(BUILD)/fuzz
FUZZ_FLAGS := -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZERS := $(patsubst tests/fuzz/%.c,$(FB)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_LIB_SRC := $(LIB_SRC) mmp/handover.c $(filter-out %/main.c,$(SRC_store))
fobj = $(patsubst %.c,$(FB)/%.o,$(1))
$(FB)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(CPPFLAGS) -std=c17 $(WARN) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
$(FB)/libfuzzed.a: $(call fobj,$(FUZZ_LIB_SRC))
	$(Q)rm -f $@ && ar rcs $@ $^
$(FUZZERS): $(FB)/%: $(FB)/tests/fuzz/%.o $(FB)/libfuzzed.a
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -pthread -o $@ $^ $(LIBS)
fuzz-build: deps-build deps-test $(FUZZERS)
fuzz: fuzz-build ## run every fuzzer for FUZZ_SECS seconds
	@tests/run-fuzzers $(FB) $(FUZZ_SECS) $(FUZZERS)

# ---- the whole check ----------------------------------------------------------------------------
system: all deps-run deps-test deps-unpacked deps-node ## system tests only (TESTS=... for pytest arguments)
	@$(SAN_ENV) POSTERN_BIN=$(CURDIR)/$(B)/bin POSTERN_SAN=$(SAN) tests/run-system $(TESTS)

# Edge workers, queues, stores and a foreign server die at each of a list of points a hundred times while 100,000 messages pass, and
# Postfix while a twentieth of them do; then the queue alone at points of its own while 100,000 pass, and everything, Redis too,
# at random moments while 20,000 do. CRASH_SECONDS (7200) bounds the first: what it has not reached by then is a failure.
CRASH_MESSAGES := 100000
CRASH_HITS := 100
crash: all deps-run deps-test deps-bench $(B)/tests/unit/edge/test_queue_crash $(B)/bench/fault_points.so ## long run of the crash tests (40 minutes and more; as root; CRASH_MESSAGES=, CRASH_HITS=)
	@$(SAN_ENV) $(BENCH_ENV) CRASH_HITS=$(CRASH_HITS) CRASH_MESSAGES=$(CRASH_MESSAGES) bench/edge-crash
	@$(SAN_ENV) CRASH_HITS=$(CRASH_HITS) CRASH_MESSAGES=$(CRASH_MESSAGES) $(B)/tests/unit/edge/test_queue_crash
	@$(SAN_ENV) POSTERN_BIN=$(CURDIR)/$(B)/bin CRASH_MESSAGES=20000 tests/run-system -s tests/system/test_crash.py

check: all deps-run deps-test deps-unpacked deps-node $(UNITS) $(FUZZERS) ## every test; SAN=1 for sanitizers
	@$(SAN_ENV) POSTERN_BIN=$(CURDIR)/$(B)/bin POSTERN_SAN=$(SAN) FUZZ_SECS=$(FUZZ_SECS) \
		tests/run-all $(B) $(FB) "$(UNITS)" "$(FUZZERS)"

lint: deps-build deps-lint ## layering, sizes, banned calls, format, cppcheck
	@tests/lint/lint

format: deps-lint ## rewrite the sources in the house layout
	@clang-format-14 -i $$(git ls-files '*.c' '*.h')

# ---- run, bench, install ------------------------------------------------------------------------
RUN_DIR := $(BUILD)/run
PORT_BASE ?= 20000
DEMO :=
run: all deps-run ## the demonstration: a small real tier on loopback
	@$(SAN_ENV) POSTERN_BIN=$(CURDIR)/$(B)/bin conf/demo/demo --run-dir "$(RUN_DIR)" --port-base "$(PORT_BASE)" $(DEMO)

# The programs of the benchmarks in C, and what is preloaded to count syncs
BENCH_C := $(addprefix $(B)/bench/,floor lmtp_load mail_load mail_sink mmp_load mmp_sink null_milter meter/bench_meter meter/bench_traces)
$(B)/bench/null_milter: LIBS += -lmilter
$(B)/bench/meter/bench_meter $(B)/bench/meter/bench_traces: LIBS += -lcmocka
$(B)/bench/meter/bench_traces: $(B)/bench/meter/trace_peers.o
$(BENCH_C): %: %.o $(LIBPOSTERN)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/bench/%.so: bench/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=c17 -O2 $(WARN) -shared -fPIC -o $@ $<
BENCH_QUEUE := $(B)/bench/queue/bench_queue
$(BENCH_QUEUE): %: %.o $(B)/libedge.a $(LIBPOSTERN)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)
BENCH_TOOLS := $(filter-out $(B)/bench/meter/%,$(BENCH_C)) $(B)/bench/count_syncs.so
BENCH_ENV := POSTERN_BIN=$(CURDIR)/$(B)/bin BENCH_TOOLS=$(CURDIR)/$(B)/bench QUICK=$(QUICK)

.PHONY: bench-edge-in bench-edge-out bench-meter bench-mmp bench-mmp-changes bench-queue bench-store bench-store-million bench-traces
bench: all deps-run deps-bench ## benchmarks against the peers (QUICK=1, BENCH="login message")
	@$(BENCH_ENV) bench/run $(BENCH)
bench-mmp: all deps-run deps-test deps-bench $(BENCH_TOOLS) ## the multiplexor against nginx, Dovecot, HAProxy and bare floors (QUICK=1)
	@$(BENCH_ENV) bench/mmp $(BENCH)
bench-mmp-changes: all deps-run deps-test ## 100 certificate rotations, 20 reloads and 5 upgrades below 5,000 live sessions (QUICK=1: a fifth)
	@$(BENCH_ENV) bench/mmp-changes
bench-store: all deps-run deps-test deps-unpacked deps-bench $(BENCH_TOOLS) ## the store beside Dovecot and Cyrus: deliveries, a large mailbox, waiting sessions (QUICK=1; as root)
	@$(BENCH_ENV) bench/store $(BENCH)
bench-store-million: all deps-run $(BENCH_TOOLS) ## a store with a million messages starts after a crash, and makes its index anew (QUICK=1)
	@$(BENCH_ENV) bench/store-million
bench-edge-in: all deps-run deps-bench $(BENCH_TOOLS) ## the front door and its filters beside Postfix (QUICK=1; as root)
	@$(BENCH_ENV) bench/edge-in
	@$(BENCH_ENV) bench/edge-front
	@$(BENCH_ENV) bench/edge-crowd
bench-edge-out: all deps-run deps-test deps-bench deps-unpacked $(BENCH_TOOLS) ## the edge beside Postfix and OpenSMTPD: relay, spool, disk writes (QUICK=1; as root)
	@$(BENCH_ENV) bench/edge-out
bench-queue: deps-build deps-test $(BENCH_QUEUE) ## a million messages in the queue, half of them for nobody (QUICK=1)
	@$(BENCH_ENV) $(BENCH_QUEUE)
bench-meter: all deps-run deps-test deps-bench $(B)/bench/meter/bench_meter ## what a question to MeterMaid costs, beside anvil and rspamd (QUICK=1; as root)
	@$(BENCH_ENV) $(B)/bench/meter/bench_meter
	@$(BENCH_ENV) bench/meter/beside
bench-traces: deps-build deps-test $(B)/bench/meter/bench_traces ## logins in hard cases: the recommended limits beside others (QUICK=1)
	@$(BENCH_ENV) $(B)/bench/meter/bench_traces conf/example/limits/limits.conf

prefix := /usr/local
DESTDIR :=
install: all ## programs, sample configuration, units (DESTDIR=, prefix=)
	install -d $(DESTDIR)$(prefix)/sbin $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/share/doc/postern
	install -m 755 $(filter %/postern-%,$(BINS)) $(DESTDIR)$(prefix)/sbin
	install -m 755 $(filter %/postern,$(BINS)) $(DESTDIR)$(prefix)/bin
	install -m 644 README.md LICENSE $(wildcard docs/*.md) conf/postern.conf $(DESTDIR)$(prefix)/share/doc/postern
	cp -r conf/example conf/schema $(DESTDIR)$(prefix)/share/doc/postern

docs: all ## docs/*.md and the sample configuration from the .def rows
	@POSTERN_BIN=$(CURDIR)/$(B)/bin docs/generate

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

-include $(ALL_OBJ:.o=.d) $(UNITS:=.d) $(BENCH_C:=.d) $(BENCH_QUEUE).d $(patsubst %.o,%.d,$(call fobj,$(FUZZ_LIB_SRC)) $(FUZZERS:$(FB)/%=$(FB)/tests/fuzz/%.o))
