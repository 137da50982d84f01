//! The scripts that Redis runs for the queue: each is one atomic step, on one key.
//!
//! A lease is `opening:term`. The *opening* is the number of the gateway's start; the *term* is that of the lease, and another
//! one after the lease had run out or was lost. Both are times of the server's clock in microseconds, so that a later one
//! is greater. A route is `term:away`, and good as long as the gateway's lease has that term.

use std::sync::LazyLock;

use ::redis::{Cmd, Pipeline, cmd, pipe};

/// A script, and the hash that Redis knows it by.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: ::redis::Script::new(text).get_hash().to_owned() }
    }
}

/// Takes a gateway's lease for a new opening. Returns the opening, which is the first term too.
pub(super) static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the lease. ARGV: its lifetime in ms.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local former = redis.call('GET', KEYS[1])
if former then
  local term = tonumber(string.match(former, ':(%d+)$'))
  if now <= term then now = term + 1 end
end
local opening = string.format('%.0f', now)
redis.call('SET', KEYS[1], opening .. ':' .. opening, 'PX', ARGV[1])
return opening
",
    )
});

/// Renews a lease. Returns its term: another one if it was gone; 0 if the gateway was opened again.
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the lease. ARGV: opening, term, lifetime in ms.
local held = redis.call('GET', KEYS[1])
if held then
  local opening, term = string.match(held, '^(%d+):(%d+)$')
  if opening == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return term
  end
  if tonumber(opening) > tonumber(ARGV[1]) then return '0' end
end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], tonumber(ARGV[2]) + 1)
local term = string.format('%.0f', now)
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. term, 'PX', ARGV[3])
return term
",
    )
});

/// Gives a lease back, unless the gateway was opened again.
pub(super) static CLOSE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the lease. ARGV: opening.
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^(%d+):') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
",
    )
});

/// Looks at a lease. Returns its term, or 0, and the time: terms that begin later are not known of yet.
pub(super) static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the lease.
local time = redis.call('TIME')
local held = redis.call('GET', KEYS[1])
return {held and string.match(held, ':(%d+)$') or '0', string.format('%.0f', time[1] * 1000000 + time[2])}
",
    )
});

/// Changes a user's route over one gateway. Returns `done`, what the user was and is (0 gone, 1 away, 2 there) and the time;
/// or `unknown` and gateways whose leases must be looked at first, and then nothing is changed. Routes that are certainly
/// over are removed on this occasion.
pub(super) static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the user's routes. ARGV: gateway, the new route (0 gone, 1 away, 2 there), lifetime in ms; then for each gateway
-- looked at: its id, its term or 0, the first term that is not known of.
local live, unseen = {}, {}
for i = 4, #ARGV, 3 do
  live[ARGV[i]], unseen[ARGV[i]] = ARGV[i + 1], tonumber(ARGV[i + 2])
end
local routes = redis.call('HGETALL', KEYS[1])
local unknown, over, own, others = {'unknown'}, {}, 0, 0
for i = 1, #routes, 2 do
  local gateway = routes[i]
  local term, away = string.match(routes[i + 1], '^(%d+):(%d)$')
  if not live[gateway] or (term ~= live[gateway] and tonumber(term) >= unseen[gateway]) then
    table.insert(unknown, gateway)
  elseif term ~= live[gateway] then
    table.insert(over, gateway)
  else
    local route = away == '1' and 1 or 2
    if gateway == ARGV[1] then own = route else others = math.max(others, route) end
  end
end
if #unknown > 1 then return unknown end
if #over > 0 then redis.call('HDEL', KEYS[1], unpack(over)) end
local before, new = math.max(own, others), tonumber(ARGV[2])
if new == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], live[ARGV[1]] .. ':' .. (new == 1 and '1' or '0'))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
return {'done', tostring(before), tostring(math.max(new, others)), now}
",
    )
});

/// Writes what a gateway knows of a user's route over it, whatever is there, unless that is of a later term. Returns the
/// time.
pub(super) static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the user's routes. ARGV: gateway, term, the route (0 gone, 1 away, 2 there), lifetime in ms.
local held = redis.call('HGET', KEYS[1], ARGV[1])
local later = held and tonumber(string.match(held, '^(%d+):')) > tonumber(ARGV[2])
if not later then
  if ARGV[3] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[1])
  else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. (ARGV[3] == '1' and '1' or '0'))
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
end
local time = redis.call('TIME')
return string.format('%.0f', time[1] * 1000000 + time[2])
",
    )
});

/// Removes from a topic's marks the series that are over.
pub(super) static PRUNE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- KEYS: the marks. ARGV: the time in s before which they are over.
local marks, over = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #marks, 2 do
  local at = tonumber(string.match(marks[i + 1], ':(%d+)$'))
  if at < tonumber(ARGV[1]) then table.insert(over, marks[i]) end
end
if #over > 0 then redis.call('HDEL', KEYS[1], unpack(over, 1, math.min(#over, 1000))) end
return #over
",
    )
});

/// The command that runs a script on a key; arguments follow.
pub(super) fn run(script: &Script, key: &str) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(&script.hash).arg(1).arg(key);
    command
}

/// Makes the scripts known to a server.
pub(super) fn load() -> Pipeline {
    let mut pipeline = pipe();
    for script in [&OPEN, &RENEW, &CLOSE, &LOOK, &CHANGE, &WRITE, &PRUNE] {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.text).ignore();
    }
    pipeline
}
