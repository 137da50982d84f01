//! A connection by a Unix socket.
//!
//! The kernel tells whoever waits for a Unix socket that it may be written to whenever the other side has read something, not
//! only after it was full. With thousands of connections to a proxy that would be an event for each push (a quarter of what a
//! push costs). So nobody waits for that, until there is something that cannot be written.

use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Local {
    socket: AsyncFd<UnixStream>,
    /// The same by another descriptor, which tells when it may be written to; while it is full.
    full: Option<AsyncFd<UnixStream>>,
}

impl Local {
    /// # Errors
    ///
    /// The system cannot watch one more socket.
    pub(crate) fn new(socket: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { socket: watched(socket.into_std()?, Interest::READABLE)?, full: None })
    }
}

#[allow(unsafe_code, reason = "tokio's own sockets are told of everything")]
fn watched(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a UnixStream owns its descriptor, which stays the same and open until it is dropped; and `AsyncFd`, which owns
    // the UnixStream and gives it to nobody, stops watching first.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(Into::into)
}

impl AsyncRead for Local {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let space = into.initialize_unfilled();
            match ready.try_io(|socket| socket.get_ref().read(space)) {
                Ok(Ok(count)) => {
                    // There was no more: the next bytes are told of anew, as well as the end.
                    if 0 < count && count < space.len() {
                        ready.clear_ready();
                    }
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Local {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &self.full {
                ready!(full.poll_write_ready(context))?.clear_ready();
            }
            match self.socket.get_ref().write(bytes) {
                Ok(count) => {
                    self.full = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.full.is_none() {
                        let same = self.socket.get_ref().try_clone()?;
                        self.full = Some(watched(same, Interest::WRITABLE)?);
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;

    #[tokio::test]
    async fn all_bytes_arrive_both_ways_however_much_the_kernel_takes_at_once() {
        // More than any socket holds.
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = tokio::io::split(Local::new(ours).unwrap());
        let echo = tokio::spawn(async move {
            let (mut from, mut to) = theirs.into_split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(writing, reader.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent);
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn who_has_gone_is_written_to_in_vain_and_read_to_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = Local::new(ours).unwrap();
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(ours.write(b"hello").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
