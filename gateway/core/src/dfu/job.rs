//! Update jobs of the fleet API: which devices one is for, and how its executions are called.
//!
//! A job is a campaign of one wave that begins at once, for the devices that its filters mean when it is made. A list
//! means any of its values, an empty one anything; everything that is not empty must hold.

use super::campaign::{Standing, Target};

/// Which devices a job is for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters {
    /// Codes of which one is active.
    pub trouble_codes: Vec<String>,
    /// Types of anomalies of which one is active.
    pub anomalies: Vec<String>,
    /// Vehicles.
    pub vin: Vec<String>,
    /// Makes.
    pub make: Vec<String>,
    /// Models.
    pub model: Vec<String>,
    /// Model years.
    pub year: Vec<String>,
    /// What the device runs.
    pub software: Vec<String>,
}

/// What is known of a device and of its vehicle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// The vehicle.
    pub vin: Option<String>,
    /// Its make.
    pub make: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its model year.
    pub year: Option<String>,
    /// What the device runs.
    pub software: Option<String>,
    /// Its active trouble codes.
    pub trouble_codes: Vec<String>,
    /// The types of its active anomalies.
    pub anomalies: Vec<String>,
}

impl Filters {
    /// Whether the job is for this device.
    #[must_use]
    pub fn matches(&self, facts: &Facts) -> bool {
        let one = |wanted: &[String], found: &Option<String>| any(wanted, found.as_slice());
        any(&self.trouble_codes, &facts.trouble_codes)
            && any(&self.anomalies, &facts.anomalies)
            && one(&self.vin, &facts.vin)
            && one(&self.make, &facts.make)
            && one(&self.model, &facts.model)
            && one(&self.year, &facts.year)
            && one(&self.software, &facts.software)
    }
}

/// The fleet API writes in capitals what is stored in small letters.
fn any(wanted: &[String], found: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| found.iter().any(|found| found.eq_ignore_ascii_case(wanted)))
}

/// What a device of a campaign is called as the execution of a job. A failed attempt that is followed by another one is
/// no end, so it is in progress.
#[must_use]
pub fn execution(target: &Target, removed: &str) -> &'static str {
    match target.standing {
        Standing::Queued | Standing::Offered => "QUEUED",
        Standing::InProgress | Standing::Failed => "IN_PROGRESS",
        Standing::Succeeded => "SUCCEEDED",
        Standing::Quarantined => "FAILED",
        Standing::TimedOut => "TIMED_OUT",
        Standing::Skipped if target.reason.as_deref() == Some(removed) => "REMOVED",
        Standing::Skipped => "REJECTED",
        Standing::Cancelled => "CANCELED",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    fn car() -> Facts {
        Facts {
            vin: Some("WVW1".to_owned()),
            make: Some("Fjord".to_owned()),
            model: Some("Model F".to_owned()),
            year: Some("2015".to_owned()),
            software: Some("2.8".to_owned()),
            trouble_codes: texts(&["P0001", "P0002"]),
            anomalies: texts(&["OilTemp"]),
        }
    }

    #[test]
    fn every_list_must_hold_and_of_its_values_one() {
        assert!(Filters::default().matches(&Facts::default()));
        let year = Filters { year: texts(&["2014", "2015"]), ..Filters::default() };
        assert!(year.matches(&car()) && !year.matches(&Facts::default()));
        let codes = Filters { trouble_codes: texts(&["P9", "p0002"]), ..year.clone() };
        assert!(codes.matches(&car()));
        assert!(!codes.matches(&Facts { trouble_codes: Vec::new(), ..car() }));
        assert!(!Filters { software: texts(&["2.9"]), ..codes }.matches(&car()));
    }

    #[test]
    fn standings_are_called_as_executions_of_jobs() {
        let called = |standing, reason: Option<&str>| {
            let target = Target { standing, reason: reason.map(str::to_owned), ..Target::queued(1, 0) };
            execution(&target, "gone")
        };
        let words = Standing::ALL.map(|standing| called(standing, None));
        let expected = [
            "QUEUED",
            "QUEUED",
            "IN_PROGRESS",
            "SUCCEEDED",
            "IN_PROGRESS",
            "FAILED",
            "TIMED_OUT",
            "REJECTED",
            "CANCELED",
        ];
        assert_eq!(words, expected);
        assert_eq!(called(Standing::Skipped, Some("gone")), "REMOVED");
    }

    proptest! {
        #[test]
        fn a_further_value_never_takes_a_device_away(year in "[0-3]", wanted in prop::collection::vec("[0-3]", 1..4), more in "[0-3]") {
            let facts = Facts { year: Some(year), ..Facts::default() };
            let before = Filters { year: wanted.clone(), ..Filters::default() };
            let after = Filters { year: [wanted, vec![more]].concat(), ..Filters::default() };
            prop_assert!(!before.matches(&facts) || after.matches(&facts));
        }
    }
}
