//! The folder of a demo: an authority with certificates, a configuration, data; removed at the end.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::fleet::{Driver, Library};
use super::vehicle::Vehicle;
use crate::certs::{Authority, CertsError, DeviceRequest, InitRequest};
use crate::cli::{Exit, Failure};

/// The device whose certificate is for the reader.
pub(super) const VISITOR: &str = "visitor";
/// The client that says what the vehicles are; the registry's group of the same name gives it the right.
pub(super) const LIBRARY: &str = "asset-library";
const VEHICLES: u32 = 3;

const CONFIG: &str = "causeway.yaml";

/// The folder, and whether it is removed at the end.
pub(super) struct Place {
    folder: PathBuf,
    keep: bool,
    vehicles: Vec<Vehicle>,
}

impl Place {
    /// Makes the folder with everything that a gateway on `port` and its devices need, or takes the one that an earlier
    /// demo has kept, as it is now.
    pub(super) fn create(keep: Option<&Path>, port: u16) -> Result<Self, Failure> {
        if let Some(folder) = keep.filter(|folder| folder.join(CONFIG).is_file()) {
            let folder = fs::canonicalize(folder).map_err(|error| unwritable(folder, &error))?;
            return Ok(Self { folder, keep: true, vehicles: (1..=VEHICLES).map(Vehicle::new).collect() });
        }
        let temporary = || std::env::temp_dir().join(format!("causeway-demo-{}", std::process::id()));
        let folder = keep.map_or_else(temporary, Path::to_owned);
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| unwritable(&folder, &error))?;
        let folder = fs::canonicalize(&folder).map_err(|error| unwritable(&folder, &error))?;
        let vehicles = (1..=VEHICLES).map(Vehicle::new).collect();
        let place = Self { folder, keep: keep.is_some(), vehicles };
        place.make_certificates().map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        let file = place.config_file();
        fs::write(&file, place.config(port)).map_err(|error| unwritable(&file, &error))?;
        Ok(place)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("data/admin.sock")
    }

    /// The vehicles with what they need to connect.
    pub(super) fn fleet(&self) -> Result<Vec<Driver>, Failure> {
        let pki = self.folder.join("pki");
        let vehicles = (1..=VEHICLES).map(Vehicle::new);
        vehicles.map(|vehicle| Driver::new(vehicle, &pki)).collect()
    }

    /// The asset library with what it has to say about the vehicles.
    pub(super) fn library(&self) -> Result<Library, Failure> {
        let now = OffsetDateTime::now_utc();
        let reports = self.vehicles.iter().flat_map(|vehicle| vehicle.descriptions(now)).collect();
        Library::new(LIBRARY, reports, &self.folder.join("pki"))
    }

    fn make_certificates(&self) -> Result<(), CertsError> {
        let mut authority = Authority::init(&self.folder.join("pki"), &InitRequest::default())?;
        for name in self.vehicles.iter().map(|vehicle| vehicle.id.as_str()).chain([VISITOR, LIBRARY]) {
            authority.issue(&DeviceRequest::new(name))?;
        }
        Ok(())
    }

    /// A configuration as an operator would write it; paths start at its own folder. Bindings come last, so that another one
    /// can be added at the end.
    fn config(&self, port: u16) -> String {
        format!(
            "gateway: {{id: demo}}\n\
             data_dir: data\n\
             listeners:\n\
             - name: devices\n  \
               bind: \"127.0.0.1:{port}\"\n  \
               tls: {{certificate: pki/server.pem, key: pki/server-key.pem, client_ca: pki/ca.pem, crl: pki/ca-crl.pem}}\n\
             devices: {{registration: on-first-connect}}\n\
             metrics: {{bind: \"127.0.0.1:0\"}}\n\
             bindings:\n\
             - name: telemetry\n  \
               kind: telemetry\n  \
               plugin: \"builtin:telemetry\"\n  \
               filters: [dt/cvra/+/cardata, dt/cvra/+/dtc, dt/cvra/+/trip, dt/cvra/+/event, \
               cdf/assetlibrary/events/devices/#, cdf/assetlibrary/events/groups/#]\n"
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // A temporary folder that cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("{}: {error}", path.display()))
}
