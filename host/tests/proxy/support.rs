//! A proxy, origins and clients for one test each, all on loopback sockets and ports the system chooses.
//!
//! **Invariant:** nothing waits without a deadline, and nothing sleeps to let time pass.

mod body;
mod client;
mod filter;
pub(crate) mod frames;
mod guest;
mod name_server;
mod origin;
pub(crate) mod place;
mod process;
mod proxy;
pub(crate) mod tls;
mod wait;
mod wire;
mod witness;

pub(crate) use body::{Body, Feed, channel, empty, full, with_trailers};
pub(crate) use client::{Answer, Client, Protocol, get, post};
pub(crate) use filter::{filter, module};
pub(crate) use guest::{Guest, answers};
pub(crate) use name_server::{NameServer, Saying};
pub(crate) use origin::{Origin, Refusing};
pub(crate) use process::Process;
pub(crate) use proxy::{Proxy, ROUTE, upstream};
pub(crate) use wait::{eventually, soon};
pub(crate) use wire::{Message, Wire};
pub(crate) use witness::{SMUGGLED, Witness};
