//! The life of one request.

mod info;

pub use info::{ExchangeInfo, Variables};
