//! Which credentials a registry gets. They are read again each time, so that a changed file counts at once.

use std::path::PathBuf;
use std::time::Duration;

use super::docker;
use super::error::{RegistryError, clean};
use super::secret::{self, Secret};
use crate::config::RegistryConfig;

/// How we prove to a registry who we are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Credential {
    /// Not at all.
    Anonymous,
    /// By user name and password, given to the registry or its token server.
    Password { user: String, password: Secret },
    /// By a bearer token for the registry itself.
    Token(Secret),
    /// By a refresh token that its token server gives tokens for (`identitytoken` of `docker login`).
    Identity(Secret),
}

/// Where the credentials of a registry are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Nowhere,
    Password {
        user: String,
        file: PathBuf,
    },
    Token(PathBuf),
    /// The configuration of Docker, whose helpers have this long.
    Docker(Duration),
}

impl Source {
    pub(super) fn of(config: &RegistryConfig, helper_timeout: Duration) -> Self {
        match (&config.username, &config.password_file, &config.token_file) {
            (Some(user), Some(file), _) => Self::Password { user: user.clone(), file: file.clone() },
            (_, _, Some(file)) => Self::Token(file.clone()),
            _ if config.docker_config => Self::Docker(helper_timeout),
            _ => Self::Nowhere,
        }
    }

    /// Reads the credentials for the registry `host`.
    pub(super) async fn read(&self, host: &str) -> Result<Credential, RegistryError> {
        let unreadable = |what: &str, file: &std::path::Path, error: std::io::Error| RegistryError::Denied {
            host: host.to_owned(),
            cause: format!("its `{what}` {} cannot be read: {}", file.display(), clean(&error.to_string())),
        };
        match self {
            Self::Nowhere => Ok(Credential::Anonymous),
            Self::Password { user, file } => {
                let password =
                    secret::read_line(file).await.map_err(|error| unreadable("password_file", file, error))?;
                Ok(Credential::Password { user: user.clone(), password })
            }
            Self::Token(file) => {
                let token = secret::read_line(file).await.map_err(|error| unreadable("token_file", file, error))?;
                Ok(Credential::Token(token))
            }
            Self::Docker(timeout) => docker::find(host, *timeout)
                .await
                .map_err(|cause| RegistryError::Denied { host: host.to_owned(), cause }),
        }
    }
}
