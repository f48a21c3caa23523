-- SPDX-License-Identifier: Apache-2.0
--
-- Work that pays for itself: while the VMs of one pool are busy, another pool, of work that
-- can wait, is held to a small part of the machine; when they are quiet it may have nearly all.
-- What the pool's definition says counts again when this script ends or fails to look.
--
--   pool "shop"  { cpu = { shares = 4000, reservation = pct(50) } }
--   pool "batch" { cpu = { shares = 500 } }
--   use("scripts/examples/pools.lua", { busy = "shop", waits = "batch" })

local options = ... or {}
local busy    = options.busy or "shop"          -- the pool that is watched
local waits   = options.waits or "batch"        -- the one that gives way
local high    = options.high or 30              -- percent of one processor from which it is busy
local squeeze = options.squeeze or pct(10)      -- and what the other one has then
local look    = options.look or sec(5)

local used, at                                  -- of the busy pool, at the last look
local path = "pool." .. waits .. ".cpu.limit"

for _, name in ipairs { busy, waits } do        -- a mistake is an error now, not silence later
  get("pool." .. name .. ".cpu.used")
end

every(look, function(now)
  local pool, before, since = now.pool[busy], used, at
  if not pool or not now.pool[waits] then return end
  used, at = pool.used_ns, now.host.uptime_ns
  if not before or at <= since then return end
  local percent = 100 * (used - before) // (at - since)
  if percent >= high then
    -- a little longer than until the next look: it ends by itself when nobody looks any more
    set(path, squeeze, { for_ = look * 2, why = busy .. " uses " .. percent .. " % of a processor" })
  end
end)
