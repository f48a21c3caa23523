-- SPDX-License-Identifier: Apache-2.0
--
-- What runs at start-up unless the boot argument script=NAME says otherwise: two
-- unmodified Debian guests. The cloud kernel comes uncompressed, for PVH; the
-- initrd is a busybox file system with a shell on the serial console.
-- docs/lua-api.md has every word that can stand here.

-- The kernel's command line only spares an emulator what costs it most: tests of
-- every cipher and the signatures of built-in certificates, most of the whole boot.
local function debian(name)
  vm(name) {
    boot = pvh {
      image   = "debian/vmlinux",
      initrd  = "debian/initrd",
      cmdline = "console=ttyS0 cryptomgr.notests initcall_blacklist=load_system_certificate_list corbel.name=" .. name,
    },
    mem       = { size = MiB(128) },
    autostart = true,
  }
end

debian "alpha"
debian "beta"
