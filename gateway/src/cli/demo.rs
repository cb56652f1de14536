//! `causeway demo`: a whole gateway on a throw-away PKI and data directory, with three vehicles that drive.
//!
//! It is the gateway of `causeway run`, the vehicles are ordinary MQTT clients over mutual TLS, and the policies are
//! the shipped ones: nothing here takes a short cut that a real device could not take.

mod fleet;
mod place;
mod vehicle;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use self::place::Place;
use self::watch::Watch;
use super::{Exit, Failure, Output, run};
use crate::app::App;
use crate::config::{Config, LogConfig, LogLevel};
use crate::devices::{Change, ChangeError};
use crate::{config, log};

/// How often the vehicles report and new rows are shown.
const STEP: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The port that devices connect to; 0 takes a free one.
    #[arg(long, default_value_t = 8883)]
    port: u16,
    /// Keep everything in this folder, or go on with one that was kept, on its port; without it a temporary one is removed at the end.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// End by itself once so many rows have arrived.
    #[arg(long, value_name = "COUNT")]
    rows: Option<u64>,
}

impl Demo {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        log::start(&LogConfig { level: LogLevel::Warn, ..LogConfig::default() });
        let place = Place::create(self.keep.as_deref(), self.port)?;
        let config = config::load(&place.config_file()).map_err(Failure::problems)?;
        run::runtime(&config)?.block_on(self.drive(config, &place, output))
    }

    async fn drive(&self, config: Config, place: &Place, output: &mut Output) -> Result<(), Failure> {
        let mut interrupt = stop_signal(SignalKind::interrupt())?;
        let mut terminate = stop_signal(SignalKind::terminate())?;
        let app = App::start(config, None).await?;
        let address = app.listeners().first().map(|(_, address)| *address);
        let address = address.ok_or_else(|| Failure::new(Exit::Internal, "no listener"))?;
        introduce(place, address.port(), output);
        let library = Change { groups: Some(vec![place::LIBRARY.to_owned()]), ..Change::default() };
        let added = app.devices().add(place::LIBRARY, library).await;
        match added {
            // A folder that was kept has it already.
            Ok(_) | Err(ChangeError::Exists(_)) => {}
            Err(error) => return Err(Failure::new(Exit::Internal, error.to_string())),
        }
        let mut vehicles = JoinSet::new();
        vehicles.spawn(place.library()?.speak(address, STEP));
        for vehicle in place.fleet()? {
            vehicles.spawn(vehicle.drive(address, STEP));
        }
        let mut watch = Watch::new(app.store().clone());
        let mut tick = tokio::time::interval(STEP);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = tick.tick() => watch.show(output).await?,
            }
            if self.rows.is_some_and(|rows| watch.rows() >= rows) {
                break;
            }
        }
        output.line(format_args!("\nStopping: {} rows arrived.", watch.rows()));
        vehicles.shutdown().await;
        app.drain().await;
        Ok(())
    }
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Internal, format!("signals are not available: {error}")))
}

/// Where everything is, and what to type next.
fn introduce(place: &Place, port: u16, output: &mut Output) {
    let folder = place.folder().display();
    output.text(&format!(
        "Causeway listens on 127.0.0.1:{port}: MQTT 3.1.1 and 5 over mutual TLS.\n\
         Three vehicles connect and publish; their messages become rows. An asset library says what they are, so\n\
         their telemetry gets a model, software, trouble codes and anomalies: vehicle-2 runs hot. Ctrl-C ends it.\n\
         \n\
         certificates  {folder}/pki/ca.pem, visitor.pem and visitor-key.pem for you\n\
         data          {folder}/data\n\
         \n\
         In another terminal:\n\
         \n\
         {publish}\n\
         {program} status --socket {socket}\n\
         {program} store query latest_telemetry --socket {socket}\n\
         {program} store query shared_cardata --where vin=vehicle-2 --socket {socket}\n\
         {program} store query anomaly --socket {socket}\n\
         {program} device list --socket {socket}\n\
         \n",
        publish = publish_line(place, port),
        program = program(),
        socket = place.socket().display(),
    ));
}

/// A message of a device of the reader's own, which then shows among the rows.
fn publish_line(place: &Place, port: u16) -> String {
    let pki = place.folder().join("pki");
    let pki = pki.display();
    format!(
        "mosquitto_pub -h 127.0.0.1 -p {port} --cafile {pki}/ca.pem --cert {pki}/{name}.pem --key {pki}/{name}-key.pem \
         -q 1 -t dt/cvra/{name}/cardata -m '{{\"MessageId\":\"hello-'$RANDOM'\",\"VIN\":\"{name}\",\"TripId\":\"first\",\
         \"SendTimeStamp\":\"'$(date -u +%FT%TZ)'\",\"Speed\":{{\"Average\":42}}}}'",
        name = place::VISITOR,
    )
}

/// How the reader calls this program.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "causeway".to_owned(), |path| path.display().to_string())
}
