-- SPDX-License-Identifier: Apache-2.0
--
-- A start order: each VM is started once everything it needs is up, that is,
-- runs and, where a word is given, has printed it. Give these VMs no autostart.
--
--   use("scripts/examples/order.lua", {
--     db  = { up = "ready to accept connections" },
--     app = { needs = { "db" }, up = "listening" },
--     web = { needs = { "app" } },
--   })

local vms = ... or {}

local is_up, started = {}, {}

-- A mistake in the table is an error now, not a start that never comes.
local function check(name, path)
  if path[name] then error("a circle of needs at " .. name) end
  path[name] = true
  for _, need in ipairs(vms[name].needs or {}) do
    if not vms[need] then error(name .. " needs " .. need .. ", which is not in the order") end
    check(need, path)
  end
  path[name] = nil
end
for name in pairs(vms) do check(name, {}) end

local function look(name, wanted, now)
  local vm = now.vm[name]
  if not vm then return end
  if not vm.running then
    is_up[name] = nil
  elseif not is_up[name] then
    is_up[name] = not wanted.up or console(name):find(wanted.up, 1, true) ~= nil
    if is_up[name] then log(name, "is up") end
  end
  if started[name] or vm.state ~= "defined" then return end
  for _, need in ipairs(wanted.needs or {}) do
    if not is_up[need] then return end
  end
  started[name] = true
  start(vm)
end

every(ms(500), function(now)
  for name, wanted in pairs(vms) do look(name, wanted, now) end
end)
