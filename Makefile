# SPDX-License-Identifier: Apache-2.0
#
# Builds Corbel, its tests and the machine to run it in. One file, no recursion. `make help`.
#
# Sources are found by wildcard, room by room; adding a file needs no edit here. Every source is
# compiled in up to five flavours, each a directory below $(B):
#   target  for the bare machine (stock gcc, newlib's headers)
#   host    for unit and model tests: gcc with ASan and UBSan, pure rooms only
#   fuzz    for fuzz targets: clang with libFuzzer's coverage, ASan and UBSan
#   tsan    for tests with real threads as CPUs: gcc with ThreadSanitizer
#   ctl     for corbelctl, the operator's program on a workstation
# Third-party sources are never committed: deps/setup.sh unpacks them below $(D), which several
# work trees may share.

B ?= build
D ?= $(B)/deps
DEPS := $(abspath $(D))

DEBUG ?=
T ?=
FUZZ_SECONDS ?= 60
JOBS ?= $(shell nproc)
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2)')

CC := gcc
CLANG := clang
PYTHON := /usr/bin/python3
SHELL := /bin/sh
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:

# Tests and tools find what was built by these.
export CORBEL_BUILD := $(abspath $(B))
export CORBEL_DEPS := $(DEPS)

# ---- what is built -----------------------------------------------------------------------------

P_ROOMS := lib memmgr sched io guest lua
# Files of the target rooms that touch no hardware: also built for the host, and tested there.
FW_PURE := $(wildcard $(patsubst %,firmware/%.c,acpi backtrace board bootinfo cmdline e1000 e1000_reset entropy ide ide_dma irq_shared memmap mtrr \
	paging_check pci ptab rtcdate stack symtab topology tscskew uart_counters watchdog))
VMX_PURE := $(wildcard $(addprefix vmx/,ctrl.c ept.c decode.c dump.c check.c mitigations.c vmcs_names.c rules_*.c))

P_SRC := $(foreach r,$(P_ROOMS),$(wildcard $(r)/*.c))
T_SRC := $(P_SRC) $(wildcard vmx/*.c firmware/*.c)
T_ASM := $(wildcard vmx/*.S firmware/*.S)
$(if $(filter $(basename $(T_SRC)),$(basename $(T_ASM))),$(error one object for two sources: \
	$(filter $(basename $(T_SRC)),$(basename $(T_ASM))) has both a .c and a .S file))
# What several model tests share: references and simulated machines.
MODEL_LIB := $(filter-out tests/model/model_%,$(wildcard tests/model/*.c))
H_SRC := $(P_SRC) $(FW_PURE) $(VMX_PURE) $(wildcard tests/fakes/*.c) $(MODEL_LIB) tests/tsan/threads.c
# What several CPUs run at once; the control task, which is lua/, stays on one.
TSAN_SRC := $(filter-out lua/%,$(P_SRC)) $(VMX_PURE) $(filter-out tests/tsan/tsan_%,$(wildcard tests/tsan/*.c)) \
	$(patsubst %,tests/fakes/%.c,fake_engine fake_guest_mem fake_host fake_stage2 fault_disk hand_clock \
	paced_nic ram sched_rig virtio_driver vm_rig) $(patsubst %,firmware/%.c,e1000 e1000_reset)
# The codec and the framing that corbelctl shares with the control plane.
CTL_SHARED := $(wildcard lua/cbor*.c lua/wire.c)
CTL_SRC := $(wildcard tools/*.c) $(CTL_SHARED)
CTL_LIB := $(wildcard lib/*.c)
HEADERS := $(foreach r,$(P_ROOMS) vmx firmware tools,$(wildcard $(r)/*.h))

UNIT := $(filter %$(T),$(basename $(wildcard tests/unit/test_*.c)))
MODEL := $(filter %$(T),$(basename $(wildcard tests/model/model_*.c)))
TSAN := $(filter %$(T),$(basename $(wildcard tests/tsan/tsan_*.c)))
FUZZ := $(filter %$(T),$(basename $(wildcard tests/fuzz/fuzz_*.c)))

LUA_SRC := lapi lauxlib lbaselib lcode lcorolib lctype ldblib ldebug ldo ldump lfunc lgc llex \
	lmathlib lmem lobject lopcodes lparser lstate lstring lstrlib ltable ltablib ltm lundump \
	lutf8lib lvm lzio
FDT_SRC := fdt fdt_ro fdt_addresses fdt_strerror fdt_sw fdt_rw fdt_wip fdt_empty_tree
ZYDIS_SRC := Decoder DecoderData MetaInfo Mnemonic Register Segment SharedData String Utils Zydis
# ECDSA over P-256, SHA-256 and HMAC_DRBG. Only tests sign: the image is linked without that.
BEARSSL_SRC := codec/ccopy codec/dec32be codec/enc32be ec/ec_p256_m31 ec/ec_secp256r1 ec/ec_secp384r1 \
	ec/ec_secp521r1 ec/ecdsa_i31_bits ec/ecdsa_i31_sign_raw ec/ecdsa_i31_vrfy_raw ec/ec_pubkey hash/sha2small mac/hmac rand/hmac_drbg int/i32_div32 \
	$(addprefix int/i31_,add bitlen decmod decode decred encode fmont iszero modpow montmul mulacc muladd \
	ninv31 reduce rshift sub tmont)
THIRD := $(LUA_SRC:%=lua/%) $(FDT_SRC:%=libfdt/%) $(ZYDIS_SRC:%=zydis/src/%) \
	$(BEARSSL_SRC:%=bearssl/src/%)

# ---- flags -------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Werror -Wstrict-prototypes -Wvla -Wundef
# AVX-512 and Knights Corner instructions never access a device.
ZYDIS_DEF := -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD -DZYDIS_MINIMAL_MODE -DZYDIS_DISABLE_FORMATTER \
	-DZYDIS_DISABLE_ENCODER -DZYDIS_DISABLE_AVX512 -DZYDIS_DISABLE_KNC
INCLUDE := -I. -I$(B) -isystem $(DEPS)/src/lua -isystem $(DEPS)/src/libfdt \
	-isystem $(DEPS)/src/zydis/include -isystem $(DEPS)/src/zycore/include \
	-isystem $(DEPS)/src/bearssl/inc
# Lua's sources stay untouched: this header, seen first by them, adapts them.
LUACONF := $(or $(wildcard lua/corbel_luaconf.h),$(B)/gen/empty.h)
COMMON := -std=c11 -g -MMD -MP -ffile-prefix-map=$(CURDIR)/= $(ZYDIS_DEF) $(INCLUDE) \
	$(if $(DEBUG),-DCORBEL_DEBUG -DCORBEL_LOCK_CHECKS)

# Asked for when first used: on a fresh machine the compiler is installed by this very run.
GCC_INCLUDE = $(eval GCC_INCLUDE := $(shell $(CC) -print-file-name=include))$(GCC_INCLUDE)
BARE = -ffreestanding -fbuiltin -fno-pic -fno-pie -mno-red-zone -mcmodel=kernel -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-ffunction-sections -fdata-sections -fno-omit-frame-pointer \
	-U__linux__ -U__gnu_linux__ -U__unix__ -Ulinux -Uunix \
	-nostdinc -isystem $(GCC_INCLUDE) \
	-isystem $(DEPS)/newlib/x86_64-elf/include
NEWLIB := $(DEPS)/newlib/x86_64-elf/lib
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

CC_target := $(CC)
CC_host := $(CC)
CC_fuzz := $(CLANG)
CC_tsan := $(CC)
CC_ctl := $(CC)
CFLAGS_target = -O2 $(BARE) $(COMMON)
CFLAGS_host := -O1 $(COMMON) -DCORBEL_LOCK_CHECKS
CFLAGS_fuzz := -O1 $(COMMON) -DCORBEL_LOCK_CHECKS -fsanitize=fuzzer-no-link
CFLAGS_tsan := -O1 $(COMMON) -DCORBEL_LOCK_CHECKS
CFLAGS_ctl := -O2 $(COMMON)

# The exit path runs in these rooms with the guest's vector registers live.
NO_SSE_ROOMS := lib memmgr sched io guest vmx firmware
OWN_target = $(WARN) -Wmissing-prototypes $(if $(filter $(NO_SSE_ROOMS),$(ROOM)),-mgeneral-regs-only)
OWN_host = $(WARN) $(SANITIZE) -D_GNU_SOURCE
OWN_fuzz = $(WARN) $(SANITIZE) -D_GNU_SOURCE
# Fences are compiled and not followed: devices' rings, which need them, are nobody's between threads here.
OWN_tsan = $(WARN) -Wno-tsan -fsanitize=thread -fno-omit-frame-pointer -D_GNU_SOURCE
OWN_ctl = $(WARN) -D_GNU_SOURCE
# Third-party code is not ours to warn about; ASan still sees what we hand to it.
# BearSSL guesses what its compiler has; nothing of an operating system, no vector unit.
BEARSSL_DEF := -DBR_USE_URANDOM=0 -DBR_USE_UNIX_TIME=0 -DBR_RDRAND=0 -DBR_SSE2=0 -DBR_AES_X86NI=0
THIRD_target = -w -DNDEBUG $(if $(filter lua,$(LIB)),,-mgeneral-regs-only)
THIRD_host = -w -fsanitize=address
THIRD_fuzz = -w -fsanitize=address
THIRD_tsan = -w -fsanitize=thread
THIRD_ctl = -w -DNDEBUG

# ---- objects -----------------------------------------------------------------------------------

.DEFAULT_GOAL := all
.PHONY: all FORCE
FORCE:

# Objects depend on this file, which changes when the flags do.
define flags_file
$(B)/$(1)/flags: FORCE | $(DEPS)/manifest.txt
	@mkdir -p $$(@D)
	@printf '%s\n' '$$(CC_$(1)) $$(CFLAGS_$(1)) $$(WARN) $$(SANITIZE)' | cmp -s - $$@ || \
		printf '%s\n' '$$(CC_$(1)) $$(CFLAGS_$(1)) $$(WARN) $$(SANITIZE)' >$$@
endef

define flavour
$(call flags_file,$(1))

$(B)/$(1)/%.o: ROOM = $$(firstword $$(subst /, ,$$*))
$(B)/$(1)/%.o: %.c $(B)/$(1)/flags | $(DEPS)/manifest.txt $(B)/gen/empty.h $(B)/gen/version.h $(B)/gen/guest_dsdt.inc
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC_$(1)) $$(CFLAGS_$(1)) $$(OWN_$(1)) -c -o $$@ $$<

$(B)/$(1)/%.o: %.S $(B)/$(1)/flags | $(DEPS)/manifest.txt
	@mkdir -p $$(@D)
	$$(call say,AS,$$@)
	$$(Q)$$(CC_$(1)) $$(CFLAGS_$(1)) -c -o $$@ $$<

$(B)/$(1)/third/%.o: LIB = $$(firstword $$(subst /, ,$$*))
$(LUA_SRC:%=$(B)/$(1)/third/lua/%.o): $(LUACONF)
$(B)/$(1)/third/%.o: $(DEPS)/src/%.c $(B)/$(1)/flags | $(DEPS)/manifest.txt
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC_$(1)) $$(CFLAGS_$(1)) $$(THIRD_$(1)) $$(if $$(filter lua,$$(LIB)),-std=gnu11 -include $$(LUACONF),-I$$(dir $$<)) \
		$$(if $$(filter bearssl,$$(LIB)),$(BEARSSL_DEF) -I$(DEPS)/src/bearssl/src) -c -o $$@ $$<

$(B)/$(1)/libthird.a: $(THIRD:%=$(B)/$(1)/third/%.o) $(B)/gen/third.list
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$(filter %.o,$$^)
endef
$(foreach f,target host fuzz tsan ctl,$(eval $(call flavour,$(f))))

# Archives depend on this file, which changes when a piece gains or loses a source.
$(B)/gen/third.list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(THIRD) | cmp -s - $@ || printf '%s\n' $(THIRD) >$@

# What `info` says of the build. Rewritten only when it changes.
VERSION := 0.1.0
COMMIT := $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
$(B)/gen/version.h: FORCE
	@mkdir -p $(@D)
	@printf '#define CORBEL_VERSION "%s"\n#define CORBEL_COMMIT "%s"\n' $(VERSION) $(COMMIT) | cmp -s - $@ || \
		printf '#define CORBEL_VERSION "%s"\n#define CORBEL_COMMIT "%s"\n' $(VERSION) $(COMMIT) >$@
# The guests' DSDT, as the elements of an array: guest/acpi.c includes them.
$(B)/gen/guest_dsdt.inc: guest/dsdt.asl
	@mkdir -p $(@D)
	$(call say,IASL,$@)
	$(Q)iasl -we -p $(B)/gen/guest_dsdt $< >$(B)/gen/guest_dsdt.log || { cat $(B)/gen/guest_dsdt.log >&2; exit 1; }
	$(Q)od -An -v -tx1 $(B)/gen/guest_dsdt.aml | sed 's/ \(..\)/0x\1,/g' >$@
$(B)/gen/empty.h:
	@mkdir -p $(@D)
	@: >$@

-include $(shell find $(B)/target $(B)/host $(B)/fuzz $(B)/tsan $(B)/ctl $(B)/guest -name '*.d' 2>/dev/null)

T_OBJ := $(T_SRC:%.c=$(B)/target/%.o) $(T_ASM:%.S=$(B)/target/%.o)

.PHONY: deps objs
deps: ## install missing packages, unpack and build third-party pieces below $(D)
	sh deps/setup.sh $(DEPS)
# A checkout that gained a piece fetches it before anything is built.
$(DEPS)/manifest.txt: $(wildcard deps/*)
	sh deps/setup.sh $(DEPS)
$(DEPS)/src/%.c: | $(DEPS)/manifest.txt ;

objs: $(T_OBJ) $(B)/target/libthird.a ## compile everything for the bare machine, no link

# ---- the image ---------------------------------------------------------------------------------

NO_SSE_OBJ := $(foreach r,$(NO_SSE_ROOMS),$(filter $(B)/target/$(r)/%.o,$(T_OBJ)))
NO_SSE_THIRD := $(patsubst %,$(B)/target/third/%.o,$(filter-out lua/%,$(THIRD)))
DTB := $(patsubst board/%.dts,$(B)/gen/board/%.dtb,$(wildcard board/*.dts))

$(B)/gen/board/%.dtb: board/%.dts
	@mkdir -p $(@D)
	$(call say,DTC,$@)
	$(Q)dtc -q -I dts -O dtb -o $@ $<
$(B)/gen/boards.S: board/embed.py $(DTB)
	@mkdir -p $(@D)
	$(Q)$(PYTHON) board/embed.py $(DTB) >$@
$(B)/gen/symtab0.S: board/symtab.py
	@mkdir -p $(@D)
	$(Q)$(PYTHON) board/symtab.py >$@
$(B)/gen/symtab1.S: $(B)/pass1.elf board/symtab.py
	$(Q)$(PYTHON) board/symtab.py $< >$@
$(B)/target/gen/%.o: $(B)/gen/%.S
	@mkdir -p $(@D)
	$(call say,AS,$@)
	$(Q)$(CC) -c -o $@ $<

$(B)/nosse.ok: $(NO_SSE_OBJ) $(NO_SSE_THIRD) tests/style/nosse.py
	$(call say,NOSSE,$(NO_SSE_ROOMS))
	$(Q)tests/style/nosse.py --libc $(NEWLIB)/libc.a $(NO_SSE_OBJ) $(NO_SSE_THIRD)
	@touch $@

LINK := ld -m elf_x86_64 -static -nostdlib --gc-sections -z noexecstack -z max-page-size=4096 \
	--no-warn-rwx-segments -T board/corbel.ld
LINK_OBJ := $(T_OBJ) $(B)/target/gen/boards.o
LINK_LIB := --start-group $(B)/target/libthird.a $(NEWLIB)/libc.a $(NEWLIB)/libm.a --end-group

# Linked twice: the second time with the symbol table of the first, for backtraces.
$(B)/pass1.elf: $(LINK_OBJ) $(B)/target/gen/symtab0.o $(B)/target/libthird.a board/corbel.ld
	$(call say,LINK,$@)
	$(Q)$(LINK) -o $@ $(LINK_OBJ) $(B)/target/gen/symtab0.o $(LINK_LIB)
$(B)/corbel.debug.elf: $(B)/pass1.elf $(B)/target/gen/symtab1.o $(B)/nosse.ok
	$(call say,LINK,$@)
	$(Q)$(LINK) -Map $(B)/corbel.map -o $@ $(LINK_OBJ) $(B)/target/gen/symtab1.o $(LINK_LIB)
	$(Q)$(PYTHON) board/symtab.py $@ | cmp -s - $(B)/gen/symtab1.S || \
		{ echo "code moved between the two links" >&2; rm -f $@; exit 1; }
$(B)/target/firmware/image_note.o: $(B)/gen/version.h
$(B)/corbel.elf: $(B)/corbel.debug.elf board/stamp.py
	$(call say,STRIP,$@)
	$(Q)strip -s -o $@ $< && $(PYTHON) board/stamp.py $@
	@size $@

# The sector loader of test disks: real-mode code at a fixed address, no ELF around it.
$(B)/sector.bin: board/sector.S
	@mkdir -p $(@D)/gen
	$(call say,AS,$@)
	$(Q)$(CC) -c -o $(B)/gen/sector.o $<
	$(Q)ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o $@ $(B)/gen/sector.o

# What guests boot, and the store that carries it: a cpio archive passed as the first module.
$(B)/guests/busybox.cpio: board/mkcpio.py $(wildcard tests/guests/initramfs/*) | $(DEPS)/manifest.txt
	@mkdir -p $(@D)
	$(call say,CPIO,$@)
	$(Q)BUSYBOX=$(DEPS)/guests/busybox MODULES=$(DEPS)/guests/modules $(PYTHON) board/mkcpio.py $@ --list tests/guests/initramfs/list

# Guests' root file systems, of Debian's packages as they are: a small one, and one that has fio too.
ROOT_NEEDS := board/mkroot.py $(shell find board/debian -type f) | $(DEPS)/manifest.txt
$(B)/guests/root.ext4: $(ROOT_NEEDS)
	@mkdir -p $(@D)
	$(call say,ROOT,$@)
	$(Q)$(PYTHON) board/mkroot.py $@ --mib 64 --overlay board/debian/root $(DEPS)/rootfs/root
$(B)/guests/fio.ext4: $(ROOT_NEEDS)
	@mkdir -p $(@D)
	$(call say,ROOT,$@)
	$(Q)$(PYTHON) board/mkroot.py $@ --mib 160 --overlay board/debian/root $(DEPS)/rootfs/root $(DEPS)/rootfs/fio

# Small test guests: one C file each on a shared start, 64-bit code in a 32-bit multiboot 1 ELF that has a PVH
# note too. hello also comes as a flat image and as a 64-bit ELF.
GUESTS := $(patsubst tests/guests/%.c,$(B)/guests/%.elf,$(wildcard tests/guests/*.c)) \
	$(B)/guests/hello.flat $(B)/guests/hello.elf64 $(B)/guests/guest_exits.elf $(B)/guests/guest_ipis.elf
GUEST_FLAGS = -std=gnu11 -O2 -g -ffreestanding -fno-pic -fno-pie -mno-red-zone -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -mgeneral-regs-only \
	$(WARN) -MMD -MP -nostdinc -isystem $(GCC_INCLUDE) \
	-isystem $(DEPS)/newlib/x86_64-elf/include -I.
GUEST_LIB := $(patsubst %.c,$(B)/guest/%.o,$(filter-out %/smp.c %/blk.c %/net.c %/virtio.c,$(wildcard tests/guests/lib/*.c)) lib/format.c)
GUEST_LINK := ld -m elf_x86_64 -static -nostdlib -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments \
	-T tests/guests/lib/guest.ld
$(B)/guest/%.o: %.c | $(DEPS)/manifest.txt
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(GUEST_FLAGS) -c -o $@ $<
$(B)/guest/%.o: %.S
	@mkdir -p $(@D)
	$(call say,AS,$@)
	$(Q)$(CC) $(GUEST_FLAGS) -c -o $@ $<
$(B)/guest/%_flat.o: %.S
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_FLAGS) -DFLAT -c -o $@ $<
$(B)/guests/%.elf64: $(B)/guest/tests/guests/%.o $(B)/guest/tests/guests/lib/start.o $(GUEST_LIB) tests/guests/lib/guest.ld
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(GUEST_LINK) -o $@ $(filter %.o,$^)
# Guests with several processors take more of the library.
$(patsubst %,$(B)/guests/%.elf64,smp locks pvtime greedy unruly flush guest_ipis): $(B)/guest/tests/guests/lib/smp.o \
	$(B)/guest/tests/guests/lib/ap.o
$(patsubst %,$(B)/guests/%.elf64,disk diskload reads): $(B)/guest/tests/guests/lib/blk.o $(B)/guest/tests/guests/lib/virtio.o
$(B)/guests/net.elf64: $(B)/guest/tests/guests/lib/net.o $(B)/guest/tests/guests/lib/virtio.o
$(B)/guests/guest_%.elf64: $(B)/guest/bench/guest_%.o $(B)/guest/tests/guests/lib/start.o $(GUEST_LIB) tests/guests/lib/guest.ld
	$(call say,LINK,$@)
	$(Q)$(GUEST_LINK) -o $@ $(filter %.o,$^)
$(B)/guests/%.elf: $(B)/guests/%.elf64
	$(Q)objcopy -O elf32-i386 $< $@
$(B)/guests/%.flat: $(B)/guest/tests/guests/%.o $(B)/guest/tests/guests/lib/start_flat.o $(GUEST_LIB) tests/guests/lib/guest.ld
	@mkdir -p $(@D)
	$(Q)$(GUEST_LINK) -o $@.elf $(filter %.o,$^) && objcopy -O binary $@.elf $@

$(B)/store.cpio: board/mkcpio.py $(B)/guests/busybox.cpio $(shell find scripts -type f 2>/dev/null)
	$(call say,CPIO,$@)
	$(Q)$(PYTHON) board/mkcpio.py $@ scripts=scripts debian/vmlinux=$(DEPS)/guests/vmlinux \
		debian/vmlinuz=$(DEPS)/guests/vmlinuz debian/initrd=$(B)/guests/busybox.cpio

$(B)/corbel.img: $(B)/corbel.elf $(B)/store.cpio $(B)/guests/root.ext4 board/mkimage.py board/parts.py board/grub.cfg
	$(call say,IMAGE,$@)
	$(Q)$(PYTHON) board/mkimage.py $@ --elf $(B)/corbel.elf --store $(B)/store.cpio --base $(B)/guests/root.ext4

.PHONY: elf image guests
elf: $(B)/corbel.elf ## link the image, $(B)/corbel.elf
guests: $(GUESTS) $(B)/guests/busybox.cpio $(B)/guests/root.ext4 $(B)/guests/fio.ext4 ## what the system tests run as guests
image: $(B)/corbel.img ## a bootable disk with GRUB, the ELF, the store and guests' disks, $(B)/corbel.img

# ---- running it --------------------------------------------------------------------------------

MODEL_CPU ?= corei7_icelake_u
MEGS ?= 512
CPUS ?= 1
CMDLINE ?=
STORE ?=
SECONDS ?= 20
PORT ?= 18892
NETWORK ?= open
EMULATE = $(PYTHON) board/emulate.py --loader $(B)/sector.bin --elf $(B)/corbel.elf \
	--model $(MODEL_CPU) --cpus $(CPUS) --megs $(MEGS) --cmdline '$(CMDLINE)' --port $(PORT)

# What `make run` is made of, and how it starts.
RUN_NEEDS := $(B)/corbel.elf $(B)/sector.bin $(B)/store.cpio $(B)/guests/root.ext4 $(B)/corbelctl
RUN_STARTS = --store $(B)/store.cpio --base $(B)/guests/root.ext4 --network $(NETWORK) --ready '] ready' --prompt $(B)/corbelctl

.PHONY: run boot picture
run: $(RUN_NEEDS) ## start the emulator with the default script and open a prompt; CPUS (1), NETWORK (open; restricted, none)
	$(Q)$(EMULATE) $(RUN_STARTS) --keep $(B)/run.img
picture: $(RUN_NEEDS) ## draw docs/run.svg, a session of what `make run` starts; CPUS (1)
	$(Q)$(PYTHON) docs/picture.py $(EMULATE) $(RUN_STARTS) --seconds 1800
boot: $(B)/corbel.elf $(B)/sector.bin ## show the boot log for SECONDS (20); STORE, CMDLINE, MODEL_CPU, CPUS, MEGS
	$(Q)$(EMULATE) --seconds $(SECONDS) $(if $(STORE),--store $(STORE))

# ---- host tests --------------------------------------------------------------------------------

define hostlib
$(B)/$(1)/libcorbel.a: $(H_SRC:%.c=$(B)/$(1)/%.o)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach f,host fuzz,$(eval $(call hostlib,$(f))))

$(UNIT:%=$(B)/host/%) $(MODEL:%=$(B)/host/%) $(B)/host/bench/kvlog: %: %.o $(B)/host/libcorbel.a $(B)/host/libthird.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(SANITIZE) -o $@ $^ -lcmocka -lm

$(B)/tsan/libcorbel.a: $(TSAN_SRC:%.c=$(B)/tsan/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^
$(TSAN:%=$(B)/tsan/%): %: %.o $(B)/tsan/libcorbel.a $(B)/tsan/libthird.a
	$(call say,LINK,$@)
	$(Q)$(CC) -fsanitize=thread -o $@ $^ -lcmocka -lpthread

$(FUZZ:%=$(B)/fuzz/%): %: %.o $(B)/fuzz/libcorbel.a $(B)/fuzz/libthird.a
	$(call say,LINK,$@)
	$(Q)$(CLANG) $(SANITIZE) -fsanitize=fuzzer -o $@ $^ -lm

.PHONY: unit model tsan fuzz fuzz-smoke
unit: $(UNIT:%=$(B)/host/%) ## unit tests under ASan and UBSan; T=name runs test_name alone
	$(Q)tests/run --jobs $(JOBS) --cmocka $^
model: $(MODEL:%=$(B)/host/%) ## random operations against simple models
	$(Q)tests/run --jobs $(JOBS) --cmocka $^
tsan: $(TSAN:%=$(B)/tsan/%) ## real threads as CPUs, under ThreadSanitizer
	$(Q)tests/run --jobs $(JOBS) --cmocka $^
fuzz-smoke: $(FUZZ:%=$(B)/fuzz/%) ## a short, fixed run of each fuzz target
	$(Q)tests/run --jobs $(JOBS) --fuzz $^
fuzz: $(FUZZ:%=$(B)/fuzz/%) ## FUZZ_SECONDS (60) of each fuzz target; T=name for one
	$(Q)tests/run --jobs $(JOBS) --fuzz-seconds $(FUZZ_SECONDS) --fuzz $^

# The control plane as a host process: programs that tests/control/*.py drive over the wire.
CONTROL := $(basename $(wildcard tests/control/*.c))
$(CONTROL:%=$(B)/host/%): %: %.o $(B)/host/libcorbel.a $(B)/host/libthird.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(SANITIZE) -o $@ $^ -lm

# ---- the operator's program --------------------------------------------------------------------

$(B)/ctl/liblib.a: $(CTL_LIB:%.c=$(B)/ctl/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/corbelctl: $(CTL_SRC:%.c=$(B)/ctl/%.o) $(B)/ctl/liblib.a
	$(call say,LINK,$@)
	$(Q)$(CC) -o $@ $^ -ledit -lcrypto

# The manual's list of commands is the program's own.
$(B)/corbelctl.1: tools/manpage.py tools/corbelctl.1.in $(B)/corbelctl
	$(call say,MAN,$@)
	$(Q)$(B)/corbelctl --json help | $(PYTHON) tools/manpage.py tools/corbelctl.1.in $(VERSION) >$@

.PHONY: corbelctl
corbelctl: $(B)/corbelctl $(B)/corbelctl.1 ## the operator's command, $(B)/corbelctl, and its manual page

# What the emulator's machines are made of.
SYSTEM_NEEDS := $(RUN_NEEDS) $(B)/corbelctl.1 $(GUESTS) $(B)/guests/fio.ext4

# ---- figures and endurance ---------------------------------------------------------------------

SOAK_SECONDS ?= 3600
.PHONY: bench soak
BENCH ?=
BENCH_HOST := $(B)/bench/host_managers $(B)/bench/host_virtio $(B)/bench/host_net $(B)/bench/host_vnet $(B)/bench/host_layers $(B)/bench/host_nic $(B)/bench/host_control $(B)/bench/host_libcbor
BENCH_SCHED := $(B)/bench/host_sched $(B)/bench/sched_fluid
BENCH_IO := $(B)/bench/host_io
bench: $(SYSTEM_NEEDS) $(B)/guests/linux_init $(BENCH_HOST) $(BENCH_SCHED) $(BENCH_IO) ## measure, compare with the promises; BENCH='exits wait sizes handoff linux host sched io storage'
	$(Q)CORBEL_BUILD=$(abspath $(B)) CORBEL_DEPS=$(DEPS) $(PYTHON) bench/run.py $(BENCH)
# The first process of a measured Linux: no C library, so that its first instruction is user space's.
$(B)/guests/linux_init: bench/guests/linux_init.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu11 $(WARN) -O2 -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -o $@ $<
# The managers alone, compiled as for the machine and counted by callgrind.
$(B)/bench/host_managers: bench/host_managers.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c memmgr/*.c sched/*.c vmx/ept.c))
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-builtin-memset -fno-ipa-icf -I. -o $@ $^
$(B)/bench/host_layers: bench/host_layers.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c io/layer*.c) io/block.c io/segment.c io/space.c \
		io/volume.c io/volume_ram.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
$(B)/bench/host_virtio: bench/host_virtio.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c) $(filter-out io/virtio_net%,$(wildcard io/virt*.c)) \
		io/block.c io/segment.c io/coalesce.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
$(B)/bench/host_net: bench/host_net.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c) io/net_frame.c io/net_cut.c io/net_sum.c io/segment.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
$(B)/bench/host_nic: bench/host_nic.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c) io/dma.c firmware/e1000.c firmware/e1000_reset.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
$(B)/bench/host_vnet: bench/host_vnet.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c io/virtio_net*.c) io/virtio.c io/virtq.c \
		io/virtio_job.c io/net_frame.c io/net_cut.c io/net_sum.c io/segment.c io/coalesce.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
# The scheduler beside its rivals, all compiled as for the machine.
$(B)/bench/host_sched: bench/host_sched.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c sched/*.c) \
		bench/ours.c bench/cfs.c bench/lottery.c bench/rbtree.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
$(B)/bench/sched_fluid: $(patsubst %.c,$(B)/ctl/%.o,bench/sched_fluid.c $(MODEL_LIB) $(wildcard lib/*.c sched/*.c))
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -o $@ $^ -lm
# The I/O scheduler beside its rivals, compiled as for the machine.
$(B)/bench/host_io: bench/host_io.c $(patsubst %.c,$(B)/target/%.o,$(wildcard lib/*.c) io/mclock.c io/iosched.c io/block.c io/segment.c \
		bench/io_ours.c bench/io_scan.c bench/io_bucket.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -g -fno-pie -no-pie -fno-ipa-icf -I. -o $@ $^
.PHONY: bench-sched bench-io
bench-io: $(BENCH_IO) ## I/O decisions beside a linear scan and token buckets: cost, and a plot in $(B)/bench
	$(Q)$(PYTHON) bench/iorivals.py $^
bench-sched: $(BENCH_SCHED) ## the scheduler beside a CFS and a lottery: cost, fairness, latency, plots in $(B)/bench
	$(Q)$(PYTHON) bench/rivals.py $^
# The control plane over fakes, as a workstation's compiler makes it, and libcbor beside it.
BENCH_CONTROL := $(P_SRC) $(patsubst %,tests/fakes/%.c,control_rig fault_disk fake_engine fake_host fake_stage2 hand_clock ram sched_rig vm_rig)
$(B)/bench/host_control: $(B)/ctl/bench/host_control.o $(BENCH_CONTROL:%.c=$(B)/ctl/%.o) $(B)/ctl/libthird.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -o $@ $^ -lm
$(B)/bench/host_libcbor: $(B)/ctl/bench/host_libcbor.o
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -o $@ $^ -lcbor
.PHONY: bench-host
bench-host: $(BENCH_HOST) ## instructions per operation of memmgr/, sched/ and lua/, without an emulator
	$(Q)$(PYTHON) bench/host.py $^
.PHONY: bench-kvlog
bench-kvlog: $(B)/host/bench/kvlog ## bytes that the writable store writes for each byte put
	$(Q)$<
# The scheduler on its simulated machine, without sanitizers, until SCHED_DECISIONS are made.
SCHED_DECISIONS ?= 10000000
$(B)/ctl/tests/model/model_sched_fluid: $(patsubst %.c,$(B)/ctl/%.o,tests/model/model_sched_fluid.c $(MODEL_LIB) \
		$(wildcard lib/*.c sched/*.c))
	$(call say,LINK,$@)
	$(Q)$(CC) -o $@ $^ -lcmocka -lm
.PHONY: soak-sched
soak-sched: $(B)/ctl/tests/model/model_sched_fluid ## SCHED_DECISIONS (10 M) of the scheduler against the fluid optimum
	$(Q)MODEL_DECISIONS=$(SCHED_DECISIONS) $<
.PHONY: soak-smp
SOAK_SEED ?=
soak-smp: $(SYSTEM_NEEDS) ## a random life of VMs on 4 CPUs for SOAK_SECONDS (3600), SOAK_SEED; DEBUG=1 asserts more
	$(Q)tests/soak --seconds $(SOAK_SECONDS) $(if $(SOAK_SEED),--seed $(SOAK_SEED))
.PHONY: soak-fio
soak-fio: $(SYSTEM_NEEDS) ## Debian's fio in three Debian guests: shares and a reservation on one slow disk
	$(Q)tests/run --jobs 1 --pytest tests/system/test_fio.py
soak: soak-sched soak-smp soak-fio $(FUZZ:%=$(B)/fuzz/%) $(SYSTEM_NEEDS) ## soak-sched, soak-smp and soak-fio; then fuzz and system tests for as long, until one fails
	$(Q)end=$$(($$(date +%s) + $(SOAK_SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
		tests/run --jobs $(JOBS) --fuzz-seconds $(FUZZ_SECONDS) --fuzz $(FUZZ:%=$(B)/fuzz/%) --pytest tests/system || exit 1; \
	done

# ---- checks ------------------------------------------------------------------------------------

# A header stands alone when a file that includes nothing else compiles.
$(B)/style/%.ok: % $(B)/target/flags | $(DEPS)/manifest.txt $(B)/gen/empty.h $(B)/gen/version.h
	@mkdir -p $(@D)
	$(call say,HEADER,$<)
	$(Q)printf '#include "%s"\n#include "%s"\n' $< $< | $(CC) \
		$(if $(filter tools/%,$<),$(CFLAGS_host) -D_GNU_SOURCE,$(CFLAGS_target)) $(WARN) \
		-MF $(@:.ok=.d) -MT $@ -x c -fsyntax-only -
	@touch $@

comma := ,
json_row = {"directory": "$(CURDIR)"$(comma) "file": "$(1)"$(comma) "command": "$(CC_$(2)) $(CFLAGS_$(2)) \
	$(OWN_$(2)) -c $(1)"}
json_rows = $(foreach s,$(1),$(foreach ROOM,$(firstword $(subst /, ,$(s))),$(file >>$@,$(comma)$(call json_row,$(s),$(2)))))
compile_commands.json: FORCE ## for editors and clang tools
	$(file >$@,[{"directory": "$(CURDIR)"$(comma) "file": "Makefile"$(comma) "command": "true"})
	$(call json_rows,$(T_SRC),target)
	$(call json_rows,$(wildcard tests/unit/*.c tests/model/*.c tests/tsan/*.c tests/fakes/*.c tests/control/*.c),host)
	$(call json_rows,$(wildcard tests/fuzz/*.c),fuzz)
	$(call json_rows,$(wildcard tools/*.c),ctl)
	$(file >>$@,])
	@:

OUR_C := $(wildcard $(foreach r,$(P_ROOMS) vmx firmware tools tests/unit tests/model tests/tsan tests/fuzz tests/fakes \
	tests/control tests,$(r)/*.c $(r)/*.h))
CPPCHECK := cppcheck --quiet --std=c11 --language=c --platform=unix64 --enable=warning,performance,portability \
	--inline-suppr --suppressions-list=tests/style/cppcheck.suppressions --error-exitcode=1 \
	-j $(JOBS) -I. -D__x86_64__=1
.PHONY: check format
check: $(HEADERS:%=$(B)/style/%.ok) objs $(B)/nosse.ok ## layers, headers, lengths, format, static analysis
	$(Q)tests/run --jobs $(JOBS) --command tests/style/layers tests/style/lengths tests/style/banned \
		'tests/style/format.py $(OUR_C)' '$(CPPCHECK) $(P_ROOMS) vmx firmware $(wildcard tools)'
format: ## print what clang-format would change
	$(Q)tests/style/format.py $(OUR_C)

# ---- everything --------------------------------------------------------------------------------

.PHONY: test system control
control: $(CONTROL:%=$(B)/host/%) $(B)/corbelctl $(B)/corbelctl.1 ## the control plane in a host process, over the wire
	$(Q)tests/run --jobs $(JOBS) --pytest tests/control
system: $(SYSTEM_NEEDS) ## system tests in the emulator; T=expression chooses (pytest -k)
	$(Q)tests/run --jobs $(JOBS) --pytest-args '$(if $(T),-k "$(T)")' --pytest tests/system
test: $(UNIT:%=$(B)/host/%) $(MODEL:%=$(B)/host/%) $(TSAN:%=$(B)/tsan/%) $(FUZZ:%=$(B)/fuzz/%) $(CONTROL:%=$(B)/host/%) $(SYSTEM_NEEDS) ## all
	$(Q)tests/run --jobs $(JOBS) --cmocka $(UNIT:%=$(B)/host/%) $(MODEL:%=$(B)/host/%) $(TSAN:%=$(B)/tsan/%) \
		--fuzz $(FUZZ:%=$(B)/fuzz/%) --pytest $(if $(wildcard tests/control/test_*.py),tests/control) tests/system

# ---- the rest ----------------------------------------------------------------------------------

.PHONY: help clean
all: elf corbelctl

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

clean: ## remove what was built, keep the third-party pieces
	rm -rf $(filter-out $(D),$(wildcard $(B)/*))
