//! The programs that hand rules to the kernel's packet filter.

use std::{
    env, fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, bail};

/// Which program hands rules to the packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Tool {
    /// nftables
    Nft,
    /// iptables and ip6tables
    Iptables,
}

impl Tool {
    /// Those that are installed, the preferred one first.
    pub(super) fn available() -> Vec<Self> {
        let programs = [(Self::Nft, "nft"), (Self::Iptables, "iptables")];
        programs.into_iter().filter(|(_, program)| find(program).is_some()).map(|(tool, _)| tool).collect()
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
        })
    }
}

/// A program on the path, or where those of an administrator are.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
}

/// Runs a program with `input` as its standard input, and gives what it did whether that succeeded or not.
pub(super) fn try_run(program: &str, args: &[&str], input: &str) -> anyhow::Result<Output> {
    let file = find(program).with_context(|| format!("`{program}` is missing: install it"))?;
    let mut command = Command::new(file);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run `{program}`"))?;
    // It says by itself what it misses when it does not read to the end.
    _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    child.wait_with_output().with_context(|| format!("cannot wait for `{program}`"))
}

/// Runs a program that has to succeed, and gives what it printed.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> anyhow::Result<String> {
    let output = try_run(program, args, input)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let hint = if rustix::process::geteuid().is_root() { "" } else { "\nit needs root, or CAP_NET_ADMIN" };
        bail!("`{program} {}` failed: {}{hint}", args.join(" "), said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
