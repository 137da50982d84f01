//! The chat that goes on meanwhile, on a thread and a runtime of its own.
//!
//! Thousands of clients that start at once keep this process's own threads busy. On the same runtime the chat would wait
//! for them, and that would count as the server's latency; on a thread of its own the kernel gives it its turn.

use std::{sync::Arc, thread};

use anyhow::{Context as _, Result};
use tokio::{
    runtime,
    sync::{oneshot, watch},
};

use crate::{
    accounts::Route,
    direct::Pairs,
    drive::{Times, open_loop},
    load::Texts,
    measure::Recorder,
    progress::Progress,
};

/// What the chat is like.
pub(crate) struct Plan {
    pub(crate) route: Route,
    pub(crate) pairs: usize,
    /// Messages a second, all pairs together.
    pub(crate) rate: f64,
    pub(crate) texts: Texts,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    SettingUp,
    Talking(Times),
    Silent,
    Over,
}

/// Pairs who write to each other at a fixed rate.
pub(crate) struct Chat {
    phase: watch::Sender<Phase>,
    done: oneshot::Receiver<Result<()>>,
    thread: thread::JoinHandle<()>,
}

impl Chat {
    /// Makes the accounts and connects them.
    ///
    /// # Errors
    ///
    /// They cannot be made or connected.
    pub(crate) async fn gather(plan: Plan, recorder: Arc<Recorder>, progress: Progress) -> Result<Self> {
        let (phase, phases) = watch::channel(Phase::SettingUp);
        let (ready, is_ready) = oneshot::channel();
        let (finish, done) = oneshot::channel();
        let thread = thread::Builder::new().name("bench-chat".into()).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime
                .context("cannot start a runtime")
                .and_then(|runtime| runtime.block_on(chat(&plan, &recorder, &progress, phases, ready)));
            // Whoever waited may have given up.
            let _ = finish.send(result);
        })?;
        let chat = Self { phase, done, thread };
        match is_ready.await {
            Ok(()) => Ok(chat),
            // It ended before it was ready.
            Err(_) => Err(chat.close().await.err().context("the chat ended")?),
        }
    }

    /// Begins to write.
    pub(crate) fn talk(&self, times: Times) {
        self.phase.send_replace(Phase::Talking(times));
    }

    /// Writes no more; what is under way still arrives.
    pub(crate) fn fall_silent(&self) {
        self.phase.send_replace(Phase::Silent);
    }

    /// Closes the connections.
    ///
    /// # Errors
    ///
    /// The chat had failed.
    pub(crate) async fn close(self) -> Result<()> {
        self.phase.send_replace(Phase::Over);
        let result = self.done.await.context("the chat's thread failed")?;
        // It has nothing left to do but to end; and it cannot have panicked, as it has answered.
        let _ = self.thread.join();
        result
    }
}

async fn chat(
    plan: &Plan,
    recorder: &Arc<Recorder>,
    progress: &Progress,
    mut phases: watch::Receiver<Phase>,
    ready: oneshot::Sender<()>,
) -> Result<()> {
    let Pairs { flows, receivers } = Pairs::new(&plan.route, plan.pairs, None, recorder, progress).await?;
    // Whoever waited may have given up.
    let _ = ready.send(());
    let phase = *phases.wait_for(|phase| !matches!(phase, Phase::SettingUp)).await?;
    if let Phase::Talking(times) = phase {
        let mut silent = phases.clone();
        tokio::select! {
            talked = open_loop(flows, plan.rate, times, &plan.texts, recorder) => talked?,
            _ = silent.wait_for(|phase| matches!(phase, Phase::Silent | Phase::Over)) => {}
        }
    }
    phases.wait_for(|phase| matches!(phase, Phase::Over)).await?;
    receivers.close().await;
    Ok(())
}
