//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod access_filter;
mod basic_auth_filter;
mod bundled;
mod drain;
mod examples;
mod faults;
mod filters;
mod forward;
mod framing;
mod grpc;
mod half_close;
mod heads;
mod interim;
mod logging;
mod proxy_protocol;
mod rate_limit_filter;
mod reload;
mod routes;
mod stale;
mod streaming;
mod support;
mod trusted_proxies;
mod upgrades;
mod upstreams;
