//! Registries that are not whom they should be, send elsewhere, or keep a gateway waiting.

use super::scene::{Case, LOOPBACK, REFUSED, REPOSITORY, Scene, UNAVAILABLE, check, said};
use causeway_tests::mutating::{Answer, End, Role};
use causeway_tests::pki::{self, Pki, forged};
use rcgen::SanType;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

/// The layer lies somewhere else.
fn redirect(scene: &Scene, to: impl Into<String>) {
    let to = to.into();
    scene.registry.mutate(move |request, answer| {
        if request.role == Role::Layer {
            answer.redirect(&to);
        }
    });
}

/// The layer lies at the same path of another server.
fn redirect_to_other(scene: &mut Scene, host: impl Fn(&str) -> String) {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", scene.artifact.layer_digest());
    let to = host(&scene.other().host());
    redirect(scene, format!("{to}{path}"));
}

fn the_other_was_not_asked(scene: &Scene) {
    for other in &scene.others {
        assert!(other.seen().is_empty(), "{:?}", other.seen());
    }
}

#[test]
fn redirects_lead_nowhere_that_the_configuration_does_not_name() {
    check(&[
        Case::new(
            "to another host",
            |scene| redirect_to_other(scene, |host| format!("http://{host}")),
            &["redirects", "registries"],
        )
        .besides(the_other_was_not_asked),
        Case::new(
            "to another host by a name of this machine",
            |scene| redirect_to_other(scene, |host| format!("http://localhost:{}", host.rsplit(':').next().unwrap())),
            &["redirects", "localhost"],
        )
        .besides(the_other_was_not_asked),
        Case::new(
            "to another host with a user and a password",
            |scene| redirect_to_other(scene, |host| format!("http://registry:secret@{host}")),
            &["credentials"],
        )
        .besides(the_other_was_not_asked),
        Case::new(
            "from HTTPS to HTTP at the same address",
            |scene| redirect(scene, format!("http://{}/v2/", scene.registry.host())),
            &["without TLS"],
        )
        .arranged(|scene| *scene = Scene::secure()),
        Case::new(
            "from HTTPS to HTTP at a host that is named",
            |scene| {
                redirect_to_other(scene, |host| format!("http://{host}"));
                scene.config["registries"][0]["redirects"] = json!([scene.others[0].host()]);
            },
            &["without TLS"],
        )
        .arranged(|scene| *scene = Scene::secure())
        .besides(the_other_was_not_asked),
        Case::new(
            "to itself, again and again",
            |scene| {
                let path = format!("/v2/{REPOSITORY}/blobs/{}", scene.artifact.layer_digest());
                redirect(scene, path);
            },
            &["redirect"],
        )
        .besides(|scene| {
            let layers = scene.registry.seen().iter().filter(|request| request.role == Role::Layer).count();
            assert!(layers <= 8, "{layers} requests");
        }),
        Case::new(
            "to the data of a cloud's machine",
            |scene| redirect(scene, "http://169.254.169.254/latest/meta-data/"),
            &["169.254.169.254"],
        ),
        Case::new("to a private address", |scene| redirect(scene, "http://10.0.0.1/"), &["10.0.0.1"]),
        Case::new("to this machine", |scene| redirect(scene, "http://[::1]:1/"), &["[::1]:1"]),
        Case::new("to a file", |scene| redirect(scene, "file:///etc/passwd"), &["file:///etc/passwd"]),
        Case::new("to nothing that is an address", |scene| redirect(scene, "http://["), &["http://["]),
        Case::new(
            "without saying where",
            |scene| {
                scene.registry.mutate(|request, answer| {
                    if request.role == Role::Layer {
                        *answer = Answer::new(307, "");
                    }
                });
            },
            &["redirect"],
        ),
    ]);
}

/// The registry wants a token, and says where to get it.
fn demand_token(scene: &Scene, realm: &str) {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"registry\",scope=\"repository:{REPOSITORY}:pull\"");
    scene.registry.mutate(move |request, answer| {
        let asks_for_token = request.path.starts_with("/token");
        if !asks_for_token && request.header("authorization") != Some("Bearer a-token") {
            *answer = Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#);
            answer.set("www-authenticate", &challenge);
        }
    });
}

/// A registry with a user that gives out tokens itself.
fn with_tokens(scene: &mut Scene) {
    fs::write(scene.path("password"), "secret\n").unwrap();
    scene.config["registries"][0]["username"] = "operator".into();
    scene.config["registries"][0]["password_file"] = "password".into();
    demand_token(scene, &format!("http://{}/token", scene.registry.host()));
}

#[test]
fn credentials_go_to_nobody_that_the_configuration_does_not_name() {
    check(&[
        Case::new(
            "tokens from another host",
            |scene| {
                let realm = format!("http://{}/token", scene.other().host());
                demand_token(scene, &realm);
            },
            &["token_hosts", "registries"],
        )
        .arranged(with_tokens)
        .besides(the_other_was_not_asked),
        Case::new(
            "tokens over HTTP from a registry with HTTPS",
            |scene| {
                let realm = format!("http://{}/token", scene.registry.host());
                demand_token(scene, &realm);
            },
            &["without TLS"],
        )
        .arranged(|scene| {
            *scene = Scene::secure();
            with_tokens(scene);
            demand_token(scene, &format!("https://{}/token", scene.registry.host()));
        }),
        Case::new("tokens from a file", |scene| demand_token(scene, "file:///etc/passwd"), &["file:///etc/passwd"])
            .arranged(with_tokens),
        Case::new(
            "tokens from the data of a cloud's machine",
            |scene| {
                demand_token(scene, "http://169.254.169.254/token");
            },
            &["169.254.169.254"],
        )
        .arranged(with_tokens),
        Case::new(
            "no credentials where some are needed",
            |scene| {
                scene.registry.mutate(|_, answer| {
                    *answer = Answer::new(401, "{}");
                    answer.set("www-authenticate", "Basic realm=\"registry\"");
                });
            },
            &["username", "password_file"],
        )
        .exit(UNAVAILABLE),
    ]);
}

#[test]
fn a_host_that_is_named_gets_the_request_and_no_credentials() {
    let mut scene = Scene::new();
    with_tokens(&mut scene);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", scene.artifact.layer_digest());
    let to = format!("http://{}{path}", scene.other().host());
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"registry\"", scene.registry.host());
    scene.registry.mutate(move |request, answer| {
        if !request.path.starts_with("/token") && request.header("authorization").is_none() {
            *answer = Answer::new(401, "{}");
            answer.set("www-authenticate", &challenge);
        } else if request.role == Role::Layer {
            answer.redirect(&to);
        }
    });
    let other = scene.others[0].host();
    scene.config["registries"][0]["redirects"] = json!([other]);
    let also = json!({ "host": other, "plain_http": true, "docker_config": false });
    scene.config["registries"].as_array_mut().unwrap().push(also);
    let pulled = scene.plugin("pull");
    assert!(pulled.status.success(), "{}", said(&pulled));
    let seen = scene.others[0].seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert!(request.header("authorization").is_none() && request.header("cookie").is_none(), "{request:?}");
    }
    let asked = scene.registry.seen();
    let with_password: Vec<_> = asked
        .iter()
        .filter(|request| request.header("authorization").is_some_and(|text| text.starts_with("Basic")))
        .collect();
    assert!(with_password.iter().all(|request| request.path.starts_with("/token")), "{with_password:?}");
}

#[test]
fn a_registry_that_cannot_prove_who_it_is_is_asked_for_nothing() {
    fn secure(scene: &mut Scene) {
        *scene = Scene::secure();
    }
    fn present(scene: &Scene, change: impl FnOnce(&mut rcgen::CertificateParams)) {
        let mut params = pki::server(LOOPBACK);
        change(&mut params);
        scene.registry.present(Some(scene.pki.as_ref().unwrap().server(&params)));
    }
    fn nothing_was_asked(scene: &Scene) {
        assert!(scene.registry.seen().is_empty(), "{:?}", scene.registry.seen());
    }
    let cases = [
        Case::new(
            "a certificate of a foreign CA",
            |scene| {
                let foreign = Pki::create(&scene.path("foreign"), LOOPBACK);
                scene.registry.present(Some(foreign.server(&pki::server(LOOPBACK))));
            },
            &["certificate"],
        ),
        Case::new(
            "a certificate of a CA that only this registry is known by",
            |scene| {
                scene.config["registries"][0].as_object_mut().unwrap().remove("ca");
            },
            &["certificate"],
        ),
        Case::new(
            "an expired certificate",
            |scene| {
                present(scene, |params| forged::valid(params, -120, -60));
            },
            &["certificate", "expired"],
        ),
        Case::new(
            "a certificate that is not valid yet",
            |scene| {
                present(scene, |params| forged::valid(params, 60, 120));
            },
            &["certificate"],
        ),
        Case::new(
            "a certificate for another name",
            |scene| {
                present(scene, |params| {
                    params.subject_alt_names = vec![SanType::DnsName("other.example".try_into().unwrap())]
                });
            },
            &["certificate"],
        ),
        Case::new("HTTP where HTTPS is configured", |scene| scene.registry.present(None), &["TLS"]),
        Case::new(
            "HTTPS where HTTP is configured",
            |scene| {
                let about = &mut scene.config["registries"][0];
                about.as_object_mut().unwrap().remove("ca");
                about["plain_http"] = true.into();
            },
            &["plain_http"],
        ),
    ];
    check(&cases.map(|case| case.arranged(secure).exit(UNAVAILABLE).besides(nothing_was_asked)));
}

#[test]
fn a_registry_that_keeps_a_gateway_waiting_is_given_up_in_time() {
    fn ends(scene: &Scene, role: Role, end: End) {
        scene.registry.mutate(move |request, answer| {
            if request.role == role {
                answer.end = end;
                let half = answer.body.len() / 2;
                if end == End::Stalled {
                    answer.length = Some(answer.body.len() as u64);
                    answer.body.truncate(half);
                }
            }
        });
    }
    fn status(scene: &Scene, status: u16) {
        scene.registry.mutate(move |_, answer| {
            *answer = Answer::new(status, "<html>busy</html>");
            answer.set("retry-after", "86400");
        });
    }
    let cases = [
        Case::new("a body that stalls", |scene| ends(scene, Role::Layer, End::Stalled), &["artifacts.idle_timeout"]),
        Case::new(
            "a manifest that stalls",
            |scene| ends(scene, Role::Manifest, End::Stalled),
            &["artifacts.idle_timeout"],
        ),
        Case::new(
            "a payload that stalls",
            |scene| ends(scene, Role::Payload, End::Stalled),
            &["artifacts.idle_timeout"],
        ),
        Case::new(
            "an answer that does not begin",
            |scene| ends(scene, Role::Tag, End::Silent),
            &["artifacts.idle_timeout"],
        ),
        Case::new(
            "a layer that does not begin",
            |scene| ends(scene, Role::Layer, End::Silent),
            &["artifacts.idle_timeout"],
        ),
        Case::new("a body that drips", |scene| ends(scene, Role::Layer, End::Dripping), &["artifacts.timeout"]),
        Case::new("a head without an end", |scene| ends(scene, Role::Tag, End::EndlessHead), &[]),
        Case::new("no HTTP", |scene| ends(scene, Role::Tag, End::Garbage), &[]),
        Case::new("a server that is always busy", |scene| status(scene, 503), &["503"]),
        Case::new("a server that says to come back tomorrow", |scene| status(scene, 429), &["429"]),
        Case::new(
            "nobody there",
            |scene| {
                let nobody = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
                scene.config["registries"][0]["host"] = nobody.to_string().into();
                scene.reference = format!("oci://{nobody}/{REPOSITORY}:1.0.0");
            },
            &["refused"],
        ),
    ];
    let began = Instant::now();
    check(&cases.map(|case| case.exit(UNAVAILABLE)));
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    // A registry that has no such thing has said all that there is to say.
    check(&[Case::new("a registry that does not have it", |scene| status(scene, 404), &["1.0.0"]).exit(REFUSED)]);
}
