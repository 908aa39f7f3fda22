# InfiniStore. `make help` lists the targets.
#
#   VARIANT=release|debug|asan|tsan|coverage|fuzz|afl   what to build (default release)
#   CC=gcc|clang
#   DEPS=0                                never touch the system's packages
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:

VERSION := $(shell sed -n 's/^\#define IST_VERSION "\(.*\)"/\1/p' include/infinistore/infinistore.h)
CC := gcc
VARIANT ?= release
DEPS ?= 1
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
B := build/$(VARIANT)-$(notdir $(CC))

CFLAGS_release := -O2 -g
CFLAGS_debug := -Og -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_coverage := -O0 -g --coverage
CFLAGS_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_afl := -O2 -g
CPPFLAGS := -I. -Isrc -Iinclude -I$(B)/gen -D_GNU_SOURCE
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CFLAGS := -std=gnu17 $(WARNINGS) -fPIC -fvisibility=hidden -pthread $(CFLAGS_$(VARIANT)) $(EXTRA_CFLAGS)
LDFLAGS := -pthread $(CFLAGS_$(VARIANT)) $(EXTRA_LDFLAGS)

# ---- the rooms -----------------------------------------------------------------------------------
BASE := alloc hash json log size status timers
STORE := runs pool slab index evict store
WIRE := frame codec codec_keys codec_parts
ENGINE := deadline engine get inbox outbox put request session stats transfer
VERBS := completion device gid gid_table memory queue_pair survey
CLIENT := attempt baton client connection driver endpoint exchange handshake link metrics reacher receive regions remote reply \
          request resolver stage upgrade wakeup
WORKLOAD := block_key content generator model source trace unlimited unpack
DAEMON := admin announce bind config control listener log_sink loop machine main memory option pages
DAEMON += connector heap nic rdma rdma_connect rdma_connection registration routes selftest tcp token upkeep
CLI := cli cli_bytes cli_commands cli_figures cli_help cli_input cli_keys cli_list cli_options cli_output \
       cli_ping cli_rtt cli_screen cli_session cli_signals cli_stat cli_terminal cli_text cli_view cli_wait cli_watch \
       streams transport
BENCH := bench bench_clock bench_crew bench_grammar bench_json bench_load bench_measure bench_options bench_raw \
         bench_perftest bench_port bench_report bench_rival bench_run bench_scout bench_set bench_store bench_text histogram streams transport
REPLAY := replay replay_client replay_jobs replay_json replay_options replay_plan replay_plot replay_report
REPLAY += replay_run replay_series replay_server replay_tally replay_traffic
# the extension module, and the package around it
PY := arguments channel connection job memory module registered
DOCTOR := doctor doctor_connect doctor_device doctor_findings doctor_json doctor_judge_devices \
          doctor_judge_machine doctor_machine doctor_names doctor_options doctor_stream doctor_talk doctor_text streams
# the simulator
HCA := async channel clock completion device fabric fault memory names number payload port post \
       queue_pair receive requester responder srq transition
SIM := arena blocks calibrate canary checker child coda command fabric fault hardware history holds journal memory model
SIM += network node operation optimum order order_cases order_client order_judge order_rig order_script order_search
SIM += orders orders_command perf perf_command perf_report plan plot policy policy_command rdma rdma_fabric
SIM += server shrink speed sweep traffic world

TESTS :=
# base, store
TESTS += test_base
TESTS += test_json
TESTS += test_size
TESTS += test_runs
TESTS += test_pool
TESTS += test_pool_full
TESTS += test_pool_window
TESTS += test_slab
TESTS += test_index
TESTS += test_evict
TESTS += test_store
TESTS += test_store_evict
TESTS += test_store_memory
TESTS += test_store_model
TESTS += test_store_figures
# wire, engine
TESTS += test_frame
TESTS += test_codec
TESTS += test_codec_rdma
TESTS += test_session
TESTS += test_splits
TESTS += test_engine
TESTS += test_stats
TESTS += test_inbox
TESTS += test_session_time
TESTS += test_edge_misuse
TESTS += test_outbox
TESTS += test_engine_figures
TESTS += test_greedy
TESTS += test_rdma_session
TESTS += test_rdma_traffic
# client
TESTS += test_both_ends
TESTS += test_client
TESTS += test_client_connect
TESTS += test_client_rdma
TESTS += test_client_rdma_connect
TESTS += test_client_rdma_faults
TESTS += test_client_rdma_hostile
TESTS += test_client_rdma_crowd
TESTS += test_client_rdma_spin
TESTS += test_client_threads
TESTS += test_deadlines
TESTS += test_endpoint
TESTS += test_exchange
TESTS += test_exchange_faults
TESTS += test_exchange_rdma
TESTS += test_regions
TESTS += test_request
# verbs
TESTS += test_completion
TESTS += test_device
TESTS += test_gid
TESTS += test_queue_pair
TESTS += test_queue_pair_connect
TESTS += test_survey
# daemon
TESTS += test_admin
TESTS += test_announce
TESTS += test_bind
TESTS += test_config
TESTS += test_control
TESTS += test_pages
TESTS += test_routes
TESTS += test_selftest
TESTS += test_selftest_rdma
TESTS += test_token
TESTS += test_heap
TESTS += test_listener
TESTS += test_log_sink
TESTS += test_loop
TESTS += test_machine
TESTS += test_memory
TESTS += test_rdma
TESTS += test_rdma_connect
TESTS += test_rdma_crowd
TESTS += test_rdma_devices
TESTS += test_rdma_faults
TESTS += test_rdma_hostile
TESTS += test_rdma_nic
TESTS += test_rdma_poll
TESTS += test_rdma_tcp
TESTS += test_registration
TESTS += test_tcp
TESTS += test_upkeep
# workload
TESTS += test_trace
TESTS += test_unpack
TESTS += test_generator
TESTS += test_content
TESTS += test_model
TESTS += test_unlimited
# tools: cli
TESTS += test_cli_figures
TESTS += test_cli_files
TESTS += test_cli_options
TESTS += test_cli_text
TESTS += test_cli_view
TESTS += test_transport
# tools: bench
TESTS += test_histogram test_bench_options test_bench_clock test_bench_perftest test_bench_set test_bench_crew test_bench_load
TESTS += test_bench_raw test_bench_text test_bench_report test_bench_measure
# tools: doctor
TESTS += test_doctor test_doctor_connect test_doctor_machine test_doctor_report
# the simulator
TESTS += test_hca_transfer
TESTS += test_hca_states
TESTS += test_hca_queues
TESTS += test_hca_memory
TESTS += test_hca_errors
TESTS += test_hca_retry
TESTS += test_hca_events
TESTS += test_hca_devices
TESTS += test_hca_faults
TESTS += test_hca_history
TESTS += test_hca_parts
TESTS += test_hca_waits
TESTS += test_sim_model
TESTS += test_sim_history
TESTS += test_sim_network
TESTS += test_sim_policy
TESTS += test_sim_perf
TESTS += test_sim_command
TESTS += test_sim_orders
TESTS += test_sim_calibrate
# tools: replay
TESTS += test_replay_jobs
TESTS += test_replay_report
TESTS += test_replay_options
TESTS += test_replay_plan
TESTS += test_replay_series
# the fuzzers
FUZZ := codec exchange frame hca http options pool session size splits store trace verbs
# what every RC device does: run on the software HCA here, on real devices by whoever has them
CONFORMANCE := deviations errors link objects transfers verbs
HARNESS := capture cli crew harness http program pty raw rdma values
INTEGRATION :=
INTEGRATION += test_hostile
INTEGRATION += test_semantics
INTEGRATION += test_batches
INTEGRATION += test_readers
INTEGRATION += test_mixed
INTEGRATION += test_crowd
INTEGRATION += test_restart
INTEGRATION += test_options
INTEGRATION += test_http
# the tools
INTEGRATION += test_cli
INTEGRATION += test_cli_live
INTEGRATION += test_replay
INTEGRATION += test_bench
INTEGRATION += test_doctor
# those short enough to run under valgrind too
INTEGRATION_VALGRIND := test_hostile test_semantics test_batches test_crowd test_http
# those that threads matter to: the daemon's and the client's
TSAN := admin control routes selftest memory rdma loop log_sink client client_threads client_connect
TSAN += client_rdma_crowd client_rdma_hostile client_rdma_spin
TSAN_INTEGRATION := mixed crowd http readers
# those that run beside soft-RoCE devices: names below tests/
RXE := $(addprefix integration/,test_doctor rxe_operations rxe_races rxe_deaths rxe_link rxe_crowd rxe_wire)
# what holds over TCP, with values that go over RDMA; left out where devices are slow
RXE_LONG := $(addprefix integration/,test_semantics test_batches test_readers test_mixed)
# those that run on two hosts, too
RXE_HOSTS := integration/rxe_wire

objects = $(patsubst %,$(B)/obj/src/$(1)/%.o,$(2))
BASE_O := $(call objects,base,$(BASE))
STORE_O := $(call objects,store,$(STORE))
WIRE_O := $(call objects,wire,$(WIRE)) $(B)/obj/gen/wire/infinistore.pb.o
ENGINE_O := $(call objects,engine,$(ENGINE))
VERBS_O := $(call objects,verbs,$(VERBS))
CLIENT_O := $(call objects,client,$(CLIENT))
WORKLOAD_O := $(call objects,workload,$(WORKLOAD))
DAEMON_O := $(call objects,daemon,$(DAEMON))
CLI_O := $(call objects,tools,$(CLI))
HCA_O := $(HCA:%=$(B)/obj/sim/hca/%.o)
SIM_O := $(SIM:%=$(B)/obj/sim/%.o)
BENCH_O := $(call objects,tools,$(BENCH) $(REPLAY))
DOCTOR_O := $(call objects,tools,$(DOCTOR))
MAIN_O := $(B)/obj/src/daemon/main.o $(B)/obj/src/tools/cli.o $(B)/obj/src/tools/bench.o $(B)/obj/src/tools/doctor.o

CORE := $(B)/libcore.a
LIB_A := $(B)/libinfinistore.a
LIB_SO := $(B)/libinfinistore.so.0
ROOMS := $(B)/librooms.a
HCA_A := $(B)/libhca.a
FUZZ_PROGRAMS := $(FUZZ:%=$(B)/fuzz/%)
SIM_A := $(B)/libsim.a
PROGRAMS := $(B)/infinistore $(B)/infinistore-cli $(B)/infinistore-bench $(B)/infinistore-doctor
SIMULATOR := $(B)/infinistore-sim
CONFORMANCE_O := $(CONFORMANCE:%=$(B)/obj/tests/conformance/%.o)
CONFORMANCE_HCA := $(B)/tests/conformance/verbs_hca
CONFORMANCE_DEVICES := $(B)/tests/conformance/verbs
RXE_SHORT := $(CONFORMANCE_DEVICES) $(RXE:%=$(B)/tests/%)
RXE_PROGRAMS := $(RXE_SHORT) $(RXE_LONG:%=$(B)/tests/%)
TEST_PROGRAMS := $(TESTS:%=$(B)/tests/%)
HARNESS_O := $(HARNESS:%=$(B)/obj/tests/integration/%.o)
INTEGRATION_PROGRAMS := $(INTEGRATION:%=$(B)/tests/integration/%)
RXE_INTEGRATION := $(filter $(B)/tests/integration/%,$(RXE_PROGRAMS))

NANOPB := -lprotobuf-nanopb
DAEMON_LIBS := -lev -lmicrohttpd $(NANOPB)
TOOL_LIBS := -ljansson -llzma -lz -lm $(NANOPB)

.PHONY: all
all: $(PROGRAMS) $(LIB_A) $(LIB_SO) ## the programs and the client library

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
	$(CC) $(CPPFLAGS) $(MORE_CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/obj/src/wire/codec.o $(B)/obj/src/wire/codec_keys.o: $(B)/gen/wire/infinistore.pb.h

$(CORE): $(BASE_O) $(STORE_O) $(WIRE_O) $(ENGINE_O)
$(ROOMS): $(BASE_O) $(STORE_O) $(WIRE_O) $(ENGINE_O) $(VERBS_O) $(CLIENT_O) $(WORKLOAD_O) \
          $(filter-out $(MAIN_O),$(DAEMON_O) $(CLI_O) $(BENCH_O) $(DOCTOR_O))
$(HCA_A): $(HCA_O)
$(SIM_A): $(SIM_O)
$(CORE) $(ROOMS) $(HCA_A) $(SIM_A):
	@rm -f $@
	$(AR) qcs $@ $^

# What users link: one relocatable object, so that only the public names are visible outside it.
$(B)/libinfinistore.o: $(BASE_O) $(WIRE_O) $(VERBS_O) $(CLIENT_O)
	$(LD) -r -o $@ $^ $$($(CC) -print-file-name=libprotobuf-nanopb.a)
	objcopy --localize-hidden --wildcard --keep-global-symbol='ist_*' $@
$(LIB_A): $(B)/libinfinistore.o
	@rm -f $@
	$(AR) qcs $@ $^
$(LIB_SO): $(BASE_O) $(WIRE_O) $(VERBS_O) $(CLIENT_O) src/client/libinfinistore.map
	$(CC) -shared -Wl,-soname,libinfinistore.so.0 -Wl,--version-script=src/client/libinfinistore.map \
	    -Wl,--no-undefined $(LDFLAGS) -o $@ $(filter %.o,$^) $(NANOPB) -libverbs

$(B)/infinistore: $(DAEMON_O) $(ENGINE_O) $(STORE_O) $(VERBS_O) $(CLIENT_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) -libverbs
$(B)/infinistore-cli: $(CLI_O) $(CLIENT_O) $(VERBS_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(NANOPB) -libverbs -lm
$(B)/infinistore-bench: $(BENCH_O) $(WORKLOAD_O) $(CLIENT_O) $(VERBS_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS) -libverbs

# ---- the Python package: a directory that can be imported, and a wheel -----------------------------------
PACKAGE := $(B)/python/infinistore
PY_NATIVE := $(PACKAGE)/_infinistore.abi3.so
PY_SOURCES := $(wildcard src/python/infinistore/*.py src/python/infinistore/*.pyi src/python/infinistore/py.typed)
PY_FILES := $(PY_SOURCES:src/python/infinistore/%=$(PACKAGE)/%)
# The stable ABI has the buffer protocol since 3.11: a module that runs in that interpreter and all later ones.
PY_CPPFLAGS = $(shell $(PYTHON) -c 'import sys, sysconfig; print("-isystem", sysconfig.get_path("include"), \
    "-DPy_LIMITED_API=0x030B0000" if sys.version_info >= (3, 11) else "")')
PY_O := $(call objects,python,$(PY))
$(PY_O): MORE_CPPFLAGS = $(PY_CPPFLAGS)
$(PY_NATIVE): $(PY_O) $(PACKAGE)/libinfinistore.so.0
	$(CC) -shared -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@ $^
# What runs is in use: the new file takes its name.
$(PACKAGE)/libinfinistore.so.0: $(LIB_SO)
	@mkdir -p $(@D)
	cp --remove-destination $< $@
$(PACKAGE)/bin/infinistore: $(B)/infinistore
	@mkdir -p $(@D)
	cp --remove-destination $< $@
$(PY_FILES): $(PACKAGE)/%: src/python/infinistore/%
	@mkdir -p $(@D)
	cp $< $@

.PHONY: python-package python print-package
python-package: $(PY_NATIVE) $(PY_FILES) $(PACKAGE)/bin/infinistore
python: ## the Python package, as a wheel below build/
	@DEPS=$(DEPS) ci/deps python
	@$(MAKE) --no-print-directory python-package
	$(PYTHON) -m pip wheel --no-deps --no-index -w $(B)/wheel ./src/python

print-package:
	@echo $(PACKAGE)

$(B)/infinistore-doctor: $(DOCTOR_O) $(VERBS_O) $(WIRE_O) $(BASE_O)
	$(CC) $(LDFLAGS) -o $@ $^ $(NANOPB) -libverbs

# Known bugs for the simulator to find: calls that sim/canary_wrap.c may answer otherwise.
SIM_WRAPPED := store_reserve store_commit store_abort store_acquire store_release store_remove store_purge \
               store_match_prefix store_exists evict_pin evict_unpin put_commit outbox_push outbox_reserve \
               outbox_commit frame_decode put_entry
$(B)/infinistore-sim: $(B)/obj/sim/main.o $(B)/obj/sim/canary_wrap.o $(SIM_A) $(ROOMS) $(HCA_A)
	$(CC) $(LDFLAGS) $(SIM_WRAPPED:%=-Wl,--wrap=ist_%) -Wl,--wrap=getrandom -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(SIM_A) $(ROOMS) $(HCA_A) -Wl,--end-group $(TOOL_LIBS)

# A test may use any room; the mains are left out. The software HCA stands in for libibverbs.
TEST_ROOMS := -Wl,--start-group $(ROOMS) $(HCA_A) $(SIM_A) -Wl,--end-group
$(filter-out $(B)/tests/test_hca_%,$(TEST_PROGRAMS)): $(B)/tests/%: $(B)/obj/tests/%.o $(B)/obj/tests/support.o \
                                                      $(ROOMS) $(HCA_A) $(SIM_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(TEST_ROOMS) $(DAEMON_LIBS) $(TOOL_LIBS) -lcmocka
$(filter $(B)/tests/test_hca_%,$(TEST_PROGRAMS)): $(B)/tests/%: $(B)/obj/tests/%.o $(B)/obj/tests/hca_pair.o $(B)/obj/tests/support.o $(ROOMS) $(HCA_A) $(SIM_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(TEST_ROOMS) $(DAEMON_LIBS) $(TOOL_LIBS) -lcmocka

$(B)/tests/test_client $(B)/tests/test_client_connect $(B)/tests/test_client_threads: $(B)/obj/tests/fake_server.o

$(filter-out $(B)/tests/test_rdma_session $(B)/tests/test_rdma_traffic,$(filter $(B)/tests/test_rdma%,$(TEST_PROGRAMS))): $(B)/obj/tests/rdma_server.o
$(B)/tests/test_selftest_rdma $(B)/tests/test_doctor_connect $(filter $(B)/tests/test_client_rdma%,$(TEST_PROGRAMS)): $(B)/obj/tests/rdma_house.o

$(CONFORMANCE_HCA): $(CONFORMANCE_O) $(B)/obj/tests/conformance/place_hca.o $(B)/obj/tests/support.o $(HCA_A) $(BASE_O)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter-out $(HCA_A) $(BASE_O),$^) $(HCA_A) $(BASE_O) -lcmocka
$(CONFORMANCE_DEVICES): $(CONFORMANCE_O) $(B)/obj/tests/conformance/place_devices.o $(B)/obj/tests/support.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -libverbs -lcmocka

# Programs that start the daemon; the harness is theirs.
$(sort $(INTEGRATION_PROGRAMS) $(RXE_INTEGRATION)): $(B)/tests/integration/%: $(B)/obj/tests/integration/%.o $(HARNESS_O) $(B)/obj/tests/support.o $(ROOMS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(ROOMS) $(DAEMON_LIBS) $(TOOL_LIBS) -libverbs -lcmocka

# ---- fuzzers -------------------------------------------------------------------------------------
# Searching in VARIANT=fuzz (clang's libFuzzer) and VARIANT=afl CC=afl-clang-fast; replaying in all others.
FUZZ_ENGINE := $(if $(filter fuzz afl,$(VARIANT)),-fsanitize=fuzzer,$(B)/obj/fuzz/main.o)
FUZZ_SHARED := $(B)/obj/fuzz/fuzz.o $(B)/obj/tests/support.o
$(B)/fuzz/session: $(patsubst %,$(B)/obj/fuzz/%.o,listener phrase script session_seeds)
$(B)/fuzz/splits: $(patsubst %,$(B)/obj/fuzz/%.o,phrase script)
$(B)/fuzz/hca: $(B)/obj/tests/hca_pair.o
$(B)/fuzz/exchange: $(B)/obj/fuzz/script.o
$(B)/fuzz/verbs: $(patsubst %,$(B)/obj/fuzz/%.o,script verbs_device verbs_place verbs_seeds verbs_world)
# All but the tools: a fuzzer's build is slow enough.
FUZZ_A := $(B)/libfuzz.a
$(FUZZ_A): $(BASE_O) $(STORE_O) $(WIRE_O) $(ENGINE_O) $(VERBS_O) $(CLIENT_O) $(WORKLOAD_O) \
           $(filter-out $(MAIN_O),$(DAEMON_O)) $(HCA_O) $(B)/obj/sim/model.o
	@rm -f $@
	$(AR) qcs $@ $^
$(FUZZ_PROGRAMS): $(B)/fuzz/%: $(B)/obj/fuzz/%.o $(FUZZ_SHARED) $(filter %.o,$(FUZZ_ENGINE)) $(FUZZ_A)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter -%,$(FUZZ_ENGINE)) $(FUZZ_A) $(DAEMON_LIBS) \
	    -ljansson -llzma -lz -lm -lcmocka

.PHONY: fuzz fuzz-afl fuzz-programs fuzz-corpus fuzz-coverage print-fuzz
fuzz-programs: $(FUZZ_PROGRAMS)
print-fuzz:
	@echo $(FUZZ)

SECONDS ?= 60
fuzz: ## let libFuzzer search: make fuzz TARGET=session SECONDS=600
	@DEPS=$(DEPS) ci/deps check
	@$(MAKE) --no-print-directory -s VARIANT=fuzz CC=clang build/fuzz-clang/fuzz/$(or $(TARGET),$(error TARGET=one of $(FUZZ)))
	ci/fuzz search build/fuzz-clang $(TARGET) $(SECONDS)

fuzz-afl: ## let AFL++ search: make fuzz-afl TARGET=codec SECONDS=600
	@DEPS=$(DEPS) ci/deps afl
	@$(MAKE) --no-print-directory -s VARIANT=afl CC=afl-clang-fast build/afl-afl-clang-fast/fuzz/$(or $(TARGET),$(error TARGET=one of $(FUZZ)))
	ci/fuzz afl build/afl-afl-clang-fast $(TARGET) $(SECONDS)

fuzz-corpus: fuzz-programs ## write the seed corpora anew
	ci/fuzz seeds $(B) $(FUZZ)

fuzz-coverage: ## what the committed corpora alone reach; fails below 90% of lines of wire or engine
	@DEPS=$(DEPS) ci/deps check
	@$(MAKE) --no-print-directory -s VARIANT=coverage fuzz-programs
	@ci/fuzz coverage build/coverage-$(notdir $(CC)) $(FUZZ)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- checks --------------------------------------------------------------------------------------
.PHONY: tests programs unit-programs integration-programs rxe-programs print-programs
tests: unit-programs integration-programs rxe-programs
unit-programs: $(TEST_PROGRAMS) $(CONFORMANCE_HCA)
integration-programs: $(INTEGRATION_PROGRAMS) $(B)/infinistore
rxe-programs: $(RXE_PROGRAMS) $(PROGRAMS)
programs: $(PROGRAMS)
print-programs:
	@echo $(if $(filter unit,$(KIND)),$(TEST_PROGRAMS) $(CONFORMANCE_HCA))\
	      $(if $(filter integration,$(KIND)),$(INTEGRATION_PROGRAMS))\
	      $(if $(filter valgrind,$(KIND)),$(INTEGRATION_VALGRIND:%=$(B)/tests/integration/%))\
	      $(if $(filter conformance,$(KIND)),$(CONFORMANCE_DEVICES))\
	      $(if $(filter tsan,$(KIND)),$(TSAN:%=$(B)/tests/test_%) $(TSAN_INTEGRATION:%=$(B)/tests/integration/test_%))\
	      $(if $(filter rxe,$(KIND)),$(RXE_PROGRAMS))\
	      $(if $(filter rxe-short,$(KIND)),$(RXE_SHORT))\
	      $(if $(filter rxe-hosts,$(KIND)),$(RXE_HOSTS:%=$(B)/tests/%))

.PHONY: run-tests
run-tests: $(addprefix $(B)/tests/,$(RUN)) ## run some unit tests: make run-tests RUN="test_pool test_store"
	@set -e; for t in $^; do echo "== $$t"; $$t; done

# ---- soft-RoCE -----------------------------------------------------------------------------------
.PHONY: rxe check-rxe rxe-kernel
rxe: export RUN := $(RUN)
rxe: rxe-programs programs ## run a command beside soft-RoCE devices: make rxe RUN="ibv_devinfo -d rxe0"
	@DEPS=$(DEPS) ci/rxe/run bash -c "$${RUN:?RUN=COMMAND is missing}"

check-rxe: ## the tests that want a real kernel's soft-RoCE, and those of the harness
	@DEPS=$(DEPS) CHECK=rxe ci/check

rxe-kernel: ## build the kernel that makes these runs fast: some minutes, once a machine
	@DEPS=$(DEPS) ci/rxe/kernel

ROOMS_MUTATED ?= store,engine,wire,verbs
COUNT ?= 200
SEED ?= 1
.PHONY: mutants torture tsan
mutants: ## how many small mistakes in the code the tests see: make mutants COUNT=200 SEED=1
	@DEPS=$(DEPS) ci/deps check
	@$(MAKE) --no-print-directory -s -j$$(nproc) $$(ci/mutants --build $(B) --rooms $(ROOMS_MUTATED) --tests)
	@ci/mutants --build $(B) --rooms $(ROOMS_MUTATED) --count $(COUNT) --seed $(SEED)

$(B)/libtorture.so: tests/torture/failing.c tests/torture/held.c tests/torture/held.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -shared -o $@ $(filter %.c,$^) -ldl
# The software HCA and what is tortured over it, each a library of its own: calls are told apart by who makes them.
$(B)/libtorture_hca.so: $(HCA:%=sim/hca/%.c) $(BASE_O)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fvisibility=default -shared -o $@ $^
$(B)/obj/tests/torture/main.o: $(B)/obj/src/daemon/main.o
	@mkdir -p $(@D)
	objcopy --redefine-sym main=torture_house_main $< $@
$(B)/libtorture_house.so: $(B)/obj/tests/torture/main.o $(B)/obj/tests/torture/house.o $(filter-out %/main.o,$(DAEMON_O)) \
                          $(ENGINE_O) $(STORE_O) $(VERBS_O) $(CLIENT_O) $(WIRE_O) $(BASE_O) | $(B)/libtorture_hca.so
	$(CC) -shared -Wl,--no-undefined -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) -L$(B) -ltorture_hca
$(B)/torture_rdma: $(B)/obj/tests/torture/rdma.o $(B)/libtorture_house.so $(B)/libtorture_hca.so
	$(CC) -Wl,-rpath,'$$ORIGIN' $(LDFLAGS) -o $@ $< -L$(B) -ltorture_house -ltorture_hca
.PHONY: torture-programs
torture-programs: $(B)/libtorture.so $(B)/torture_rdma $(B)/infinistore $(B)/infinistore-cli
torture: torture-programs ## fail each call to the C library, and each ibv_* call, in turn, the daemon's and the client's
	ci/torture $(B) $(TORTURE_OPTIONS)

tsan: ## daemon, admin threads and threaded clients under ThreadSanitizer
	@DEPS=$(DEPS) CHECK=tsan ci/check

.PHONY: layers headers exports manuals format coverage check demo bench bench-core check-python-long bench-python
layers: $(CORE) ## prove that the core does no I/O and that no room uses what it must not know
	ci/layers $(CORE)

headers: $(B)/gen/wire/infinistore.pb.h ## every header compiles alone, the public ones as C++ too
	@set -e; for h in $$(find include src sim tests fuzz -name '*.h'); do \
	    $(CC) $(CPPFLAGS) $(PY_CPPFLAGS) -std=gnu17 $(WARNINGS) -fsyntax-only -x c $$h; done
	@set -e; for h in include/infinistore/*.h; do \
	    $(CC) -Iinclude -Wall -Wextra -Werror -fsyntax-only -x c++ -std=c++11 $$h; done

exports: $(LIB_A) $(LIB_SO) ## the client library shows its public names and no others
	@set -e; for l in "$(LIB_A)" "-D $(LIB_SO)"; do \
	    others=$$(nm --defined-only --extern-only --format=posix $$l | awk 'NF > 2 {print $$1}' | grep -v '^ist_' || true); \
	    test -z "$$others" || { echo "$$l exports $$others"; exit 1; }; \
	    diff <(nm --defined-only --extern-only --format=posix $$l | awk 'NF > 2 {print $$1}' | sort) \
	         <(sed -nE 's/^([a-z].*[ *])?(ist_[a-z_]+)\(.*/\2/p' include/infinistore/*.h | sort -u); done

manuals: $(PROGRAMS) ## the manual pages render, and name the options that the programs name
	ci/manuals $(B)

format: ## lay out every C file
	ci/format

coverage: ## line coverage of the unit tests, as HTML; fails below 95% in store, wire or engine
	@DEPS=$(DEPS) ci/deps check
	$(MAKE) --no-print-directory VARIANT=coverage unit-programs
	ci/coverage build/coverage-$(notdir $(CC))

check: ## install what is missing, build, run every test
	@DEPS=$(DEPS) ci/check

check-python-long: ## the Python package's tests, with a minute of each connector's load
	@DEPS=$(DEPS) IST_TEST_SECONDS=60 CHECK=python ci/check

demo: ## install what is missing, build, replay prefill/decode traffic against a daemon
	@DEPS=$(DEPS) ci/deps build
	@echo building
	@$(MAKE) --no-print-directory -s -j$$(nproc) programs
	@ci/demo $(B)

SEEDS ?= 20000
.PHONY: simulator soak calibrate
simulator: $(SIMULATOR) ## infinistore-sim, see README.md
soak: ## as many runs of the simulator as are asked for, on all cores: make soak SEEDS=100000
	@DEPS=$(DEPS) ci/deps build
	@$(MAKE) --no-print-directory -s -j$$(nproc) simulator
	@$(SIMULATOR) sweep --seeds 1..$(SEEDS)
calibrate: ## measure a daemon, simulate the same, compare; on a quiet machine
	@DEPS=$(DEPS) ci/deps build
	@$(MAKE) --no-print-directory -s -j$$(nproc) programs simulator
	@ci/calibrate $(B)

BASELINE ?= raw
bench: ## build, measure a daemon beside what it is compared with: make bench BASELINE=redis
	@DEPS=$(DEPS) ci/deps build
	@$(MAKE) --no-print-directory -s -j$$(nproc) programs
	@ci/bench $(B) --baseline=$(BASELINE) $(BENCH_OPTIONS)

bench-python: ## how fast values of 1 MiB move through Python, beside the C bench
	@DEPS=$(DEPS) ci/deps python
	@$(MAKE) --no-print-directory -s -j$$(nproc) programs python-package
	@PYTHONPATH=$(B)/python $(PYTHON) tests/python/throughput.py $(B)/infinistore-bench

$(B)/bench_core: $(B)/obj/tests/bench_core.o $(B)/obj/src/daemon/heap.o $(CORE)
	$(CC) $(LDFLAGS) -o $@ $^ $(NANOPB)
bench-core: $(B)/bench_core ## how fast index, pool and eviction are without any I/O
	$<

# ---- install -------------------------------------------------------------------------------------
MAN1 := src/daemon/infinistore.1 src/tools/infinistore-cli.1 src/tools/infinistore-bench.1 src/tools/infinistore-doctor.1
MAN3 := src/client/infinistore.3
.PHONY: install
install: all ## install below DESTDIR/PREFIX (default /usr/local)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include/infinistore lib/pkgconfig share/man/man1 share/man/man3)
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 include/infinistore/*.h $(DESTDIR)$(PREFIX)/include/infinistore
	install -m 644 $(LIB_A) $(DESTDIR)$(PREFIX)/lib
	install -m 755 $(LIB_SO) $(DESTDIR)$(PREFIX)/lib
	ln -sf $(notdir $(LIB_SO)) $(DESTDIR)$(PREFIX)/lib/libinfinistore.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' src/client/infinistore.pc.in \
	    >$(DESTDIR)$(PREFIX)/lib/pkgconfig/infinistore.pc
	install -m 644 $(MAN1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(MAN3) $(DESTDIR)$(PREFIX)/share/man/man3
	@# Else a program that was linked with it does not find it. A package's own scripts do this.
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then PATH="$$PATH:/sbin:/usr/sbin" ldconfig; fi

.PHONY: clean help
clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 22
