//! Recorded inputs against a component: what comes of them, whether it depends on the rhythm, and what another version
//! would do.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::{Exit, Failure, Output};
use crate::config::PluginsConfig;
use crate::plugins::{self, Plugins, Wanted};
use crate::recording::{Mode, Played, Player, Recording, same};

/// Inputs of a call as the gateway makes them by default.
const BATCH: usize = 64;

/// Other edges for a check: they cut most batches of the gateway somewhere else.
const OTHER_EDGES: usize = 7;

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The recording.
    recording: PathBuf,
    /// The plugin: a component file, or `builtin:telemetry`.
    plugin: String,
    /// Call a fresh instance each time.
    #[arg(long)]
    fresh: bool,
    /// Inputs of one call, at most.
    #[arg(long, default_value_t = BATCH, value_parser = batch)]
    batch: usize,
    /// Run it in every rhythm; fail if the results differ from one another, or from the recorded ones of the same plugin.
    #[arg(long)]
    check: bool,
}

fn batch(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|batch| *batch > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

impl Replay {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let stage = Stage::open(&self.recording)?;
        let player = stage.player(&self.plugin)?;
        if self.check {
            return check(&stage.recording, &player, self.batch, output);
        }
        let played = play(&player, Mode { fresh: self.fresh, batch: self.batch })?;
        let inputs = stage.recording.inputs.iter().zip(&played).enumerate();
        let shown: Vec<Json> = inputs
            .map(|(number, (input, played))| {
                let mut shown = input.json(number);
                shown["outcome"] = played.outcome.json();
                shown["as_recorded"] = same(&input.outcome, &played.outcome).into();
                shown["unanswered"] = json!(played.unanswered);
                shown["log"] = json!(played.lines);
                shown
            })
            .collect();
        if output.is_json() {
            output.json(&Json::Array(shown));
        } else {
            shown.iter().for_each(|shown| line(shown, output));
            output.line(summary(&stage.recording, &played));
        }
        Ok(())
    }
}

/// Runs two plugins with a recording and prints the inputs of which different things come.
pub(super) fn diff(recording: &Path, one: &str, other: &str, output: &mut Output) -> Result<(), Failure> {
    let stage = Stage::open(recording)?;
    let mode = Mode { fresh: false, batch: BATCH };
    let one = play(&stage.player(one)?, mode)?;
    let other = play(&stage.player(other)?, mode)?;
    let differing: Vec<Json> = differences(&stage.recording, &one, &other).collect();
    let (count, all) = (differing.len(), stage.recording.inputs.len());
    if output.is_json() {
        output.json(&Json::Array(differing));
    } else {
        for shown in &differing {
            output.line(format_args!("{}\n- {}\n+ {}", name(shown), shown["one"], shown["other"]));
        }
        output.line(format_args!("{count} of {all} inputs differ"));
    }
    match count {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::No, format!("{count} of {all} inputs differ"))),
    }
}

/// What differs between two runs. What a plugin asked in vain is part of its result.
fn differences<'r>(
    recording: &'r Recording,
    one: &'r [Played],
    other: &'r [Played],
) -> impl Iterator<Item = Json> + 'r {
    recording.inputs.iter().zip(one.iter().zip(other)).enumerate().filter_map(|(number, (input, (one, other)))| {
        if same(&one.outcome, &other.outcome) && one.unanswered == other.unanswered {
            return None;
        }
        let mut shown = input.json(number);
        shown["one"] = result(one);
        shown["other"] = result(other);
        Some(shown)
    })
}

fn result(played: &Played) -> Json {
    let mut result = played.outcome.json();
    if !played.unanswered.is_empty() {
        result["unanswered"] = json!(played.unanswered);
    }
    result
}

/// Runs a plugin in every rhythm and holds all results against those of fresh instances.
fn check(recording: &Recording, player: &Player, batch: usize, output: &mut Output) -> Result<(), Failure> {
    let edges = if batch == BATCH { OTHER_EDGES } else { batch };
    let rhythms = [
        ("one instance, one input a call".to_owned(), Mode { fresh: false, batch: 1 }),
        (format!("one instance, {BATCH} inputs a call"), Mode { fresh: false, batch: BATCH }),
        (format!("one instance, {edges} inputs a call"), Mode { fresh: false, batch: edges }),
        (format!("a fresh instance for each call, {edges} inputs a call"), Mode { fresh: true, batch: edges }),
    ];
    let fresh = play(player, Mode { fresh: true, batch: 1 })?;
    let mut report = Vec::new();
    for (rhythm, mode) in rhythms {
        let played = play(player, mode)?;
        report.push((rhythm, differences(recording, &fresh, &played).collect::<Vec<_>>()));
    }
    if player.digest().to_string() == recording.header.digest {
        report.push((
            "the gateway, as recorded".to_owned(),
            differences(recording, &fresh, &recorded(recording)).collect(),
        ));
    }
    let wrong: usize = report.iter().map(|(_, differing)| differing.len()).sum();
    tell(recording, &report, output);
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::No, "what comes of an input depends on more than the input")),
    }
}

fn tell(recording: &Recording, report: &[(String, Vec<Json>)], output: &mut Output) {
    let inputs = recording.inputs.len();
    if output.is_json() {
        let runs: Vec<_> =
            report.iter().map(|(rhythm, differing)| json!({ "run": rhythm, "differing": differing })).collect();
        return output.json(&json!({ "inputs": inputs, "against": "fresh instances, one input a call", "runs": runs }));
    }
    output.line(format_args!("{inputs} inputs, against a fresh instance for each:"));
    for (rhythm, differing) in report {
        match differing.len() {
            0 => output.line(format_args!("  {rhythm}: the same")),
            count => output.line(format_args!("  {rhythm}: {count} differ")),
        }
        for shown in differing {
            output.line(format_args!("    {}\n    - {}\n    + {}", name(shown), shown["one"], shown["other"]));
        }
    }
}

/// What the gateway saw, as one more run.
fn recorded(recording: &Recording) -> Vec<Played> {
    let played = |input: &crate::recording::Input| Played {
        outcome: input.outcome.clone(),
        unanswered: Vec::new(),
        lines: Vec::new(),
    };
    recording.inputs.iter().map(played).collect()
}

fn line(shown: &Json, output: &mut Output) {
    output.line(format_args!("{}  {}", name(shown), shown["outcome"]));
    for lines in ["unanswered", "log"] {
        for text in shown[lines].as_array().into_iter().flatten() {
            output.line(format_args!("    {lines}: {}", text.as_str().unwrap_or_default().escape_debug()));
        }
    }
}

fn name(shown: &Json) -> String {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().escape_debug().to_string();
    format!("{:>6}  {}  {}", shown["input"], text("topic"), text("sender"))
}

fn summary(recording: &Recording, played: &[Played]) -> String {
    let differing =
        recording.inputs.iter().zip(played).filter(|(input, played)| !same(&input.outcome, &played.outcome));
    let ended = recording.end.why.as_str();
    format!(
        "{} inputs of binding {} (ended: {ended}), {} with another outcome than recorded",
        recording.inputs.len(),
        recording.header.binding,
        differing.count()
    )
}

/// A recording and what runs plugins.
struct Stage {
    recording: Recording,
    plugins: Plugins,
}

impl Stage {
    fn open(file: &Path) -> Result<Self, Failure> {
        let recording = Recording::open(file);
        let recording = recording.map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())))?;
        let engine = plugins::engine(&PluginsConfig::default());
        let plugins =
            Plugins::without_cache(engine, None).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        Ok(Self { recording, plugins })
    }

    fn player(&self, plugin: &str) -> Result<Player, Failure> {
        let usage = |error: &dyn std::error::Error| Failure::new(Exit::Usage, format!("{plugin}: {error}"));
        let (component, _) =
            self.plugins.load(&Wanted::locked(crate::telemetry::KIND, plugin, None)).map_err(|error| usage(&error))?;
        Player::new(self.plugins.engine(), &component, &self.recording).map_err(|error| usage(&error))
    }
}

fn play(player: &Player, mode: Mode) -> Result<Vec<Played>, Failure> {
    player.play(mode).map_err(|error| Failure::new(Exit::No, format!("with the recorded configuration {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;
    use crate::recording::tests::plays::{ALONE, REMEMBERS, five, player, recording};

    fn checked(guest: &str) -> Result<(), Failure> {
        check(&recording(five()), &player(guest, five()), BATCH, &mut Output::standard(Format::Json))
    }

    #[test]
    fn a_plugin_whose_outcomes_depend_on_its_memory_is_caught() {
        assert!(checked(ALONE).is_ok());
        assert!(checked(REMEMBERS).is_err());
    }

    #[test]
    fn only_inputs_with_other_outcomes_are_differences() {
        let run = |guest: &str| player(guest, five()).play(Mode { fresh: false, batch: 1 }).unwrap();
        let recording = recording(five());
        let numbers = |one, other| {
            let (one, other) = (run(one), run(other));
            differences(&recording, &one, &other).map(|shown| shown["input"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(ALONE, ALONE), [0; 0]);
        assert_eq!(numbers(ALONE, REMEMBERS), [2]);
    }
}
