//! The rules: what users may do, and what follows from it. One module a service; they meet only through `api`.
//!
//! Invariants:
//!
//! - every answer that tells of something stored is given after its commit;
//! - what is published was committed before, in the order of positions; that a publication fails fails no request;
//! - each service is handed only its own part of the store.

mod clock;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod group;
pub mod message;
mod noted;
pub mod presence;
mod push;
mod text;
pub mod user;

pub use clock::Clock;
