//! What no instance would send.

use prost::Message as _;
use protocol::wire;
use rpc::{CALLS_PER_CONNECTION_MAX, FRAME_BYTES_MAX};

use crate::bed::*;

const FAULT: u8 = 9;

/// The error in the fault with which a server ends a connection.
fn fault(heard: &[u8]) -> String {
    assert_eq!(heard.get(4), Some(&FAULT), "{heard:?}");
    wire::Error::decode(&heard[13..]).unwrap().message
}

#[tokio::test]
async fn malformed_frames_end_the_connection_with_an_error_that_names_them_and_nothing_else() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let cases: [(Vec<u8>, &str); 5] = [
        ((FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec(), "a frame of 20971521 bytes, allowed are 20971520"),
        (u32::MAX.to_be_bytes().to_vec(), "a frame of 4294967295 bytes, allowed are 20971520"),
        (8u32.to_be_bytes().to_vec(), "a frame of 8 bytes is too short for what it is"),
        (frame(1, 1, b"short"), "a frame of 5 bytes is too short for what it is"),
        (frame(2, 1, b""), "a frame of kind 2 does not go in this direction"),
    ];
    for (bytes, expected) in cases {
        let mut rogue = Rogue::enter(server.address()).await;
        rogue.say(&bytes).await;
        let heard = rogue.hear_all().await;
        assert_eq!(fault(&heard), expected);
        ask(&channel, &ONCE, number(100)).await.expect("others are served");
    }
    assert_eq!(told.begun_total(), 5);
}

#[tokio::test]
async fn a_number_that_is_under_way_already_ends_the_connection() {
    let (server, told) = server().await;
    let mut rogue = Rogue::enter(server.address()).await;
    rogue.say(&request(7, &ONCE, &Ask { hang: true, ..number(1) })).await;
    eventually("the first is begun", || told.begun(1) == 1).await;
    rogue.say(&request(7, &ONCE, &number(2))).await;
    let heard = rogue.hear_all().await;
    assert_eq!(fault(&heard), "call 7 is under way already");
    assert_eq!(told.begun(2), 0);
    eventually("the call of the connection is dropped", || *told.dropped.lock().unwrap() == [1]).await;
}

#[tokio::test]
async fn a_truncated_frame_ends_the_connection_and_begins_nothing() {
    let (server, told) = server().await;
    let whole = request(1, &ONCE, &Ask { payload: vec![1; 1_000], ..number(1) });
    let mut rogue = Rogue::enter(server.address()).await;
    rogue.say(&whole[..whole.len() - 1]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut rogue.0).await.unwrap();
    assert!(rogue.hear_all().await.is_empty());
    assert_eq!(told.begun_total(), 0);
}

#[tokio::test]
async fn a_request_that_cannot_be_decoded_is_refused_and_the_connection_goes_on() {
    let (server, told) = server().await;
    let mut rogue = Rogue::enter(server.address()).await;
    let head = [&ONCE.id.to_be_bytes()[..], &1_000u32.to_be_bytes(), &[0], &0u16.to_be_bytes()].concat();
    rogue.say(&frame(1, 1, &[&head[..], &[0xff]].concat())).await;
    // Kinds that are not known (yet) are passed over.
    rogue.say(&frame(200, 1, b"from the future")).await;
    rogue.say(&request(2, &ONCE, &number(2))).await;
    eventually("the second is begun", || told.begun(2) == 1).await;
    assert!(server.stop(std::time::Duration::from_millis(200)).await || rogue.hear_all().await.len() > 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_cut_off_and_hurts_nobody_else() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let mut rogue = Rogue::enter(server.address()).await;
    // Answers of 4 MiB each, four times what a connection may leave unread.
    const CALLS: u64 = 40;
    let asked = async {
        for call in 0..CALLS {
            rogue.say(&request(call, &ONCE, &Ask { answer_bytes: 4 << 20, delay_ms: 50, ..number(call) })).await;
        }
    };
    asked.await;
    eventually("all are begun", || told.begun_total() == CALLS as u32).await;
    for n in 1_000..1_020 {
        ask(&channel, &ONCE, number(n)).await.unwrap();
    }
    // What it hears in the end is what had left before it was cut off.
    let heard = rogue.hear_all().await.len();
    assert!(heard < (CALLS as usize) << 22, "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_holds_a_bounded_number_of_calls() {
    let (server, told) = server().await;
    let mut rogue = Rogue::enter(server.address()).await;
    let mut bytes = Vec::new();
    let count = CALLS_PER_CONNECTION_MAX as u64 + 10;
    for call in 0..count {
        bytes.extend(request(call, &ONCE, &Ask { hang: true, ..number(call) }));
    }
    rogue.say(&bytes).await;
    let mut refused = vec![0; 10 * 13];
    tokio::io::AsyncReadExt::read_exact(&mut rogue.0, &mut refused).await.unwrap();
    assert_eq!(refused[4], 3 + 1, "refused");
    eventually("the others are begun", || told.begun_total() == CALLS_PER_CONNECTION_MAX as u32).await;
}
