//! From the bytes of a component to native code, away from the gateway: in a child process of the same program, which
//! has bounds of memory and time and ends with its parent.
//!
//! A compiler is a large program that works on bytes from outside. In a child, a component that it cannot bear costs a
//! process that nobody needs. The child gets the component and returns native code; what is run is decided in `cache`.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::compile_child::CompileOrder;
use crate::engine::Engine;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, without bounds: for a program that is not the gateway's, such as a test.
    InProcess,
    /// In a child.
    Child(ChildCompiler),
}

/// How a child is started, and what it may use.
#[derive(Clone, Debug)]
pub struct ChildCompiler {
    /// The program; it must be of the same build.
    pub program: PathBuf,
    /// What makes the program run a [`CompileOrder`], whose arguments follow.
    pub command: &'static str,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Time, on the wall clock. All processors together get as much.
    pub time: Duration,
}

/// The bound at which loading a component was given up; a closed set, so it can be a metric's label.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LoadLimit {
    /// [`EngineConfig::max_component_bytes`](crate::EngineConfig::max_component_bytes).
    Size,
    /// [`ChildCompiler::memory_bytes`].
    Memory,
    /// [`ChildCompiler::time`] of processors.
    Cpu,
    /// [`ChildCompiler::time`] on the wall clock.
    Time,
}

impl LoadLimit {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Memory => "compile-memory",
            Self::Cpu => "compile-cpu",
            Self::Time => "compile-time",
        }
    }
}

/// There is no native code.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The component is none, or one that this engine does not run.
    #[error("not a usable WebAssembly component: {0}")]
    Component(String),
    /// The child reached a bound.
    #[error("compiling the component takes more than {most}")]
    Limit {
        /// Which.
        limit: LoadLimit,
        /// How much it may have.
        most: String,
    },
    /// The child ended without an answer.
    #[error("the compiler ended with {status}: {said}")]
    Crashed {
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it said.
        said: String,
    },
    /// There is no child.
    #[error("the compiler cannot be started")]
    Start(#[source] io::Error),
}

/// The exit code of a child that refuses the component (`EX_DATAERR`); its standard error says why.
pub(crate) const REFUSED: u8 = 65;

/// Bytes of a child's standard error that are kept.
const SAID_BYTES: usize = 4096;

impl Compiler {
    pub(crate) fn compile(&self, engine: &Engine, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::InProcess => {
                let code = engine.inner.precompile_component(component);
                code.map_err(|error| CompileError::Component(format!("{error:#}")))
            }
            Self::Child(child) => child.compile(engine.config().max_stack_bytes, component),
        }
    }
}

/// How a child ended.
struct Ended {
    status: ExitStatus,
    code: io::Result<Vec<u8>>,
    said: String,
    /// It was killed because it did not end by itself.
    late: bool,
}

impl ChildCompiler {
    fn compile(&self, max_stack_bytes: usize, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        let child = self.spawn(max_stack_bytes).map_err(CompileError::Start)?;
        let Ended { status, code, said, late } = self.attend(child, component).map_err(CompileError::Start)?;
        if late {
            return Err(self.limit(LoadLimit::Time));
        }
        match code {
            Ok(code) if status.success() => Ok(code),
            _ if status.code() == Some(i32::from(REFUSED)) => Err(CompileError::Component(said)),
            _ => Err(match reached(status, &said) {
                Some(limit) => self.limit(limit),
                None => CompileError::Crashed { status, said },
            }),
        }
    }

    fn spawn(&self, max_stack_bytes: usize) -> io::Result<Child> {
        let order = CompileOrder { max_stack_bytes, memory_bytes: self.memory_bytes, cpu_seconds: self.cpu_seconds() };
        let mut command = Command::new(&self.program);
        command.arg(self.command).args(order.arguments()).current_dir("/");
        // Threads reserve address space, so their number must not follow the machine's.
        command.env_clear().env("RAYON_NUM_THREADS", threads().to_string()).env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Feeds the child, listens to it and ends it when it takes too long.
    fn attend(&self, child: Child, component: &[u8]) -> io::Result<Ended> {
        let mut child = Attended(child);
        let pipes = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        let (Some(mut input), Some(output), Some(errors)) = pipes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let most = self.memory_bytes;
        thread::scope(|scope| {
            let named = |name: &str| thread::Builder::new().name(name.to_owned());
            let (done, ended) = sync_channel(1);
            // A child that stops reading has ended, and says why by the way it did.
            named("compile-in").spawn_scoped(scope, move || drop(input.write_all(component)))?;
            let said = named("compile-err").spawn_scoped(scope, move || beginning(errors))?;
            let receive = move || {
                let mut code = Vec::new();
                drop(done.send(output.take(most).read_to_end(&mut code).map(|_| code)));
            };
            named("compile-out").spawn_scoped(scope, receive)?;
            let code = ended.recv_timeout(self.time);
            let late = code.is_err();
            if late {
                child.0.kill()?;
            }
            let status = child.0.wait()?;
            let said = said.join().unwrap_or_default();
            Ok(Ended { status, code: code.unwrap_or_else(|_| Ok(Vec::new())), said, late })
        })
    }

    fn limit(&self, limit: LoadLimit) -> CompileError {
        let most = match limit {
            LoadLimit::Memory => format!("{} MiB of memory", self.memory_bytes >> 20),
            LoadLimit::Cpu => format!("{} s of processor time", self.cpu_seconds()),
            LoadLimit::Size | LoadLimit::Time => format!("{} s", self.time.as_secs_f32()),
        };
        CompileError::Limit { limit, most }
    }

    /// The kernel counts whole seconds.
    fn cpu_seconds(&self) -> u64 {
        self.time.as_secs().max(1)
    }
}

/// A child that does not outlive whoever waits for it.
struct Attended(Child);

impl Drop for Attended {
    fn drop(&mut self) {
        // After `wait` there is nothing left to kill, and the system says so.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The bound that ended a child that did not end well.
fn reached(status: ExitStatus, said: &str) -> Option<LoadLimit> {
    use std::os::unix::process::ExitStatusExt;
    // What Rust says when the allocator has nothing left, and what a map or a thread says (ENOMEM, EAGAIN).
    const NO_MEMORY: [&str; 3] = ["memory allocation of", "os error 12", "os error 11"];
    const SIGXCPU: i32 = 24;
    if status.signal() == Some(SIGXCPU) {
        return Some(LoadLimit::Cpu);
    }
    NO_MEMORY.iter().any(|words| said.contains(words)).then_some(LoadLimit::Memory)
}

/// At most four: more hardly compile a plugin faster.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// Reads to the end and keeps the beginning.
fn beginning(mut errors: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut buffer) {
        let room = SAID_BYTES.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
