//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod access_filter;
mod basic_auth_filter;
mod bundled;
mod cases_http2_load;
mod cases_load;
mod cors_filter;
mod drain;
mod examples;
mod ext_authz_filter;
mod fault_filter;
mod faults;
mod filter_readmes;
mod filters;
mod forward;
mod framing;
mod grpc;
mod heads;
mod jwks_filter;
mod limits;
mod logging;
mod older_response;
mod parser_refusals;
mod rate_limit_filter;
mod reload;
mod reload_faults;
mod routes;
mod streaming;
mod support;
mod upstreams;
