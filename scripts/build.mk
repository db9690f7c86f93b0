# How everything is compiled. `make` (see Makefile) calls this once the packages are there.
#
#   $(BUILD)/flags.mk        what this compiler and these libraries understand, probed once
#   $(BUILD)/obj/…           one object per source
#   $(BUILD)/libtwinpool.a   all but main.o: what the tests link against
#   $(BUILD)/libsupport.a    tests/support: servers, origins and clients for the tests
#   $(BUILD)/twinpool        the program
#   $(BUILD)/tests/DIR/test_X  $(BUILD)/bench/X  $(BUILD)/fuzz_X
#
# SANITIZER=address|thread|fuzzer selects an instrumented build; give each a BUILD folder of its own.

BUILD ?= build
CFLAGS ?= -O2 -g
# Not probed: their packages may come after the first build.
TEST_LIBRARIES := -lcmocka -lcares -lbrotlienc -lz -lm
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif

LIBRARY_SOURCES := $(filter-out service/main.c,$(sort $(wildcard $(addsuffix /*.c,base tasks pool handlers service))))
SUPPORT_SOURCES := $(sort $(wildcard tests/support/*.c))
TEST_SOURCES := $(sort $(wildcard $(addsuffix /test_*.c,tests/unit tests/integration tests/faults tests/abuse)))
LAB_SOURCES := $(filter-out tests/abuse/test_%,$(sort $(wildcard tests/abuse/*.c)))
PLUGIN_SOURCES := $(sort $(wildcard tests/plugins/*.c))
BENCH_SOURCES := $(sort $(wildcard bench/*.c))

all: $(BUILD)/twinpool
unit: $(patsubst %.c,$(BUILD)/%,$(filter tests/unit/%,$(TEST_SOURCES)))
integration: all plugins $(patsubst %.c,$(BUILD)/%,$(filter tests/integration/%,$(TEST_SOURCES)))
faults: all plugins $(patsubst %.c,$(BUILD)/%,$(filter tests/faults/%,$(TEST_SOURCES)))
abuse: all $(patsubst %.c,$(BUILD)/%,$(filter tests/abuse/%,$(TEST_SOURCES)))
plugins: $(PLUGIN_SOURCES:%.c=$(BUILD)/%.so)
benches: $(BENCH_SOURCES:%.c=$(BUILD)/%)

# Made on the first use; make then starts over with its values.
$(BUILD)/flags.mk: scripts/probe-flags
	@mkdir -p $(@D)
	@scripts/probe-flags $(CC) $(SANITIZER) >$@.tmp && mv $@.tmp $@
include $(BUILD)/flags.mk

COMPILE = $(CC) -std=gnu17 -D_GNU_SOURCE -I. $(CFLAGS) $(WARNING_FLAGS) $(if $(WERROR),-Werror) $(HARDENING_CFLAGS) \
          $(SANITIZER_FLAGS) $(LIBRARY_CFLAGS) -pthread
LINK = $(CC) $(CFLAGS) $(SANITIZER_FLAGS) $(HARDENING_LDFLAGS) $(LDFLAGS) -pthread

# What runs, and what it says: `CC base/buf.c`, or with V=1 the command itself.
ifdef V
show = $(2)
else
show = @printf '  %-4s %s\n' '$(1)' '$@'; $(2)
endif

# Each of these two changes only when its text does, so what depends on it is built again after a change of flags (the
# first) or when a source came or went (the second).
$(BUILD)/commands: TEXT = $(COMPILE) $(LINK) $(LIBRARIES)
$(BUILD)/sources: TEXT = $(LIBRARY_SOURCES) $(SUPPORT_SOURCES)
$(BUILD)/commands $(BUILD)/sources: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(TEXT))' >$@.tmp; if cmp -s $@.tmp $@; then rm $@.tmp; else mv $@.tmp $@; fi

$(BUILD)/obj/%.o: %.c $(BUILD)/commands
	@mkdir -p $(@D)
	$(call show,CC,$(COMPILE) -MMD -MP -c -o $@ $<)

$(BUILD)/libtwinpool.a: $(LIBRARY_SOURCES:%.c=$(BUILD)/obj/%.o) $(BUILD)/sources
	$(call show,AR,rm -f $@ && $(AR) rcs $@ $(filter %.o,$^))

$(BUILD)/libsupport.a: $(SUPPORT_SOURCES:%.c=$(BUILD)/obj/%.o) $(BUILD)/sources
	$(call show,AR,rm -f $@ && $(AR) rcs $@ $(filter %.o,$^))

$(BUILD)/twinpool: $(BUILD)/obj/service/main.o $(BUILD)/libtwinpool.a
	$(call show,LD,$(LINK) -o $@ $^ $(LIBRARIES))

# The abuse lab is one program of several sources.
$(BUILD)/tests/abuse/test_abuse: $(LAB_SOURCES:%.c=$(BUILD)/obj/%.o)

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libsupport.a $(BUILD)/libtwinpool.a
	@mkdir -p $(@D)
	$(call show,LD,$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBRARIES) $(TEST_LIBRARIES))

$(BUILD)/tests/plugins/%.so: tests/plugins/%.c include/twinpool/task.h $(BUILD)/commands
	@mkdir -p $(@D)
	$(call show,SO,$(COMPILE) -fPIC -shared -o $@ $<)

$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(BUILD)/libsupport.a $(BUILD)/libtwinpool.a
	@mkdir -p $(@D)
	$(call show,LD,$(LINK) -o $@ $^ $(LIBRARIES) $(TEST_LIBRARIES))

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/libtwinpool.a
	$(call show,LD,$(LINK) -fsanitize=fuzzer -o $@ $^ $(LIBRARIES))

-include $(shell test -d $(BUILD)/obj && find $(BUILD)/obj -name '*.d')

FORCE:
.PHONY: all unit integration faults abuse plugins benches FORCE
.SECONDARY:
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
