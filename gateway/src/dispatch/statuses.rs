//! One status of a device to one command. The conversation knows the device and what is to become of it; here it is
//! decided when the plugin is called, what a trap means, and with whose right a command is published.

use std::time::Instant;

use bytes::Bytes;
use causeway_core::dfu::Orders;
use causeway_core::message::Message;
use causeway_host::dfu::{Answer, Refusal};

use super::calls::{Caller, Unanswered, Verdict};
use super::effects::Gate;
use super::guest::Guest;
use super::intake::Input;
use crate::dfu::{Asked, Conversation, Publish, Status};
use crate::plugins::GuestError;

/// What it takes to answer a device.
pub(super) struct Answering<'a> {
    pub(super) conversation: &'a mut Conversation,
    pub(super) gate: &'a mut Gate,
    pub(super) publish: &'a Publish,
}

impl Caller {
    /// Asks about a status, and has the device told what came of it: one command at most.
    ///
    /// After a trap a fresh instance is asked once more, with orders to hold, so that the device waits and comes again
    /// with its own offset. It is also asked once more when what the device says changes what is to become of it.
    pub(super) fn converse(&mut self, input: &Input, with: &mut Answering<'_>) -> Result<Verdict, Unanswered> {
        let Some(status) = with.conversation.status(&input.message) else {
            return Ok(Verdict::Answered { failed: false });
        };
        let (mut orders, poll) = (with.conversation.orders(&status), with.conversation.poll(&status));
        let (mut trapped, mut heard) = (false, false);
        loop {
            let asked = Asked { message: &input.message, device: &status.device, orders: &orders, trapped, poll };
            let Some(said) = self.ask_about(asked, with.conversation)? else {
                if trapped {
                    with.conversation.stopped(&status, &self.health.last_trap());
                    return Ok(Verdict::Answered { failed: true });
                }
                trapped = true;
                continue;
            };
            let answer = match said {
                Ok(answer) => answer,
                Err(refusal) => {
                    with.refuse(&status, refusal);
                    return Ok(Verdict::Answered { failed: true });
                }
            };
            if !heard {
                heard = true;
                let now = with.conversation.heard(&status, &answer.heard, with.publish);
                let before = std::mem::replace(&mut orders, now);
                if !trapped && orders != before {
                    continue;
                }
            }
            if trapped {
                // After it was heard, for what is heard ends what was wrong before.
                with.conversation.stopped(&status, &self.health.last_trap());
            }
            with.tell(&status, &orders, answer);
            return Ok(Verdict::Answered { failed: trapped });
        }
    }

    /// Makes one call; none means that it trapped.
    fn ask_about(
        &mut self,
        asked: Asked<'_>,
        conversation: &Conversation,
    ) -> Result<Option<Result<Answer, Refusal>>, Unanswered> {
        let started = Instant::now();
        let answer = match &mut self.guest {
            Some(Guest::Dfu(guest)) => guest.ask(asked, conversation.firmware()),
            Some(Guest::Telemetry(_)) | None => Err(GuestError::parked()),
        };
        self.judge(1, started, answer)
    }
}

impl Answering<'_> {
    /// Has the device told what the plugin says.
    fn tell(&mut self, status: &Status<'_>, orders: &Orders, answer: Answer) {
        let Answer { step, command, content_type, .. } = answer;
        if let Some(reply) = self.reply(status, command, content_type) {
            self.conversation.told(status, orders, &step, reply, self.publish);
        }
    }

    /// Notes that the plugin cannot answer, and tells the device what it is told all the same.
    fn refuse(&mut self, status: &Status<'_>, refusal: Refusal) {
        self.conversation.refused(status, &refusal);
        let Refusal { command, content_type, .. } = refusal;
        if let Some(reply) = command.and_then(|command| self.reply(status, command, content_type)) {
            (self.publish)(reply);
        }
    }

    /// The command as a message to the first topic that the plugin may publish to.
    fn reply(&mut self, status: &Status<'_>, command: Vec<u8>, content_type: Option<String>) -> Option<Message> {
        let (command, properties) = (Bytes::from(command), self.conversation.properties(status, content_type));
        for topic in self.conversation.ways(status) {
            match self.gate.command(&topic, command.clone(), properties.clone()) {
                Ok(message) => return Some(message),
                Err(reason) => self.conversation.unsent(status, &topic, reason.text),
            }
        }
        None
    }
}
