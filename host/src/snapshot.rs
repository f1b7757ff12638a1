//! One configuration generation: everything the workers share of it.
//!
//! **Invariant:** immutable. A change of configuration is a new snapshot.

use std::{collections::BTreeMap, sync::Arc};

use crate::{config::Config, route::RouteTable, server::BoundListener, upstream::Connector, wasm};

/// One generation, immutable, shared by the workers.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Counted from 1.
    pub generation: u64,
    pub config: Arc<Config>,
    pub routes: RouteTable,
    /// By the name in the configuration.
    pub filters: BTreeMap<Arc<str>, Arc<wasm::Filter>>,
    /// In the order of the configuration.
    pub listeners: Vec<Arc<BoundListener>>,
    /// By the upstream's name; those that have `tls`.
    pub upstream_tls: BTreeMap<Arc<str>, Connector>,
}
