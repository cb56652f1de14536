//! Runs a component with a recording, in any rhythm: with one instance or with a fresh one for each call, and with batches
//! cut anywhere. Its imports answer what they answered then.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use causeway_host::{Component, Digest, Engine, Limits, LoadError, Setup, StartError};

use super::format::Input;
use super::reader::Recording;
use super::rehearsal::{Played, Rehearsal, Role};

/// A machine that is slower than the gateway must not make a trap of an answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// In which rhythm the plugin is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode {
    /// A fresh instance for each call.
    pub fresh: bool,
    /// Inputs of one call, at most.
    pub batch: usize,
}

/// A plugin with the inputs of a recording.
pub struct Player {
    rehearsal: Rehearsal,
    inputs: Arc<[Input]>,
}

impl Player {
    /// A component that is to be run with a recording.
    ///
    /// # Errors
    /// It is no plugin of the recording's kind.
    pub fn new(engine: &Arc<Engine>, component: &Component, recording: &Recording) -> Result<Self, LoadError> {
        let header = &recording.header;
        let setup =
            Setup { gateway: header.gateway.clone(), binding: header.binding.clone(), config: header.config.clone() };
        let limits = Limits { deadline: DEADLINE, memory_bytes: 32 << 20, ..Limits::default() };
        let role = Role { setup, limits, batch_inputs: usize::MAX, batch_bytes: usize::MAX };
        Ok(Self { rehearsal: Rehearsal::new(engine, component, role)?, inputs: recording.inputs.clone().into() })
    }

    /// The digest of the component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.rehearsal.digest()
    }

    /// What comes of each input.
    ///
    /// # Errors
    /// The plugin does not take the recording's configuration.
    pub fn play(&self, mode: Mode) -> Result<Vec<Played>, StartError> {
        let mut rehearsal = self.rehearsal.another();
        let mut played = Vec::with_capacity(self.inputs.len());
        let mut rest = &self.inputs[..];
        while !rest.is_empty() {
            let mut edge = rehearsal.edge();
            let fits = rest.iter().take(mode.batch.max(1)).take_while(|input| edge.admits(input)).count();
            let (call, later) = rest.split_at(fits);
            let (inputs, answers): (Vec<_>, Vec<_>) = call.iter().map(|input| (input, input.answers.clone())).unzip();
            rehearsal.ask(&inputs, &answers, |_, came| {
                played.push(came);
                ControlFlow::Continue(())
            })?;
            if mode.fresh {
                rehearsal.forget();
            }
            rest = later;
        }
        Ok(played)
    }
}
