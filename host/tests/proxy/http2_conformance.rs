//! HTTP/2 as a client may hold it against the proxy, frame by frame: what RFC 9113 and RFC 7541 allow is taken, what they
//! forbid ends the stream or the connection, with the code that they name.
//!
//! The cases are those that public conformance suites judge servers by, with the same outcomes taken for right. Each is
//! held to the proxy before every kind of upstream, in clear text and over TLS, and with its frames together and apart.

mod connection;
mod control;
mod fields;
mod flow;
mod frames;
mod headers;
mod hpack;
mod peer;
mod place;
mod settings;
mod streams;
mod verdict;
