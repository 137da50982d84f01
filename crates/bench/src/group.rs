//! `group`: groups in which each member who is online writes in turn, and all others receive it. Before it, how long it takes
//! to join such a group, to list its members, and to leave it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use client::{Client, EntryId};
use protocol::{
    ConversationId, GroupId, UserId,
    limits::{INVITE_MAX, MEMBERS_PAGE_MAX},
    wire::JoinPolicy,
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    accounts::{Account, Route, patiently},
    args::GroupArgs,
    drive::{Bench, Flow, Sender},
    load::Clock,
    measure::Recorder,
    online::Receivers,
    report::Report,
};

/// Messages a second, all groups together, unless the arguments say otherwise.
const RATE: f64 = 20.0;

/// Runs the scenario. Its messages are deliveries: one for each member that receives one.
///
/// # Errors
///
/// What it needs cannot be set up.
pub(crate) async fn run(bench: &Bench, args: &GroupArgs) -> Result<Report> {
    let (groups, members, away) = (args.groups as usize, args.members as usize, args.away as usize);
    let route = bench.route()?;
    let rate = if bench.args.window.is_some() { None } else { Some(bench.args.rate.unwrap_or(RATE)) };
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let mut accounts = route.register(groups * (members + away) + 1, &bench.progress).await?;
    let guest = accounts.pop().context("one account more than members")?;
    let absent = accounts.split_off(groups * members);
    let mut online = route.connect_all(&accounts, &bench.progress).await?.into_iter();

    let (mut flows, mut receivers) = (Vec::with_capacity(groups), Receivers::new(recorder.clone()));
    let bar = bench.progress.bar("groups", groups as u64);
    for (number, accounts) in accounts.chunks_exact(members).enumerate() {
        let window = bench.args.window.map(|permits| Arc::new(Semaphore::new(permits as usize)));
        let mut clients = Vec::with_capacity(members);
        for (member, online) in online.by_ref().take(members).enumerate() {
            // One stands for all: counting until the last has it would cost more than it tells.
            let window = if member == members - 1 { window.clone() } else { None };
            clients.push(receivers.add(online, window));
        }
        // The one who stands for all would not receive what it sends itself.
        let senders = if window.is_some() { members - 1 } else { members };
        let absent = absent.iter().skip(number * away).take(away);
        let users: Vec<_> = accounts[1..].iter().chain(absent).map(|account| account.user).collect();
        let conversation = create(&route, &clients[0], &format!("bench {number}"), &users).await?;
        let senders = clients.into_iter().take(senders).map(|client| Sender { client, conversation }).collect();
        flows.push(Flow { senders, deliveries: members as u64 - 1, window });
        bar.step();
    }
    drop(bar);
    let first = flows.first().context("there is at least one group")?.senders[0].conversation.group();
    let visit = visit(&route, &guest, first).await?;

    let course = bench.measure(flows, rate, &recorder).await?;
    let report = bench.report("group", course, &recorder).with("groups", groups).with("members", members);
    let report = report
        .with("away", away)
        .with("join_ms", visit.join_ms)
        .with("list_ms", visit.list_ms)
        .with("leave_ms", visit.leave_ms);
    let report = match (rate, bench.args.window) {
        (Some(rate), _) => report.with("rate", rate),
        (None, window) => report.with("window", window),
    };
    receivers.close().await;
    Ok(report)
}

/// How long somebody who is new takes.
struct Visit {
    join_ms: f64,
    /// For all members, page by page.
    list_ms: f64,
    leave_ms: f64,
}

async fn visit(route: &Route, guest: &Account, group: GroupId) -> Result<Visit> {
    let guest = route.connect(guest.profile.clone()).await?;
    let since = |began: Instant| began.elapsed().as_secs_f64() * 1_000.0;
    let began = Instant::now();
    guest.client.join_group(group, EntryId::generate()).await?;
    let join_ms = since(began);
    let (began, mut after) = (Instant::now(), None);
    loop {
        let page = guest.client.members(group, after, MEMBERS_PAGE_MAX).await?;
        let Some(last) = page.members.last().and_then(|member| member.user.as_ref()) else { break };
        after = Some(UserId::new(last.id));
    }
    let list_ms = since(began);
    let began = Instant::now();
    guest.client.leave_group(group, EntryId::generate()).await?;
    let leave_ms = since(began);
    guest.client.close().await;
    Ok(Visit { join_ms, list_ms, leave_ms })
}

/// Makes a group of the client's user and others, however many.
///
/// # Errors
///
/// The server refuses it.
pub(crate) async fn create(route: &Route, client: &Client, title: &str, others: &[UserId]) -> Result<ConversationId> {
    let (first, rest) = others.split_at(others.len().min(INVITE_MAX));
    let id = EntryId::generate();
    let create = || client.create_group(title, first, JoinPolicy::Open, id);
    let group = GroupId::new(patiently(route.patience, create).await?.id);
    for users in rest.chunks(INVITE_MAX) {
        let id = EntryId::generate();
        patiently(route.patience, || client.invite(group, users, id)).await?;
    }
    Ok(group.conversation())
}
