-- SPDX-License-Identifier: Apache-2.0
--
-- Looks after volumes. When a pool of layers is nearly full it alerts, once, and deletes what is there to be
-- deleted, the first first; VMs that were paused because it was full go on by themselves then. When a
-- volume is slow it holds back those who may be held back, for a time. What fails is told as an alert.
--
--   use("scripts/examples/disks.lua", {
--     low  = MiB(256), spare = { "alpha-old" },
--     slow = ms(50),   hold = { ["vm.batch.disk.root.iops.limit"] = 100 },
--   })

local options = ... or {}
local low   = options.low or MiB(256)
local spare = options.spare or {}              -- names of volumes, the first goes first
local slow  = options.slow or ms(50)           -- mean time of a request, between two looks
local hold  = options.hold or {}               -- settings, and what they are to be meanwhile
local time  = options.time or min(1)

local told, seen = {}, {}                      -- by volume

local function make_room(name)
  for i, victim in ipairs(spare) do
    if pcall(volume_delete, victim) then       -- else it is in use, not there, or the pool is busy: the next look tries again
      log("deleting", victim, "for", name)
      table.remove(spare, i)
      return
    end
  end
end

local function look_at_space(volume)
  if volume.space == MiB(0) or volume.free >= low then
    told[volume.name] = nil
    return
  end
  if not told[volume.name] then
    alert(("volume %s: its pool has %s left"):format(volume.name, volume.free))
  end
  told[volume.name] = true
  make_room(volume.name)
end

local function hold_back(volume, mean)
  for path, value in pairs(hold) do
    local why = ("volume %s needs %s for a request"):format(volume.name, mean)
    local done, what = pcall(set, path, value, { why = why, for_ = time })
    if not done then log("cannot hold back", path, what) end
  end
end

local function look_at_speed(volume)
  local now = { ended = volume.reads + volume.writes + volume.flushes, ns = volume.latency_ns }
  local before = seen[volume.name] or now
  local ended = now.ended - before.ended
  seen[volume.name] = now
  if ended == 0 then return end
  local mean = us((now.ns - before.ns) // ended // 1000)
  if mean > slow then hold_back(volume, mean) end
end

every(options.look or sec(5), function(now)
  for _, volume in pairs(now.volume) do
    look_at_space(volume)
    look_at_speed(volume)
  end
end)

on("volume.full", function(e) alert(e.text, e.vm) end)
on("volume.error", function(e) alert(e.text, e.vm) end)
