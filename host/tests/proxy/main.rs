//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod bundled;
mod drain;
mod examples;
mod faults;
mod filters;
mod forward;
mod framing;
mod grpc;
mod heads;
mod logging;
mod reload;
mod routes;
mod streaming;
mod support;
mod tls;
mod upstream_tls;
mod upstreams;
