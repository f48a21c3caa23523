-- SPDX-License-Identifier: Apache-2.0
--
-- Starts crashed VMs again, each time after a longer pause, and gives up when
-- one crashes too often. A VM that has run well for a while begins anew.
--
--   use("scripts/examples/restart.lua", { only = { alpha = true }, tries = 3 })

local options  = ... or {}
local only     = options.only                  -- { name = true }; without it: every VM
local tries    = options.tries or 5
local pause    = options.pause or sec(1)       -- before the first start; it doubles each time
local longest  = options.longest or min(5)
local well     = options.well or min(10)       -- so long without a crash, and all is forgotten

local crashed = {}                             -- name -> { count, pause, due, since }

on("vm.crashed", function(e, now)
  if only and not only[e.vm] then return end
  local c = crashed[e.vm]
  if not c or now.host.uptime - c.since > well then
    c = { count = 0, pause = pause }
    crashed[e.vm] = c
  end
  c.count, c.since = c.count + 1, now.host.uptime
  if c.count > tries then
    c.due = nil
    alert("crashed " .. c.count .. " times, left alone: " .. e.text, e.vm)
    return
  end
  c.due = now.host.uptime + c.pause
  c.pause = c.pause + c.pause
  if c.pause > longest then c.pause = longest end
end)

every(options.look or sec(1), function(now)
  for name, c in pairs(crashed) do
    local vm = now.vm[name]
    if not vm then
      crashed[name] = nil
    elseif c.due and now.host.uptime >= c.due then
      c.due = nil
      if vm.state == "crashed" then
        log("starting", name, "again, time", c.count)
        start(vm)
      end
    end
  end
end)
