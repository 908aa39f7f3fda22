# InfiniStore. `make help` lists the targets.
#
#   VARIANT=release|debug|asan|coverage   what to build (default release)
#   CC=gcc|clang
#   DEPS=0                                never touch the system's packages
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:

VERSION := $(shell sed -n 's/^\#define IST_VERSION "\(.*\)"/\1/p' include/infinistore/infinistore.h)
CC := gcc
VARIANT ?= release
DEPS ?= 1
PREFIX ?= /usr/local
DESTDIR ?=
B := build/$(VARIANT)-$(notdir $(CC))

CFLAGS_release := -O2 -g
CFLAGS_debug := -Og -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_coverage := -O0 -g --coverage
CPPFLAGS := -I. -Isrc -Iinclude -I$(B)/gen -D_GNU_SOURCE
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CFLAGS := -std=gnu17 $(WARNINGS) -fPIC -fvisibility=hidden -pthread $(CFLAGS_$(VARIANT)) $(EXTRA_CFLAGS)
LDFLAGS := -pthread $(CFLAGS_$(VARIANT)) $(EXTRA_LDFLAGS)

# ---- the rooms -----------------------------------------------------------------------------------
BASE := alloc hash log status
STORE := pool index evict store
WIRE := frame codec
ENGINE := engine session stats
CLIENT :=
WORKLOAD :=
DAEMON :=
CLI :=
BENCH :=

TESTS :=
INTEGRATION :=

objects = $(patsubst %,$(B)/obj/src/$(1)/%.o,$(2))
BASE_O := $(call objects,base,$(BASE))
STORE_O := $(call objects,store,$(STORE))
WIRE_O := $(call objects,wire,$(WIRE)) $(B)/obj/gen/wire/infinistore.pb.o
ENGINE_O := $(call objects,engine,$(ENGINE))
CLIENT_O := $(call objects,client,$(CLIENT))
WORKLOAD_O := $(call objects,workload,$(WORKLOAD))
DAEMON_O := $(call objects,daemon,$(DAEMON))
CLI_O := $(call objects,tools,$(CLI))
BENCH_O := $(call objects,tools,$(BENCH))
MAIN_O := $(B)/obj/src/daemon/main.o $(B)/obj/src/tools/cli.o $(B)/obj/src/tools/bench.o

CORE := $(B)/libcore.a
LIB_A := $(B)/libinfinistore.a
LIB_SO := $(B)/libinfinistore.so.0
ROOMS := $(B)/librooms.a
PROGRAMS := $(B)/infinistore $(B)/infinistore-cli $(B)/infinistore-bench
TEST_PROGRAMS := $(TESTS:%=$(B)/tests/%)
INTEGRATION_PROGRAMS := $(INTEGRATION:%=$(B)/tests/integration/%)

NANOPB := -lprotobuf-nanopb
DAEMON_LIBS := -lev -lmicrohttpd $(NANOPB)
TOOL_LIBS := -llzma -lz -lm $(NANOPB)

.PHONY: all
all: $(PROGRAMS) $(LIB_A) $(LIB_SO)

# ---- generated -----------------------------------------------------------------------------------
$(B)/gen/wire/%.pb.c $(B)/gen/wire/%.pb.h: src/wire/%.proto src/wire/%.options
	@mkdir -p $(@D)
	protoc -Isrc --nanopb_out=$(B)/gen src/wire/$*.proto

# ---- compile and link ----------------------------------------------------------------------------
$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/src/wire/codec.o: $(B)/gen/wire/infinistore.pb.h

$(CORE): $(BASE_O) $(STORE_O) $(WIRE_O) $(ENGINE_O)
$(ROOMS): $(BASE_O) $(STORE_O) $(WIRE_O) $(ENGINE_O) $(CLIENT_O) $(WORKLOAD_O) \
          $(filter-out $(MAIN_O),$(DAEMON_O) $(CLI_O) $(BENCH_O))
$(CORE) $(ROOMS):
	@rm -f $@
	$(AR) rcs $@ $^

# What users link: one relocatable object, so that only the public names are visible outside it.
$(B)/libinfinistore.o: $(BASE_O) $(WIRE_O) $(CLIENT_O)
	$(LD) -r -o $@ $^ $$($(CC) -print-file-name=libprotobuf-nanopb.a)
	objcopy --localize-hidden $@
$(LIB_A): $(B)/libinfinistore.o
	@rm -f $@
	$(AR) rcs $@ $^
$(LIB_SO): $(BASE_O) $(WIRE_O) $(CLIENT_O) src/client/libinfinistore.map
	$(CC) -shared -Wl,-soname,libinfinistore.so.0 -Wl,--version-script=src/client/libinfinistore.map \
	    -Wl,--no-undefined $(LDFLAGS) -o $@ $(filter %.o,$^) $(NANOPB)

$(B)/infinistore: $(DAEMON_O) $(ENGINE_O) $(STORE_O) $(CLIENT_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)
$(B)/infinistore-cli: $(CLI_O) $(CLIENT_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(NANOPB)
$(B)/infinistore-bench: $(BENCH_O) $(WORKLOAD_O) $(CLIENT_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS)

# A test may use any room; the mains are left out.
$(B)/tests/%: $(B)/obj/tests/%.o $(B)/obj/tests/support.o $(ROOMS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ROOMS) $(DAEMON_LIBS) $(TOOL_LIBS) -lcmocka

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- checks --------------------------------------------------------------------------------------
.PHONY: tests programs
tests: $(TEST_PROGRAMS) $(INTEGRATION_PROGRAMS)
programs: $(PROGRAMS)

# Run one or more unit tests: make run-tests RUN="test_pool test_store"
.PHONY: run-tests
run-tests: $(addprefix $(B)/tests/,$(RUN))
	@set -e; for t in $^; do echo "== $$t"; $$t; done

.PHONY: clean
clean:
	rm -rf build
