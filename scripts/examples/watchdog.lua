-- SPDX-License-Identifier: Apache-2.0
--
-- A watchdog by the console: a VM that prints a sign of life every so often, and
-- then falls silent, is stopped and started. For guests without a watchdog device.
--
--   use("scripts/examples/watchdog.lua", { vms = { alpha = sec(30) } })

local options = ... or {}
local vms     = options.vms or {}              -- name -> how long it may be silent
local limit   = options.limit or 3             -- restarts, then it is left as it is

local seen, restarts = {}, {}                  -- name -> { bytes, since, starts }

local function look(name, silence, now)
  local vm = now.vm[name]
  if not vm or not vm.running then
    seen[name] = nil
    return
  end
  local s = seen[name]
  if not s or s.bytes ~= vm.printed_bytes or s.starts ~= vm.starts then
    seen[name] = { bytes = vm.printed_bytes, starts = vm.starts, since = now.host.uptime }
    return
  end
  if now.host.uptime - s.since < silence then return end
  seen[name] = nil
  restarts[name] = (restarts[name] or 0) + 1
  if restarts[name] > limit then
    if restarts[name] == limit + 1 then alert("silent again, left as it is", vm) end
    return
  end
  alert("silent for too long, started anew", vm)
  stop(vm)
  start(vm)
end

every(options.look or sec(1), function(now)
  for name, silence in pairs(vms) do look(name, silence, now) end
end)
