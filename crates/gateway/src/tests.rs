//! The gateway as its clients see it, over sockets, before services that are made up.

mod bed;
mod drain;
mod http;
mod integrations;
mod limits;
mod membership;
mod nginx;
mod proxies;
mod pushes;
mod requests;
mod scopes;
mod services;
mod sessions;
mod tls;
