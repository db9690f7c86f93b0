# Twinpool. `make help` lists the targets.
#
# This file is the front door and needs nothing but make and a shell: each target first sees to the Debian packages it needs
# (scripts/packages names them, scripts/ensure-packages installs them) and then hands over to scripts/build.mk, which knows
# how to compile. So `make run` and `make test` are all that a new machine needs.
#
# Variables: BUILD=folder  WERROR=1 (warnings are errors)  V=1 (show commands)  ARGS='--workers 4' (for run)
#            T=name SECONDS=60 (for fuzz)  PREFIX DESTDIR (for install)  SETUP=no (leave packages alone)

BUILD ?= build
SECONDS ?= 60
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
export BUILD PREFIX DESTDIR WERROR V

need = $(if $(filter no,$(SETUP)),,@scripts/ensure-packages $(1))
build_in = +@$(MAKE) --no-print-directory -j$(JOBS) -f scripts/build.mk BUILD=$(1) $(2)
C_FILES = $(wildcard base/*.[ch] tasks/*.[ch] pool/*.[ch] handlers/*.[ch] service/*.[ch] tests/*/*.[ch] bench/*.[ch] include/*/*.h examples/*/*.c)

all: ## build the program: build/twinpool (the default)
	$(call need,build)
	$(call build_in,$(BUILD),all)

run: all ## build, then serve on 127.0.0.1:8080 until Ctrl-C; ARGS='--workers 4' adds options
	@exec $(BUILD)/twinpool $(ARGS)

test: ## every test: unit, integration, faults (five minutes)
	$(call need,build test)
	$(call build_in,$(BUILD),unit integration faults)
	@scripts/run-tests $(BUILD) unit integration faults

unit integration faults: ## one folder of tests/
	$(call need,build test)
	$(call build_in,$(BUILD),$@)
	@scripts/run-tests $(BUILD) $@

abuse: ## the abuse lab: hostile URLs, names, redirects, answers against a canary (under a minute; root or user namespaces)
	$(call need,build test)
	$(call build_in,$(BUILD),$@)
	@scripts/run-tests $(BUILD) $@

asan: ## every test under AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan
	$(call need,build test)
	$(call build_in,$(BUILD)/asan,unit integration faults SANITIZER=address)
	@scripts/run-tests $(BUILD)/asan unit integration faults

tsan: ## every test that has threads, under ThreadSanitizer, in build/tsan
	$(call need,build test)
	$(call build_in,$(BUILD)/tsan,unit integration faults SANITIZER=thread)
	@scripts/run-tests $(BUILD)/tsan unit integration faults

fuzz: ## fuzz one parser: make fuzz T=json_check SECONDS=60
	@test -n "$(T)" || { echo "usage: make fuzz T=name [SECONDS=60]; names: $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))" >&2; exit 2; }
	$(call need,build fuzz)
	$(call build_in,$(BUILD)/fuzz,$(BUILD)/fuzz/fuzz_$(T) SANITIZER=fuzzer CC=clang)
	@scripts/run-fuzzer $(BUILD)/fuzz $(T) $(SECONDS)

bench: ## load tests with wrk: requests/s, p50, p99, CPU per request
	$(call need,build test bench)
	$(call build_in,$(BUILD),all benches)
	@bench/run

lint: ## static analysis, shell scripts, layers, documents
	$(call need,build test lint)
	$(call build_in,$(BUILD),all)
	@scripts/lint $(BUILD)

docs: all ## write docs/configuration.md and docs/twinpool.ini from the table of options
	$(BUILD)/twinpool docs >docs/configuration.md
	env -i $(BUILD)/twinpool --print-config >docs/twinpool.ini

format: ## rewrite the C files in the project's layout
	$(call need,format)
	clang-format -i $(C_FILES)

format-check: ## fail if `make format` would change something
	$(call need,format)
	clang-format --dry-run --Werror $(C_FILES)

install: all ## install under PREFIX (/usr/local), below DESTDIR
	install -D -m 0755 $(BUILD)/twinpool $(DESTDIR)$(PREFIX)/bin/twinpool
	install -D -m 0644 include/twinpool/task.h $(DESTDIR)$(PREFIX)/include/twinpool/task.h
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|'"$$($(BUILD)/twinpool --version | cut -d' ' -f2)"'|' scripts/twinpool-task.pc.in \
	    >$(DESTDIR)$(PREFIX)/lib/pkgconfig/twinpool-task.pc
	install -D -m 0644 docs/twinpool.ini $(DESTDIR)$(PREFIX)/share/doc/twinpool/twinpool.ini
	install -m 0644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/twinpool/

clean: ## remove everything that was built
	rm -rf -- $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { printf "  make %-28s %s\n", $$1, $$2 }' Makefile

# Any single file below the build folder: make build/tests/unit/test_buf
$(BUILD)/%: FORCE
	$(call build_in,$(BUILD),$@)

FORCE:
.PHONY: all run test unit integration faults abuse asan tsan fuzz bench lint docs format format-check install clean help FORCE
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
