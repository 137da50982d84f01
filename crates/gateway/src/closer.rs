//! Closes sockets on a thread of its own.
//!
//! Closing one takes the kernel longer than most of what a session does. When thousands of connections break at once,
//! those who go on would wait for all of that; on another thread the kernel gives both their turns.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

/// Sockets that wait at most; further ones are closed where they are.
const SOCKETS_MAX: usize = 65_536;

type Socket = Box<dyn Send>;

/// The thread; it ends, with everything closed, when this is dropped.
pub(crate) struct Closer {
    sockets: Option<SyncSender<Socket>>,
    thread: Option<JoinHandle<()>>,
}

impl Closer {
    /// # Errors
    ///
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (sockets, closing) = sync_channel(SOCKETS_MAX);
        let thread = thread::Builder::new().name("close".into()).spawn(move || run(closing))?;
        Ok(Self { sockets: Some(sockets), thread: Some(thread) })
    }

    /// Closes what closes by being dropped. Never waits.
    pub(crate) fn close(&self, socket: impl Send + 'static) {
        let Some(sockets) = &self.sockets else { return };
        match sockets.try_send(Box::new(socket)) {
            Ok(()) => {}
            Err(TrySendError::Full(socket) | TrySendError::Disconnected(socket)) => drop(socket),
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.sockets = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that closes sockets panicked");
        }
    }
}

fn run(closing: Receiver<Socket>) {
    for socket in closing {
        drop(socket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn everything_is_closed_and_elsewhere() {
        struct Slow(Arc<Barrier>);
        impl Drop for Slow {
            fn drop(&mut self) {
                self.0.wait();
            }
        }
        let barrier = Arc::new(Barrier::new(2));
        let closer = Closer::start().unwrap();
        closer.close(Slow(barrier.clone()));
        // Reached although the socket cannot be closed before this.
        barrier.wait();
        let held = Arc::new(());
        for _ in 0..1_000 {
            closer.close(held.clone());
        }
        drop(closer);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
