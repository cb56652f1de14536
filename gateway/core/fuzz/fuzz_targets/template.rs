//! Topic templates: no pattern, topic or filter makes them panic, and a match binds every variable of its template.
//!
//! The input is lines: patterns up to an empty line, then topics and filters.

#![no_main]

use causeway_core::template::{Template, Templates};
use causeway_core::topic::{check_filter, check_topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (patterns, names) = input.split_once("\n\n").unwrap_or((input, ""));
    let parsed = patterns.lines().take(16).enumerate();
    let parsed = parsed.filter_map(|(i, pattern)| Template::parse(&format!("t{i}"), pattern).ok()).collect();
    let Ok(templates) = Templates::new(parsed) else { return };
    let _ = templates.shadowed();
    for name in names.lines().take(16) {
        if check_topic(name).is_ok()
            && let Some((template, vars)) = templates.match_topic(name)
        {
            for variable in template.variables() {
                assert!(vars.get(variable).is_some(), "{variable} of {} in {name}", template.pattern());
            }
        }
        if check_filter(name).is_ok() {
            let _ = templates.intersections(name);
        }
    }
});
