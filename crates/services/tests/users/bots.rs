//! Bots, API keys, webhooks.

use api::UserService as _;
use prost::Message as _;
use protocol::{
    GatewayId, SessionId, UserId, queue as published,
    wire::{self, ErrorCode, Scope},
};
use queue::{Delivered, Queue as _, Topic};
use store::Webhooks as _;

use crate::bed::{Bed, PATIENCE, by, code_of, id, identified, nobody, of};

#[tokio::test]
async fn a_bot_is_its_owners_and_acts_by_its_keys_alone() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let request = wire::CreateBot { id: id(), name: "helper".into(), display_name: "The Helper".into() };
    let bot = bed.user.create_bot(&by(&alice), request.clone()).await.unwrap();
    assert_eq!(bed.user.create_bot(&by(&alice), request.clone()).await.unwrap(), bot);
    let other = wire::CreateBot { name: "another".into(), ..request.clone() };
    assert_eq!(code_of(bed.user.create_bot(&by(&alice), other)).await, ErrorCode::IdReused);
    assert_eq!(code_of(bed.user.create_bot(&by(&bob), request)).await, ErrorCode::NameTaken);
    let user = bot.user.clone().unwrap();
    assert!(user.bot && user.display_name == "The Helper");
    assert_eq!(bed.find(&[], &["helper"]).await, std::slice::from_ref(&user));
    assert_eq!(bed.user.list_bots(&by(&alice), wire::ListBots {}).await.unwrap().bots, [bot]);
    assert_eq!(code_of(bed.log_in("helper")).await, ErrorCode::WrongCredentials, "bots have no password");

    let key = bed.api_key(&alice, user.id, &[Scope::Read, Scope::Write]).await;
    assert!(key.secret.starts_with("mpk_"));
    let identity = bed.authenticate(&key.secret).await.unwrap();
    assert_eq!((identity.session, &identity.scopes), (key.id, &vec![1, 2]));
    assert_eq!(identity.user.as_ref(), Some(&user));
    let connected = bed.connect(&key.secret).await.unwrap();
    assert_eq!((connected.identity.as_ref(), connected.resume_token.as_str()), (Some(&identity), ""));

    // A bot owns nothing, and nobody else's bot is anybody's business.
    let call = identified(&identity);
    let second = wire::CreateBot { id: id(), name: "second".into(), display_name: String::new() };
    assert_eq!(code_of(bed.user.create_bot(&call, second)).await, ErrorCode::Forbidden);
    let list = || wire::ListApiKeys { bot: user.id };
    assert_eq!(code_of(bed.user.list_api_keys(&by(&bob), list())).await, ErrorCode::NotFound);
    let listed = bed.user.list_api_keys(&by(&alice), list()).await.unwrap().keys;
    assert_eq!(listed, [wire::ApiKey { secret: String::new(), ..key }]);
    let delete = wire::DeleteBot { bot: user.id };
    assert_eq!(code_of(bed.user.delete_bot(&by(&bob), delete)).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn an_api_key_is_made_once_for_a_request_and_checked() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let call = by(&alice);
    let create = |request| bed.user.create_api_key(&call, request);
    let request = wire::CreateApiKey { id: id(), bot, label: "ci".into(), scopes: vec![1], expires_ms: 0 };
    let key = create(request.clone()).await.unwrap();
    assert_eq!(create(request.clone()).await.unwrap(), key, "a retry gets the same");
    let other = wire::CreateApiKey { scopes: vec![2], ..request.clone() };
    assert_eq!(code_of(create(other)).await, ErrorCode::IdReused);
    for scopes in [vec![], vec![0], vec![99]] {
        let wrong = wire::CreateApiKey { id: id(), scopes, ..request.clone() };
        assert_eq!(code_of(create(wrong)).await, ErrorCode::Invalid);
    }
    let past = wire::CreateApiKey { id: id(), expires_ms: 1, ..request.clone() };
    assert_eq!(code_of(create(past)).await, ErrorCode::Invalid);

    let expires_ms = bed.clock.now_ms() + 60_000;
    let brief = create(wire::CreateApiKey { id: id(), expires_ms, ..request.clone() }).await.unwrap();
    bed.authenticate(&brief.secret).await.unwrap();
    bed.clock.shift(60_001);
    assert_eq!(code_of(bed.authenticate(&brief.secret)).await, ErrorCode::Unauthenticated);
    for garbage in ["mpk_", "mpk_AAAA", "mpk_天"] {
        assert_eq!(code_of(bed.authenticate(garbage)).await, ErrorCode::Unauthenticated);
    }
    for _ in 1..protocol::limits::API_KEYS_MAX {
        create(wire::CreateApiKey { id: id(), ..request.clone() }).await.unwrap();
    }
    assert_eq!(code_of(create(wire::CreateApiKey { id: id(), ..request })).await, ErrorCode::LimitExceeded);
}

#[tokio::test]
async fn a_revoked_key_stops_at_once_and_its_connections_are_closed() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let key = bed.api_key(&alice, bot, &[Scope::Read]).await;
    let identity = bed.authenticate(&key.secret).await.unwrap();
    let gateway = GatewayId::new(1);
    let subscription = bed.queue.open(gateway).await.unwrap();
    bed.queue.bind(UserId::new(bot), gateway, false).await.unwrap();
    let revoke = || wire::RevokeApiKey { bot, key: key.id };
    bed.user.revoke_api_key(&by(&alice), revoke()).await.unwrap();
    assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(bed.user.check_session(&nobody(), identity)).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(bed.user.revoke_api_key(&by(&alice), revoke())).await, ErrorCode::NotFound);
    let delivered = tokio::time::timeout(PATIENCE, subscription.receive(1)).await.unwrap();
    let Delivered::Publication(publication) = &delivered[0] else { panic!("lost") };
    assert_eq!(publication.topic, Topic::Gateway(gateway));
    let batch = published::Batch::decode(publication.payload.clone()).unwrap();
    assert_eq!(batch.deliveries[0].what, Some(published::delivery::What::EndedSession(key.id)));
    let bed = bed.restart().await;
    bed.authenticate(&key.secret).await.unwrap_err();
}

#[tokio::test]
async fn whoever_comes_again_and_again_with_a_key_that_is_not_good_costs_a_few_look_ups() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let key = bed.api_key(&alice, bot, &[Scope::Read]).await;
    bed.user.revoke_api_key(&by(&alice), wire::RevokeApiKey { bot, key: key.id }).await.unwrap();
    let made_up = format!("mpk_{}", "A".repeat(43));
    // So that nothing is cached.
    let bed = bed.restart().await;
    let mut looked = 0;
    for (secret, kept_out, wanted) in [
        (made_up.as_str(), false, ErrorCode::Unauthenticated),
        (key.secret.as_str(), false, ErrorCode::Unauthenticated),
        (key.secret.as_str(), true, ErrorCode::Suspended),
    ] {
        if kept_out {
            let suspend = wire::Suspend { name: "alice".into(), suspended: true };
            bed.user.suspend(&nobody(), suspend).await.unwrap();
        }
        for _ in 0..100 {
            assert_eq!(code_of(bed.authenticate(secret)).await, wanted);
        }
        let before = looked;
        looked = bed.users.asked(&["api_key", "api_key_bot", "account"]);
        // The key; whose it was; whether that one is kept out.
        assert!((1..=3).contains(&(looked - before)), "{} for {wanted:?}", looked - before);
    }
}

#[tokio::test]
async fn a_webhook_begins_now_and_is_its_owners() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let bot = bed.bot(&alice, "helper").await;
    let request = wire::CreateWebhook { id: id(), bot, url: "https://example.com/hook".into() };
    let webhook = bed.user.create_webhook(&by(&alice), request.clone()).await.unwrap();
    assert!(webhook.secret.starts_with("whsec_"));
    assert_eq!(bed.user.create_webhook(&by(&alice), request.clone()).await.unwrap(), webhook);
    let other = wire::CreateWebhook { url: "https://example.com/other".into(), ..request.clone() };
    assert_eq!(code_of(bed.user.create_webhook(&by(&alice), other)).await, ErrorCode::IdReused);
    // What would never be delivered to is not made.
    for url in ["https://a:b@example.com/", "http://example.com/", "https://10.0.0.1/", "https://localhost/"] {
        let wrong = wire::CreateWebhook { id: id(), url: url.into(), ..request.clone() };
        assert_eq!(code_of(bed.user.create_webhook(&by(&alice), wrong)).await, ErrorCode::Invalid, "{url}");
    }
    let url = format!("https://example.com/{}", "a".repeat(2_048));
    let long = wire::CreateWebhook { id: id(), url, ..request.clone() };
    assert_eq!(code_of(bed.user.create_webhook(&by(&alice), long)).await, ErrorCode::LimitExceeded);
    assert_eq!(code_of(bed.user.create_webhook(&by(&bob), request)).await, ErrorCode::NotFound);
    let listed = bed.user.list_webhooks(&by(&alice), wire::ListWebhooks { bot }).await.unwrap().webhooks;
    assert_eq!(listed, [wire::Webhook { secret: String::new(), ..webhook.clone() }]);
    assert!(!bed.store.webhook_state(webhook.id).await.unwrap().cursor.is_empty());

    let letter = store::DeadLetterRow {
        id: 5,
        conversation: protocol::ConversationId::new(bot),
        position: 1,
        time_ms: 1,
        attempts: 8,
        error: "status 500".into(),
        redeliver: false,
    };
    bed.store.add_dead_letter(webhook.id, letter, 10).await.unwrap();
    let list = || wire::ListDeadLetters { webhook: webhook.id, after: 0, limit: 0 };
    let letters = bed.user.list_dead_letters(&by(&alice), list()).await.unwrap().letters;
    assert_eq!((letters.len(), letters[0].error.as_str()), (1, "status 500"));
    assert_eq!(code_of(bed.user.list_dead_letters(&by(&bob), list())).await, ErrorCode::NotFound);
    let redeliver = wire::Redeliver { webhook: webhook.id, letters: vec![5] };
    bed.user.redeliver(&by(&alice), redeliver).await.unwrap();
    assert_eq!(bed.store.dead_letters(webhook.id, 0, 9, true).await.unwrap().len(), 1);
    let delete = || wire::DeleteWebhook { webhook: webhook.id };
    assert_eq!(code_of(bed.user.delete_webhook(&by(&bob), delete())).await, ErrorCode::NotFound);
    bed.user.delete_webhook(&by(&alice), delete()).await.unwrap();
    assert_eq!(code_of(bed.user.delete_webhook(&by(&alice), delete())).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn an_incoming_webhook_posts_where_its_bot_is_a_member() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let bot = bed.bot(&alice, "helper").await;
    let group = bed.make_group(&alice, &[bot]).await;
    let closed = bed.make_group(&alice, &[of(&bob)]).await;
    let request = |conversation| wire::CreateIncomingWebhook { id: id(), bot, conversation, label: "ci".into() };
    let create = |request| {
        let call = by(&alice);
        let user = bed.user.clone();
        async move { user.create_incoming_webhook(&call, request).await }
    };
    assert_eq!(code_of(create(request(closed))).await, ErrorCode::NotMember);
    assert_eq!(code_of(create(request(bot))).await, ErrorCode::Forbidden);
    let first = request(group);
    let webhook = create(first.clone()).await.unwrap();
    assert_eq!(create(first.clone()).await.unwrap(), webhook);
    let other = wire::CreateIncomingWebhook { label: "other".into(), ..first };
    assert_eq!(code_of(create(other)).await, ErrorCode::IdReused);

    let open = |token: &str| {
        let token = api::Token { token: token.into() };
        let user = bed.user.clone();
        async move { user.open_incoming_webhook(&nobody(), token).await }
    };
    let target = open(&webhook.token).await.unwrap();
    let identity = target.identity.unwrap();
    assert_eq!((target.conversation, identity.user.as_ref().unwrap().id), (group, bot));
    assert_eq!(identity.scopes, [i32::from(Scope::Write)]);
    bed.say(&identified(&identity), group, "built").await.unwrap();
    assert_eq!(code_of(open("made up")).await, ErrorCode::NotFound);
    let listed = bed.user.list_incoming_webhooks(&by(&alice), wire::ListIncomingWebhooks { bot }).await.unwrap();
    assert_eq!(listed.webhooks, [wire::IncomingWebhook { token: String::new(), ..webhook.clone() }]);
    let delete = || wire::DeleteIncomingWebhook { webhook: webhook.id };
    assert_eq!(code_of(bed.user.delete_incoming_webhook(&by(&bob), delete())).await, ErrorCode::NotFound);
    bed.user.delete_incoming_webhook(&by(&alice), delete()).await.unwrap();
    assert_eq!(code_of(open(&webhook.token)).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn what_reads_for_a_bot_in_this_process_may_do_nothing_else() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let access = bed.user.bot_access(UserId::new(bot), SessionId::new(5)).await.unwrap().unwrap();
    let connected = bed.connect(&access.access_token).await.unwrap();
    assert_eq!(connected.resume_token, "", "by which it could do more");
    let identity = connected.identity.unwrap();
    assert_eq!((identity.user.as_ref().unwrap().id, identity.session), (bot, 5));
    assert_eq!(identity.scopes, [i32::from(Scope::Read)]);
    let call = identified(&identity);
    assert_eq!(code_of(bed.user.list_sessions(&call, wire::ListSessions {})).await, ErrorCode::Forbidden);
    assert_eq!(code_of(bed.authenticate(&access.access_token)).await, ErrorCode::Unauthenticated, "no access token");
    assert!(bed.user.bot_access(UserId::new(of(&alice)), SessionId::new(5)).await.unwrap().is_none());
}
