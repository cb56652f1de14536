//! `causeway compile-plugin`: the child in which a gateway compiles a plugin. Nobody types it.

use std::process::ExitCode;

use causeway_host::CompileOrder;
use clap::Args;

/// The arguments of a [`CompileOrder`], in its order.
#[derive(Debug, Args)]
pub(super) struct Compile {
    max_stack_bytes: usize,
    memory_bytes: u64,
    cpu_seconds: u64,
}

impl Compile {
    pub(super) fn run(self) -> ExitCode {
        let Self { max_stack_bytes, memory_bytes, cpu_seconds } = self;
        CompileOrder { max_stack_bytes, memory_bytes, cpu_seconds }.run()
    }
}
