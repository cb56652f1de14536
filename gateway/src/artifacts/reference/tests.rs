//! What operators write, and what it means.

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image(registry: &str, repository: &str, tag: Option<&str>, digest: Option<&str>) -> Reference {
    Reference::Registry(ImageReference {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(|digest| digest.parse().unwrap()),
    })
}

fn layout(path: &str, tag: Option<&str>, digest: Option<&str>) -> Reference {
    let (tag, digest) = (tag.map(str::to_owned), digest.map(|digest| digest.parse().unwrap()));
    Reference::Layout { path: PathBuf::from(path), tag, digest }
}

/// The text means this, and this is written as the text.
fn check(text: &str, expected: &Reference) {
    assert_eq!(text.parse().as_ref(), Ok(expected), "{text}");
    assert_eq!(expected.to_string(), text);
}

fn refused(text: &str, words: &str) {
    let error = text.parse::<Reference>().unwrap_err().to_string();
    assert!(error.contains(words) && !error.contains('\n'), "{text}: {error}");
}

#[test]
fn a_registry_is_named_with_its_repository_and_a_tag_or_a_digest() {
    check("oci://ghcr.io/acme/alarm:1.2.0", &image("ghcr.io", "acme/alarm", Some("1.2.0"), None));
    check("oci://localhost:5000/alarm:v1", &image("localhost:5000", "alarm", Some("v1"), None));
    check(&format!("oci://[::1]:5000/a/b@{DIGEST}"), &image("[::1]:5000", "a/b", None, Some(DIGEST)));
    check(&format!("oci://r.lan/a:1@{DIGEST}"), &image("r.lan", "a", Some("1"), Some(DIGEST)));
    assert_eq!("oci://GHCR.io/a:B".parse(), Ok(image("ghcr.io", "a", Some("B"), None)));
    let name = "oci://r.lan:5000/team/alarm:1".parse::<Reference>().unwrap().repository_name();
    assert_eq!(name.as_deref(), Some("r.lan:5000/team/alarm"));
}

#[test]
fn layouts_files_and_built_in_plugins_are_named_by_their_scheme() {
    check("oci-layout:///srv/stick", &layout("/srv/stick", None, None));
    check("oci-layout:///srv/a:b/stick:1.0", &layout("/srv/a:b/stick", Some("1.0"), None));
    check(&format!("oci-layout://stick@{DIGEST}"), &layout("stick", None, Some(DIGEST)));
    check("file:///opt/alarm.wasm", &Reference::File(PathBuf::from("/opt/alarm.wasm")));
    check("builtin:telemetry", &Reference::Builtin("telemetry".to_owned()));
    assert_eq!("plugins/alarm.wasm".parse(), Ok(Reference::File(PathBuf::from("plugins/alarm.wasm"))));
    let resolved = |text: &str| text.parse::<Reference>().unwrap().resolved(Path::new("/etc/causeway")).to_string();
    assert_eq!(resolved("alarm.wasm"), "file:///etc/causeway/alarm.wasm");
    assert_eq!(resolved("oci-layout://stick:1"), "oci-layout:///etc/causeway/stick:1");
    assert_eq!(resolved("builtin:telemetry"), "builtin:telemetry");
}

#[test]
fn what_is_wrong_with_a_reference_is_said_in_one_line_with_a_remedy() {
    refused("", "names nothing");
    refused("file://", "names nothing");
    refused("builtin:", "names nothing");
    refused("oci-layout://", "names nothing");
    refused("docker://ghcr.io/a:1", "no scheme");
    refused("https://ghcr.io/a:1", "no scheme");
    refused("oci://alarm:1", "the registry too");
    refused("oci://ghcr.io/", "the registry too");
    refused("oci:///alarm:1", "no registry");
    refused("oci://user@ghcr.io/a:1", "no digest");
    refused("oci://user:pw@ghcr.io/a:1", "no digest");
    refused("oci://-ghcr.io/a:1", "no registry");
    refused("oci://ghcr.io:99999/a:1", "no registry");
    refused("oci://ghcr.io/a", "neither tag nor digest");
    for repository in ["A", "a//b", "../b", "a/../b", "a/", ".a", "a.", "a..b", "a___b", "a b", "é"] {
        refused(&format!("oci://ghcr.io/{repository}:1"), "no repository");
    }
    for tag in ["", ".1", "-1", "1+2", &"1".repeat(129)] {
        refused(&format!("oci://ghcr.io/a:{tag}"), "no tag");
    }
    refused("oci://ghcr.io/a@sha256:e3b0", "no digest");
    refused("oci://ghcr.io/a@latest", "no digest");
    refused(&format!("oci://ghcr.io/a@{}", DIGEST.to_uppercase()), "no digest");
    refused("oci://ghcr.io/a:1\nb", "control characters");
    refused(&"a".repeat(5_000), "4096");
}

#[test]
fn a_prefix_covers_what_lies_below_it_and_not_its_neighbours() {
    let covers = |prefix: &str, name: &str| is_below(name, prefix);
    assert!(covers("r.lan/team", "r.lan/team"));
    assert!(covers("r.lan/team", "r.lan/team/alarm"));
    assert!(covers("r.lan", "r.lan/team/alarm"));
    assert!(covers("file://", "file:///opt/alarm.wasm"));
    assert!(covers("oci://r.lan/team/alarm", "oci://r.lan/team/alarm:1"));
    assert!(covers("oci-layout:///srv/stick", &format!("oci-layout:///srv/stick@{DIGEST}")));
    assert!(!covers("r.lan/team", "r.lan/teams/alarm"));
    assert!(!covers("r.lan", "r.lan:5000/team/alarm"));
    assert!(!covers("oci://r.lan", "oci://r.lan:5000/team/alarm:1"));
    assert!(!covers("r.lan", "r.lan.evil/team"));
    assert!(!covers("file:///opt/", "file:///opt/../etc/alarm.wasm"));
    assert!(covers("file://", "file:///opt/../etc/alarm.wasm"));
    assert!(!covers("", "r.lan/team"));
}

fn references() -> impl Strategy<Value = Reference> {
    let digest = proptest::option::of(any::<Vec<u8>>().prop_map(|bytes| Digest::of(&bytes)));
    let tag = proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}");
    let registry = "[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){0,2}(:[1-9][0-9]{0,3})?";
    let repository = "[a-z0-9]{1,5}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,5}){0,4}";
    let image = (registry, repository, tag.clone(), digest.clone()).prop_map(|(registry, repository, tag, digest)| {
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Reference::Registry(ImageReference { registry, repository, tag, digest })
    });
    let path = "/?[a-z0-9][a-z0-9/. _-]{0,20}";
    let layout =
        (path, tag, digest).prop_map(|(path, tag, digest)| Reference::Layout { path: path.into(), tag, digest });
    prop_oneof![
        image,
        layout,
        path.prop_map(|path| Reference::File(path.into())),
        "[a-z]{1,9}".prop_map(Reference::Builtin)
    ]
}

proptest! {
    #[test]
    fn a_printed_reference_parses_to_itself(reference in references()) {
        prop_assert_eq!(reference.to_string().parse(), Ok(reference));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*", scheme in "(oci|oci-layout|file|builtin)", rest in "[a-z0-9:/@.\\[\\]_-]{0,40}") {
        for text in [text, format!("{scheme}://{rest}"), format!("{scheme}:{rest}")] {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference));
            }
        }
    }
}
