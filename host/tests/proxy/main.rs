//! The whole proxy over real sockets: an in-process [`meshup::App`] between scripted clients and scripted origins.
//!
//! One module per topic. They share a binary because each would otherwise link the WebAssembly engine anew.

mod forward;
mod heads;
mod streaming;
mod support;
