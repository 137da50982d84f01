//! What is posted, and in which order.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::Response;
use http_body_util::Full;
use protocol::wire::ConversationKind::{Direct, Group, Personal};
use sha2::Sha256;
use store::Webhooks as _;

use super::{
    bed::{ALICE, BOT, Bed, SECRET, config},
    receiver::{Receiver, status},
};
use crate::Config;

#[tokio::test]
async fn what_others_say_is_posted_and_signed() {
    let mut receiver = Receiver::start().await;
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(BOT, Personal, BOT, "personal");
    bed.gateway.say(70, Direct, BOT, "the bot's own");
    bed.gateway.say(70, Direct, ALICE, "天气");

    let posted = receiver.next().await;
    assert_eq!((posted.id(), posted.text()), ("5-70-2", "天气"));
    assert_eq!(posted.headers["content-type"], "application/json");
    assert_eq!(posted.body["type"], "entry");
    assert_eq!(posted.body["bot"], "11");
    assert_eq!(posted.body["conversation"], "70");
    assert_eq!(posted.body["kind"], "DIRECT");
    assert_eq!(posted.body["entry"]["position"], "2");
    assert_eq!(posted.body["from"]["name"], "user12");

    let timestamp = posted.headers["webhook-timestamp"].to_str().unwrap();
    let signature = posted.headers["webhook-signature"].to_str().unwrap().strip_prefix("v1,").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("5-70-2.{timestamp}.").as_bytes());
    mac.update(&posted.bytes);
    mac.verify_slice(&STANDARD.decode(signature).unwrap()).unwrap();

    bed.gateway.say(80, Group, ALICE, "to a group");
    let posted = receiver.next().await;
    assert_eq!((posted.text(), &posted.body["kind"]), ("to a group", &"GROUP".into()));
    bed.until(async || (bed.metrics.delivered.get() == 2).then_some(())).await;
}

#[tokio::test]
async fn what_was_said_before_the_webhook_was_made_is_not_posted() {
    let mut receiver = Receiver::start().await;
    let bed = Bed::start(config()).await;
    for i in 0..250 {
        bed.gateway.say(70, Direct, ALICE, &format!("old {i}"));
    }
    // The next millisecond: what was said in the same one counts as said after it.
    let said_ms = std::time::SystemTime::now();
    bed.until(async || (said_ms.elapsed().ok()?.as_millis() > 1).then_some(())).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "new");
    assert_eq!(receiver.next().await.text(), "new");
}

#[tokio::test]
async fn each_conversation_is_posted_in_order_though_attempts_fail() {
    let mut receiver = Receiver::start().await;
    let mut count = 0;
    receiver.answers(move |_| {
        count += 1;
        status(if count % 2 == 0 { 200 } else { 503 })
    });
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    for i in 1..=20 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
        bed.gateway.say(80, Group, ALICE, &format!("{i}"));
    }
    let (mut direct, mut group) = (Vec::new(), Vec::new());
    while direct.len() + group.len() < 40 {
        let failed = receiver.next().await;
        let accepted = receiver.next().await;
        assert_eq!(failed.id(), accepted.id(), "the same entry is tried again before the next one");
        let texts = if accepted.body["conversation"] == "70" { &mut direct } else { &mut group };
        texts.push(accepted.text().parse::<u32>().unwrap());
    }
    assert_eq!(direct, Vec::from_iter(1..=20));
    assert_eq!(group, direct);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_repeats_at_most_the_delivery_under_way() {
    let mut receiver = Receiver::start().await;
    // The third is never answered.
    receiver.answers(|posted| if posted.text() == "3" { None } else { status(200) });
    let mut bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    for i in 1..=3 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
        assert_eq!(receiver.next().await.text(), format!("{i}"));
    }
    bed.stop().await;
    for i in 4..=6 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
    }
    assert!(receiver.is_idle());
    receiver.answers(|_| status(200));
    bed.resume();
    for i in 3..=6 {
        let posted = receiver.next().await;
        assert_eq!((posted.text(), posted.id()), (&*format!("{i}"), &*format!("5-70-{i}")));
    }
}

#[tokio::test]
async fn a_webhook_whose_receiver_hangs_holds_up_no_other() {
    let (mut hanging, mut good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(|_| None);
    let bed = Bed::start(Config { requests_max: 2, ..config() }).await;
    bed.hook(5, &hanging.url).await;
    bed.hook(6, &good.url).await;
    for i in 0..20 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
        assert_eq!(good.next().await.text(), format!("{i}"));
    }
    assert_eq!(hanging.next().await.text(), "0");
    assert!(hanging.is_idle());
}

#[tokio::test]
async fn a_webhook_that_was_removed_posts_no_more_and_one_that_was_made_begins_at_once() {
    let (mut first, mut second) = (Receiver::start().await, Receiver::start().await);
    let bed = Bed::start(config()).await;
    bed.hook(5, &first.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    assert_eq!(first.next().await.text(), "a");
    assert!(bed.store.delete_webhook(5).await.unwrap());
    bed.hook(6, &second.url).await;
    bed.gateway.say(70, Direct, ALICE, "b");
    while second.next().await.text() != "b" {}
    bed.gateway.say(70, Direct, ALICE, "c");
    assert_eq!(second.next().await.text(), "c");
    // What the removal crossed may still have come.
    while !first.is_idle() {}
    bed.gateway.say(70, Direct, ALICE, "d");
    assert_eq!(second.next().await.text(), "d");
    assert!(first.is_idle());
}

#[tokio::test]
async fn the_webhooks_of_a_bot_that_may_not_act_stop_at_once_and_wait_until_it_may_again() {
    let mut receiver = Receiver::start().await;
    // Who has to be told does not find out within this test.
    let bed = Bed::start(Config { poll_every: Duration::from_secs(3_600), ..config() }).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    assert_eq!(receiver.next().await.text(), "a");
    bed.suspend_bots(true);
    bed.until(async || (bed.gateway.connections() == 0).then_some(())).await;
    bed.gateway.say(70, Direct, ALICE, "b");
    assert!(receiver.is_idle());
    bed.suspend_bots(false);
    let mut posted = receiver.next().await;
    if posted.text() == "a" {
        // Stopped before it was known to be accepted.
        posted = receiver.next().await;
    }
    assert_eq!(posted.text(), "b");
}

#[tokio::test]
async fn a_bot_that_may_act_again_before_its_webhook_has_ended_is_followed_again() {
    let mut receiver = Receiver::start().await;
    let bed = Bed::start(Config { poll_every: Duration::from_secs(3_600), ..config() }).await;
    bed.hook(5, &receiver.url).await;
    for round in 0..20 {
        bed.suspend_bots(true);
        tokio::task::yield_now().await;
        bed.suspend_bots(false);
        bed.gateway.say(70, Direct, ALICE, &round.to_string());
        while receiver.next().await.text() != round.to_string() {}
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (receiver, mut elsewhere) = (Receiver::start().await, Receiver::start().await);
    let target = elsewhere.url.clone();
    receiver.answers(move |_| {
        Some(Response::builder().status(307).header("location", &target).body(Full::<Bytes>::default()).unwrap())
    });
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    let letters = bed.letters(5, 1).await;
    assert!(letters[0].error.contains("redirects"), "{}", letters[0].error);
    assert!(elsewhere.is_idle());
}

#[tokio::test]
async fn what_was_recalled_between_two_attempts_is_not_posted_again() {
    let mut receiver = Receiver::start().await;
    receiver.answers(|_| status(503));
    let bed = Bed::start(Config { attempts_max: 100_000, ..config() }).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "regretted");
    let first = receiver.next().await;
    assert_eq!(first.text(), "regretted");
    bed.gateway.recall(70, 1);
    // One may be on its way.
    let recalled = loop {
        let posted = receiver.next().await;
        if !posted.body["entry"]["content"]["recalled"].is_null() {
            break posted;
        }
    };
    assert_eq!(recalled.id(), first.id());
}
