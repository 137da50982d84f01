//! The live configuration: what may change while a system runs, from the registry, over the file and the environment.

use std::{collections::BTreeMap, sync::Arc};

use gateway::Limits;
use registry::Registry;
use tokio::task::JoinSet;

use crate::{config::Config, logging::Levels};

/// Changes a gateway's rates.
pub(super) type LimitsSetter = Box<dyn Fn(Limits) + Send + Sync>;

/// Follows the registry's values, which are named `section.key`, and puts into effect what is valid; what is not is logged, and
/// what was in effect before stays. Ends with the process.
pub(super) async fn follow(
    registry: Arc<dyn Registry>,
    base: Config,
    set_limits: Option<LimitsSetter>,
    levels: Levels,
) {
    let (changed, mut changes) = tokio::sync::mpsc::channel(1);
    let mut watching = JoinSet::new();
    for (section, key) in Config::live_keys() {
        let name = format!("{section}.{key}");
        match registry.config(&name).await {
            Ok(mut value) => {
                let changed = changed.clone();
                watching.spawn(async move {
                    loop {
                        let now = value.borrow_and_update().clone();
                        if changed.send(((section, key), now)).await.is_err() || value.changed().await.is_err() {
                            return;
                        }
                    }
                });
            }
            Err(error) => tracing::warn!(%error, name, "changes of this value will not be noticed"),
        }
    }
    let mut values = BTreeMap::new();
    let mut current = base.clone();
    while let Some((key, value)) = changes.recv().await {
        let name = format!("{}.{}", key.0, key.1);
        let before = values.clone();
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
                if let Err(error) = levels.set(&changed.log.level) {
                    tracing::error!(%error, "the log's levels stay as they are");
                }
                tracing::info!(name, "a value of the live configuration is in effect");
                current = changed;
            }
            Err(mistakes) => {
                tracing::error!(%mistakes, "a value of the live configuration is refused; the one before stays");
                values = before;
            }
        }
    }
}
