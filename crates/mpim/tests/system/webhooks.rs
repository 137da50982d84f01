//! Webhooks of real bots, from a real process to a real receiver.

use axum::http::StatusCode;
use client::{
    EntryId, Error, GroupId, Target,
    wire::{self, client_frame::Body as Request},
};

use crate::{
    process::Process,
    receiver::{Owner, Receiver},
};

#[tokio::test]
async fn a_webhook_hears_what_is_said_to_its_bot_from_its_making_on() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    owner.say("before").await;
    let webhook = owner.webhook(&receiver.url).await;
    assert!(webhook.secret.starts_with("whsec_"), "{}", webhook.secret);
    owner.say("direct").await;
    assert_eq!(receiver.text().await, "direct");

    let group = owner
        .client
        .create_group("friends", &[owner.bot], wire::JoinPolicy::default(), EntryId::generate())
        .await
        .unwrap();
    let target = Target::Conversation(GroupId::new(group.id).conversation());
    owner.client.send(target, client::text("to a group"), EntryId::generate()).await.unwrap();
    assert_eq!(receiver.text().await, "to a group");
    owner.client.close().await;
}

#[tokio::test]
async fn webhooks_lose_nothing_and_keep_the_order_when_the_server_is_killed() {
    const MESSAGES: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    owner.webhook(&receiver.url).await;
    let mut heard = Vec::new();
    for number in 0..MESSAGES {
        owner.say(&number.to_string()).await;
        if number % 20 == 10 {
            // Some were posted, some perhaps not.
            heard.push(receiver.text().await);
            process.kill_and_restart().await;
        }
    }
    while heard.last().is_none_or(|text| *text != (MESSAGES - 1).to_string()) {
        heard.push(receiver.text().await);
    }
    // After a kill at most the delivery under way comes again.
    heard.dedup();
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(heard, expected);
    owner.client.close().await;
}

#[tokio::test]
async fn dead_letters_are_listed_and_redelivered_and_a_deleted_webhook_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    let webhook = owner.webhook(&receiver.url).await;
    receiver.answers(StatusCode::SERVICE_UNAVAILABLE);
    owner.say("a").await;
    let letters = owner.until_letters(webhook.id, 1).await;
    assert!(letters[0].error.contains("503") && letters[0].attempts > 1, "{:?}", letters[0]);
    for _ in 0..letters[0].attempts {
        assert_eq!(receiver.text().await, "a");
    }

    receiver.answers(StatusCode::NO_CONTENT);
    let request = wire::Redeliver { webhook: webhook.id, letters: vec![letters[0].id] };
    owner.client.request(Request::Redeliver(request)).await.unwrap();
    assert_eq!(receiver.text().await, "a");
    owner.until_letters(webhook.id, 0).await;

    let request = wire::DeleteWebhook { webhook: webhook.id };
    owner.client.request(Request::DeleteWebhook(request)).await.unwrap();
    let again = owner.client.request(Request::DeleteWebhook(request)).await;
    assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
    let mut second = Receiver::start().await;
    owner.webhook(&second.url).await;
    owner.say("b").await;
    assert_eq!(second.text().await, "b");
    assert!(receiver.posted.try_recv().is_err());
    owner.client.close().await;
}
