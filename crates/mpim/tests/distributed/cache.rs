//! What instances keep of names, keys and groups, and what they learn of each other's changes.

use std::time::Duration;

use api::{GroupIds, GroupService as _, Token, UserService as _};
use client::{EntryId, Profile as _, wire};

use crate::{
    device::Device,
    people::until,
    system::{Setup, System, call},
};

/// Instances hear of each other's changes in this time; a copy that nobody dropped would be shown for ten seconds.
const SOON: Duration = Duration::from_secs(5);

/// Asks an instance until it answers from its own copy.
async fn is_near(system: &System, instance: &str, ask: impl AsyncFn()) {
    let hits = async || system.metric(instance, "mpim_cache_near_hits_total").await;
    until("it is kept near", async || {
        let before = hits().await;
        ask().await;
        hits().await > before
    })
    .await;
}

/// What one instance changes the other shows soon, although it had just answered from its own copy what was before: a name, who has
/// a name, what a group is called, and that an API key is no longer good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_changes_the_other_shows_although_it_had_a_copy_near() {
    const CHANGING: &str = "services-1";
    const OTHER: &str = "services-2";
    let system = System::start(Setup::small()).await;
    let device = Device::register(&system.server("gateway-1"), "nearold").await;
    let tokens = device.profile.tokens().unwrap().unwrap();
    let asked = || call(tokens.user, tokens.session);
    let [changing, other] = [CHANGING, OTHER].map(|instance| system.users(instance));
    let [changing_groups, other_groups] = [CHANGING, OTHER].map(|instance| system.groups(instance));

    let by_id = async || {
        let ids = wire::FindUsers { ids: vec![tokens.user.get()], names: Vec::new() };
        other.find_users(&asked(), ids).await.unwrap().users.remove(0).name
    };
    let by_name = async |name: &str| {
        let names = wire::FindUsers { ids: Vec::new(), names: vec![name.into()] };
        other.find_users(&asked(), names).await.unwrap().users.len()
    };
    is_near(&system, OTHER, async || assert_eq!(by_id().await, "nearold")).await;
    is_near(&system, OTHER, async || assert_eq!(by_name("nearold").await, 1)).await;
    is_near(&system, OTHER, async || assert_eq!(by_name("nearnew").await, 0)).await;
    changing.rename(&asked(), wire::Rename { name: "nearnew".into() }).await.unwrap();
    let renamed = async || (by_id().await, by_name("nearold").await, by_name("nearnew").await);
    let took = until("the new name is shown", async || renamed().await == ("nearnew".into(), 0, 1)).await;
    assert!(took < SOON, "the new name was shown only after {took:?}");

    let id = || EntryId::generate().to_string();
    let create = wire::CreateGroup { id: id(), title: "Tea".into(), ..wire::CreateGroup::default() };
    let group = changing_groups.create_group(&asked(), create).await.unwrap().id;
    let title = async || {
        let found = other_groups.find_groups(&asked(), GroupIds { ids: vec![group] }).await.unwrap();
        found.groups.into_iter().next().map(|group| group.title).unwrap_or_default()
    };
    is_near(&system, OTHER, async || assert_eq!(title().await, "Tea")).await;
    let change = wire::GroupChanged { title: Some("Coffee".into()), ..wire::GroupChanged::default() };
    let update = wire::UpdateGroup { id: id(), group, change: Some(change) };
    changing_groups.update_group(&asked(), update).await.unwrap();
    let took = until("the new title is shown", async || title().await == "Coffee").await;
    assert!(took < SOON, "the new title was shown only after {took:?}");

    let bot = wire::CreateBot { id: id(), name: "nearbot".into(), display_name: String::new() };
    let bot = changing.create_bot(&asked(), bot).await.unwrap().user.unwrap().id;
    let scopes = vec![wire::Scope::Read.into()];
    let create = wire::CreateApiKey { id: id(), bot, scopes, ..wire::CreateApiKey::default() };
    let key = changing.create_api_key(&asked(), create).await.unwrap();
    let token = || Token { token: key.secret.clone() };
    is_near(&system, OTHER, async || drop(other.authenticate(&asked(), token()).await.unwrap())).await;
    changing.revoke_api_key(&asked(), wire::RevokeApiKey { bot, key: key.id }).await.unwrap();
    changing.authenticate(&asked(), token()).await.expect_err("refused at once by who revoked it");
    let took = until("it is refused", async || other.authenticate(&asked(), token()).await.is_err()).await;
    assert!(took < SOON, "a revoked key was good for {took:?}");
}
