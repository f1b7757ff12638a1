//! A filter that ran twice and returns the first response, whose body went with the second run.

use crate::support::{Client, Origin, Protocol, Proxy, ROUTE, full_length, scripted, upstream};
