//! The server's process. It reads the secret from its standard input, prints `ready ADDRESS`, prints its CPU time in nanoseconds
//! for each further line, and ends with its input: also if the caller was killed.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use api::{Call, MessageServer, MessageService, SendRequest, SendResponse, SendResult, send_result};
use prometheus_client::registry::Registry;
use protocol::wire;
use rpc::{Metrics, Secret, Security, ServerConfig};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

/// How long calls under way have at the end.
const GRACE: Duration = Duration::from_secs(5);

/// Answers every send at once.
struct Echo;

#[async_trait::async_trait]
impl MessageService for Echo {
    async fn send(&self, _: &Call, request: SendRequest) -> protocol::Result<SendResponse> {
        let sent = |send: wire::Send| {
            let conversation = match send.target {
                Some(wire::send::Target::Conversation(conversation)) => conversation,
                _ => 0,
            };
            let sent = wire::Sent { conversation, position: 1, time_ms: 1_800_000_000_000 };
            SendResult { result: Some(send_result::Result::Sent(sent)) }
        };
        Ok(SendResponse { results: request.sends.into_iter().map(sent).collect() })
    }
}

/// Serves until standard input ends.
///
/// # Errors
///
/// It cannot listen, or standard input or output is of no use.
pub(crate) async fn serve() -> Result<()> {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let secret = input.next_line().await?.context("the first line is the secret")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let services: Vec<Arc<dyn rpc::Service>> = vec![Arc::new(MessageServer::new(Arc::new(Echo)))];
    let security = Security::Secret(Secret::new(secret)?);
    let metrics = Metrics::new(&mut Registry::default());
    let server = rpc::Server::start(listener, services, security, ServerConfig::default(), &metrics)?;
    let mut output = tokio::io::stdout();
    output.write_all(format!("ready {}\n", server.address()).as_bytes()).await?;
    output.flush().await?;
    while input.next_line().await?.is_some() {
        output.write_all(format!("{}\n", cpu_time()?.as_nanos()).as_bytes()).await?;
        output.flush().await?;
    }
    server.stop(GRACE).await;
    Ok(())
}

/// The CPU time that this process has used.
#[allow(unsafe_code, reason = "the standard library does not tell a process's CPU time")]
pub(crate) fn cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the structure that it is given.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}
