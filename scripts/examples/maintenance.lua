-- SPDX-License-Identifier: Apache-2.0
--
-- Maintenance mode, for as long as this script stays: every VM's power button is
-- pressed, what has not gone down in time is stopped, and nothing comes up again.
-- An alert says when the machine is quiet. The log tells more for an hour.
--
--   corbelctl run maintenance.lua        ...        corbelctl script stop maintenance.lua

local options = ... or {}
local grace   = options.grace or min(2)
local keep    = options.keep or {}             -- { name = true }: these stay up

local asked = {}                               -- name -> when
local quiet = false

set("log.level", "debug", { for_ = hour(1), why = "maintenance" })

local function look(now)
  local up = 0
  for name, vm in pairs(now.vm) do
    if keep[name] or not (vm.running or vm.state == "paused") then
      asked[name] = nil
    else
      up = up + 1
      if vm.state == "paused" then resume(vm) end
      if not asked[name] then
        asked[name] = now.host.uptime
        log("asking", name, "to go down")
        power(vm)
      elseif now.host.uptime - asked[name] > grace then
        log(name, "does not listen: stopped")
        stop(vm)
      end
    end
  end
  if up == 0 and not quiet then alert("maintenance: the machine is quiet") end
  quiet = up == 0
end

every(options.look or sec(1), look)
on("vm.running", function(_, now) look(now) end)
