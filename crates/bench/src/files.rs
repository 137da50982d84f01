//! Open files: a socket for each client, here and, as children inherit the limit, in a server of our own.

use anyhow::{Context as _, Result, ensure};

use crate::args::Scenario;

/// What a process needs beside its clients' sockets.
const SPARE: u64 = 200;

/// Has the system allow as many open files as the scenario needs.
///
/// # Errors
///
/// It does not allow as many; the error tells how many it does.
pub(crate) fn allow(scenario: &Scenario) -> Result<()> {
    let clients = match scenario {
        Scenario::Idle(args) => u64::from(args.clients),
        Scenario::Direct(args) => u64::from(args.clients.unwrap_or(args.pairs * 2)),
        Scenario::Group(args) => u64::from(args.groups) * u64::from(args.members),
        Scenario::Login(args) => u64::from(args.clients),
        Scenario::Catchup(_) | Scenario::Rpc(_) | Scenario::RpcServer => 100,
        // Those that were lost may still be closing while their successors open.
        Scenario::Reconnect(args) | Scenario::Failover(args) => u64::from(args.clients) + 2 * u64::from(args.pairs),
        Scenario::Replay(args) => u64::from(args.clients) * 2,
    };
    let needed = clients + SPARE;
    let allowed = raise(needed).context("cannot tell how many files may be open")?;
    ensure!(
        allowed >= needed,
        "{clients} clients need {needed} open files, and the system allows {allowed} (see `ulimit -Hn`)"
    );
    Ok(())
}

/// Raises the soft limit to the hard one if it is below `needed`; returns what is allowed then.
#[allow(unsafe_code, reason = "the standard library does not know limits of resources")]
fn raise(needed: u64) -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the structure that they are given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        if limit.rlim_cur < needed && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
    }
    Ok(limit.rlim_cur)
}
