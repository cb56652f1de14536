//! The words of a request and of its answer.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::devices::Device;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A client that the device registry knows.
    Device(Arc<Device>),
    /// A client of a plain listener: the name is not proven.
    Unverified {
        /// The name that the listener's configuration gives.
        id: String,
    },
    /// A plugin: for what it imports, reads and has as effects.
    Plugin {
        /// The name of its binding.
        name: String,
        /// The binding's kind: `manifest`, `dfu`, `telemetry` or `twin`.
        kind: String,
        /// Where it comes from.
        source: PluginSource,
        /// The repository that it was published in, `host[:port]/repository`, if it was.
        repository: Option<String>,
        /// The id of the key that signed it, if one did.
        signer: Option<String>,
    },
    /// Someone who operates the gateway.
    Operator {
        /// The name in the audit log.
        name: String,
        /// Names of roles.
        roles: Vec<String>,
    },
    /// The gateway itself, which may do everything.
    Gateway,
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(out, "device {}", device.id),
            Self::Unverified { id } => write!(out, "unverified client {id}"),
            Self::Plugin { name, kind, .. } => write!(out, "plugin {name} of kind {kind}"),
            Self::Operator { name, .. } => write!(out, "operator {name}"),
            Self::Gateway => out.write_str("the gateway"),
        }
    }
}

/// Where a plugin comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PluginSource {
    /// It is part of the program.
    Builtin,
    /// It is a file of the operator's.
    #[default]
    File,
    /// It is an artifact of a registry or of a layout.
    Oci,
}

impl PluginSource {
    /// All sources.
    pub const ALL: [Self; 3] = [Self::Builtin, Self::File, Self::Oci];

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::File => "file",
            Self::Oci => "oci",
        }
    }
}

/// What a principal wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Connect to a listener.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Leave a will on a topic: decided as a publication, so that no policy forgets it.
    Will,
    /// Subscribe to a filter.
    Subscribe,
    /// Be delivered a message of a topic.
    Receive,
    /// Import an interface: decided when a plugin is loaded.
    Import,
    /// Read documents of a collection.
    Read,
    /// Put rows into a collection.
    Write,
    /// Look at an area of the gateway.
    View,
    /// Change an area so that a later command can undo it.
    Operate,
    /// Change who may do what.
    Administer,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Publish,
        Self::Will,
        Self::Subscribe,
        Self::Receive,
        Self::Import,
        Self::Read,
        Self::Write,
        Self::View,
        Self::Operate,
        Self::Administer,
    ];

    /// The name in tables and explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Will => "will",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
            Self::Import => "import",
            Self::Read => "read",
            Self::Write => "write",
            Self::View => "view",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }

    /// The name in policies.
    pub(super) const fn in_policies(self) -> &'static str {
        match self {
            Self::Will => Self::Publish.name(),
            other => other.name(),
        }
    }
}

/// The interfaces that plugins can import, by their names in policies.
pub(super) const IMPORTS: [&str; 4] = ["log", "state", "records", "firmware"];

/// A part of the gateway that operators look at or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// Status, configuration, metrics.
    Gateway,
    /// The device registry.
    Devices,
    /// Certificates and revocation.
    Certificates,
    /// Policies and their explanations.
    Policies,
    /// Sessions and subscriptions.
    Sessions,
    /// Collections and dead letters.
    Store,
    /// Plugins and their bindings.
    Plugins,
    /// Firmware: releases, campaigns, what devices run.
    Firmware,
    /// The audit log.
    Audit,
}

impl Area {
    /// All areas.
    pub const ALL: [Self; 9] = [
        Self::Gateway,
        Self::Devices,
        Self::Certificates,
        Self::Policies,
        Self::Sessions,
        Self::Store,
        Self::Plugins,
        Self::Firmware,
        Self::Audit,
    ];

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Devices => "devices",
            Self::Certificates => "certificates",
            Self::Policies => "policies",
            Self::Sessions => "sessions",
            Self::Store => "store",
            Self::Plugins => "plugins",
            Self::Firmware => "firmware",
            Self::Audit => "audit",
        }
    }
}

/// What the action is for. Topics and filters must have passed their syntax check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One topic.
    Topic(&'a str),
    /// A filter: decided by the coverage rule.
    Filter(&'a str),
    /// A listener, by its name in the configuration.
    Listener(&'a str),
    /// An interface that plugins can import: `log`, `state` or `records`.
    Import(&'a str),
    /// A collection, by its name.
    Collection(&'a str),
    /// A part of the gateway.
    Area(Area),
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name)
            | Self::Filter(name)
            | Self::Listener(name)
            | Self::Import(name)
            | Self::Collection(name) => out.write_str(name),
            Self::Area(area) => out.write_str(area.name()),
        }
    }
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// What for.
    pub action: Action,
    /// On what.
    pub resource: Resource<'a>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
}

/// What an answer rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The policy that decided; none if no policy applies.
    pub policy: Option<Arc<PolicySource>>,
    /// The type of the topic, or the one that decided about a filter.
    pub template: Option<String>,
    /// The reason in words.
    pub text: Cow<'static, str>,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)?;
        if let Some(policy) = &self.policy {
            write!(out, " by {policy}")?;
        }
        match &self.template {
            Some(template) => write!(out, ", template `{template}`"),
            None => Ok(()),
        }
    }
}

/// Where a policy is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// Its `@id`, or one made of the file's name and the policy's place in it.
    pub id: String,
    /// The file.
    pub file: String,
    /// The line it starts on, counted from 1.
    pub line: usize,
}

impl fmt::Display for PolicySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` ({}:{})", self.id, self.file, self.line)
    }
}
