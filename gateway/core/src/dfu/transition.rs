//! Whether a release may be installed over what a device runs.

use semver::Version;
use thiserror::Error;

use super::Release;

/// Why a release may not be installed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TransitionError {
    /// The release is not made for what the device runs.
    #[error("{version} may only be installed over {from}, and it runs {running}")]
    From {
        /// What it runs.
        running: String,
        /// The release's version.
        version: String,
        /// What it would have to run.
        from: String,
    },
    /// The release is older than what the device runs.
    #[error("{version} is older than {running}, which it runs; downgrades are not allowed")]
    Downgrade {
        /// What it runs.
        running: String,
        /// The release's version.
        version: String,
    },
}

/// Whether the release may be installed over `running`; a device that runs it already needs no permission.
///
/// Which of two versions is older is known only if both are versions of semver; a `v` before them does not matter.
///
/// # Errors
/// [`TransitionError`], with the reason for the operator.
pub fn check(running: &str, release: &Release, downgrade: bool) -> Result<(), TransitionError> {
    let version = &release.version;
    if running == version {
        return Ok(());
    }
    if !release.from.is_empty() && !release.from.iter().any(|from| from == running) {
        let from = release.from.join(", ");
        return Err(TransitionError::From { running: running.to_owned(), version: version.clone(), from });
    }
    if !downgrade && is_older(version, running) {
        return Err(TransitionError::Downgrade { running: running.to_owned(), version: version.clone() });
    }
    Ok(())
}

fn is_older(version: &str, running: &str) -> bool {
    match (parsed(version), parsed(running)) {
        // Build metadata does not say which is older.
        (Some(version), Some(running)) => version.cmp_precedence(&running).is_lt(),
        _ => false,
    }
}

fn parsed(version: &str) -> Option<Version> {
    Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release(version: &str, from: &[&str]) -> Release {
        Release {
            name: "sensor".to_owned(),
            version: version.to_owned(),
            image: String::new(),
            size: 0,
            checksum: [0; 32],
            from: from.iter().map(|&from| from.to_owned()).collect(),
        }
    }

    fn check_error(running: &str, release: &Release, downgrade: bool, expected: &str) {
        let error = check(running, release, downgrade).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(error, expected, "{running} -> {}", release.version);
    }

    #[test]
    fn an_older_version_is_refused_unless_it_is_allowed() {
        let older = "0.1.9 is older than 0.1.10, which it runs; downgrades are not allowed";
        check_error("0.1.10", &release("0.1.9", &[]), false, older);
        check_error("0.1.10", &release("0.1.9", &[]), true, "");
        check_error("0.1.9", &release("0.1.10", &[]), false, "");
        let candidate = "1.0.0-rc.1 is older than v1.0.0, which it runs; downgrades are not allowed";
        check_error("v1.0.0", &release("1.0.0-rc.1", &[]), false, candidate);
    }

    #[test]
    fn of_versions_that_are_none_of_semver_none_is_older() {
        check_error("f00ba47", &release("0.1.0", &[]), false, "");
        check_error("2.0", &release("1.0.0", &[]), false, "");
        check_error("1.0.0+b2", &release("1.0.0+b1", &[]), false, "");
    }

    #[test]
    fn a_release_goes_only_over_the_versions_that_it_lists() {
        let listed = "0.3.0 may only be installed over 0.2.0, 0.2.1, and it runs 0.1.0";
        check_error("0.1.0", &release("0.3.0", &["0.2.0", "0.2.1"]), true, listed);
        check_error("0.2.1", &release("0.3.0", &["0.2.0", "0.2.1"]), false, "");
    }

    proptest! {
        #[test]
        fn of_two_versions_at_most_one_way_is_a_downgrade(one in "v?[0-3]\\.[0-3]\\.[0-3]", two in "[0-3]\\.[0-3]\\.[0-3]|[a-f]{7}") {
            let there = check(&one, &release(&two, &[]), false);
            let back = check(&two, &release(&one, &[]), false);
            prop_assert!(there.is_ok() || back.is_ok());
            prop_assert!(check(&one, &release(&two, &[]), true).is_ok());
        }

        #[test]
        fn what_a_device_runs_needs_no_permission(version in ".{1,20}", from in ".{0,5}") {
            prop_assert!(check(&version, &release(&version, &[&from]), false).is_ok());
        }
    }
}
