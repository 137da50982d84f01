//! What the framework promises, over real sockets.

mod bed;
mod calls;
mod drain;
mod failures;
mod frames;
mod strangers;
mod tls;
