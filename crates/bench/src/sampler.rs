//! Samples of the server for the plots of scenarios whose length is not known beforehand.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time};

use crate::{
    drive::Bench,
    machine,
    measure::{Recorder, Sample},
    server,
};

/// How often the server is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Asks the server again and again, if there are to be plots: it costs the server something.
pub(crate) struct Sampler {
    stop: oneshot::Sender<()>,
    task: Option<JoinHandle<Vec<Sample>>>,
}

impl Sampler {
    /// Begins.
    pub(crate) fn start(bench: &Bench, recorder: &Arc<Recorder>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let sample = sample(bench.server.url().to_owned(), recorder.clone(), stopped);
        Self { stop, task: bench.args.html.is_some().then(|| tokio::spawn(sample)) }
    }

    /// Ends; what was seen. A server that was away has no figures for the time.
    pub(crate) async fn stop(self) -> Vec<Sample> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        match self.task {
            Some(task) => task.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

async fn sample(url: String, recorder: Arc<Recorder>, mut stopped: oneshot::Receiver<()>) -> Vec<Sample> {
    let (mut samples, mut every) = (Vec::new(), time::interval(SAMPLE_EVERY));
    every.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // Also if it is dropped.
            _ = &mut stopped => return samples,
            _ = every.tick() => {
                let usage = server::usage(&url).await;
                let elsewhere = machine::busy_elsewhere();
                samples.push(Sample { at: recorder.clock().now(), delivered: recorder.delivered_total(), usage, elsewhere });
            }
        }
    }
}
