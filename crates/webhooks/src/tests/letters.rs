//! What happens to what is not accepted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Backoff;
use http::Response;
use http_body_util::Full;
use protocol::wire::ConversationKind::{Direct, Group};
use store::Webhooks as _;

use super::{
    bed::{ALICE, Bed, config, soon},
    receiver::{Receiver, status},
};
use crate::Config;

#[tokio::test]
async fn what_is_refused_again_and_again_becomes_a_dead_letter_and_the_next_goes_on() {
    let mut receiver = Receiver::start().await;
    receiver.answers(|posted| status(if posted.text() == "bad" { 500 } else { 200 }));
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "bad");
    let letters = bed.letters(5, 1).await;
    assert_eq!((letters[0].conversation.get(), letters[0].position, letters[0].attempts), (70, 1, 3));
    assert!(letters[0].error.contains("500"), "{}", letters[0].error);
    assert_eq!(bed.last_error(5).await, letters[0].error);
    for _ in 0..3 {
        assert_eq!(receiver.next().await.text(), "bad");
    }
    bed.gateway.say(70, Direct, ALICE, "good");
    assert_eq!(receiver.next().await.text(), "good");
    bed.until(async || bed.last_error(5).await.is_empty().then_some(())).await;
    assert_eq!((bed.metrics.failed.get(), bed.metrics.dead.get(), bed.metrics.delivered.get()), (3, 1, 1));
}

#[tokio::test]
async fn dead_letters_are_redelivered_when_asked_for_and_then_gone() {
    let mut receiver = Receiver::start().await;
    receiver.answers(|_| status(410));
    let bed = Bed::start(Config { poll_every: Duration::from_secs(60), ..config() }).await;
    bed.hook(5, &receiver.url).await;
    for (conversation, kind) in [(70, Direct), (80, Group)] {
        bed.gateway.say(conversation, kind, ALICE, "a");
        receiver.next().await;
    }
    let letters = bed.letters(5, 2).await;
    assert_eq!(letters[0].attempts, 1, "gone means gone");
    assert!(receiver.is_idle());

    receiver.answers(|_| status(200));
    bed.store.redeliver(5, vec![letters[1].id]).await.unwrap();
    let posted = receiver.next().await;
    assert_eq!((posted.id(), &posted.body["kind"]), ("5-80-1", &"GROUP".into()));
    assert_eq!(bed.letters(5, 1).await[0].id, letters[0].id);
    bed.store.redeliver(5, Vec::new()).await.unwrap();
    let posted = receiver.next().await;
    assert_eq!((posted.id(), &posted.body["kind"]), ("5-70-1", &"DIRECT".into()));
    bed.letters(5, 0).await;
}

#[tokio::test]
async fn a_redelivery_that_fails_leaves_a_letter_that_is_not_tried_by_itself() {
    let mut receiver = Receiver::start().await;
    receiver.answers(|_| status(410));
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    let first = bed.letters(5, 1).await.remove(0);
    bed.store.redeliver(5, Vec::new()).await.unwrap();
    let again = bed
        .until(async || {
            let letters = bed.store.dead_letters(5, 0, 10, false).await.unwrap();
            letters.into_iter().next().filter(|letter| letter.id != first.id)
        })
        .await;
    assert_eq!((again.position, again.redeliver), (first.position, false));
    receiver.answers(|_| status(200));
    bed.gateway.say(70, Direct, ALICE, "b");
    while receiver.next().await.text() != "b" {}
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn the_oldest_dead_letters_are_dropped_beyond_their_number() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(410));
    let bed = Bed::start(Config { letters_max: 3, ..config() }).await;
    bed.hook(5, &receiver.url).await;
    for i in 0..5 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
    }
    bed.until(async || {
        let letters = bed.store.dead_letters(5, 0, 10, false).await.unwrap();
        let positions: Vec<u64> = letters.iter().map(|letter| letter.position).collect();
        (positions == [3, 4, 5]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept_within_the_longest() {
    let mut receiver = Receiver::start().await;
    let mut first = true;
    receiver.answers(move |_| {
        if std::mem::take(&mut first) {
            let asks = Response::builder().status(429).header("retry-after", "3600");
            return Some(asks.body(Full::<Bytes>::default()).unwrap());
        }
        status(200)
    });
    let longest = Duration::from_millis(300);
    let backoff = Backoff { min: Duration::from_millis(1), max: longest };
    let bed = Bed::start(Config { backoff, ..config() }).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    receiver.next().await;
    let asked = Instant::now();
    receiver.next().await;
    assert!(asked.elapsed() >= longest - Duration::from_millis(50), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_has_failed() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| None);
    let bed = Bed::start(Config { timeout: Duration::from_millis(50), ..config() }).await;
    bed.hook(5, &receiver.url).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    let letters = bed.letters(5, 1).await;
    assert!(letters[0].error.contains("no answer within"), "{}", letters[0].error);
}

#[tokio::test]
async fn a_receiver_that_closes_its_connection_or_talks_too_much_gets_everything_all_the_same() {
    let mut receiver = Receiver::start().await;
    let mut count = 0;
    receiver.answers(move |_| {
        count += 1;
        let answer = Response::builder().status(200);
        Some(if count % 2 == 0 {
            answer.header("connection", "close").body(Full::default()).unwrap()
        } else {
            answer.body(Full::from(vec![b'x'; 100_000])).unwrap()
        })
    });
    let bed = Bed::start(config()).await;
    bed.hook(5, &receiver.url).await;
    for i in 0..10 {
        bed.gateway.say(70, Direct, ALICE, &format!("{i}"));
        assert_eq!(receiver.next().await.text(), format!("{i}"));
    }
    soon(bed.until(async || (bed.metrics.delivered.get() == 10).then_some(()))).await;
    assert_eq!(bed.metrics.failed.get(), 0);
}

#[tokio::test]
async fn private_addresses_and_plain_http_are_refused_unless_allowed() {
    let mut receiver = Receiver::start().await;
    let bed = Bed::start(Config { allow_private: false, ..config() }).await;
    bed.hook(5, &receiver.url).await;
    bed.hook(6, &receiver.url.replace("http:", "https:")).await;
    bed.gateway.say(70, Direct, ALICE, "a");
    let plain = bed.letters(5, 1).await.remove(0);
    assert!(plain.error.contains("https:"), "{}", plain.error);
    let private = bed.letters(6, 1).await.remove(0);
    assert!(private.error.contains("no public address"), "{}", private.error);
    assert_eq!(private.attempts, 1);
    assert!(receiver.is_idle());
}
