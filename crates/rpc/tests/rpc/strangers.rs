//! Callers who are none of ours.

use std::time::Duration;

use rpc::{ChannelConfig, Secret, Security, ServerConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::bed::*;

#[tokio::test]
async fn a_caller_who_reaches_an_rpc_port_without_being_one_of_us_gets_nothing() {
    let (server, told) = server().await;
    let hello = [&b"MPIMRPC1"[..], &[1; 32], &[2; 32]].concat();
    let cases: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &hello,
        b"MPIMRPC2 and whatever may follow in another version of this",
        &request(1, &ONCE, &number(1)),
    ];
    for case in cases {
        let mut stranger = TcpStream::connect(server.address()).await.unwrap();
        stranger.write_all(case).await.unwrap();
        let mut heard = Vec::new();
        let closed = timeout(PATIENCE, stranger.read_to_end(&mut heard)).await;
        assert!(closed.is_ok(), "{case:?}: the connection stays open");
        assert!(heard.is_empty(), "{case:?}: {heard:?}");
    }
    // And whoever has another secret.
    let other = Security::Secret(Secret::new("another secret, which is long enough").unwrap());
    let config = ChannelConfig { reach_timeout: Duration::from_millis(300), ..channel_config() };
    let (channel, _endpoints) = channel_with(&[server.address().to_string()], other, config, &metrics());
    let error = ask(&channel, &AGAIN, number(1)).await.unwrap_err();
    assert_eq!(error.advice(), protocol::Advice::RetryLater);
    assert_eq!(told.begun_total(), 0);
}

#[tokio::test]
async fn who_dawdles_with_the_proof_is_closed_and_keeps_nobody_out_for_long() {
    let config = ServerConfig { handshakes_max: 8, ..server_config() };
    let (server, _) = server_with(secret(), config).await;
    let begun = Instant::now();
    let mut dawdlers = Vec::new();
    for _ in 0..20 {
        let mut dawdler = TcpStream::connect(server.address()).await.unwrap();
        dawdler.write_all(b"MPIM").await.unwrap();
        dawdlers.push(dawdler);
    }
    // All places are taken: an instance gets in once the first ones have had their time.
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let deadline = soon();
    while channel.owners().of(rpc::Route::Key(1)).is_none() {
        assert!(Instant::now() < deadline, "the instance is kept out");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ask(&channel, &ONCE, number(1)).await.unwrap();
    for mut dawdler in dawdlers {
        let mut heard = Vec::new();
        timeout(PATIENCE, dawdler.read_to_end(&mut heard)).await.expect("closed").ok();
        assert!(heard.is_empty());
    }
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn bytes_that_drip_do_not_prolong_the_time_for_the_proof() {
    let (server, _) = server().await;
    let mut dripping = TcpStream::connect(server.address()).await.unwrap();
    let begun = Instant::now();
    for byte in b"MPIMRPC1".iter().chain([0; 1_000].iter()) {
        if dripping.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut heard = [0; 1];
        match timeout(Duration::from_millis(20), dripping.read(&mut heard)).await {
            Err(_) => {}
            Ok(Ok(0)) | Ok(Err(_)) => break,
            Ok(Ok(_)) => panic!("it is answered"),
        }
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
}
