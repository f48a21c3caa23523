-- SPDX-License-Identifier: Apache-2.0
--
-- What runs at start-up unless the boot argument script=NAME says otherwise: two
-- unmodified Debian guests. The cloud kernel comes uncompressed, for PVH; the
-- initrd has its drivers, and goes on with the root file system on the guest's disk.
-- docs/lua-api.md has every word that can stand here.

-- A partition with one file system of Debian's packages, which nobody writes. Each guest has
-- a layer above it on the disk's pool: what it has written itself, kept from start to start.
local base, size = "disk0:3", MiB(64)

-- The kernel's command line only spares an emulator what costs it most: tests of
-- every cipher and the signatures of built-in certificates, most of the whole boot.
local function debian(name)
  volume(name) { layer = "", size = size, base = base }
  vm(name) {
    boot = pvh {
      image   = "debian/vmlinux",
      initrd  = "debian/initrd",
      cmdline = "console=ttyS0 root=/dev/vda cryptomgr.notests initcall_blacklist=load_system_certificate_list corbel.name=" .. name,
    },
    mem       = { size = MiB(128) },
    disk      = { root = virtio { volume = name } },
    autostart = true,
  }
end

debian "alpha"
debian "beta"
