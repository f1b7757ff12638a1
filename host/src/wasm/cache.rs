//! Compiled code on disk, so that a start does not compile what an earlier one compiled.
//!
//! A file is `sha256(name, code)` followed by the code; its name is the digest of the wasm and of everything in the
//! engine that the code depends on. The digest guards against damage; that nobody put code there on purpose is guarded
//! by the folder, which must belong to this user and be writable by nobody else.
//!
//! **Invariant:** failing here costs a compilation, never more: every error is logged and forgotten.

use std::{
    fs::{self, DirBuilder, File},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use wasmtime::Engine;

use super::artifact::TrustedArtifact;

/// Files kept; the ones written longest ago go first.
const MAX_FILES: usize = 128;
const EXTENSION: &str = "code";
/// Far above what a 32 MiB module compiles to.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A folder of compiled modules.
#[derive(Debug)]
pub(super) struct DiskCache {
    folder: PathBuf,
    engine: String,
    temporary: AtomicU64,
}

/// Why a folder or a file is not used.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it belongs to user {0}, not to the user this process runs as")]
    Owner(u32),
    #[error("others may write to it (mode {0:o})")]
    Mode(u32),
    #[error("it is not a folder")]
    NotAFolder,
    #[error("its content does not match its digest")]
    Damaged,
}

impl DiskCache {
    /// Opens or makes the folder; none, with a warning, when it cannot be trusted or used.
    pub(super) fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        match prepare(folder) {
            Ok(()) => {
                Some(Self { folder: folder.to_owned(), engine: compatibility(engine), temporary: AtomicU64::new(0) })
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cache of compiled filters is not used");
                None
            }
        }
    }

    /// The compiled code of the module with this digest.
    pub(super) fn read(&self, digest: &str) -> Option<TrustedArtifact> {
        let path = self.path(digest);
        match read(&path) {
            Ok(code) => Some(TrustedArtifact::vouched(code)),
            Err(CacheError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "compiled filter in the cache is not used");
                None
            }
        }
    }

    /// Keeps the compiled code of the module with this digest.
    pub(super) fn write(&self, digest: &str, code: &[u8]) {
        let path = self.path(digest);
        if let Err(error) = self.replace(&path, code).and_then(|()| self.prune()) {
            tracing::warn!(file = %path.display(), %error, "compiled filter could not be kept");
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{EXTENSION}", self.engine))
    }

    /// Readers see the old file or the new one, whole.
    fn replace(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let number = self.temporary.fetch_add(1, Relaxed);
        let temporary = self.folder.join(format!("{}-{number}.tmp", std::process::id()));
        let written = write(&temporary, &digest(path, code), code).and_then(|()| fs::rename(&temporary, path));
        written.inspect_err(|_| _ = fs::remove_file(&temporary))
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

fn prepare(folder: &Path) -> Result<(), CacheError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::metadata(folder)?;
    if !metadata.is_dir() {
        return Err(CacheError::NotAFolder);
    }
    check_access(&metadata)
}

fn check_access(metadata: &fs::Metadata) -> Result<(), CacheError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CacheError::Owner(metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(CacheError::Mode(metadata.mode() & 0o7777));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CacheError> {
    let file = File::open(path)?;
    check_access(&file.metadata()?)?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    let (written, code) = content.split_first_chunk::<SHA256_OUTPUT_LEN>().ok_or(CacheError::Damaged)?;
    if *written != digest(path, code) {
        return Err(CacheError::Damaged);
    }
    content.drain(..SHA256_OUTPUT_LEN);
    Ok(content)
}

fn write(path: &Path, digest: &[u8], code: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(digest)?;
    file.write_all(code)
}

/// Over the name too, so that a file that stands under another's name is not taken for it.
fn digest(path: &Path, code: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    context.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    context.update(b"\0");
    context.update(code);
    finish(context)
}

fn finish(context: Context) -> [u8; SHA256_OUTPUT_LEN] {
    let mut digest = [0; SHA256_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// A digest of everything in the engine that compiled code depends on.
fn compatibility(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Context::new(&SHA256));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let digest = finish(hasher.0);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds what is hashed to SHA-256: the hashers of the standard library may change from one release to the next.
struct Sha256Hasher(Context);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn damaged_and_renamed_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(&folder.path().join("made/here"), &Engine::default()).unwrap();
        cache.write("aa", b"code");
        assert!(cache.read("aa").is_some());
        assert!(cache.read("bb").is_none());
        fs::copy(cache.path("aa"), cache.path("bb")).unwrap();
        assert!(cache.read("bb").is_none());
        for damaged in [&b""[..], b"short", &[0; 40]] {
            fs::write(cache.path("aa"), damaged).unwrap();
            assert!(cache.read("aa").is_none());
        }
        cache.write("aa", b"code");
        assert!(cache.read("aa").is_some());
        assert_eq!(files(&cache.folder).len(), 2);
    }

    #[test]
    fn a_folder_or_file_that_others_may_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(folder.path(), &Engine::default()).unwrap();
        cache.write("aa", b"code");
        fs::set_permissions(cache.path("aa"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.read("aa").is_none());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(DiskCache::open(folder.path(), &Engine::default()).is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DiskCache::open(file.path(), &Engine::default()).is_none());
    }

    #[test]
    fn the_folder_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(folder.path(), &Engine::default()).unwrap();
        (0..MAX_FILES + 10).for_each(|n| cache.write(&format!("{n:04}"), b"code"));
        assert_eq!(files(folder.path()).len(), MAX_FILES);
        assert!(cache.read(&format!("{:04}", MAX_FILES + 9)).is_some());
    }

    #[test]
    fn a_folder_that_went_away_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(folder.path(), &Engine::default()).unwrap();
        folder.close().unwrap();
        cache.write("aa", b"code");
        assert!(cache.read("aa").is_none());
    }
}
