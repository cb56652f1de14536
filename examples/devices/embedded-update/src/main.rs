//! A device that updates its firmware with the crate `embedded-update`, over MQTT with mutual TLS.
//!
//! The crate's `FirmwareUpdater` runs the protocol. What a firmware engineer writes is here: the flash (`flash.rs`), the
//! way to the gateway (`gateway.rs`) and a clock (`clock.rs`). A reboot is the end of `run` and its next beginning: all
//! that the device then knows is what is in its flash.

mod clock;
mod flash;
mod gateway;

use clap::{Parser, ValueEnum};
use clock::Clock;
use embedded_update::{DeviceStatus, FirmwareUpdater, UpdaterConfig};
use flash::Flash;
use gateway::Gateway;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

/// How long a device waits before it starts again after its updater gave up.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A device that updates its firmware with the crate `embedded-update`, over MQTT with mutual TLS.
#[derive(Parser)]
struct Options {
    /// Names of devices; each is simulated, with the files NAME.pem and NAME-key.pem in the folder of certificates.
    #[arg(required = true)]
    names: Vec<String>,
    /// Where the gateway listens.
    #[arg(long, default_value = "localhost:8883")]
    gateway: String,
    /// The folder of the certificates; the authority is ca.pem.
    #[arg(long, default_value = "certs")]
    certs: PathBuf,
    /// The folder of the flashes, one folder in it for each device.
    #[arg(long, default_value = "flash")]
    flash: PathBuf,
    /// What a device with an empty flash runs.
    #[arg(long, default_value = "0.1.0")]
    factory: String,
    /// The largest block that the device takes: 16, 64, 256, 512, 968 or 4096 bytes.
    #[arg(long, default_value_t = 512)]
    mtu: u16,
    /// How status messages are written; commands are understood in both forms.
    #[arg(long, value_enum, default_value_t = Form::Named)]
    form: Form,
    /// Seconds between two blocks and after a failure. 0 is no pause.
    #[arg(long, default_value_t = 1)]
    back_off: u32,
    /// The devices are children of this device, whose certificate they use.
    #[arg(long)]
    parent: Option<String>,
    /// End when every device runs this version and the gateway has confirmed it.
    #[arg(long)]
    until: Option<String>,
    /// Lose the connection, once, when this many bytes are stored, and with it the answer to the status that says so.
    #[arg(long)]
    cut_at: Option<u32>,
    /// Lose the power when this many bytes are stored: the program ends with code 75 and can be started again.
    #[arg(long)]
    power_cut_at: Option<u32>,
    /// Cannot start what it has stored: goes on with the old version after each swap.
    #[arg(long)]
    rolls_back: bool,
}

/// How a status is written in CBOR.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    /// Keys are names.
    Named,
    /// Keys are numbers.
    Packed,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Rc::new(Options::parse());
    let devices = LocalSet::new();
    for name in options.names.clone() {
        let options = Rc::clone(&options);
        devices.spawn_local(async move {
            if let Err(problem) = simulate(&name, &options).await {
                eprintln!("{name}: {problem}");
                std::process::exit(1);
            }
        });
    }
    devices.await;
    ExitCode::SUCCESS
}

/// The size of a block is part of a device's type, as it is on a board.
async fn simulate(name: &str, options: &Options) -> Result<(), String> {
    match options.mtu {
        16 => live::<16>(name, options).await,
        64 => live::<64>(name, options).await,
        256 => live::<256>(name, options).await,
        512 => live::<512>(name, options).await,
        968 => live::<968>(name, options).await,
        4096 => live::<4096>(name, options).await,
        other => Err(format!("there is no device with an mtu of {other}: 16, 64, 256, 512, 968 or 4096")),
    }
}

/// The life of one device: it asks, updates, reboots, and asks again.
async fn live<const MTU: usize>(name: &str, options: &Options) -> Result<(), String> {
    let gateway = Gateway::new(name, options).map_err(|error| error.to_string())?;
    let config = UpdaterConfig { backoff_ms: options.back_off.saturating_mul(1000), ..UpdaterConfig::default() };
    let mut updater = FirmwareUpdater::new(gateway, config);
    loop {
        let mut flash = Flash::<MTU>::open(name, options).map_err(|error| error.to_string())?;
        say(name, format_args!("runs {}", flash.running()));
        match updater.run(&mut flash, &mut Clock).await {
            Ok(DeviceStatus::Updated) => {}
            Ok(DeviceStatus::Synced(poll)) => {
                if options.until.as_deref() == Some(flash.running()) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(poll.unwrap_or_default().into())).await;
            }
            Err(error) => {
                say(name, format_args!("starts again after {error:?}"));
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// What happens to a device is one line. Nobody has to read it.
fn say(name: &str, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{name}: {what}");
}
