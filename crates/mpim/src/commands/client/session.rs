//! `sessions`.

use anyhow::bail;
use clap::Subcommand;
use protocol::SessionId;
use serde_json::json;

use crate::commands::client::{
    connection::{Place, persist},
    print::{Printer, local_time, rfc3339, table},
};

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List this user's sessions.
    ///
    /// JSON: id, device, created, seen, current.
    List,
    /// End another session; its device is logged out.
    Revoke {
        /// The session's id, from the list
        id: SessionId,
    },
}

pub(super) async fn run(place: &Place, printer: Printer, command: SessionsCommand) -> anyhow::Result<()> {
    let client = place.connect().await?;
    match command {
        SessionsCommand::List => {
            let sessions = persist(|| client.sessions()).await?;
            let rows: Vec<Vec<String>> = sessions
                .iter()
                .map(|session| {
                    let mark = if session.current { "*" } else { "" };
                    let (id, device) = (session.id.to_string(), session.device.clone());
                    vec![mark.into(), id, device, format!("last seen {}", local_time(session.seen_ms))]
                })
                .collect();
            for (session, line) in sessions.iter().zip(table(&rows)) {
                let json = || {
                    json!({
                        "id": session.id.to_string(),
                        "device": session.device,
                        "created": rfc3339(session.created_ms),
                        "seen": rfc3339(session.seen_ms),
                        "current": session.current,
                    })
                };
                printer.print(json, || line)?;
            }
        }
        SessionsCommand::Revoke { id } => {
            if id == client.session() {
                bail!("session {id} is this device's own: end it with `mpim client logout`");
            }
            client.revoke(id).await?;
            printer.print(|| json!({ "id": id.to_string() }), || format!("session {id} is ended"))?;
        }
    }
    client.close().await;
    Ok(())
}
