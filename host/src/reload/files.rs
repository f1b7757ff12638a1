//! The files a generation is made from: whether they changed, and word of when.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Source;
use crate::config::{Config, ListenerTls, ModuleSource, UpstreamTls};

fn files<'a>(source: &'a Source, config: &'a Config) -> impl Iterator<Item = &'a Path> {
    let own = match source {
        Source::File(path) => Some(path.as_path()),
        Source::Text(_) => None,
    };
    let modules = config.filters.values().filter_map(|filter| match &filter.module {
        ModuleSource::File(path) => Some(path.as_path()),
        ModuleSource::Builtin(_) => None,
    });
    let of_listeners =
        config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(ListenerTls::files);
    let of_upstreams =
        config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref()).flat_map(UpstreamTls::files);
    own.into_iter().chain(modules).chain(of_listeners).chain(of_upstreams)
}

type Look = (u64, u64, u64, i64, i64);

/// What the files look like from outside, without reading them: device, inode, size and time of change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, Option<Look>>);

impl Fingerprint {
    pub(super) fn of(source: &Source, config: &Config) -> Self {
        let of_file = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        Self(files(source, config).map(|path| (path.to_owned(), of_file(path))).collect())
    }

    /// The same files, but as they looked `earlier` where they were looked at then.
    pub(super) fn backdated(mut self, earlier: &Self) -> Self {
        for (path, look) in &mut self.0 {
            if let Some(before) = earlier.0.get(path) {
                *look = *before;
            }
        }
        self
    }
}

/// Watches the folders of the files: editors, `mv` and mounted volumes replace files rather than write them.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Starts watching nothing yet; `changed` is called from another thread. `None` when the system has no watches left.
    pub(super) fn start(changed: impl Fn() + Send + 'static) -> Option<Self> {
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                changed();
            }
        };
        match notify::recommended_watcher(on_event) {
            Ok(watcher) => Some(Self { watcher, folders: BTreeSet::new() }),
            Err(error) => {
                tracing::warn!(%error, "files are not watched: reload by SIGHUP or POST /reload");
                None
            }
        }
    }

    /// Watches the folders of this configuration's files, and no others.
    pub(super) fn follow(&mut self, source: &Source, config: &Config) {
        // Of a folder that does not exist yet, the nearest one that does: its appearance is seen there.
        let folder = |path: &Path| {
            let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
            parents.into_iter().find(|parent| parent.is_dir()).unwrap_or(Path::new(".")).to_owned()
        };
        let wanted: BTreeSet<_> = files(source, config).map(folder).collect();
        for gone in self.folders.difference(&wanted) {
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched: BTreeSet<_> = self.folders.intersection(&wanted).cloned().collect();
        for new in wanted.difference(&self.folders) {
            match self.watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(new.clone())),
                Err(error) => tracing::warn!(folder = %new.display(), %error, "folder is not watched"),
            }
        }
        self.folders = watched;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks<const N: usize>(of: [(&str, u64); N]) -> Fingerprint {
        Fingerprint(of.map(|(path, size)| (PathBuf::from(path), Some((1, 1, size, 0, 0)))).into())
    }

    #[test]
    fn a_file_that_changed_while_it_was_read_is_not_taken_for_seen() {
        let before = looks([("meshup.toml", 10), ("gone.wasm", 20)]);
        let during = looks([("meshup.toml", 11), ("new.wasm", 30)]);
        assert_eq!(during.backdated(&before), looks([("meshup.toml", 10), ("new.wasm", 30)]));
    }
}
