//! The child process that compiles a module, seen from the parent: wasm into its standard input, code out of its
//! standard output, words about what is wrong with the module out of its standard error.
//!
//! The child is trusted as this program is; what it works on is not.
//!
//! **Invariant:** however long the child takes and whatever becomes of it, it is gone and waited for when [`compile`]
//! returns.

use std::{
    io::{self, Read, Write},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Priority, TrustedArtifact};
use crate::wasm::module::ModuleError;

/// The hidden command of the `meshup` binary.
const COMMAND: &str = "compile-module";
const LOW_PRIORITY: &str = "--low-priority";
/// The child's exit code when the module cannot be compiled; any other but 0 means that the child itself failed.
pub const MODULE_REFUSED: u8 = 3;

/// Far above what a 32 MiB module compiles to.
const MAX_CODE_BYTES: u64 = 1 << 30;
const MAX_TEXT_BYTES: u64 = 4 << 10;

/// Why there is no code.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no child.
    Start(io::Error),
    /// The module, or what it did to the child.
    Module(ModuleError),
}

/// What the child said.
struct Output {
    code: Vec<u8>,
    text: Vec<u8>,
}

type Pipes = (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>);

/// Compiles `wasm` in a child process.
pub(super) fn compile(
    program: &Path,
    deadline: Duration,
    wasm: &[u8],
    priority: Priority,
) -> Result<TrustedArtifact, Failure> {
    let mut child = start(program, priority).map_err(Failure::Start)?;
    let output = listen(&mut child, wasm, deadline);
    let status = child.wait();
    let (output, status) = (output?, status.map_err(broken)?);
    judge(status, output).map_err(Failure::Module)
}

/// The environment is left behind: all that the child needs is in its arguments. Files close by themselves.
fn start(program: &Path, priority: Priority) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg(COMMAND).args((priority == Priority::Low).then_some(LOW_PRIORITY)).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Hands the module over and waits for all that the child says. After a failure the child is killed: that closes the
/// pipes, and so ends the thread.
fn listen(child: &mut Child, wasm: &[u8], deadline: Duration) -> Result<Output, Failure> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let (sender, output) = mpsc::channel();
        let talk = move || _ = sender.send(talk(pipes, wasm));
        let thread = thread::Builder::new().name("compile".into()).spawn_scoped(scope, talk);
        let output = thread.map_err(Failure::Start).and_then(|_| match output.recv_timeout(deadline) {
            Ok(output) => output.map_err(broken),
            Err(_) => Err(Failure::Module(ModuleError::TooSlow { limit: deadline })),
        });
        if output.is_err() {
            // Fails only when the child has ended by itself.
            _ = child.kill();
        }
        output
    })
}

/// The child reads all before it writes, and writes to one pipe only: nobody waits for the other.
fn talk((stdin, stdout, stderr): Pipes, wasm: &[u8]) -> io::Result<Output> {
    // A child that does not read to the end says why with its exit code.
    _ = stdin.map(|mut stdin| stdin.write_all(wasm));
    Ok(Output { code: read(stdout, MAX_CODE_BYTES)?, text: read(stderr, MAX_TEXT_BYTES)? })
}

fn read(pipe: Option<impl Read>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |pipe| pipe.take(limit).read_to_end(&mut bytes))?;
    Ok(bytes)
}

fn judge(status: ExitStatus, output: Output) -> Result<TrustedArtifact, ModuleError> {
    if status.success() {
        return Ok(TrustedArtifact::vouched(output.code));
    }
    let text = String::from_utf8_lossy(&output.text);
    let text = text.trim_end();
    if status.code() == Some(MODULE_REFUSED.into()) {
        return Err(ModuleError::Invalid { reason: text.to_owned() });
    }
    Err(ModuleError::Compiler { reason: format!("{status} {text}").trim_end().to_owned() })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn broken(error: io::Error) -> Failure {
    Failure::Module(ModuleError::Compiler { reason: error.to_string() })
}
