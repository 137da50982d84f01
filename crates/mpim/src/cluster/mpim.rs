//! MPIM's own processes: `mpim serve ROLE`.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use servers::{Lifetime, Process, Program};

use super::{Started, layout::Layout};
use crate::config::variable;

/// They serve in a fraction of a second, but for the first, which makes the database's tables.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A process of MPIM, with one role.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    role: &'static str,
    /// Such as `gateway-001`; also the name of the port that it serves on.
    pub(super) name: String,
}

impl Instance {
    pub(super) const GATEWAY: &str = "gateway";

    pub(super) fn new(role: &'static str, number: u16) -> Self {
        Self { role, name: format!("{role}-{number:03}") }
    }

    pub(super) fn is_gateway(&self) -> bool {
        self.role == Self::GATEWAY
    }

    /// The name of the port where it tells how it is.
    pub(super) fn monitor(&self) -> String {
        format!("{}-monitor", self.name)
    }
}

/// Starts them side by side, and waits until all are ready. What has come up is told in any case, with the error of the first
/// that has not.
pub(super) async fn start(
    layout: &Layout,
    instances: Vec<Instance>,
    mut started: impl FnMut(Started) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut failed = None;
    for one in join_all(instances.iter().map(|instance| one(layout, instance))).await {
        match one {
            Ok(one) => started(one)?,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn one(layout: &Layout, instance: &Instance) -> anyhow::Result<Started> {
    let dir = layout.dir(&instance.name);
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let configuration = layout.configuration();
    let arguments = ["serve".into(), instance.role.into(), "--config".into(), configuration.into_os_string()];
    let serves = if instance.is_gateway() { ("server", "listen") } else { ("rpc", "listen") };
    let monitor = layout.address(&instance.monitor());
    let mut environment = layout.environment()?;
    for ((section, key), address) in [(serves, layout.address(&instance.name)), (("server", "monitor"), monitor)] {
        environment.push((variable(section, key).into(), address.to_string().into()));
    }
    if instance.is_gateway()
        && let Some(socket) = layout.socket(instance)
    {
        environment.push((variable("server", "socket").into(), socket.into()));
    }
    let program = Program { environment, ..Program::new(instance.name.clone(), program, &dir, arguments) };
    let mut process = Process::start(program, Lifetime::Detached)?;
    process.until(READY_WITHIN, async || is_ready(monitor).await).await?;
    Started::of(&instance.name, monitor, process)
}

/// Whether a process of MPIM says that it is.
pub(super) async fn is_ready(monitor: std::net::SocketAddr) -> bool {
    servers::answers(monitor, "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", " 200 ").await
}
