//! Reports to those who run the server.

use std::sync::Arc;

use protocol::{
    ConversationId, EntryId, RawContent, UserId,
    wire::{Entry, ReportReason},
};

use super::{
    Store,
    scene::{NOW_MS, Scene, text},
};
use crate::{NewReport, ReportRow};

fn new(scene: &Scene) -> NewReport {
    NewReport {
        id: scene.number(),
        request: EntryId::generate(),
        reporter: UserId::new(901),
        reported: UserId::new(902),
        reason: ReportReason::Spam,
        text: "again and again".into(),
        time_ms: NOW_MS,
        message: None,
    }
}

/// A report is filed once for a request, with the message as it was, and listed until it is closed.
pub async fn reports_are_listed_newest_first_until_closed(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let mut reports = [new(&scene), new(&scene), new(&scene)];
    let entry = Entry {
        position: 7,
        id: EntryId::generate().to_string(),
        sender: 902,
        time_ms: NOW_MS,
        content: Some(RawContent::from_bytes(text("buy!"))),
    };
    reports[1].message = Some((ConversationId::new(55), entry));
    for report in &reports {
        scene.store.report(report.clone()).await.unwrap();
        scene.store.report(NewReport { id: scene.number(), ..report.clone() }).await.unwrap();
    }
    let [first, second, third] = reports.map(|report| ReportRow { report, closed: false, note: String::new() });
    let list = |closed, before, limit| scene.store.reports(closed, before, limit);
    assert_eq!(list(false, u64::MAX, 9).await.unwrap(), [third.clone(), second.clone(), first.clone()]);
    assert_eq!(list(false, third.report.id, 1).await.unwrap(), std::slice::from_ref(&second));

    assert!(scene.store.close_report(second.report.id, "warned".into()).await.unwrap());
    assert!(!scene.store.close_report(77_777, "nothing".into()).await.unwrap());
    let second = ReportRow { closed: true, note: "warned".into(), ..second };
    assert_eq!(list(false, u64::MAX, 9).await.unwrap(), [third.clone(), first.clone()]);
    assert_eq!(list(true, u64::MAX, 9).await.unwrap(), [third, second, first]);
}
