//! Sessions that end, wherever that is told.

use std::time::Duration;

use api::{Token, UserService as _};
use client::{Profile as _, State, wire};
use tokio::time::timeout;

use crate::{
    device::{Device, Online},
    people::{connected, until},
    system::{Setup, System, call},
};

/// So long an ended session may still be of use.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);
/// So long its connections may stay once the queue is there again.
const DISCONNECTED_WITHIN: Duration = Duration::from_secs(15);

/// A user with two sessions: one stays, and one has connections to both gateways and is ended.
struct Ended {
    stays: Online,
    ended: [Online; 2],
}

/// Ends a session of a user by one instance of the user service; the other one refuses it in time.
async fn end_a_session(system: &System, name: &str) -> Ended {
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (mine, lost) = (Device::register(&one, name).await, Device::log_in(&two, name).await);
    let stays = connected(&mine, &one).await;
    let ended = [connected(&lost, &one).await, connected(&lost, &two).await];
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
    Ended { stays, ended }
}

impl Ended {
    /// Its connections end in time, and those of the other session stay.
    async fn until_disconnected(self, within: Duration) {
        for online in &self.ended {
            let ended = until("it ends", async || matches!(online.client.state(), State::Stopped { .. }));
            timeout(within, ended).await.expect("its connection ends in time");
        }
        self.stays.client.account().await.unwrap();
        assert!(matches!(self.stays.client.state(), State::Connected), "the other session lives");
        for online in self.ended.into_iter().chain([self.stays]) {
            online.go_offline().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ended_by_one_user_service_is_refused_by_the_other_within_three_seconds() {
    end_a_session(System::shared().await, "ended").await.until_disconnected(REFUSED_WITHIN).await;
}

/// The message that would tell the gateways is lost, as the queue is not there: the session is refused as quickly, and its connections end
/// when the gateways hear that they missed something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ended_while_the_queue_is_away_is_refused_and_disconnected_all_the_same() {
    let mut system = System::start(Setup::full()).await;
    system.queue.process.kill();
    let ended = end_a_session(&system, "unheard").await;
    system.queue.restart().await.unwrap();
    ended.until_disconnected(DISCONNECTED_WITHIN).await;
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
