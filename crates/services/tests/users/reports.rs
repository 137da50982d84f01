//! Reports to those who run the server.

use api::UserService as _;
use protocol::wire::{self, ErrorCode, ReportReason, report::What};

use crate::bed::{Bed, by, code_of, id, nobody, of};

fn report(what: What, text: &str) -> wire::Report {
    wire::Report { id: id(), what: Some(what), reason: ReportReason::Spam.into(), text: text.into() }
}

#[tokio::test]
async fn a_reported_message_is_kept_as_it_was_until_the_report_is_closed() {
    let bed = Bed::start().await;
    let (alice, bob, carol) = (bed.register("alice").await, bed.register("bob").await, bed.register("carol").await);
    let conversation = bed.direct(&bob, of(&alice)).await;
    bed.say(&by(&bob), conversation, "hello").await.unwrap();
    bed.say(&by(&bob), conversation, "buy this!").await.unwrap();
    let message = |position| What::Message(wire::ReportedMessage { conversation, position });
    let request = report(message(2), "again");
    bed.user.report(&by(&alice), request.clone()).await.unwrap();
    bed.user.report(&by(&alice), request).await.unwrap();
    bed.user.report(&by(&alice), report(What::User(of(&carol)), "")).await.unwrap();

    assert_eq!(code_of(bed.user.report(&by(&carol), report(message(2), ""))).await, ErrorCode::NotMember);
    assert_eq!(code_of(bed.user.report(&by(&alice), report(message(3), ""))).await, ErrorCode::NotFound);
    assert_eq!(code_of(bed.user.report(&by(&alice), report(message(0), ""))).await, ErrorCode::Invalid);
    assert_eq!(code_of(bed.user.report(&by(&bob), report(message(2), ""))).await, ErrorCode::Invalid, "his own");
    assert_eq!(code_of(bed.user.report(&by(&bob), report(What::User(77), ""))).await, ErrorCode::NotFound);
    let long = report(What::User(of(&bob)), &"x".repeat(1_001));
    assert_eq!(code_of(bed.user.report(&by(&alice), long)).await, ErrorCode::LimitExceeded);
    let nothing = wire::Report { what: None, ..report(What::User(1), "") };
    assert_eq!(code_of(bed.user.report(&by(&alice), nothing)).await, ErrorCode::Invalid);

    let list = |closed, before| {
        let user = bed.user.clone();
        let request = wire::ListReports { closed, before, limit: 10 };
        async move { user.list_reports(&nobody(), request).await.unwrap().reports }
    };
    let reports = list(false, 0).await;
    assert_eq!(reports.len(), 2);
    let filed = &reports[1];
    assert_eq!((filed.reason(), filed.text.as_str(), filed.conversation), (ReportReason::Spam, "again", conversation));
    assert_eq!(filed.reporter.as_ref().unwrap().name, "alice");
    assert_eq!(filed.reported.as_ref().unwrap().name, "bob");
    let entry = filed.entry.as_ref().unwrap();
    assert_eq!((entry.position, entry.content.as_ref().unwrap().text().unwrap().as_str()), (2, "buy this!"));
    assert_eq!(list(false, reports[0].id).await, reports[1..]);

    let close = |report| wire::CloseReport { report, note: "warned".into() };
    bed.user.close_report(&nobody(), close(filed.id)).await.unwrap();
    assert_eq!(code_of(bed.user.close_report(&nobody(), close(77))).await, ErrorCode::NotFound);
    assert_eq!(list(false, 0).await, reports[..1]);
    let closed = list(true, 0).await;
    assert!(closed[1].closed && closed[1].note == "warned");
}
