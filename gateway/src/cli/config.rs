//! `causeway config`: the effective configuration, its reference, and tokens for operators.

use std::fmt::Write;

use clap::{Args, Subcommand};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{ConfigFile, Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every key as it applies, defaults included.
    Show(ConfigFile),
    /// Print the reference of all keys as Markdown.
    Reference,
    /// Print the OpenAPI document of the admin API.
    Openapi,
    /// Make a bearer token for `admin.https.tokens` and its hash; the token is printed once and kept nowhere.
    Token,
}

impl Config {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Show(file) => show(&file, output),
            Verb::Reference => reference(output),
            Verb::Openapi => {
                output.json(&crate::admin::openapi());
                Ok(())
            }
            Verb::Token => token(output),
        }
    }
}

fn show(file: &ConfigFile, output: &mut Output) -> Result<(), Failure> {
    let effective = file.load()?.effective();
    if output.is_json() {
        output.json(&effective);
    } else {
        let yaml = serde_yaml::to_string(&effective);
        output.text(&yaml.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?);
    }
    Ok(())
}

fn reference(output: &mut Output) -> Result<(), Failure> {
    let markdown = crate::config::reference();
    if output.is_json() {
        output.json(&json!({ "markdown": markdown }))
    } else {
        output.text(&markdown)
    }
    Ok(())
}

const TOKEN_BYTES: usize = 32;

fn token(output: &mut Output) -> Result<(), Failure> {
    let mut secret = [0; TOKEN_BYTES];
    let filled = SystemRandom::new().fill(&mut secret);
    filled.map_err(|_| Failure::new(Exit::Internal, "the system gave no random bytes"))?;
    let token = hexadecimal(&secret);
    let hash = hexadecimal(digest(&SHA256, token.as_bytes()).as_ref());
    if output.is_json() {
        output.json(&json!({ "token": token, "sha256": hash }));
    } else {
        output.line(format_args!("token:  {token}"));
        output.line(format_args!("sha256: {hash}"));
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
