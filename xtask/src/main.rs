//! The task runner: what plain cargo cannot do in one command.
//!
//! It has no dependencies, so it builds in a second on a fresh machine. Each task prepares what cargo needs and then
//! becomes the last cargo command (`exec`), so that signals and exit codes are that command's own.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to the person who typed its name")]

mod guests;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "\
usage: cargo xtask <task> [arguments]

  demo [arguments]   starts a gateway with a throw-away PKI and three simulated vehicles; Ctrl-C ends it
  test [arguments]   runs every test of the workspace; the arguments go to `cargo test`
  docs               writes the generated documents again
  bench [name ...]   builds for release and prints the tables of the named benches; no name lists them
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match task.as_str() {
        "demo" => demo(&rest),
        "test" => test(&rest),
        "docs" => match docs() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(reason) => Err(reason),
        },
        "bench" => bench(&rest),
        "" | "help" | "-h" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        unknown => Err(format!("unknown task {unknown:?}\n\n{USAGE}")),
    };
    match outcome {
        Ok(never) => match never {},
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::from(64)
        }
    }
}

/// What a task returns when all went well: nothing, because it has become another program.
enum Gone {}

fn demo(rest: &[String]) -> Result<Gone, String> {
    guests::ensure_target()?;
    become_program(cargo().args(["run", "--quiet", "--package", "causeway", "--", "demo"]).args(rest))
}

fn test(rest: &[String]) -> Result<Gone, String> {
    guests::ensure_target()?;
    become_program(cargo().args(["test", "--workspace"]).args(rest))
}

/// The documents that the program prints about itself, and the arguments it prints them for.
const DOCUMENTS: [(&str, &[&str]); 2] =
    [("docs/reference/config.md", &["config", "reference"]), ("docs/reference/openapi.json", &["config", "openapi"])];

fn docs() -> Result<(), String> {
    guests::ensure_target()?;
    for (file, arguments) in DOCUMENTS {
        let mut command = cargo();
        command.args(["run", "--quiet", "--package", "causeway", "--"]).args(arguments).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| format!("{command:?} did not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command:?} ended with {}", output.status));
        }
        std::fs::write(file, output.stdout).map_err(|error| format!("{file} cannot be written: {error}"))?;
        println!("xtask: wrote {file}");
    }
    Ok(())
}

fn bench(names: &[String]) -> Result<Gone, String> {
    guests::ensure_target()?;
    let build = ["build", "--release", "--package", "causeway", "--package", "causeway-tests", "--bins"];
    run(cargo().args(build))?;
    if names.iter().any(|name| name == "dfu" || name == "all") {
        // What the plugin is compared with: a gateway that differs in this alone.
        let native = ["--package", "causeway-tests", "--features", "native-dfu", "--bin", "causeway-native-dfu"];
        run(cargo().args(["build", "--release"]).args(native))?;
    }
    become_program(
        cargo()
            .args(["run", "--quiet", "--release", "--package", "causeway-tests", "--bin", "causeway-bench", "--"])
            .args(names),
    )
}

/// The cargo that started this task, so that both use the same toolchain.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} ended with {status}")),
        Err(error) => Err(format!("{command:?} did not start: {error}")),
    }
}

fn become_program(command: &mut Command) -> Result<Gone, String> {
    let error = command.exec();
    Err(format!("{command:?} did not start: {error}"))
}
