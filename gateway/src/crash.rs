//! Named points at which a test stops the process, exactly there and as hard as SIGKILL does.
//!
//! `CAUSEWAY_CRASH_AT=<point>[/<binding>][:<n>]` names one; the process ends when it gets there for the n-th time.
//! Only debug builds look; in a release build a point is nothing.

/// The process gets to a point, on behalf of a binding or of nobody.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str, binding: &str) {
    armed::reached(name, binding);
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn point(_: &str, _: &str) {}

/// `CAUSEWAY_ROUTER_LIVES=<n>`: with every n-th message the router's thread panics, and the process goes on.
#[cfg(debug_assertions)]
pub(crate) fn router_life() -> Option<u64> {
    std::env::var("CAUSEWAY_ROUTER_LIVES").ok()?.parse().ok()
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn router_life() -> Option<u64> {
    None
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct Armed {
        point: String,
        binding: Option<String>,
        left: AtomicU32,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn reached(name: &str, binding: &str) {
        let Some(armed) = ARMED.get_or_init(|| parse(&std::env::var("CAUSEWAY_CRASH_AT").ok()?)) else { return };
        if armed.point != name || armed.binding.as_deref().is_some_and(|wanted| wanted != binding) {
            return;
        }
        if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // The kernel ends the process before the call returns; nothing is flushed and nothing is dropped.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    fn parse(text: &str) -> Option<Armed> {
        let (place, times) = text.split_once(':').unwrap_or((text, "1"));
        let (point, binding) = match place.split_once('/') {
            Some((point, binding)) => (point, Some(binding.to_owned())),
            None => (place, None),
        };
        let left = AtomicU32::new(times.parse().ok().filter(|times| *times > 0)?);
        Some(Armed { point: point.to_owned(), binding, left })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_may_name_a_binding_and_a_number() {
            let armed = parse("committed/relay:3").unwrap();
            assert_eq!((armed.point.as_str(), armed.binding.as_deref()), ("committed", Some("relay")));
            assert_eq!(armed.left.into_inner(), 3);
            assert_eq!(parse("synced").unwrap().left.into_inner(), 1);
            assert!(parse("synced:0").is_none() && parse("synced:x").is_none());
        }
    }
}
