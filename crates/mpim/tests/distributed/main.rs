//! The promises of a system of many processes, and what tries to break them: every process real, over real stores, all on this
//! machine. Tests that only chat share one system; those that break something have one of their own.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and tell")]

#[path = "../system/device.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod device;
#[path = "../system/http.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod http;
#[path = "../system/process.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod process;
#[path = "../system/receiver.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod receiver;
#[path = "../system/bad_input/wire_client.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod wire_client;

mod cache;
mod chat;
mod cluster;
mod gateways;
mod live;
mod outages;
mod people;
mod proxy;
mod serve;
mod services;
mod sessions;
mod stores;
mod system;
mod webhooks;
