//! The other end of [`Compiler::Child`](crate::Compiler): what the program does when it is started to compile.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::compile::REFUSED;
use crate::engine::{self, EngineConfig};

/// What a child is told by its arguments: its bounds, and the setting that its code depends on.
#[derive(Clone, Copy, Debug)]
pub struct CompileOrder {
    /// [`EngineConfig::max_stack_bytes`] of the parent.
    pub max_stack_bytes: usize,
    /// Address space that it may use.
    pub memory_bytes: u64,
    /// Processor time that it may use.
    pub cpu_seconds: u64,
}

impl CompileOrder {
    pub(crate) fn arguments(&self) -> [String; 3] {
        [self.max_stack_bytes.to_string(), self.memory_bytes.to_string(), self.cpu_seconds.to_string()]
    }

    /// Compiles the component on standard input to standard output, within its bounds. The bounds stand before the first
    /// byte is read.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self.obey() {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, reason)) => {
                // Nobody is left to tell when even this fails.
                let _ = writeln!(io::stderr(), "{reason}");
                ExitCode::from(code)
            }
        }
    }

    fn obey(&self) -> Result<(), (u8, String)> {
        const BROKEN: u8 = 70;
        let broken = |error: io::Error| (BROKEN, error.to_string());
        self.bind().map_err(broken)?;
        let mut component = Vec::new();
        io::stdin().lock().read_to_end(&mut component).map_err(broken)?;
        let config = EngineConfig { max_stack_bytes: self.max_stack_bytes, ..EngineConfig::default() };
        let engine = engine::compiler(&config).map_err(|error| (BROKEN, format!("{error:#}")))?;
        let code = engine.precompile_component(&component).map_err(|error| (REFUSED, format!("{error:#}")))?;
        let mut output = io::stdout().lock();
        output.write_all(&code).and_then(|()| output.flush()).map_err(broken)
    }

    fn bind(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        bound(Resource::Core, 0, 0)?;
        bound(Resource::As, self.memory_bytes, self.memory_bytes)?;
        // At the first of the two the kernel says that it was the time, at the second it kills.
        bound(Resource::Cpu, self.cpu_seconds, self.cpu_seconds.saturating_add(1))?;
        // The gateway comes first.
        rustix::process::nice(10)?;
        Ok(())
    }
}

/// Sets both limits of a resource, but never above what the process was started with.
fn bound(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    setrlimit(resource, Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) })?;
    Ok(())
}
