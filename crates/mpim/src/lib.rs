//! The binary's parts: configuration, assembly, commands.
//!
//! [`embedded`] is all of MPIM in one process, as `mpim up` and in-process tests run it.

pub mod assembly;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod embedded;
mod listener;
pub mod logging;
mod monitor;
mod secrets;
pub mod serve;
pub mod told;
