//! `assignments:` which devices always get which release, and `campaigns:` how many campaigns there may be.

use causeway_core::dfu::query::Query;
use causeway_core::dfu::window::Window;
use serde_json::Value as Json;

use super::check::{below, item, name, twice, written};
use super::section::section;
use super::setting::{Node, Notes, Setting, wrong};

section! {
    /// A rule: devices that are meant by a query get a release. Of several rules the first one that means a device counts, and a campaign before all of them.
    AssignmentConfig {
        /// Names the rule in `causeway dfu status` and in logs.
        name: String = String::new() => live, required "sensors";
        /// Which devices: `type=sensor group=pilot hardware!=rev-a`. `id`, `group`, `parent` and `version` are known of each device, other names are attributes; `*` stands for any characters.
        devices: Query = Query::default() => live, required "type=sensor";
        /// What they get: `name:version` of the catalogue, `oci://host/repository:tag` or `oci-layout://folder:tag`.
        release: String = String::new() => live, required "\"oci://registry.example:5000/firmware/sensor:1.2.0\"";
        /// Whether the tag is asked for again: devices get what it stands for then.
        follow: bool = false => live;
        /// Whether somebody must approve what a followed tag stands for before devices get it (`causeway firmware pin`).
        approval: bool = false => live;
        /// Whether devices may get an older version than they run.
        downgrade: bool = false => live;
        /// The times of the week in which devices are updated, such as `mon-fri 22:00-04:00 +02:00`; any time without them.
        windows: Vec<Window> = Vec::new() => live;
        /// Whether devices may be sent the release at any time and only start it in a window.
        preload: bool = false => live;
        /// Attempts of a device, in place of `dfu.attempts`.
        attempts: Option<u32> = None => live, in Some(1)..=Some(100);
    }
}

section! {
    /// Campaigns: a release for a fixed set of devices, wave by wave.
    CampaignsConfig {
        /// Campaigns that are kept, those that are over included.
        max_campaigns: usize = 200 => restart, in 1..=10_000, hit "causeway_campaigns_refused_total";
        /// Devices of all campaigns that are not over.
        max_devices: usize = 100_000 => restart, in 1..=10_000_000, hit "causeway_campaigns_refused_total";
        /// What jobs of the fleet API (`/ota`) install.
        ota: OtaConfig = OtaConfig::default() => restart;
    }
}

section! {
    /// What jobs of the fleet API (`/ota`) install: such a job names a version and nothing else.
    OtaConfig {
        /// The name of the firmware; a job installs `<firmware>:<desiredVersion>` of the catalogue. Without it no job can be made.
        firmware: Option<String> = None => restart;
        /// The types of devices, their attribute `type`, that jobs are for; all without it.
        types: Vec<String> = Vec::new() => restart;
    }
}

/// Implements [`Setting`] for a type of the core that is written as a text and says itself what is wrong with one.
macro_rules! parsed {
    ($($ty:ty, $kind:literal;)*) => {$(
        impl Setting for $ty {
            fn kind() -> String {
                $kind.to_owned()
            }

            fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
                let Some(text) = node.value.as_str() else { return wrong(node, notes) };
                match text.parse::<Self>() {
                    Ok(parsed) => Some(parsed),
                    Err(error) => {
                        notes.value(node, error.to_string(), format!("write {}", Self::kind()));
                        None
                    }
                }
            }

            fn show(&self) -> Json {
                Json::from(self.to_string())
            }
        }
    )*};
}
parsed! {
    Query, "a query, for example `type=sensor group=pilot`";
    Window, "a window, for example `mon-fri 22:00-04:00 +02:00`";
}

pub(super) fn check(rules: &[AssignmentConfig], notes: &mut Notes) {
    for (index, rule) in rules.iter().enumerate() {
        let at = item("assignments", index);
        name(&rule.name, "name", &at, notes);
        if rule.approval && !rule.follow {
            let remedy = "add `follow: true`, or leave `approval` out: what does not change needs none";
            notes.at(below(&at, "approval"), "is for a tag that is followed", remedy);
        } else if let Some((key, other)) = rules.get(..index).and_then(|before| dissent(rule, before)) {
            let problem = format!("is not what the rule `{}` says of {}", other.name, rule.release);
            let remedy = "a tag stands for one release, whoever asks for it: write the same in both rules";
            notes.at(below(&at, key), problem, remedy);
        }
    }
    twice("assignments", "name", rules.iter().map(|rule| written(&rule.name)), notes);
}

/// The rule before this one that treats the same tag in another way, and by which key.
fn dissent<'r>(
    rule: &AssignmentConfig,
    before: &'r [AssignmentConfig],
) -> Option<(&'static str, &'r AssignmentConfig)> {
    before.iter().filter(|other| other.release == rule.release).find_map(|other| {
        let follow = (other.follow != rule.follow).then_some("follow");
        let approval = (other.approval != rule.approval).then_some("approval");
        Some((follow.or(approval)?, other))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Problem};

    fn parse(rule: &str) -> Result<Config, Vec<Problem>> {
        let listener = "listeners: [{name: devices, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]";
        crate::config::parse(&format!("{listener}\nassignments:\n- {rule}\n"), Path::new("causeway.yaml"))
    }

    #[test]
    fn a_rule_is_read_with_its_query_and_windows() {
        let rule = "{name: a, devices: \"type=sensor\", release: \"sensor:1.0.0\", windows: [\"sat 1:00-2:00\"]}";
        let config = parse(rule).unwrap();
        let rule = &config.assignments[0];
        assert_eq!(rule.devices.to_string(), "type=sensor");
        assert_eq!(rule.windows[0].to_string(), "sat 01:00-02:00 +00:00");
        assert_eq!(config.effective()["assignments"][0]["windows"][0], "sat 01:00-02:00 +00:00");
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said_with_its_place() {
        for (rule, expected) in [
            ("{name: a, devices: \"sensor\", release: b}", "`sensor` compares nothing"),
            ("{name: a, devices: \"*\", release: b, windows: [never]}", "`never` is no day"),
            ("{name: a, devices: \"*\", release: b, approval: true}", "is for a tag that is followed"),
            ("{name: a, release: b}", "is missing"),
            ("{name: A, devices: \"*\", release: b}", "`A` is not a name"),
        ] {
            let problems = parse(rule).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].message.contains(expected), "{problems:?}");
            assert_eq!(problems[0].line, Some(3), "{problems:?}");
        }
    }

    #[test]
    fn two_rules_that_treat_one_tag_in_two_ways_are_told_apart() {
        let tag = "devices: \"*\", release: \"oci://r.example/sensor:latest\"";
        let rules = |keys: &str| {
            parse(&format!("{{name: a, {tag}, follow: true, approval: true}}\n- {{name: b, {tag}{keys}}}"))
        };
        assert!(rules(", follow: true, approval: true").is_ok());
        for (keys, key) in [(", follow: true", "assignments[1].approval"), ("", "assignments[1].follow")] {
            let problems = rules(keys).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!((problems[0].line, problems[0].key.as_str()), (Some(4), key));
            let expected = "is not what the rule `a` says of oci://r.example/sensor:latest";
            assert_eq!(problems[0].message, expected);
        }
    }

    #[test]
    fn a_release_of_the_catalogue_is_no_file() {
        let release = |text: &str| {
            let config = parse(&format!("{{name: all, devices: \"*\", release: \"{text}\"}}")).unwrap();
            config.assignments[0].release.clone()
        };
        assert_eq!(release("motor:0.1.1"), "motor:0.1.1");
        assert!(release("motor.bin").starts_with("file://"), "{}", release("motor.bin"));
    }
}
