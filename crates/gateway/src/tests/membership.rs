//! Who hears a group's entries.

use protocol::{
    GroupId,
    queue::delivery::What,
    wire::{GroupEntered, GroupExited, Sync, client_frame::Body as Request, content::Kind, server_frame::Body},
};

use queue::Topic;

use super::bed::{Bed, eventually, personal_entry, pushed_text};
use super::pushes::is_unheard;

/// A gateway where these users are members of group 300 and connected.
async fn group_of(users: &[u64]) -> (Bed, Vec<super::bed::Tcp>) {
    let bed = Bed::new().await;
    {
        let mut state = bed.fake.state.lock();
        for user in users {
            state.groups.insert(*user, vec![300]);
        }
        state.members.insert(300, users.iter().copied().collect());
    }
    let mut clients = Vec::new();
    for user in users {
        clients.push(bed.connected(*user).await);
    }
    (bed, clients)
}

fn checks(bed: &Bed) -> Vec<Vec<u64>> {
    bed.fake.state.lock().checked.clone()
}

#[tokio::test]
async fn members_are_looked_up_before_the_first_entry_and_not_again_while_none_is_missed() {
    let (bed, mut clients) = group_of(&[7, 8]).await;
    for position in 10..20 {
        bed.publish_group(300, position, "x").await;
    }
    for client in &mut clients {
        client.texts(10).await;
    }
    assert_eq!(checks(&bed), [[7, 8]]);
    // A doubled and a late one are passed on, as clients tell by the position; they prove nothing.
    bed.publish_group(300, 19, "again").await;
    bed.publish_group(300, 3, "late").await;
    assert_eq!(clients[0].texts(2).await, ["again", "late"]);
    assert_eq!(checks(&bed).len(), 1);
}

/// The promise: who was put out of a group hears nothing of it, even if the entry that says so was lost.
#[tokio::test]
async fn a_gap_in_the_positions_finds_the_member_who_is_none_any_more() {
    let (bed, mut clients) = group_of(&[7, 8]).await;
    bed.publish_group(300, 1, "both").await;
    for client in &mut clients {
        assert_eq!(client.texts(1).await, ["both"]);
    }
    // Entry 2, which puts user 8 out, is lost on the way.
    bed.fake.state.lock().members.insert(300, [7].into());
    bed.publish_group(300, 3, "secret").await;
    assert_eq!(clients[0].texts(1).await, ["secret"]);
    bed.publish_group(300, 4, "secret too").await;
    assert_eq!(clients[0].texts(1).await, ["secret too"]);
    clients[1].expect_silence().await;
    assert_eq!(checks(&bed), [vec![7, 8], vec![7, 8]]);
}

#[tokio::test]
async fn an_entry_that_puts_a_member_out_is_the_last_one_they_hear() {
    let (bed, mut clients) = group_of(&[7, 8]).await;
    bed.publish_group(300, 1, "both").await;
    bed.publish_group_change(300, 2, "8 goes", &[], &[8]).await;
    bed.publish_group(300, 3, "secret").await;
    assert_eq!(clients[0].texts(3).await, ["both", "8 goes", "secret"]);
    assert_eq!(clients[1].texts(2).await, ["both", "8 goes"]);
    clients[1].expect_silence().await;
}

#[tokio::test]
async fn an_old_entry_that_comes_again_lets_nobody_in() {
    let (bed, mut clients) = group_of(&[7, 8]).await;
    bed.publish_group_change(300, 1, "8 comes", &[8], &[]).await;
    bed.publish_group_change(300, 2, "8 goes", &[], &[8]).await;
    clients[0].texts(2).await;
    clients[1].texts(2).await;
    bed.publish_group_change(300, 1, "8 comes", &[8], &[]).await;
    bed.publish_group(300, 3, "secret").await;
    assert_eq!(clients[0].texts(2).await, ["8 comes", "secret"]);
    clients[1].expect_silence().await;
}

#[tokio::test]
async fn who_enters_a_group_hears_it_from_the_personal_entry_on() {
    let (bed, mut clients) = group_of(&[7]).await;
    let mut entering = bed.connected(8).await;
    bed.publish_group(300, 1, "before").await;
    assert_eq!(clients[0].texts(1).await, ["before"]);
    bed.fake.state.lock().members.insert(300, [7, 8].into());
    bed.publish_to(&[8], What::Entry(personal_entry(8, 1, Kind::GroupEntered(GroupEntered { group: 300 })))).await;
    bed.publish_group(300, 2, "after").await;
    assert!(matches!(entering.frame().await.body, Some(Body::Entry(push)) if push.conversation == 8));
    assert_eq!(entering.texts(1).await, ["after"]);
    assert_eq!(checks(&bed).last().unwrap(), &[8]);
}

#[tokio::test]
async fn a_personal_entry_that_comes_late_lets_nobody_in() {
    let (bed, mut clients) = group_of(&[7]).await;
    let mut former = bed.connected(8).await;
    // User 8 entered and left again; of that, only the first is heard.
    bed.publish_to(&[8], What::Entry(personal_entry(8, 1, Kind::GroupEntered(GroupEntered { group: 300 })))).await;
    former.frame().await;
    bed.publish_group(300, 3, "secret").await;
    assert_eq!(clients[0].texts(1).await, ["secret"]);
    former.expect_silence().await;
}

#[tokio::test]
async fn the_personal_entry_of_leaving_puts_membership_in_doubt() {
    let (bed, mut clients) = group_of(&[7, 8]).await;
    bed.publish_group(300, 1, "both").await;
    for client in &mut clients {
        client.texts(1).await;
    }
    bed.fake.state.lock().members.insert(300, [7].into());
    bed.publish_to(
        &[8],
        What::Entry(personal_entry(8, 1, Kind::GroupExited(GroupExited { group: 300, removed: false }))),
    )
    .await;
    clients[1].frame().await;
    bed.publish_group(300, 2, "secret").await;
    assert_eq!(clients[0].texts(1).await, ["secret"]);
    clients[1].expect_silence().await;
    assert_eq!(checks(&bed).last().unwrap(), &[8]);
}

#[tokio::test]
async fn entries_wait_in_order_for_a_look_up_while_everything_else_goes_on() {
    let (bed, mut clients) = group_of(&[7]).await;
    bed.fake.checks.forget_permits(usize::MAX);
    for (position, text) in [(1, "one"), (2, "two"), (4, "four")] {
        bed.publish_group(300, position, text).await;
    }
    bed.publish_direct(&[7], 1, "direct").await;
    assert_eq!(clients[0].texts(1).await, ["direct"]);
    bed.fake.checks.add_permits(1);
    assert_eq!(clients[0].texts(2).await, ["one", "two"]);
    clients[0].expect_silence().await;
    bed.fake.checks.add_permits(1);
    assert_eq!(clients[0].texts(1).await, ["four"]);
}

#[tokio::test]
async fn while_members_cannot_be_looked_up_those_in_doubt_hear_nothing_but_to_catch_up() {
    let (bed, mut clients) = group_of(&[7]).await;
    bed.fake.state.lock().fail_checks = true;
    bed.publish_group(300, 1, "unsure").await;
    assert!(matches!(clients[0].frame().await.body, Some(Body::Resync(_))));
    clients[0].expect_silence().await;
    bed.fake.state.lock().fail_checks = false;
    bed.publish_group(300, 2, "sure").await;
    assert_eq!(clients[0].texts(1).await, ["sure"]);
}

#[tokio::test]
async fn a_group_whose_entering_was_lost_is_heard_from_the_next_sync_on() {
    let (bed, _clients) = group_of(&[7]).await;
    let mut entered = bed.connected(8).await;
    {
        let mut state = bed.fake.state.lock();
        state.members.insert(300, [7, 8].into());
        state.groups.insert(8, vec![300]);
    }
    bed.publish_group(300, 1, "missed").await;
    entered.expect_silence().await;
    assert!(matches!(entered.ask(Request::Sync(Sync::default())).await, Body::Sync(_)));
    bed.publish_group(300, 2, "heard").await;
    assert_eq!(entered.texts(1).await, ["heard"]);
}

#[tokio::test]
async fn a_group_is_no_longer_heard_when_its_last_member_here_has_gone() {
    let (bed, mut clients) = group_of(&[7]).await;
    bed.publish_group(300, 1, "heard").await;
    assert_eq!(clients[0].texts(1).await, ["heard"]);
    clients.clear();
    eventually("the topic is dropped", || is_unheard(&bed.queue, Topic::Group(GroupId::new(300)))).await;
    let mut back = bed.connected(7).await;
    bed.publish_group(300, 9, "heard again").await;
    assert_eq!(pushed_text(&back.frame().await), "heard again");
}
