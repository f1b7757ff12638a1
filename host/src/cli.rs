//! The command line: what can be typed, and what each command does.
//!
//! **Invariant:** every command says on failure what to do next, and exits with 1. Only a command line that cannot be
//! understood is 2.

use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

mod build;
mod check;
mod compile_module;
mod demo;
mod inspect;
mod intercept;
mod new;
mod notify;
mod output;
mod ready;
mod run;
mod shell;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  it failed; standard error says why
  2  the command line is not understood

Environment:
  RUST_LOG         what is logged, such as `debug` or `info,hyper=debug` [default: info]
  NO_COLOR         when set, nothing is coloured
  XDG_CACHE_HOME   below it compiled filters are kept, unless --cache-dir says where
  NOTIFY_SOCKET    the service manager that is told of start, reload and drain (systemd sets it)";

/// A sidecar proxy whose behaviour is a chain of sandboxed WebAssembly filters.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    ///
    /// SIGHUP, POST /reload on the admin listener or a changed file reloads configuration and filters without losing a
    /// request. SIGTERM drains: readiness fails, after `drain_delay` the listeners close, and the process ends with the
    /// last exchange or at `drain_timeout`.
    Run(RunProxy),
    /// Check a configuration: every key, every filter loaded and configured
    ///
    /// Prints every fault with file, line, what is allowed and the likely slip. Exits with 0 when there is none, with 1
    /// otherwise. Opens no socket.
    Check(ConfigFile),
    /// Run a demonstration: a service, the proxy before it with the bundled filters, and requests to try
    ///
    /// The proxy is at 127.0.0.1:8080 and its admin listener at 127.0.0.1:9901, or at other ports where these are taken.
    Demo,
    /// Write, build and inspect filters
    #[command(subcommand, arg_required_else_help = true)]
    Filter(FilterCommand),
    /// Redirect connections to the proxy without the application's knowledge
    ///
    /// Works on the network namespace it is started in (a pod, a container, the host), through nftables or else iptables,
    /// and needs root or CAP_NET_ADMIN. The connections need a listener with `transparent = true`.
    #[command(subcommand, arg_required_else_help = true)]
    Intercept(InterceptCommand),
    /// Ask a running proxy whether it is ready; exits with 0 or 1
    ///
    /// For health checks in containers that hold nothing else.
    Ready(Ready),
    /// Print the completions for a shell
    ///
    /// For bash: meshup completions bash > ~/.local/share/bash-completion/completions/meshup
    Completions(Completions),
    /// Write the man pages
    Man(ManPages),
    /// What `run`, `check` and `demo` start for each module: wasm in, code out
    #[command(hide = true)]
    CompileModule(CompileModule),
}

/// Does what the process was started with.
///
/// # Errors
///
/// What failed and, where possible, what to do.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(said) => output::print_instead(&said),
    }
}

impl Cli {
    /// Does what was typed.
    ///
    /// # Errors
    ///
    /// What failed and, where possible, what to do.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(args),
            Command::Demo => demo::run(),
            Command::Filter(command) => command.run().map(|()| ExitCode::SUCCESS),
            Command::Intercept(command) => intercept::run(command),
            Command::Ready(args) => ready::run(args).map(|()| ExitCode::SUCCESS),
            Command::Completions(args) => shell::completions(args).map(|()| ExitCode::SUCCESS),
            Command::Man(args) => shell::man_pages(args).map(|()| ExitCode::SUCCESS),
            Command::CompileModule(args) => compile_module::run(args),
        }
    }
}

/// `meshup run`
#[derive(Debug, Args)]
pub struct RunProxy {
    #[command(flatten)]
    file: ConfigFile,
    /// Where compiled filters are kept between starts [default: $XDG_CACHE_HOME/meshup or ~/.cache/meshup]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file (TOML)
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// Commands for people who write filters.
#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Make a crate with a small filter that builds and passes its own tests
    New(NewFilter),
    /// Build a filter crate to a .wasm file
    ///
    /// Adds the Rust target wasm32-unknown-unknown when it is missing.
    Build(BuildFilter),
    /// Show what a .wasm file is: ABI version, size, digest, imports, exports
    Inspect(InspectFilter),
}

impl FilterCommand {
    /// Does it.
    ///
    /// # Errors
    ///
    /// What failed and, where possible, what to do.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::New(args) => new::run(args),
            Self::Build(args) => build::run(args),
            Self::Inspect(args) => inspect::run(args),
        }
    }
}

/// `meshup filter new`
#[derive(Debug, Args)]
pub struct NewFilter {
    /// The crate's name: lower-case letters, digits, `-` and `_`
    name: String,
    /// The folder to make [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The folder of the crate meshup-sdk, to build against it instead of a published version
    #[arg(long, value_name = "DIR")]
    sdk_path: Option<PathBuf>,
}

/// `meshup filter build`
#[derive(Debug, Args)]
pub struct BuildFilter {
    /// The folder of the filter crate
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// `meshup filter inspect`
#[derive(Debug, Args)]
pub struct InspectFilter {
    /// The .wasm file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Commands for the rules of the packet filter.
#[derive(Debug, Subcommand)]
pub enum InterceptCommand {
    /// Install the rules; what was installed before is replaced
    ///
    /// Outbound TCP connections are redirected to a local port. Exempt are those of the proxy's own user, those over the
    /// loopback interface, and what is excluded.
    Install(InstallInterception),
    /// Remove the rules, all of them
    Remove(RemoveInterception),
    /// Show the rules that are installed; exits with 1 when there are none
    Show,
}

/// `meshup intercept install`
#[derive(Debug, Args)]
pub struct InstallInterception {
    /// The user id that the proxy runs under: its own connections are not redirected
    #[arg(long, value_name = "UID")]
    proxy_uid: u32,
    /// Where outbound connections are redirected to
    #[arg(long, value_name = "PORT", default_value = "15001")]
    outbound_port: NonZeroU16,
    /// Where connections that arrive are redirected to; without it they are left alone
    #[arg(long, value_name = "PORT")]
    inbound_port: Option<NonZeroU16>,
    /// Destination ports of outbound connections that are left alone
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    exclude_port: Vec<u16>,
    /// Destinations of outbound connections that are left alone: addresses or ranges such as 10.0.0.0/8 and fd00::/8
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    exclude_cidr: Vec<intercept::cidr::Cidr>,
    /// Ports on which arriving connections are left alone, such as that of the admin listener
    #[arg(long, value_name = "PORT", value_delimiter = ',', requires = "inbound_port")]
    exclude_inbound_port: Vec<u16>,
    /// The program that hands the rules to the kernel [default: nft, else iptables]
    #[arg(long, value_name = "PROGRAM")]
    tool: Option<intercept::tool::Tool>,
    /// Print the rules instead
    #[arg(long)]
    dry_run: bool,
}

/// `meshup intercept remove`
#[derive(Debug, Args)]
pub struct RemoveInterception {
    /// Print what would be done instead
    #[arg(long)]
    dry_run: bool,
}

/// `meshup ready`
#[derive(Debug, Args)]
pub struct Ready {
    /// The admin listener
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
}

/// `meshup completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

/// `meshup man`
#[derive(Debug, Args)]
pub struct ManPages {
    /// The folder to write them to, such as ~/.local/share/man/man1
    dir: PathBuf,
}

/// `meshup compile-module`
#[derive(Debug, Args)]
pub struct CompileModule {
    /// Leave the processors to others
    #[arg(long)]
    low_priority: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }
}
