//! From the command line to the report.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Result, anyhow};
use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};

use crate::{
    args::{BenchArgs, CommonArgs, RpcArgs, Scenario},
    catchup, direct,
    drive::Bench,
    failover, files, group, idle, login,
    progress::Progress,
    reconnect, replay,
    report::{Report, milliseconds},
    rpc,
    server::{Passwords, Server},
};

/// Seeds that survive a script's JSON: whole numbers up to 2^53.
const SEEDS: std::ops::Range<u64> = 0..1 << 53;

/// Runs a scenario and prints its report; fails with differences on standard error if it found some.
///
/// # Errors
///
/// The scenario cannot be run to its end.
pub async fn run(args: BenchArgs) -> Result<ExitCode> {
    let BenchArgs { scenario, common } = args;
    if let Scenario::Group(args) = &scenario {
        args.check()?;
    }
    files::allow(&scenario)?;
    common.check_html()?;
    match &scenario {
        // These need no system around them.
        Scenario::Rpc(args) => return run_rpc(args, &common).await,
        Scenario::RpcServer => return rpc::serve().await.map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let passwords = if matches!(scenario, Scenario::Login(_)) { Passwords::Real } else { Passwords::Cheap };
    let server = Server::start(&common, passwords).await?;
    let seed = common.seed.unwrap_or_else(|| fastrand::u64(SEEDS));
    let mut bench = Bench { progress: Progress::new(&common), args: common, server, seed };
    bench.progress.say(&format!("mpim bench {}: server {}, seed {seed}", scenario.name(), bench.server.url()));

    // A server of our own and its data are removed also if the run is interrupted.
    let mut terminated = signal(SignalKind::terminate())?;
    let done = tokio::select! {
        done = run_scenario(&mut bench, &scenario) => done,
        _ = ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow!("terminated")),
    };
    let Bench { args, server, .. } = bench;
    let ready_after = server.ready_after();
    let stopped = server.stop().await;
    let (mut report, differences) = match (done, stopped) {
        (Ok(done), Ok(())) => done,
        // That the server is gone explains everything else.
        (_, Err(error)) | (Err(error), Ok(())) => return Err(error),
    };
    report = report.with("seed", seed);
    if let Some(ready_after) = ready_after {
        report = report.with("server_ready_ms", milliseconds(ready_after));
    }
    report.publish(&args, &std::env::args().collect::<Vec<_>>().join(" "))?;
    let mut errors = std::io::stderr().lock();
    for difference in &differences {
        writeln!(errors, "{difference}")?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_rpc(args: &RpcArgs, common: &CommonArgs) -> Result<ExitCode> {
    let report = tokio::select! {
        report = rpc::run(args, common) => report?,
        _ = ctrl_c() => return Err(anyhow!("interrupted")),
    };
    report.publish(common, &std::env::args().collect::<Vec<_>>().join(" "))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_scenario(bench: &mut Bench, scenario: &Scenario) -> Result<(Report, Vec<String>)> {
    let report = match scenario {
        Scenario::Idle(args) => idle::run(bench, args).await?,
        Scenario::Direct(args) => direct::run(bench, args).await?,
        Scenario::Group(args) => group::run(bench, args).await?,
        Scenario::Login(args) => login::run(bench, args).await?,
        Scenario::Catchup(args) => catchup::run(bench, args).await?,
        Scenario::Reconnect(args) => reconnect::run(bench, args).await?,
        Scenario::Failover(args) => failover::run(bench, args).await?,
        Scenario::Replay(args) => return replay::run(bench, args).await,
        Scenario::Rpc(_) | Scenario::RpcServer => unreachable!("run without a system around them"),
    };
    Ok((report, Vec::new()))
}
