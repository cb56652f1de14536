//! `causeway certs`: a small certificate authority in a directory.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Exit, Failure, Output};
use crate::certs::{
    Authority, CertsError, DeviceRequest, InitRequest, Issued, KeyKind, Reason, ServerRequest, describe,
};

#[derive(Debug, Args)]
pub(super) struct Certs {
    /// The authority's directory.
    #[arg(long, global = true, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an authority, the gateway's certificate and an empty revocation list.
    Init(Init),
    /// Make a key and a certificate for a device, whose identity is its name.
    Issue(Issue),
    /// Sign a device's own key.
    Sign(Sign),
    /// Make a new key and certificate for the gateway.
    Server(Server),
    /// Revoke a device's certificates, or one by its serial number or file, and publish the list.
    Revoke(Revoke),
    /// Publish the revocation list again.
    Crl,
    /// List what was issued.
    List,
    /// Say what is in a PEM file.
    Show {
        /// Certificates, signing requests or revocation lists.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Init {
    #[command(flatten)]
    server: ServerNames,
    /// The authority's common name; without it a new one each time.
    #[arg(long, value_name = "NAME")]
    ca_name: Option<String>,
    /// Days until the authority ends.
    #[arg(long, default_value_t = InitRequest::default().days, value_parser = days())]
    ca_days: u32,
    /// The kind of key of the authority.
    #[arg(long, value_enum, default_value_t)]
    ca_key_kind: KeyKind,
    /// Replace the authority that is there: every certificate of it stops counting.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct ServerNames {
    /// The common name, which is the default of `gateway.id`.
    #[arg(long, value_name = "ID", default_value_t = ServerRequest::default().name)]
    gateway: String,
    /// A DNS name or an IP address by which devices reach the gateway, besides localhost; may be repeated.
    #[arg(long = "san", value_name = "NAME")]
    names: Vec<String>,
    /// Days until the certificate ends.
    #[arg(long, default_value_t = ServerRequest::default().days, value_parser = days())]
    days: u32,
    /// The kind of key.
    #[arg(long, value_enum, default_value_t)]
    key_kind: KeyKind,
}

#[derive(Debug, Args)]
struct Server {
    #[command(flatten)]
    server: ServerNames,
    /// Replace the certificate and the key that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct DeviceNames {
    /// A URI as subject alternative name; it is the identity then.
    #[arg(long)]
    uri: Option<String>,
    /// A DNS name as subject alternative name; it is the identity when there is no URI.
    #[arg(long)]
    dns: Option<String>,
    /// Days until the certificate ends.
    #[arg(long, default_value_t = DeviceRequest::new("").days, value_parser = days())]
    days: u32,
    /// Replace the files that are there; the old certificate counts until it is revoked.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Issue {
    /// The device: letters, digits, `.`, `_` and `-`.
    device: String,
    #[command(flatten)]
    names: DeviceNames,
    /// The kind of key.
    #[arg(long, value_enum, default_value_t)]
    key_kind: KeyKind,
}

#[derive(Debug, Args)]
struct Sign {
    /// The signing request, PEM. Only its key and, without --name, its common name count.
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// The device.
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,
    #[command(flatten)]
    names: DeviceNames,
}

#[derive(Debug, Args)]
struct Revoke {
    /// A device, a serial number, or a certificate's file.
    target: String,
    /// Why.
    #[arg(long, value_enum, default_value_t)]
    reason: Reason,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

impl Certs {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let dir = &self.dir;
        let done = match self.verb {
            Verb::Init(init) => init.run(dir, output),
            Verb::Issue(issue) => issue.run(dir, output),
            Verb::Sign(sign) => sign.run(dir, output),
            Verb::Server(server) => server.run(dir, output),
            Verb::Revoke(revoke) => revoke.run(dir, output),
            Verb::Crl => crl(dir, output),
            Verb::List => list(dir, output),
            Verb::Show { file } => show(&file, output),
        };
        done.map_err(failure)
    }
}

/// Everything but a disk and a random source that fail is for the operator to correct.
fn failure(error: CertsError) -> Failure {
    let exit = match error {
        CertsError::Io { .. } => Exit::Io,
        CertsError::Make(_) | CertsError::Random => Exit::Internal,
        _ => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

impl Init {
    fn run(self, dir: &Path, output: &mut Output) -> Result<(), CertsError> {
        let request = InitRequest {
            name: self.ca_name,
            days: self.ca_days,
            key: self.ca_key_kind,
            server: self.server.request(),
            force: self.force,
        };
        Authority::init(dir, &request)?;
        let file = |name: &str| dir.join(name);
        let made = [
            ("authority", file(crate::certs::CA)),
            ("revocation list", file(crate::certs::CRL)),
            ("gateway certificate", file(crate::certs::SERVER)),
            ("gateway key", file(crate::certs::SERVER_KEY)),
        ];
        if output.is_json() {
            output.json(&made.iter().map(|(what, file)| ((*what).to_owned(), json!(file))).collect::<Json>());
        } else {
            for (what, file) in &made {
                output.line(format_args!("{what:20} {}", file.display()));
            }
        }
        Ok(())
    }
}

impl ServerNames {
    fn request(self) -> ServerRequest {
        ServerRequest { name: self.gateway, names: self.names, days: self.days, key: self.key_kind }
    }
}

impl DeviceNames {
    fn request(self, name: String, key: KeyKind) -> DeviceRequest {
        DeviceRequest { name, uri: self.uri, dns: self.dns, days: self.days, key, force: self.force }
    }
}

impl Issue {
    fn run(self, dir: &Path, output: &mut Output) -> Result<(), CertsError> {
        let request = self.names.request(self.device, self.key_kind);
        print_issued(&Authority::open(dir)?.issue(&request)?, output);
        Ok(())
    }
}

impl Sign {
    fn run(self, dir: &Path, output: &mut Output) -> Result<(), CertsError> {
        let name = match self.name {
            Some(name) => name,
            None => Authority::requested_name(&self.csr)?,
        };
        let request = self.names.request(name, KeyKind::default());
        print_issued(&Authority::open(dir)?.sign(&self.csr, &request)?, output);
        Ok(())
    }
}

impl Server {
    fn run(self, dir: &Path, output: &mut Output) -> Result<(), CertsError> {
        print_issued(&Authority::open(dir)?.issue_server(&self.server.request(), self.force)?, output);
        Ok(())
    }
}

impl Revoke {
    fn run(self, dir: &Path, output: &mut Output) -> Result<(), CertsError> {
        let revoked = Authority::open(dir)?.revoke(&self.target, self.reason)?;
        if output.is_json() {
            let rows =
                revoked.iter().map(|one| json!({"name": one.name, "serial": one.serial, "already": one.already}));
            output.json(&rows.collect());
        } else {
            for one in revoked {
                let how = if one.already { "was revoked before" } else { "revoked" };
                output.line(format_args!("{} {} {how}", one.name, one.serial));
            }
        }
        Ok(())
    }
}

fn crl(dir: &Path, output: &mut Output) -> Result<(), CertsError> {
    let file = Authority::open(dir)?.publish()?;
    if output.is_json() {
        output.json(&json!({ "revocation list": file }));
    } else {
        output.line(format_args!("revocation list      {}", file.display()));
    }
    Ok(())
}

fn list(dir: &Path, output: &mut Output) -> Result<(), CertsError> {
    let authority = Authority::open(dir)?;
    let state = |reason: Option<Reason>| if reason.is_some() { "revoked" } else { "issued" };
    if output.is_json() {
        let rows = authority.issued().map(|one| {
            json!({"name": one.name, "serial": one.serial, "not_after": one.not_after.map(date), "revoked": one.revoked})
        });
        output.json(&rows.collect());
    } else {
        let row = |one: crate::certs::Listed<'_>| {
            let until = one.not_after.map(date).unwrap_or_default();
            vec![one.name.to_owned(), one.serial.to_owned(), until, state(one.revoked).to_owned()]
        };
        let rows: Vec<Vec<String>> = authority.issued().map(row).collect();
        output.table(&["name", "serial", "not after", "state"], &rows);
    }
    Ok(())
}

fn show(file: &Path, output: &mut Output) -> Result<(), CertsError> {
    let found = describe(file)?;
    if output.is_json() {
        let object = |one: &crate::certs::Description| {
            let mut object = Map::from_iter([("kind".to_owned(), json!(one.kind))]);
            object.extend(one.fields.iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))));
            Json::Object(object)
        };
        output.json(&found.iter().map(object).collect());
    } else {
        for one in &found {
            output.line(one.kind);
            for (name, value) in &one.fields {
                output.line(format_args!("  {name:12} {value}"));
            }
        }
    }
    Ok(())
}

fn print_issued(issued: &Issued, output: &mut Output) {
    if output.is_json() {
        output.json(&json!({
            "name": issued.name,
            "serial": issued.serial,
            "certificate": issued.certificate,
            "key": issued.key,
            "not_after": date(issued.not_after),
        }));
        return;
    }
    output.line(format_args!("certificate          {}", issued.certificate.display()));
    if let Some(key) = &issued.key {
        output.line(format_args!("key                  {}", key.display()));
    }
    output.line(format_args!("serial               {}", issued.serial));
    output.line(format_args!("not after            {}", date(issued.not_after)));
}

fn date(time: OffsetDateTime) -> String {
    time.truncate_to_second().format(&Rfc3339).unwrap_or_else(|_| "out of range".to_owned())
}
