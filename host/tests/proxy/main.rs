//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod access_filter;
mod bad_http2;
mod basic_auth_filter;
mod bundled;
mod cases_chunks;
mod cases_framing;
mod cases_heads;
mod cases_http2;
mod cases_requests;
mod cases_responses;
mod cors_filter;
mod drain;
mod examples;
mod ext_authz_filter;
mod fault_filter;
mod faults;
mod fetch_metrics;
mod filter_readmes;
mod filters;
mod forward;
mod framing;
mod grpc;
mod half_close;
mod heads;
mod interim;
mod jwks_filter;
mod logging;
mod names;
mod names_tls;
mod older_response;
mod parser_refusals;
mod proxy_protocol;
mod rate_limit_filter;
mod reload;
mod reload_faults;
mod routes;
mod stale;
mod streaming;
mod support;
mod tls;
mod trusted_proxies;
mod upgrades;
mod upstream_tls;
mod upstreams;
