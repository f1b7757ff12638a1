//! Everything a filter usually needs: `use meshup_sdk::prelude::*;`
//!
//! **Invariant:** names only; nothing is defined here.

pub use std::time::Duration;

pub use meshup_abi::{Attribute, BodyError, ErrorKind, Outcome};
pub use serde::{Deserialize, Serialize};

pub use crate::{
    clock, crypto, debug, duration, error, exchange,
    fetch::{FetchError, fetch},
    headers::{HeaderName, HeaderValue, Headers, HeadersMut},
    info,
    into_response::IntoResponse,
    metrics::{Counter, Gauge, Histogram},
    next::{Next, TimedOut},
    random,
    request::Request,
    response::Response,
    size,
    sleep::sleep,
    state,
    summary::Summary,
    trace, warn,
};
