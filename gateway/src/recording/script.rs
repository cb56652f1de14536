//! The imports of a plugin that is asked again: they answer what they are told to answer, and note what they cannot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_host::{Imports, Level, Log, LostLines, ReadError, Records, State};

use super::format::{Answer, Blob, Read};

/// What the imports answer during the next call; clones share it.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<Scene>>);

/// One call.
#[derive(Default)]
pub(super) struct Scene {
    /// The answers for each message.
    pub(super) answers: Vec<Vec<Answer>>,
    /// Questions without an answer, by message.
    pub(super) unanswered: Vec<(usize, String)>,
    pub(super) lines: Vec<String>,
}

impl Script {
    /// The next call begins: these are the answers for each of its messages.
    pub(super) fn begin(&self, answers: Vec<Vec<Answer>>) {
        *self.lock() = Scene { answers, ..Scene::default() };
    }

    /// What came of the call.
    pub(super) fn end(&self) -> Scene {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers an instance.
    pub(super) fn imports(&self) -> Imports {
        Imports { log: Box::new(self.clone()), state: Box::new(self.clone()), records: Box::new(self.clone()) }
    }

    /// The recorded answer to a question; without one the question is noted.
    fn answer<T>(&self, message: u32, question: &str, find: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        let message = usize::try_from(message).unwrap_or(usize::MAX);
        let mut scene = self.lock();
        let found = scene.answers.get(message).and_then(|answers| answers.iter().find_map(find));
        if found.is_none() {
            scene.unanswered.push((message, question.to_owned()));
        }
        found
    }
}

impl State for Script {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        let answer = self.answer(message, &format!("state {name}"), |answer| match answer {
            Answer::State { name: of, value } if of == name => Some(value.clone()),
            _ => None,
        });
        answer.flatten().map(|Blob(value)| value)
    }
}

impl Records for Script {
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        let question = format!("record {collection} {}", key.join(" "));
        let answer = self.answer(message, &question, |answer| match answer {
            Answer::Record { collection: of, key: other, read } if of == collection && other == key => {
                Some(read.clone())
            }
            _ => None,
        });
        answer.unwrap_or_else(|| Read::Unavailable("the recording has no answer to this".to_owned())).into()
    }
}

impl Log for Script {
    fn write(&mut self, level: Level, text: &str) {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        self.lock().lines.push(format!("{level}: {text}"));
    }

    fn lost(&mut self, lost: LostLines) {
        let LostLines { dropped, cut } = lost;
        self.lock().lines.push(format!("{dropped} lines beyond the budget of the call, {cut} lines cut"));
    }
}
