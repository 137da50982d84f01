//! From each request to the service that answers it, and what the gateway adds to the answer.

use std::{sync::Arc, time::Duration};

use api::{Announcement, Call, Caller, GroupService, MessageService, PresenceService, Scopes, Services, UserService};
use prometheus_client::registry::Registry;
use protocol::{
    SessionId, UserId,
    wire::{
        ClientFrame, ErrorCode, GetGroup, ListBans, ListJoinRequests, ListReceipts, RemoveFriend, Rename, SetBlocked,
        UpdateProfile, UpdateSettings, UserInfo, client_frame::Body as Request, get_group, server_frame::Body,
    },
};
use tokio::time::Instant;

use super::{
    bed::Bed,
    services::{info, name_of},
};
use crate::{
    Limits, Metrics,
    admission::Admission,
    dispatch::{Dispatch, table::ROWS},
};

/// Services that know nothing, and name in their refusal what they were asked.
struct Blank;

impl UserService for Blank {}
impl MessageService for Blank {}
impl GroupService for Blank {}
impl PresenceService for Blank {}

#[tokio::test]
async fn every_request_reaches_the_method_of_its_name() {
    let blank = Arc::new(Blank);
    let services = Services { user: blank.clone(), message: blank.clone(), group: blank.clone(), presence: blank };
    let dispatch = Dispatch::new(
        services,
        Arc::new(Admission::new(Limits::UNLIMITED)),
        Metrics::new(&mut Registry::default()),
        Duration::from_secs(5),
    );
    let caller = Caller { user: UserId::new(7), session: SessionId::new(70), scopes: Scopes::ALL };
    for row in ROWS.iter().filter(|row| !row.needs_socket && row.name != "ping") {
        let deadline = Instant::now() + Duration::from_secs(5);
        let call = Call { caller: Some(caller), origin: None, address: None, deadline };
        let body = match row.name {
            "open_direct" => serde_json::json!({ "user": "8" }),
            _ => serde_json::json!({}),
        };
        let frame: ClientFrame = serde_json::from_value(serde_json::json!({ row.name: body })).unwrap();
        let error = dispatch.answer(&call, frame.body.unwrap()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnknownRequest, "{}", row.name);
        // Whom to open it with is looked up first.
        let asked = if row.name == "open_direct" { "FindUsers" } else { row.message };
        assert!(error.message().ends_with(&format!(" {asked}")), "{}: {error}", row.name);
    }
}

fn users(body: Body) -> Vec<UserInfo> {
    match body {
        Body::Users(page) => page.users,
        Body::Receipts(page) => page.receipts.into_iter().filter_map(|receipt| receipt.user).collect(),
        Body::JoinRequests(page) => page.requests.into_iter().filter_map(|request| request.user).collect(),
        Body::Group(group) => group.me.into_iter().filter_map(|me| me.user).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_is_told_of_by_id_is_told_of_in_full() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    let gone = UserInfo { id: 2_000, ..UserInfo::default() };
    assert_eq!(users(client.ask(Request::ListBans(ListBans::default())).await), [info(8), gone]);
    assert_eq!(users(client.ask(Request::ListReceipts(ListReceipts::default())).await), [info(8)]);
    assert_eq!(users(client.ask(Request::ListJoinRequests(ListJoinRequests::default())).await), [info(9)]);
    for (group, me) in [(300, vec![info(7)]), (301, Vec::new())] {
        let request = Request::GetGroup(GetGroup { by: Some(get_group::By::Group(group)) });
        assert_eq!(users(client.ask(request).await), me);
    }
}

/// What others see changes at once; that it cannot be told fails nothing.
#[tokio::test]
async fn changes_that_others_see_are_announced_and_no_others() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    let profile = UpdateProfile { display_name: Some("Seven".into()), ..UpdateProfile::default() };
    let requests = [
        Request::UpdateProfile(profile),
        Request::Rename(Rename { name: "septima".into() }),
        Request::UpdateSettings(UpdateSettings { invisible: Some(false), ..UpdateSettings::default() }),
        Request::UpdateSettings(UpdateSettings { write_policy: Some(1), ..UpdateSettings::default() }),
        Request::SetBlocked(SetBlocked { user: 8, blocked: true, ..SetBlocked::default() }),
        Request::SetBlocked(SetBlocked { user: 8, blocked: false, ..SetBlocked::default() }),
        Request::RemoveFriend(RemoveFriend { user: 9, ..RemoveFriend::default() }),
    ];
    for request in requests {
        assert!(matches!(client.ask(request).await, Body::Account(_) | Body::Done(_)));
    }
    let refused = Request::SetBlocked(SetBlocked { user: 404, blocked: true, ..SetBlocked::default() });
    assert!(matches!(client.ask(refused).await, Body::Error(_)));
    let profile = |name: &str, display_name: &str| {
        Some(UserInfo { name: name.into(), display_name: display_name.into(), ..info(7) })
    };
    let nothing = Announcement::default;
    let expected = [
        Announcement { user: profile(&name_of(7), "Seven"), ..nothing() },
        Announcement { user: profile("septima", ""), ..nothing() },
        Announcement { visibility: true, ..nothing() },
        Announcement { hide_from: 8, ..nothing() },
        Announcement { parted_from: 9, ..nothing() },
    ];
    let announced = bed.fake.state.lock().announced.clone();
    assert_eq!(announced, expected.map(|announcement| (7, announcement)));
}
