//! What of a campaign is kept as JSON, behind a digit for its form.

use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{OnError, Plan, Progress, Start, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form; the first character.
const FORMAT: char = '1';

#[derive(Deserialize, Serialize)]
struct ReleaseForm {
    name: String,
    version: String,
    image: String,
    size: u64,
    checksum: Vec<u8>,
    from: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct PlanForm {
    waves: Vec<String>,
    success: u32,
    error: Option<u32>,
    abort_on_error: bool,
    /// Not by hand.
    starts: bool,
    start_ms: Option<u64>,
    approval: bool,
    windows: Vec<String>,
    preload: bool,
    downgrade: bool,
    attempts: Option<u32>,
    device_timeout: Option<u32>,
}

#[derive(Deserialize, Serialize)]
struct ProgressForm {
    state: String,
    why: Option<String>,
    approved: bool,
    wave: u32,
    tolerated: u64,
    passed: bool,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
}

pub(super) fn release(release: &Release) -> String {
    let Release { name, version, image, size, checksum, from } = release.clone();
    encode(&ReleaseForm { name, version, image, size, checksum: checksum.to_vec(), from })
}

pub(super) fn read_release(text: &str) -> Result<Release, String> {
    let ReleaseForm { name, version, image, size, checksum, from } = decode(text)?;
    let checksum = checksum.try_into().map_err(|_| "a checksum that is none".to_owned())?;
    Ok(Release { name, version, image, size, checksum, from })
}

pub(super) fn plan(plan: &Plan) -> String {
    encode(&PlanForm {
        waves: plan.waves.iter().map(ToString::to_string).collect(),
        success: plan.success,
        error: plan.error,
        abort_on_error: plan.on_error == OnError::Abort,
        starts: plan.start != Start::ByHand,
        start_ms: if let Start::At(at_ms) = plan.start { Some(at_ms) } else { None },
        approval: plan.approval,
        windows: plan.windows.iter().map(ToString::to_string).collect(),
        preload: plan.preload,
        downgrade: plan.downgrade,
        attempts: plan.attempts,
        device_timeout: plan.device_timeout,
    })
}

pub(super) fn read_plan(text: &str) -> Result<Plan, String> {
    let form: PlanForm = decode(text)?;
    let start = match (form.starts, form.start_ms) {
        (false, _) => Start::ByHand,
        (true, None) => Start::Now,
        (true, Some(at_ms)) => Start::At(at_ms),
    };
    Ok(Plan {
        waves: form.waves.iter().map(|wave| wave.parse().map_err(text_of)).collect::<Result<_, String>>()?,
        success: form.success,
        // Rows say 101 for none that were written before there was none.
        error: form.error.filter(|error| *error <= 100),
        on_error: if form.abort_on_error { OnError::Abort } else { OnError::Pause },
        start,
        approval: form.approval,
        windows: form.windows.iter().map(|window| window.parse().map_err(text_of)).collect::<Result<_, String>>()?,
        preload: form.preload,
        downgrade: form.downgrade,
        attempts: form.attempts,
        device_timeout: form.device_timeout,
    })
}

pub(super) fn progress(progress: &Progress) -> String {
    let Progress { state, why, approved, wave, tolerated, passed, started_ms, ended_ms } = progress.clone();
    let state = state.word().to_owned();
    encode(&ProgressForm { state, why, approved, wave, tolerated, passed, started_ms, ended_ms })
}

pub(super) fn read_progress(text: &str) -> Result<Progress, String> {
    let ProgressForm { state, why, approved, wave, tolerated, passed, started_ms, ended_ms } = decode(text)?;
    let state = State::of_word(&state).ok_or_else(|| format!("unknown word `{state}`"))?;
    Ok(Progress { state, why, approved, wave, tolerated, passed, started_ms, ended_ms })
}

fn encode(form: &impl Serialize) -> String {
    // Structs of texts and numbers always have a JSON form.
    format!("{FORMAT}{}", serde_json::to_string(form).unwrap_or_default())
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let json = text.strip_prefix(FORMAT).ok_or("unknown format of a campaign")?;
    serde_json::from_str(json).map_err(text_of)
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_earlier_builds_are_read() {
        let (text, never) = (plan(&Plan::default()), plan(&Plan { error: None, ..Plan::default() }));
        assert_eq!(read_plan(&text), Ok(Plan::default()));
        for none in [never, text.replace("\"error\":10,", "\"error\":101,")] {
            assert_eq!(read_plan(&none).map(|plan| plan.error), Ok(None), "{none}");
        }
        let begun = Progress { wave: 1, started_ms: Some(5), ..Progress::new(&Plan::default()) };
        let resumed = progress(&begun).replace("\"ended_ms\"", "\"resumed_ms\":7,\"ended_ms\"");
        assert_eq!(read_progress(&resumed), Ok(begun));
    }
}
