-- SPDX-License-Identifier: Apache-2.0
--
-- What runs at start-up unless the boot argument script=NAME says otherwise: two
-- unmodified Debian guests. The cloud kernel comes uncompressed, for PVH; the
-- initrd has its drivers, and goes on with the root file system on the guest's disk.
-- Both are on one network, with the machine's own interface as its way out.
-- docs/lua-api.md has every word that can stand here.

-- A partition with one file system of Debian's packages, which nobody writes. Each guest has
-- a layer above it on the disk's pool: what it has written itself, kept from start to start.
local base, size = "disk0:3", MiB(64)

-- A switch. Where the machine has an interface the guests get addresses from whoever gives them out on its wire.
local nic = nics()[1]
network "lan" { uplink = nic and nic.name }

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
    net       = { eth0 = virtio { network = "lan" } },
    autostart = true,
  }
end

debian "alpha"
debian "beta"
