//! The server's process, seen from its parent.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// From the start to being ready, and from the end of its input to its own.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Server {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Server {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(secret: &str) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let mut process = Command::new(program)
            .args(["bench", "rpc-server"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of the terminal's reach: it ends with its input.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let input = process.stdin.take().context("the server has no input")?;
        let output = BufReader::new(process.stdout.take().context("the server has no output")?).lines();
        let mut server = Self { process, input, output, address: String::new() };
        let line = server.ask(secret).await?;
        server.address = line.strip_prefix("ready ").context("the server is not ready")?.to_owned();
        Ok(server)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn cpu_time(&mut self) -> Result<Duration> {
        Ok(Duration::from_nanos(self.ask("").await?.parse().context("not a CPU time")?))
    }

    async fn ask(&mut self, line: &str) -> Result<String> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("the server ended")?;
        match timeout(PATIENCE, self.output.next_line()).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(_) => bail!("the server ended"),
            Err(_) => bail!("the server does not answer"),
        }
    }

    pub(super) async fn stop(self) -> Result<()> {
        let Self { mut process, input, .. } = self;
        drop(input);
        let status = timeout(PATIENCE, process.wait()).await.context("the server does not end")??;
        ensure!(status.success(), "the server failed: {status}");
        Ok(())
    }
}
