//! Who may do what: every request of the protocol, asked by everybody it could be asked by.
//!
//! Each cell of the matrix has a group of its own, in which the askers have their roles, so that no cell changes what another
//! one finds. A request without a row does not compile (`row::outcome`), one without a sample fails.

mod row;
mod scene;

use std::{collections::BTreeSet, fmt::Write as _};

use client::wire::{ClientFrame, client_frame::Body as Request};
use futures_util::{StreamExt as _, stream};

use self::scene::{Actor, Cell, Scene};

/// Cells under way at a time.
const AT_ONCE: usize = 16;

/// Every request does for every asker what its row says, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_allowed_to_those_who_may_and_refused_to_all_others() {
    let scene = Scene::start().await;
    let samples = row::samples(&Cell::new(&scene, Actor::Member).await).len();
    let cells = (0..samples).flat_map(|sample| Actor::ALL.map(|actor| (sample, actor)));
    let cells: Vec<_> = cells.collect();
    let outcomes = stream::iter(&cells).map(|&(sample, actor)| {
        let scene = &scene;
        async move {
            let cell = Cell::new(scene, actor).await;
            let request = row::samples(&cell).swap_remove(sample);
            let expected = row::outcome(&request, actor);
            let answer = cell.ask(request.clone()).await;
            (name(&request), actor, answer, expected)
        }
    });
    let mut wrong = String::new();
    let mut outcomes = outcomes.buffered(AT_ONCE);
    while let Some((name, actor, answer, expected)) = outcomes.next().await {
        if answer != expected {
            let _ = writeln!(wrong, "{name} by {actor:?}: {answer:?}, not {expected:?}");
        }
    }
    assert!(wrong.is_empty(), "of {} cells:\n{wrong}", cells.len());
    drop(outcomes);
    scene.stop().await;
}

/// Nothing of the protocol is left out of the matrix.
#[tokio::test]
async fn every_request_of_the_protocol_is_asked() {
    let scene = Scene::start().await;
    let samples = row::samples(&Cell::new(&scene, Actor::Member).await);
    let asked: BTreeSet<String> = samples.iter().map(name).collect();
    let all: BTreeSet<String> = protocol::request_names().map(camel_case).collect();
    assert_eq!(asked, all);
    scene.stop().await;
}

/// The request's name in JSON.
fn name(request: &Request) -> String {
    let frame = serde_json::to_value(ClientFrame { request: 0, body: Some(request.clone()) }).unwrap();
    frame.as_object().unwrap().keys().next().unwrap().clone()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}
