//! What must hold for every status: no panic, a block within the image that is no larger than the device takes, and a
//! command not much larger than its block.

use std::sync::LazyLock;

use causeway_plugin::dfu::{Answer, Step};
use causeway_plugin::testing::Update;
use causeway_plugin_dfu::Dfu;

static PLUGIN: LazyLock<Dfu> =
    LazyLock::new(|| Update::configure(r#"{"mtu":64,"max_mtu":128}"#).expect("the configuration is right"));

const SIZE: u64 = 612;

/// Asks about a status with each kind of orders, as a device that the registry says speaks each of `dialects`.
pub fn check(dialects: &[&str], beginnings: &[&[u8]], input: &[u8]) {
    let Some((&choice, end)) = input.split_first() else { return };
    let payload = [beginnings[usize::from(choice) % beginnings.len()], end].concat();
    let update = || Update::to("0.1.1", &[7; SIZE as usize]);
    let orders = [
        Update::stay(),
        Update::hold("paused"),
        update(),
        update().patch("0.1.0", "zdiff", &[7; SIZE as usize]),
        update().assignment(|assignment| assignment.restart = true),
    ];
    for dialect in dialects {
        for update in &orders {
            let update = update.clone().attribute("dfu-dialect", dialect);
            match update.ask(&*PLUGIN, payload.clone()) {
                Ok(answer) => check_answer(&answer),
                Err(refusal) => assert!(refusal.command.is_none_or(|command| command.len() < 64)),
            }
        }
    }
}

fn check_answer(answer: &Answer) {
    if let Step::Write(block) = &answer.step {
        assert!((1..=answer.status.mtu.unwrap_or(64).min(128)).contains(&block.length));
        assert!(block.offset + u64::from(block.length) <= SIZE);
    }
    assert!(answer.status.version.len() <= 64);
    // A version of 64 bytes with an escape for each in JSON, and a block in base64.
    assert!(answer.command.len() < 1024);
}
