-- SPDX-License-Identifier: Apache-2.0
--
-- Work for the night: some VMs run in certain hours alone and are paused by day.
-- The machine's calendar is UTC; offset makes it the site's.
--
--   use("scripts/examples/night.lua", { vms = { "backup" }, from = 22, to = 6, offset = 1 })

local options  = ... or {}
local vms      = options.vms or {}
local from, to = options.from or 22, options.to or 6
local offset   = options.offset or 0
local mine     = {}                            -- those that this script has paused

local function is_night(now)
  local hour = now.host.hour
  if not hour then return nil end              -- a machine without a calendar: leave everything alone
  hour = (hour + offset) % 24
  if from <= to then return hour >= from and hour < to end
  return hour >= from or hour < to
end

local function look(now)
  local night = is_night(now)
  if night == nil then return end
  for _, name in ipairs(vms) do
    local vm = now.vm[name]
    if vm and vm.running and not night then
      log(name, "rests until the night")
      pause(vm)
      mine[name] = true
    elseif vm and vm.state == "paused" and night and mine[name] then
      log(name, "may work")
      resume(vm)
      mine[name] = nil
    end
  end
end

every(options.look or sec(30), look)
on("vm.running", function(_, now) look(now) end)
