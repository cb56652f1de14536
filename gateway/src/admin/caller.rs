//! Who asks: a local user by the peer of the socket, or a remote one by certificate or token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};

use super::route::Refused;
use super::tokens::{TokenRefusal, Tokens};
use crate::config::{AdminConfig, Role};
use crate::policy::Principal;

/// An operator, proven; whether it may do anything is for the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name in policies and in the audit log.
    pub(super) name: String,
    pub(super) roles: Vec<Role>,
    /// How it was proven.
    pub(super) via: &'static str,
}

impl Caller {
    /// The user at the other end of the Unix socket.
    pub(super) fn local(uid: u32, own_uid: u32, config: &AdminConfig) -> Self {
        let role = match uid {
            0 => Some(Role::Admin),
            uid if uid == own_uid => Some(Role::Admin),
            uid => config.users.get(&uid.to_string()).copied(),
        };
        Self { name: format!("uid:{uid}"), roles: role.into_iter().collect(), via: "socket" }
    }

    pub(super) fn principal(&self) -> Principal {
        let roles = self.roles.iter().map(|role| role.word().to_owned()).collect();
        Principal::Operator { name: self.name.clone(), roles }
    }
}

/// What a connection says about who asks; each of its requests carries a copy.
#[derive(Clone)]
pub(super) enum Access {
    /// The connection itself proves it.
    Proven(Caller),
    /// Each request has to prove it with a token.
    Token { tokens: Arc<Tokens>, address: IpAddr },
}

impl Access {
    /// Finds out who sent a request.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let (tokens, address) = match self {
            Self::Proven(caller) => return Ok(caller.clone()),
            Self::Token { tokens, address } => (tokens, *address),
        };
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        tokens.caller(token, address, Instant::now()).map_err(|refusal| match refusal {
            TokenRefusal::Unknown => {
                Refused::new(StatusCode::UNAUTHORIZED, "a client certificate or a known bearer token is needed")
            }
            TokenRefusal::TooMany => {
                Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many refused attempts from this address")
            }
        })
    }
}
