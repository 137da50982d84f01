//! That what was stored is seen though the answer to its commit got lost.

use std::sync::atomic::Ordering;

use api::UserService as _;
use protocol::wire::{self, ErrorCode};

use crate::bed::{Bed, by, code_of, id, nobody, of};

#[tokio::test]
async fn a_new_name_is_seen_and_the_former_is_nobodys_though_the_answer_to_the_commit_got_lost() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    for _ in 0..2 {
        assert_eq!(bed.find(&[of(&alice)], &["alice"]).await.len(), 2);
    }
    assert_eq!(bed.users.asked(&["find"]), 2, "now the caches know her");
    bed.users.lose_answer("rename");
    let rename = || wire::Rename { name: "alicia".into() };
    assert_eq!(code_of(bed.user.rename(&by(&alice), rename())).await, ErrorCode::OutcomeUnknown);
    let found = bed.find(&[of(&alice)], &["alicia"]).await;
    assert_eq!(found.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["alicia", "alicia"]);
    let by_former = bed.find(&[], &["alice"]).await;
    assert!(by_former.iter().all(|user| user.name == "alicia"), "{by_former:?}");
    bed.user.rename(&by(&alice), rename()).await.unwrap();
    assert_eq!(bed.authenticate(&alice.access_token).await.unwrap().user.unwrap().name, "alicia");
}

#[tokio::test]
async fn a_profile_and_an_account_s_end_are_seen_though_the_answers_to_their_commits_got_lost() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    assert_eq!(bed.find(&[of(&alice)], &["alice"]).await.len(), 2, "now the caches know her");
    bed.users.lose_answer("update_profile");
    let update = wire::UpdateProfile { status_line: Some("away".into()), ..Default::default() };
    assert_eq!(code_of(bed.user.update_profile(&by(&alice), update)).await, ErrorCode::OutcomeUnknown);
    let found = bed.find(&[of(&alice)], &["alice"]).await;
    assert_eq!(found.iter().map(|user| user.status_line.as_str()).collect::<Vec<_>>(), ["away", "away"]);

    bed.users.lose_answer("delete_account");
    let delete = wire::DeleteAccount { password: "password".into() };
    assert_eq!(code_of(bed.user.delete_account(&by(&alice), delete)).await, ErrorCode::OutcomeUnknown);
    assert!(bed.find(&[of(&alice)], &[]).await[0].deleted);
    assert!(bed.find(&[], &["alice"]).await.is_empty());
    assert_eq!(bed.standings_changed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_is_new_is_found_though_the_answer_to_the_commit_got_lost() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    assert!(bed.find(&[], &["bob", "helper"]).await.is_empty(), "now the caches know that there are none");
    bed.users.lose_answer("create_account");
    let register = wire::Register { name: "bob".into(), password: "password".into(), device: String::new() };
    assert_eq!(code_of(bed.user.register(&nobody(), register)).await, ErrorCode::OutcomeUnknown);
    bed.users.lose_answer("create_bot");
    let bot = wire::CreateBot { id: id(), name: "helper".into(), display_name: String::new() };
    assert_eq!(code_of(bed.user.create_bot(&by(&alice), bot)).await, ErrorCode::OutcomeUnknown);
    assert_eq!(bed.find(&[], &["bob", "helper"]).await.len(), 2);
}
