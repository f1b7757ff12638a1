//! The whole document: top-level keys, and the order in which the parts are read.
//!
//! **Invariant:** a text with a fault gives no [`Config`] to serve with, but its sound parts, so that what is wrong with the
//! files that those name can be told too.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use super::{
    Config, Diagnostics, Drain, Location, Locations, Rejected, dns, filter, keys, listener,
    raw::{Fault, Source, Table},
    route, upstream,
    value::{count, duration, duration_or_zero, duration_text, size_in_memory},
};

/// A larger file is no configuration.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Less is not enough for one filter.
const MIN_FILTER_MEMORY: u64 = 1 << 20;
/// `drain_idle_grace` without the key, where `drain_timeout` is not shorter.
const DRAIN_IDLE_GRACE: Duration = Duration::from_secs(5);

/// Reads and checks a configuration file, but for what only a filter can judge.
///
/// # Errors
///
/// Everything that is wrong with the file or its content.
pub fn read(file: &Path) -> Result<(Config, Locations), Diagnostics> {
    read_whole(file).map_err(|rejected| rejected.faults)
}

/// The same, and what is sound of a file that has faults.
pub(crate) fn read_whole(file: &Path) -> Result<(Config, Locations), Box<Rejected>> {
    let unreadable = |error| Location::file(file).error(format!("cannot read the file: {error}"));
    let text = read_text(file).map_err(|error| Rejected::whole(unreadable(error).into()))?;
    parse_whole(&text, file)
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 16 MiB"));
    }
    Ok(text)
}

/// Checks the text of a configuration, but for what only a filter can judge. `file` is named in faults, and relative module paths begin at its folder.
///
/// # Errors
///
/// Everything that is wrong, not just the first fault.
pub fn parse(text: &str, file: &Path) -> Result<(Config, Locations), Diagnostics> {
    parse_whole(text, file).map_err(|rejected| rejected.faults)
}

/// The same, and what is sound of a text that has faults.
pub(crate) fn parse_whole(text: &str, file: &Path) -> Result<(Config, Locations), Box<Rejected>> {
    let source = Source::new(file, text);
    let document = source.document();
    let parsed = document.as_ref().map(|document| config(&Table::root(&source, document, &keys::ROOT)));
    drop(document);
    let no_toml = || Rejected::whole(Location::file(file).error("not a TOML document").into());
    match (source.finish(), parsed) {
        (None, parsed) => parsed.ok_or_else(no_toml),
        (Some(faults), sound) => Err(Box::new(Rejected { faults, sound })),
    }
}

fn config(root: &Table<'_>) -> (Config, Locations) {
    let (admin, admin_location) = listener::admin(root);
    let (listeners, listener_locations) = listener::listeners(root, &admin);
    let (filters, filter_locations) = filter::filters(root);
    let (upstreams, upstream_tls) = upstream::upstreams(root, any_transparent(root));
    let routes = route::routes(root, &names(root));
    let (workers, dns, drain) = (workers(root), dns::dns(root), drain(root));
    let filter_memory = root.read("filter_memory", |value| size_in_memory(value, MIN_FILTER_MEMORY..=1 << 40));
    let config = Config { workers, admin, dns, drain, filter_memory, listeners, filters, routes, upstreams };
    let locations =
        Locations { admin: admin_location, listeners: listener_locations, filters: filter_locations, upstream_tls };
    (config, locations)
}

/// What routes may refer to, also where its definition has faults: one slip is one message.
fn names<'a>(root: &Table<'a>) -> route::Names<'a> {
    let keys_of = |key| {
        let entries = root.get(key).filter(|value| value.inner().is_table()).and_then(|value| value.open());
        entries.map(|table| table.entries()).unwrap_or_default().into_iter().map(|(key, _)| key.name).collect()
    };
    let listeners = root.get("listeners").and_then(|value| value.inner().as_array());
    let name_of = |item: &'a toml::Spanned<toml::de::DeValue<'a>>| item.get_ref().get("name")?.get_ref().as_str();
    route::Names {
        listeners: listeners.map(|items| items.iter().filter_map(name_of).collect()).unwrap_or_default(),
        filters: keys_of("filters"),
        upstreams: keys_of("upstreams"),
    }
}

/// Whether a listener is `transparent`, also where it has other faults.
fn any_transparent(root: &Table<'_>) -> bool {
    let items = root.get("listeners").and_then(|value| value.inner().as_array());
    let flag = |item: &toml::Spanned<toml::de::DeValue<'_>>| item.get_ref().get("transparent")?.get_ref().as_bool();
    items.is_some_and(|items| items.iter().any(|item| flag(item) == Some(true)))
}

fn workers(root: &Table<'_>) -> usize {
    let workers = root.read("workers", |value| count(value, 1..=1024));
    workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(1024))
}

fn drain(root: &Table<'_>) -> Drain {
    let delay = root.read("drain_delay", duration_or_zero).unwrap_or(Duration::ZERO);
    let timeout = root.read("drain_timeout", duration).unwrap_or(Duration::from_secs(30));
    if timeout <= delay {
        let message = "the whole drain must take longer than `drain_delay`";
        let help =
            format!("now: drain_delay = \"{}\", drain_timeout = \"{}\"", duration_text(delay), duration_text(timeout));
        let at = root.get("drain_timeout").or_else(|| root.get("drain_delay"));
        at.inspect(|value| value.report(Fault::new(message).help(help)));
    }
    Drain { delay, timeout, idle_grace: idle_grace(root, timeout) }
}

fn idle_grace(root: &Table<'_>, timeout: Duration) -> Duration {
    let grace = root.read("drain_idle_grace", duration_or_zero);
    if grace.is_some_and(|grace| grace > timeout) {
        let fault = Fault::new("longer than `drain_timeout`, when every connection is ended");
        let help = format!("now: drain_timeout = \"{}\"", duration_text(timeout));
        root.get("drain_idle_grace").inspect(|value| value.report(fault.help(help)));
    }
    grace.unwrap_or(DRAIN_IDLE_GRACE.min(timeout))
}
