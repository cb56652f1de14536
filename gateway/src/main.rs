//! The binary: arguments in, exit code out; `causeway::cli` says what happens between.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway::cli::main(std::env::args_os())
}
