//! The gateway as the bench `dfu` compares it: built with the feature `native-dfu`, and otherwise the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway::cli::main(std::env::args_os())
}
