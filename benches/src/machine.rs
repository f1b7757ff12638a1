//! Where and when figures are measured, for those who read them later.
//!
//! **Invariant:** what the system does not say is left out; nothing fails for it.

use std::{env::consts::ARCH, fs, time::SystemTime};

/// Date and time in UTC, processor, cores, memory and kernel.
#[must_use]
pub fn here_and_now() -> String {
    let now = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "UTC");
    let processors = read("/proc/cpuinfo");
    let model = field(&processors, "model name").unwrap_or("a processor");
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(gibibytes).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{now}, on {model}, {cores} cores, {memory:.1} GiB, Linux {} {ARCH}", kernel.trim())
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
