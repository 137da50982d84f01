//! Ports.

use std::{
    net::TcpListener,
    ops::Range,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the kernel's range for outgoing connections, so that no client's socket takes one between a stop and a start.
const PORTS: Range<u16> = 10_000..32_000;

/// A port of 127.0.0.1 that nobody listens on now. Each call of one process gives another one, as long as there are any;
/// processes begin at different places.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let begin = u16::try_from(u64::from(std::process::id()) * 97 % u64::from(count)).unwrap_or(0);
    loop {
        let offset = u32::from(begin) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(offset % u32::from(count)).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
