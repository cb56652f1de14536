//! What `docker login` and credential helpers left is what registries are shown, by the program as it is run.

use super::scene::{REFUSED, Scene, UNAVAILABLE, said};
use causeway_tests::mutating::{Answer, Request};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// `ali:sesame`.
const BASIC: &str = "Basic YWxpOnNlc2FtZQ==";

/// A scene whose registry lets in who shows `authorization`, or asks for it as `challenge` says; the credentials are
/// those of Docker's configuration.
fn scene(authorization: &'static str, challenge: impl Fn(&str) -> String, docker: &Value) -> Scene {
    let mut scene = Scene::new();
    let challenge = challenge(&scene.registry.host());
    scene.registry.mutate(move |request, answer| {
        if request.path.starts_with("/v2/") && request.header("authorization") != Some(authorization) {
            *answer = Answer::new(401, "{}");
            answer.set("www-authenticate", challenge.clone());
        }
    });
    scene.config["registries"][0]["docker_config"] = true.into();
    fs::create_dir(scene.path(".docker")).unwrap();
    let docker = docker.to_string().replace("HOST", &scene.registry.host());
    fs::write(scene.path(".docker/config.json"), docker).unwrap();
    scene
}

fn basic(_: &str) -> String {
    r#"Basic realm="the shelf""#.to_owned()
}

fn bearer(host: &str) -> String {
    format!(r#"Bearer realm="http://{host}/token",service="the shelf""#)
}

/// Has a script answer as `docker-credential-test`.
fn helper(scene: &mut Scene, script: &str) {
    let folder = scene.path("programs");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("docker-credential-test");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    scene.programs = Some(folder);
}

fn assert_pulled(scene: &Scene) {
    let pulled = scene.plugin("pull");
    assert!(pulled.status.success(), "{}", said(&pulled));
    assert!(scene.cached(&scene.artifact.layer_digest()).is_file());
}

fn tokens(scene: &Scene) -> Vec<Request> {
    scene.registry.seen().into_iter().filter(|request| request.path.starts_with("/token")).collect()
}

#[test]
fn a_credential_helper_is_asked_for_the_registry_and_its_password_shown() {
    let mut scene = scene(BASIC, basic, &json!({ "credHelpers": { "HOST": "test" } }));
    let script = r#"cat > asked; echo "$1" >> asked; echo '{"ServerURL":"","Username":"ali","Secret":"sesame"}'"#;
    helper(&mut scene, script);
    assert_pulled(&scene);
    assert_eq!(fs::read_to_string(scene.path("asked")).unwrap(), format!("{}get\n", scene.registry.host()));
}

#[test]
fn a_helper_that_does_not_do_is_named_in_one_line_and_nobody_is_shown_anything() {
    for (script, says) in [("echo locked; exit 3", "locked"), ("echo nonsense", "prints no credentials")] {
        let mut scene = scene(BASIC, basic, &json!({ "credsStore": "test" }));
        helper(&mut scene, script);
        let refused = scene.plugin("pull");
        let line = said(&refused);
        assert!([REFUSED, UNAVAILABLE].contains(&refused.status.code().unwrap()), "{line}");
        assert!(line.lines().count() == 1 && line.contains("docker-credential-test") && line.contains(says), "{line}");
        assert!(scene.registry.seen().iter().all(|request| request.header("authorization").is_none()));
    }
}

#[test]
fn an_identity_token_is_exchanged_and_never_shown_to_the_registry() {
    let identity = json!({ "auths": { "HOST": { "auth": "", "identitytoken": "refresh-me" } } });
    let helped = json!({ "credHelpers": { "HOST": "test" } });
    for docker in [identity, helped] {
        let mut scene = scene("Bearer a-token", bearer, &docker);
        helper(&mut scene, r#"echo '{"ServerURL":"","Username":"<token>","Secret":"refresh-me"}'"#);
        assert_pulled(&scene);
        let tokens = tokens(&scene);
        let [asked] = tokens.as_slice() else { panic!("{tokens:?}") };
        assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None));
        for part in ["grant_type=refresh_token", "refresh_token=refresh-me", "service=the+shelf"] {
            assert!(asked.form.contains(part), "{}", asked.form);
        }
        let shown = scene.registry.seen();
        assert!(!shown.iter().any(|request| request.path.contains("refresh-me")), "{shown:?}");
    }
}

#[test]
fn a_registry_token_is_shown_as_it_is() {
    let scene = scene("Bearer mine", bearer, &json!({ "auths": { "HOST": { "registrytoken": "mine" } } }));
    assert_pulled(&scene);
    assert!(tokens(&scene).is_empty());
}
