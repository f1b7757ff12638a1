//! One configuration generation: everything the workers share of it.
//!
//! **Invariant:** immutable, but for what names stand for. A change of configuration is a new snapshot.

use std::{collections::BTreeMap, sync::Arc};

use crate::{config::Config, names, route::RouteTable, server::BoundListener, upstream::Connector, wasm};

/// One generation, immutable, shared by the workers.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Counted from 1.
    pub generation: u64,
    pub config: Arc<Config>,
    pub routes: RouteTable,
    /// By the name in the configuration.
    pub filters: BTreeMap<Arc<str>, Arc<wasm::Filter>>,
    /// What the names among its endpoints stand for.
    pub names: names::Table,
    /// In the order of the configuration.
    pub listeners: Vec<Arc<BoundListener>>,
    /// By the upstream's name; those that have `tls`.
    pub upstream_tls: BTreeMap<Arc<str>, Connector>,
}
