//! Sockets that clients and other processes connect to.

use std::{fs, io, net::SocketAddr, os::unix::fs::FileTypeExt as _, path::Path};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, lookup_host};

/// Connections that wait to be accepted at most, unless the system allows fewer (`net.core.somaxconn`). When a gateway is lost,
/// all of its clients knock at the others at once. Who finds no room is heard a second later, which a proxy before the gateways
/// may take for one more that is lost.
const BACKLOG: u32 = 4_096;

/// Listens on an address, `HOST:PORT`: on the first of the host's that can be listened on.
///
/// # Errors
///
/// The host is not known, or none of its addresses can be listened on.
pub(crate) async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of the one that was here before may still be ending.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens on a Unix socket; the one that an ended process left is replaced.
///
/// # Errors
///
/// Somebody listens there, something else is there, or the directory cannot be written.
pub(crate) async fn listen_at(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        // Whatever else keeps us from connecting to it, somebody may listen.
        Ok(_) => match UnixSocket::new_stream()?.connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        },
        Err(_) => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, task::JoinSet, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_thousand_clients_who_knock_at_once_wait_for_nobodys_second_try() {
        const CLIENTS: usize = 1_000;
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let room = somaxconn.trim().parse::<usize>().unwrap();
        let listener = listen("localhost:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nothing is accepted meanwhile.
        let mut knocking = JoinSet::new();
        for _ in 0..CLIENTS.min(room) {
            knocking.spawn(TcpStream::connect(address));
        }
        // Those that found no room would be let in by nobody.
        let all = timeout(Duration::from_secs(30), knocking.join_all()).await.expect("some found no room");
        assert!(all.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_socket_is_taken_from_nobody_who_listens_and_what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients.sock");
        let first = listen_at(&path).await.unwrap();
        assert_eq!(listen_at(&path).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // As a process leaves it that was killed.
        assert!(path.exists());
        let _second = listen_at(&path).await.unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert_eq!(listen_at(&file).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_refused() {
        let first = listen("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        assert_eq!(listen(&address).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
