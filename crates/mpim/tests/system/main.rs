//! The promises of the whole system, and what tries to break them: real processes, real sockets, the SDK as clients.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and tell")]

mod authorisation;
mod bad_input;
mod catch_up;
mod chat;
mod commands;
mod device;
mod disk;
mod examples;
mod http;
mod in_process;
mod kill;
mod large_group;
mod model;
mod presence;
mod process;
mod queue_faults;
mod receiver;
mod terminals;
mod tls;
mod webhooks;
