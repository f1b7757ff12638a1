//! The machine: who measures on it, and where and when figures are measured, for those who read them later.
//!
//! **Invariant:** what the system does not say is left out; nothing fails for it.

use std::{
    env::{self, consts::ARCH},
    fs::{self, File},
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow};

/// Keeps others who measure on the same cores from it, while it is held.
///
/// # Errors
///
/// Someone does already.
pub fn reserve() -> Result<File> {
    let path = env::temp_dir().join("meshup-bench.lock");
    let file = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    file.try_lock().map_err(|error| anyhow!("another measurement is under way: {}: {error}", path.display()))?;
    Ok(file)
}

/// Date and time in UTC, processor, cores, memory and kernel.
#[must_use]
pub fn here_and_now() -> String {
    let now = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "UTC");
    let processors = read("/proc/cpuinfo");
    let model = field(&processors, "model name").map(str::to_owned);
    // Not those that this thread may run on: a benchmark confines itself.
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let cores = (cores > 0).then(|| format!("{cores} cores"));
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(gibibytes).map(|size| format!("{size:.1} GiB"));
    let system = ["Linux", read("/proc/sys/kernel/osrelease").trim(), ARCH].join(" ");
    let known: Vec<String> = [Some(now), model, cores, memory, Some(system)].into_iter().flatten().collect();
    known.join(", ")
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// The first of that name among lines of `name : value`.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let fields = lines.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(found, _)| found.trim() == name).map(|(_, value)| value.trim()).next()
}

/// Of `1024 kB`.
fn gibibytes(value: &str) -> Option<f64> {
    let kibibytes: f64 = value.strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::{field, gibibytes};

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let lines = "model\t\t: 1\nmodel name\t: A: B\nMemTotal:  2097152 kB\n";
        assert_eq!(field(lines, "model name"), Some("A: B"));
        assert_eq!(field(lines, "MemTotal").and_then(gibibytes), Some(2.0));
        assert_eq!(field(lines, "name"), None);
    }
}
