//! The live configuration: what may change while a system runs, from the registry, over the file and the environment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gateway::Limits;
use registry::Registry;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    config::{Config, Lifetimes},
    logging::Levels,
};

/// Section and key.
type Key = (&'static str, &'static str);

/// Between two tries to read a value.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// Changes a gateway's rates.
pub(super) type LimitsSetter = Box<dyn Fn(Limits) + Send + Sync>;

/// Follows the registry's values, which are named `section.key`, and puts into effect what is valid; what is not is logged, and
/// what was in effect before stays. Ends with the process.
pub(super) async fn follow(
    registry: Arc<dyn Registry>,
    base: Config,
    set_limits: Option<LimitsSetter>,
    lifetimes: Lifetimes,
    levels: Levels,
) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watching = JoinSet::new();
    for key in Config::live_keys() {
        watching.spawn(follow_one(Arc::clone(&registry), key, changed.clone()));
    }
    drop(changed);
    let mut values = BTreeMap::new();
    let mut current = base.clone();
    while let Some((key, value)) = changes.recv().await {
        let name = format!("{}.{}", key.0, key.1);
        let before = values.clone();
        // None of these is a secret.
        let told = value.clone().unwrap_or_else(|| "as this process's own configuration says".to_owned());
        match value {
            Some(value) => drop(values.insert(key, value)),
            None => drop(values.remove(&key)),
        }
        match base.with_live_values(&values) {
            Ok(changed) if changed == current => {}
            Ok(changed) => {
                if let Some(set_limits) = &set_limits {
                    set_limits(changed.limits());
                }
                lifetimes.set(&changed);
                if let Err(error) = levels.set(&changed.log.level) {
                    tracing::error!(%error, "the log's levels stay as they are");
                }
                tracing::info!(name, value = told, "a value of the live configuration is in effect");
                current = changed;
            }
            Err(mistakes) => {
                tracing::error!(%mistakes, "a value of the live configuration is refused; the one before stays");
                values = before;
            }
        }
    }
}

/// Tells each value of a key, from the present one on.
async fn follow_one(registry: Arc<dyn Registry>, (section, key): Key, changed: mpsc::Sender<(Key, Option<String>)>) {
    let name = format!("{section}.{key}");
    let mut value = loop {
        match registry.config(&name).await {
            Ok(value) => break value,
            Err(error) => tracing::debug!(%error, name, "a value of the live configuration cannot be read yet"),
        }
        sleep(READ_AGAIN).await;
    };
    loop {
        let now = value.borrow_and_update().clone();
        if changed.send(((section, key), now)).await.is_err() || value.changed().await.is_err() {
            return;
        }
    }
}
