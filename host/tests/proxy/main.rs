//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod access_filter;
mod basic_auth_filter;
mod bundled;
mod cases_chunks;
mod cases_framing;
mod cases_heads;
mod cases_http2;
mod cases_requests;
mod cases_responses;
mod drain;
mod examples;
mod faults;
mod filters;
mod forward;
mod framing;
mod grpc;
mod heads;
mod logging;
mod rate_limit_filter;
mod reload;
mod routes;
mod streaming;
mod support;
mod upstreams;
