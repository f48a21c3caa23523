-- SPDX-License-Identifier: Apache-2.0
--
-- Watches how much memory is promised, and how much is free. Below the low mark
-- it alerts, once, and stops VMs that are there to be stopped, the least important
-- first; what it stopped it starts again above the high mark.
--
--   use("scripts/examples/memory.lua", { low = MiB(64), high = MiB(128), spare = { "batch" } })

local options = ... or {}
local low     = options.low or MiB(64)
local high    = options.high or low + low
local spare   = options.spare or {}            -- names, the first goes first

local is_low = false
local stopped = {}                             -- in the order in which they went

local function give_up_one(now)
  for _, name in ipairs(spare) do
    local vm = now.vm[name]
    if vm and vm.running then
      log("stopping", name, "for its memory,", vm.present)
      stop(vm)
      stopped[#stopped + 1] = name
      return
    end
  end
end

local function take_back_one(now)
  local vm = now.vm[stopped[#stopped]]
  stopped[#stopped] = nil
  if vm and vm.state == "stopped" then start(vm) end
end

every(options.look or sec(5), function(now)
  local free = now.host.free
  if free < low then
    if not is_low then alert("memory is low: " .. tostring(free) .. " free") end
    is_low = true
    give_up_one(now)
  elseif free > high then
    is_low = false
    if #stopped > 0 then take_back_one(now) end
  end
end)
