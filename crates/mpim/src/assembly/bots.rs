//! How webhooks, which are devices of bots in this process, get in.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use client::{SessionId, UserId};
use gateway::Gateway;
use services::user;
use tokio::net::TcpListener;
use webhooks::{Credential, Credentials};

/// The user service lets webhooks act for their bots.
pub(crate) struct Bots(pub(crate) Arc<user::Service>);

#[async_trait]
impl Credentials for Bots {
    async fn issue(&self, bot: UserId, session: SessionId) -> Result<Option<Credential>, protocol::Error> {
        let access = self.0.bot_access(bot, session).await?;
        Ok(access.map(|access| Credential { name: access.name, access_token: access.access_token }))
    }
}

/// Where this process reaches its own gateway: without TLS, whose certificate names what others know it by.
pub(crate) async fn entrance(gateway: &Gateway, is_tls: bool) -> io::Result<SocketAddr> {
    if !is_tls {
        return Ok(reach(gateway.local_addr()));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    gateway.accept_plain(listener);
    Ok(address)
}

/// Where this process reaches the gateway that listens at an address.
fn reach(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_listens_everywhere_is_reached_on_this_machine() {
        for (listening, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3"), ("[::1]:4", "[::1]:4")]
        {
            assert_eq!(reach(listening.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
