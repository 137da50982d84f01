//! Sessions that end, wherever that is told.

use std::time::Duration;

use api::{Token, UserService as _};
use client::{Profile as _, State, wire};
use tokio::time::timeout;

use crate::{
    device::Device,
    people::{connected, until},
    system::{Setup, System, call},
};

/// So long an ended session may still be of use.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// Ends a session of a user by one instance, and looks at the other, and at the session's connections on both gateways.
async fn end_a_session(system: &System, name: &str, connection_ends_within: Duration) {
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (mine, lost) = (Device::register(&one, name).await, Device::log_in(&two, name).await);
    let stays = connected(&mine, &one).await;
    let (here, there) = (connected(&lost, &one).await, connected(&lost, &two).await);
    let tokens = |device: &Device| device.profile.tokens().unwrap().unwrap();
    let (mine, lost) = (tokens(&mine), tokens(&lost));
    let [ending, other] = ["user-1", "user-2"].map(|instance| system.users(instance));
    let asked = || call(mine.user, mine.session);
    let token = || Token { token: lost.access_token.clone() };
    other.authenticate(&asked(), token()).await.unwrap();
    ending.revoke_session(&asked(), wire::RevokeSession { session: lost.session.get() }).await.unwrap();
    ending.authenticate(&asked(), token()).await.expect_err("refused at once by who ended it");
    let refused = until("the other instance refuses it", async || other.authenticate(&asked(), token()).await.is_err());
    timeout(REFUSED_WITHIN, refused).await.expect("the other instance refuses it in time");
    for online in [&here, &there] {
        let ended = until("its connection ends", async || matches!(online.client.state(), State::Stopped { .. }));
        timeout(connection_ends_within, ended).await.expect("its connection ends in time");
    }
    stays.client.account().await.unwrap();
    assert!(matches!(stays.client.state(), State::Connected), "the other session lives");
    stays.go_offline().await;
    here.go_offline().await;
    there.go_offline().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ended_by_one_user_service_is_refused_by_the_other_within_three_seconds() {
    end_a_session(System::shared().await, "ended", REFUSED_WITHIN).await;
}

/// The message that would tell it is lost: the queue is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ended_while_the_queue_is_away_is_refused_and_disconnected_all_the_same() {
    let mut system = System::start(Setup::full()).await;
    system.queue.process.kill();
    end_a_session(&system, "unheard", 5 * REFUSED_WITHIN).await;
}

/// A session that was ended does not come back by its refresh token, whichever instance is asked, and a log-in does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_by_one_gateway_counts_at_the_other() {
    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.server("gateway-2"));
    let device = Device::register(&one, "leaver").await;
    let online = connected(&device, &one).await;
    let tokens = device.profile.tokens().unwrap().unwrap();
    online.client.log_out().await.unwrap();
    let id = client::EntryId::generate().to_string();
    let refresh = wire::Refresh { refresh_token: tokens.refresh_token, id };
    for instance in ["user-1", "user-2"] {
        let refused = system.users(instance).refresh(&call(tokens.user, tokens.session), refresh.clone()).await;
        refused.expect_err("the session is over");
    }
    let back = connected(&Device::log_in(&two, "leaver").await, &two).await;
    back.client.account().await.unwrap();
    back.go_offline().await;
}
