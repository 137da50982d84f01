//! Tells in personal logs what happened elsewhere: in a group's log, in another user's, to an account.
//!
//! No transaction spans two logs. So what happens leaves its effects behind, in its own transaction, and this task
//! appends them to the personal logs, each with the id that the effect was given: told again after a crash, it is
//! told once. Appending one settles it in the same transaction, also where
//! it turns out that nothing is new.

use std::{sync::Arc, time::Duration};

use api::Call;
use protocol::wire::ErrorCode;
use store::{Act, Effect, Messages, NewEntry};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::appender::Appender;

/// Effects told in one go.
const EFFECTS_MAX: u32 = 500;
/// How long an append may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Tells what there is when the bell rings, and `every` so often in any case: another instance may have ended before it told
/// what it left behind.
pub(super) async fn run(
    store: Arc<dyn Messages>,
    appender: Appender,
    bell: Arc<Notify>,
    every: Option<Duration>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let (wait, failed) = match tell(store.as_ref(), &appender).await {
            Ok(told) if told == EFFECTS_MAX as usize => continue,
            Ok(_) => (every, false),
            Err(error) => {
                tracing::warn!(%error, "effects are not told yet");
                (Some(RETRY), true)
            }
        };
        tokio::select! {
            () = bell.notified(), if !failed => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn tell(store: &dyn Messages, appender: &Appender) -> protocol::Result<usize> {
    let effects = store.effects(EFFECTS_MAX).await?;
    let told = effects.len();
    let call = Call { caller: None, origin: None, address: None, deadline: Instant::now() + TIMEOUT };
    // In one transaction: told all or not at all, so always in their order.
    for result in appender.append(&call, effects.into_iter().map(entry).collect()).await {
        match result {
            // The user is gone, and so is the effect.
            Err(error) if error.code() == ErrorCode::NotMember => {}
            result => drop(result?),
        }
    }
    Ok(told)
}

fn entry(effect: Effect) -> NewEntry {
    NewEntry {
        conversation: effect.user.personal_log(),
        sender: effect.user,
        id: effect.id,
        time_ms: effect.time_ms,
        content: effect.content,
        act: effect.contact.map_or(Act::Tell, Act::Contact),
        settles: Some(effect.revision),
    }
}
