//! Where a registry may lead us: redirects, token servers and the addresses behind names. Pure rules.
//!
//! A registry that was broken into must not make the gateway ask other machines of its network, or take credentials
//! elsewhere. The rules of where credentials go are in `session.rs`: nowhere but to their own host and port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Which addresses a host may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Any: the configuration names this very host.
    Any,
    /// Only such as are routed on the internet: the configuration names a whole domain.
    Public,
}

/// What the configuration allows beside a registry's own host.
pub(super) struct Allowed<'a> {
    /// The registry itself.
    pub(super) own: &'a Url,
    /// `host`, `host:port` or `*.domain`.
    pub(super) hosts: &'a [String],
    /// The key that would allow more.
    pub(super) key: &'static str,
    /// Hosts with a port that are configured to be asked without TLS.
    pub(super) plain: &'a dyn Fn(&Url) -> bool,
}

/// Where to, or why not: what it leads to, and the rule.
pub(super) type Ruling = Result<(Url, Reach), (String, String)>;

/// Rules on a place that `from` names: the target of a redirect, or a token server.
pub(super) fn rule(from: &Url, named: &str, allowed: &Allowed<'_>) -> Ruling {
    let Ok(mut to) = from.join(named) else {
        return Err((super::error::clean(named), "which is no address".to_owned()));
    };
    to.set_fragment(None);
    let name = host_and_port(&to);
    let shown = if name.is_empty() { super::error::clean(named) } else { name.clone() };
    let refuse = |cause: String| Err((shown.clone(), cause));
    if !matches!(to.scheme(), "http" | "https") || name.is_empty() {
        return refuse("which is no place of the web".to_owned());
    }
    if !to.username().is_empty() || to.password().is_some() {
        return refuse("with credentials in the address".to_owned());
    }
    let own = same_place(&to, allowed.own);
    if to.scheme() == "http" && (from.scheme() == "https" || allowed.own.scheme() == "https") {
        return refuse("without TLS, which is never followed".to_owned());
    }
    if own {
        return Ok((to, Reach::Any));
    }
    let reach = allowed.hosts.iter().filter_map(|listed| covers(listed, &to)).max_by_key(|reach| *reach == Reach::Any);
    let Some(reach) = reach else {
        return refuse(format!(
            "which is not listed; add `{name}` to its `{}` under `registries` if that is meant",
            allowed.key
        ));
    };
    if to.scheme() == "http" && !(allowed.plain)(&to) {
        return refuse(format!(
            "without TLS; list `{name}` under `registries` with `plain_http: true` if that is meant"
        ));
    }
    Ok((to, reach))
}

/// Whether two addresses have the same scheme, host and port.
pub(super) fn same_place(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme()
        && left.host() == right.host()
        && left.port_or_known_default() == right.port_or_known_default()
}

/// `host:port`, and `host` alone for HTTPS on 443, as a configuration would name it.
pub(super) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match (url.scheme(), url.port_or_known_default()) {
        ("https", Some(443)) | (_, None) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// How far an entry of the configuration covers an address.
fn covers(listed: &str, to: &Url) -> Option<Reach> {
    let name = host_and_port(to);
    if listed.eq_ignore_ascii_case(&name) {
        return Some(Reach::Any);
    }
    let domain = listed.strip_prefix('*')?;
    // An address is below no domain, so that what a wildcard allows has always been resolved by our own resolver.
    let below = to.domain().is_some() && domain.starts_with('.') && name.len() > domain.len();
    (below && name.to_ascii_lowercase().ends_with(&domain.to_ascii_lowercase())).then_some(Reach::Public)
}

/// Whether an address is one of the internet and of nobody's own network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = a == 192 && b == 0 && c == 0;
    let benchmarks = a == 198 && (18..20).contains(&b);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || shared
        || protocols
        || benchmarks
        || a == 0
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // IPv4 inside: mapped, compatible, translated (64:ff9b::/96) and 6to4 (2002::/16).
    let [first, second, _, _, _, _, high, low] = address.segments();
    let translated = first == 0x64 && second == 0xff9b;
    if translated || address.to_ipv4().is_some() {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let global = first & 0xe000 == 0x2000;
    let documentation = first == 0x2001 && second == 0xdb8;
    let protocols = first == 0x2001 && second < 0x200;
    global && !documentation && !protocols && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    /// `own` leads to `to`; what comes of it with `hosts` in the configuration.
    fn rule_on(own: &str, to: &str, hosts: &[&str]) -> Ruling {
        let own = url(own);
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let plain = |url: &Url| url.host_str() == Some("plain.example");
        rule(&own, to, &Allowed { own: &own, hosts: &hosts, key: "redirects", plain: &plain })
    }

    #[track_caller]
    fn allowed(own: &str, to: &str, hosts: &[&str], reach: Reach) {
        let (_, given) = rule_on(own, to, hosts).unwrap_or_else(|(to, cause)| panic!("{to}, {cause}"));
        assert_eq!(given, reach);
    }

    #[track_caller]
    fn refused(own: &str, to: &str, hosts: &[&str], rule: &str) {
        let (_, cause) = rule_on(own, to, hosts).expect_err("must be refused");
        assert!(cause.contains(rule), "{cause}");
    }

    const OWN: &str = "https://registry.example:5000/v2/x/blobs/y";

    #[test]
    fn a_registry_may_lead_to_itself() {
        allowed(OWN, "/elsewhere", &[], Reach::Any);
        allowed(OWN, "https://registry.example:5000/z?sig=1", &[], Reach::Any);
        allowed("https://registry.example/x", "https://REGISTRY.example:443/z", &[], Reach::Any);
        allowed("http://127.0.0.1:5000/x", "http://127.0.0.1:5000/z", &[], Reach::Any);
    }

    #[test]
    fn other_hosts_and_ports_have_to_be_listed() {
        refused(OWN, "https://registry.example:5001/", &[], "add `registry.example:5001` to its `redirects`");
        refused(OWN, "https://cdn.example/z", &["cdn.example:444"], "add `cdn.example` to");
        refused(OWN, "//cdn.example/z", &[], "not listed");
        allowed(OWN, "https://cdn.example/z", &["cdn.example"], Reach::Any);
        allowed(OWN, "https://10.0.0.7:9000/z", &["10.0.0.7:9000"], Reach::Any);
    }

    #[test]
    fn a_listed_domain_covers_hosts_below_it_with_public_addresses() {
        allowed(OWN, "https://eu.cdn.example/z", &["*.cdn.example"], Reach::Public);
        allowed(OWN, "https://eu.cdn.example/z", &["*.cdn.example", "eu.cdn.example"], Reach::Any);
        refused(OWN, "https://cdn.example/z", &["*.cdn.example"], "not listed");
        refused(OWN, "https://evilcdn.example/z", &["*.cdn.example"], "not listed");
        refused(OWN, "https://10.0.0.7/z", &["*.0.0.7", "*.7"], "not listed");
        refused(OWN, "https://[::1]/z", &["*.1]", "*:1]"], "not listed");
    }

    #[test]
    fn tls_is_never_given_up() {
        refused(OWN, "http://registry.example:5000/z", &[], "without TLS");
        refused(OWN, "http://plain.example/z", &["plain.example:80"], "without TLS");
        refused(
            "http://registry.example/x",
            "http://cdn.example/z",
            &["cdn.example:80"],
            "without TLS; list `cdn.example:80`",
        );
        allowed("http://registry.example/x", "http://plain.example/z", &["plain.example:80"], Reach::Any);
        allowed("http://registry.example/x", "https://cdn.example/z", &["cdn.example"], Reach::Any);
    }

    #[test]
    fn what_is_no_place_of_the_web_is_refused() {
        refused(OWN, "file:///etc/passwd", &[], "no place of the web");
        refused(OWN, "https://user:secret@registry.example:5000/", &[], "credentials in the address");
        refused(OWN, "https://", &[], "no address");
        refused(OWN, "https://a b/", &[], "no address");
    }

    #[test]
    fn addresses_of_own_networks_are_not_public() {
        let own = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
            "fec0::1",
        ];
        for address in own {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "185.199.108.133", "2606:4700::1111", "::ffff:8.8.8.8", "100.128.0.1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
