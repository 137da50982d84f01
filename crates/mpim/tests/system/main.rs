//! The promises of the whole system, and what tries to break them: real processes, real sockets, the SDK as clients.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod catch_up;
mod device;
mod disk;
mod in_process;
mod kill;
mod model;
mod process;
mod queue_faults;
