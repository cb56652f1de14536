//! The topics of devices that update: from where a status came to whose it is, and where the device is told.

use causeway_core::template::{Template, TemplateError};

use crate::config::DfuTopicsConfig;

/// The name of templates that have none of their own.
const NAME: &str = "binding";

/// Templates of statuses, and of what follows from them.
#[derive(Clone, Debug)]
pub(super) struct Topics(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    status: Template,
    command: Template,
    progress: Option<Template>,
}

/// What a status's topic says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Route<'t> {
    /// The device that it is about.
    pub(super) device: &'t str,
    /// The gateway device that reports, if the topic names one.
    pub(super) gateway: Option<&'t str>,
    /// Where the device is told what to do.
    pub(super) command: String,
    /// Where its progress is told.
    pub(super) progress: Option<String>,
}

impl Topics {
    pub(super) fn new(configs: &[DfuTopicsConfig]) -> Result<Self, TemplateError> {
        let entry = |config: &DfuTopicsConfig| {
            let progress = config.progress.as_ref().map(|progress| Template::parse(NAME, progress));
            Ok(Entry {
                status: Template::parse(NAME, &config.status)?,
                command: Template::parse(NAME, &config.command)?,
                progress: progress.transpose()?,
            })
        };
        configs.iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// What the first template that matches a topic says.
    pub(super) fn route<'t>(&'t self, topic: &'t str) -> Option<Route<'t>> {
        let (entry, values) = self.0.iter().find_map(|entry| Some((entry, entry.status.match_topic(topic)?)))?;
        let fill = |template: &Template| template.topic(|name| values.get(name));
        Some(Route {
            device: values.get("device")?,
            gateway: values.get("gateway"),
            command: fill(&entry.command)?,
            progress: entry.progress.as_ref().and_then(fill),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(status: &str, command: &str, progress: Option<&str>) -> DfuTopicsConfig {
        DfuTopicsConfig {
            status: status.to_owned(),
            command: command.to_owned(),
            progress: progress.map(str::to_owned),
        }
    }

    #[test]
    fn a_status_says_whose_it_is_and_where_the_device_is_told() {
        let topics = Topics::new(&[
            config("dfu/{device}/status", "dfu/{device}/command", Some("dfu/{device}/progress")),
            config("dfu/{gateway}/{device}/status", "dfu/{gateway}/{device}/command", None),
        ])
        .unwrap();
        let own = topics.route("dfu/d1/status").unwrap();
        assert_eq!((own.device, own.gateway, own.command.as_str()), ("d1", None, "dfu/d1/command"));
        assert_eq!(own.progress.as_deref(), Some("dfu/d1/progress"));
        let child = topics.route("dfu/gw/c1/status").unwrap();
        assert_eq!((child.device, child.gateway, child.command.as_str()), ("c1", Some("gw"), "dfu/gw/c1/command"));
        assert_eq!(child.progress, None);
        assert_eq!(topics.route("dfu/d1/command"), None);
    }
}
