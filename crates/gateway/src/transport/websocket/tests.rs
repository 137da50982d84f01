use std::future::poll_fn;

use prost::Message as _;
use protocol::wire::{ClientFrame, Ping, client_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const MASK: [u8; 4] = [0xa1, 0x02, 0xff, 0x40];

fn ping(request: u32) -> ClientFrame {
    ClientFrame { request, body: Some(client_frame::Body::Ping(Ping {})) }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(MASKED | u8::try_from(length).unwrap()),
        length @ ..=65_535 => {
            frame.push(MASKED | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let mut payload = payload.to_vec();
    unmask(&mut payload, MASK);
    frame.extend(payload);
    frame
}

async fn receive(websocket: &mut WebSocket<DuplexStream>) -> Received {
    poll_fn(|context| websocket.poll_receive(context)).await
}

async fn received(encoding: Encoding, bytes: &[u8]) -> Received {
    let (mut client, server) = tokio::io::duplex(1_024 * 1_024);
    client.write_all(bytes).await.unwrap();
    let mut websocket = WebSocket::new(server, BytesMut::new(), encoding);
    websocket.allow_large_frames();
    loop {
        match receive(&mut websocket).await {
            Received::Alive => {}
            received => return received,
        }
    }
}

#[tokio::test]
async fn messages_are_found_however_the_bytes_are_cut_and_pings_between_fragments_are_answered() {
    let message = ping(300).encode_to_vec();
    let mut bytes = frame(FINAL | BINARY, &message);
    bytes.extend(frame(BINARY, &message[..1]));
    bytes.extend(frame(FINAL | PING, b"you there?"));
    bytes.extend(frame(CONTINUATION, b""));
    bytes.extend(frame(FINAL | CONTINUATION, &message[1..]));
    bytes.extend(frame(FINAL | CLOSE, &1000u16.to_be_bytes()));
    for piece in 1..=bytes.len() {
        let (mut client, server) = tokio::io::duplex(1_024);
        // What came with the handshake is read first.
        let (early, late) = bytes.split_at(piece);
        let mut websocket = WebSocket::new(server, BytesMut::from(early), Encoding::Protobuf);
        websocket.allow_large_frames();
        let late: Vec<Vec<u8>> = late.chunks(piece).map(<[u8]>::to_vec).collect();
        let writer = tokio::spawn(async move {
            for piece in late {
                client.write_all(&piece).await.unwrap();
            }
            client
        });
        let mut messages = Vec::new();
        loop {
            match receive(&mut websocket).await {
                Received::Frame(frame) => messages.push(frame),
                Received::Alive => {}
                other => break assert_eq!(other, Received::Ended),
            }
        }
        assert_eq!(messages, [ping(300), ping(300)]);
        poll_fn(|context| websocket.poll_flush(context)).await.unwrap();
        drop(websocket);
        let mut answers = Vec::new();
        writer.await.unwrap().read_to_end(&mut answers).await.unwrap();
        assert_eq!(answers, b"\x8a\x0ayou there?\x88\x02\x03\xe8");
    }
}

#[tokio::test]
async fn lengths_of_all_three_forms_are_written_and_read() {
    for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let text = format!("\"{}\"", "x".repeat(length));
        let got = received(Encoding::Json, &frame(FINAL | TEXT, text.as_bytes())).await;
        assert!(matches!(got, Received::Malformed { request: 0, .. }), "{length}: {got:?}");

        let (mut client, server) = tokio::io::duplex(1_024 * 1_024);
        let mut websocket = WebSocket::new(server, BytesMut::new(), Encoding::Json);
        websocket.allow_large_frames();
        websocket.feed(text.as_bytes());
        poll_fn(|context| websocket.poll_flush(context)).await.unwrap();
        let head = match text.len() {
            short @ ..=125 => vec![0x81, u8::try_from(short).unwrap()],
            middle @ ..=65_535 => [&[0x81, 126][..], &u16::try_from(middle).unwrap().to_be_bytes()].concat(),
            long => [&[0x81, 127][..], &(long as u64).to_be_bytes()].concat(),
        };
        let mut written = vec![0; head.len() + text.len()];
        client.read_exact(&mut written).await.unwrap();
        assert_eq!(written, [&head[..], text.as_bytes()].concat());
    }
}

#[tokio::test]
async fn what_breaks_the_rules_is_garbage() {
    let mut unmasked = frame(FINAL | TEXT, b"{}");
    unmasked[1] &= !MASKED;
    let huge = [&[FINAL | TEXT, MASKED | 127][..], &u64::MAX.to_be_bytes(), &MASK].concat();
    let fragments_too_large =
        [frame(TEXT, &vec![b' '; CLIENT_FRAME_BYTES_MAX - 1]), frame(FINAL | CONTINUATION, b"  ")].concat();
    for (what, bytes) in [
        ("a frame without mask", unmasked),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, b"{}")),
        ("an unknown opcode", frame(FINAL | 0x3, b"{}")),
        ("a continuation of nothing", frame(FINAL | CONTINUATION, b"{}")),
        ("a message within another", [frame(TEXT, b"{"), frame(FINAL | TEXT, b"}")].concat()),
        ("a ping in fragments", frame(PING, b"")),
        ("a ping that is too long", frame(FINAL | PING, &[0; 126])),
        ("a binary message", frame(FINAL | BINARY, b"{}")),
        ("a text that is not UTF-8", frame(FINAL | TEXT, b"\xff")),
        ("a message past the limit", frame(FINAL | TEXT, &vec![b' '; CLIENT_FRAME_BYTES_MAX + 1])),
        ("a length past any memory", huge),
        ("fragments past the limit", fragments_too_large),
    ] {
        let got = received(Encoding::Json, &bytes).await;
        assert!(matches!(got, Received::Garbage(_)), "{what}: {got:?}");
    }
    let got = received(Encoding::Protobuf, &frame(FINAL | BINARY, b"\xff\xff")).await;
    assert!(matches!(got, Received::Garbage(_)), "{got:?}");
}

#[tokio::test]
async fn a_text_that_is_no_request_tells_its_number_where_it_has_one() {
    for (text, number) in [
        (r#"{"request": 7, "send": {"conversation": "many"}}"#, 7),
        (r#"{"request": 7"#, 0),
        (r#"{"request": "seven"}"#, 0),
        ("天气", 0),
    ] {
        let got = received(Encoding::Json, &frame(FINAL | TEXT, text.as_bytes())).await;
        assert!(matches!(got, Received::Malformed { request, .. } if request == number), "{text}: {got:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer_however_large_its_messages_were() {
    let (mut client, server) = tokio::io::duplex(1_024 * 1_024);
    let mut websocket = WebSocket::new(server, BytesMut::new(), Encoding::Json);
    websocket.allow_large_frames();
    client.write_all(&frame(FINAL | TEXT, &vec![b' '; 200_000])).await.unwrap();
    assert!(matches!(receive(&mut websocket).await, Received::Malformed { .. }));
    websocket.feed(&vec![b' '; 500_000]);
    poll_fn(|context| websocket.poll_flush(context)).await.unwrap();
    assert!(poll_fn(|context| Poll::Ready(websocket.poll_receive(context).is_pending())).await);
    assert_eq!((websocket.stream.incoming.capacity(), websocket.stream.outgoing.capacity()), (0, 0));
}

#[tokio::test]
async fn before_it_is_known_whose_it_is_a_connection_takes_small_frames_only() {
    for (size, is_taken) in [(FIRST_FRAMES_BYTES_MAX, true), (FIRST_FRAMES_BYTES_MAX + 1, false)] {
        let (mut client, server) = tokio::io::duplex(64 * 1_024);
        let mut websocket = WebSocket::new(server, BytesMut::new(), Encoding::Json);
        client.write_all(&frame(FINAL | TEXT, &vec![b' '; size])).await.unwrap();
        let received = poll_fn(|context| websocket.poll_receive(context)).await;
        assert_eq!(matches!(received, Received::Malformed { .. }), is_taken, "{received:?}");
    }
}
