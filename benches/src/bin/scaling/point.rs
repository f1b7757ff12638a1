//! One point of an axis: how much there is of one thing, and of every other as little as can be.

use std::{fmt::Write, net::SocketAddr, path::Path};

use meshup_benches::{load::Load, peers::Protocol};

/// What there can be more or less of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Connections,
    Routes,
    HeaderFilters,
    EmptyFilters,
    Endpoints,
    Headers,
    Workers,
}

impl Axis {
    pub(crate) const ALL: [Self; 7] = [
        Self::Connections,
        Self::Routes,
        Self::HeaderFilters,
        Self::EmptyFilters,
        Self::Endpoints,
        Self::Headers,
        Self::Workers,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Routes => "routes",
            Self::HeaderFilters => "header filters",
            Self::EmptyFilters => "empty filters",
            Self::Endpoints => "endpoints",
            Self::Headers => "header fields",
            Self::Workers => "workers",
        }
    }

    /// From the least on; the first is what the others are compared with.
    pub(crate) const fn amounts(self) -> &'static [usize] {
        match self {
            Self::Connections => &[64, 256, 1_000, 4_000, 10_000],
            Self::Routes => &[1, 10, 100, 1_000, 10_000],
            Self::HeaderFilters | Self::EmptyFilters => &[0, 1, 2, 4, 8, 16],
            Self::Endpoints => &[1, 10, 100, 1_000],
            Self::Headers => &[13, 25, 50, 100],
            Self::Workers => &[1, 2],
        }
    }
}

/// So much of one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) axis: Axis,
    pub(crate) amount: usize,
}

impl Point {
    fn amount(self, axis: Axis, otherwise: usize) -> usize {
        if self.axis == axis { self.amount } else { otherwise }
    }

    pub(crate) fn workers(self) -> usize {
        self.amount(Axis::Workers, 1)
    }

    pub(crate) fn endpoints(self) -> usize {
        self.amount(Axis::Endpoints, 1)
    }

    pub(crate) fn load(self) -> Load {
        let load = Load::small(Protocol::Http1, self.amount(Axis::Connections, 64));
        Load { more_headers: self.amount(Axis::Headers, 13) - 13, ..load }
    }

    /// meshup's configuration. Of many routes, the last is the one that requests take.
    pub(crate) fn configuration(self, listen: SocketAddr, endpoints: &[SocketAddr], module: &Path) -> String {
        let filters = Filters::of(self);
        let endpoints: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
        let mut file = format!(
            "workers = {}\nadmin.listen = \"127.0.0.1:0\"\n[[listeners]]\nname = \"http\"\nlisten = \"{listen}\"\n\
             limits = {{ max_connections = 100000 }}\n{}\n[upstreams.origin]\nendpoints = {endpoints:?}\n\
             max_connections = 4096\nconnect_timeout = \"30s\"\n",
            self.workers(),
            filters.tables(module),
        );
        for number in 1..self.amount(Axis::Routes, 1) {
            route(&mut file, &format!("/services/{number}"), &[]);
        }
        route(&mut file, "/v1", &filters.names());
        file
    }
}

fn route(file: &mut String, prefix: &str, filters: &[String]) {
    let head = format!("[[routes]]\nmatch = {{ path_prefix = \"{prefix}\" }}\n");
    // Writing to a string cannot fail.
    write!(file, "{head}filters = {filters:?}\nupstream = \"origin\"\n").ok();
}

/// A chain of the same filter again and again.
struct Filters {
    count: usize,
    verdict: &'static str,
}

impl Filters {
    fn of(point: Point) -> Self {
        match point.axis {
            Axis::EmptyFilters => Self { count: point.amount, verdict: "pass" },
            _ => Self { count: point.amount(Axis::HeaderFilters, 0), verdict: "headers" },
        }
    }

    fn names(&self) -> Vec<String> {
        (1..=self.count).map(|number| format!("f{number}")).collect()
    }

    fn tables(&self, module: &Path) -> String {
        let table = |name| format!("[filters.{name}]\nmodule = {module:?}\nconfig.verdict = \"{}\"\n", self.verdict);
        self.names().iter().map(table).collect()
    }
}
