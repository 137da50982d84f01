//! The gateway as its clients see it, over sockets, before services that are made up.

mod bed;
mod drain;
mod http;
mod limits;
mod membership;
mod pushes;
mod services;
mod sessions;
