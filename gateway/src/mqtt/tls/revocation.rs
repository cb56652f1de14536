//! Checks revocation lists when they are read, so that a useless list is found then and not at each handshake.

use std::path::Path;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::load::problem;
use crate::config::Problem;
use crate::mqtt::identity::printable;

/// The revocation lists of one listener, the newest of each authority first.
#[derive(Default)]
pub(super) struct Lists(Vec<List>);

struct List {
    der: CertificateRevocationListDer<'static>,
    issuer: String,
    /// The list's number, as big-endian bytes without leading zeros: longer is larger.
    number: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
}

const MAX_NAME: usize = 200;

impl Lists {
    /// Parses `found`, and reports lists with a wrong signature and authorities without a list.
    pub(super) fn check(
        file: &Path,
        found: Vec<CertificateRevocationListDer<'static>>,
        authorities: &[CertificateDer<'_>],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let authorities: Vec<X509Certificate<'_>> =
            authorities.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
        let mut lists = Vec::new();
        let mut issuers: Vec<Vec<u8>> = Vec::new();
        for (index, der) in found.iter().enumerate() {
            let read = parse(der).and_then(|list| {
                issuers.push(list.issuer().as_raw().to_vec());
                check_signature(&list, &authorities)?;
                Ok(List::keep(der, &list))
            });
            match read {
                Ok(list) => lists.push(list),
                Err(message) => {
                    let message = format!("revocation list {} in it {message}", index.saturating_add(1));
                    problems.push(problem(file, message, "publish the list again from its authority"));
                }
            }
        }
        for authority in &authorities {
            if !issuers.iter().any(|issuer| issuer == authority.subject().as_raw()) {
                let message =
                    format!("there is no revocation list of {}", printable(&authority.subject().to_string(), MAX_NAME));
                let remedy =
                    "add that authority's list (an empty one will do), or take the authority out of `client_ca`";
                problems.push(problem(file, message, remedy));
            }
        }
        // The first list of an issuer is the one that counts in a handshake, so the newest goes first.
        lists.sort_by(|a, b| (b.number.len(), &b.number).cmp(&(a.number.len(), &a.number)));
        Self(lists)
    }

    /// What an operator should know: a list that is late.
    pub(super) fn warnings(&self, file: Option<&Path>, now: i64) -> Vec<Problem> {
        let Some(file) = file else { return Vec::new() };
        let late = self.0.iter().filter(|list| list.next_update.is_some_and(|next| next < now));
        late.map(|list| {
            let message = format!("the revocation list of {} is past its next update; it still counts", list.issuer);
            problem(file, message, "publish a new list; newer revocations are missing until then")
        })
        .collect()
    }

    /// When the first list will be late, in Unix milliseconds.
    pub(super) fn next_update_ms(&self) -> Option<u64> {
        let next = self.0.iter().filter_map(|list| list.next_update).min()?;
        Some(u64::try_from(next).unwrap_or(0).saturating_mul(1_000))
    }

    pub(super) fn this_updates(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|list| list.this_update)
    }

    pub(super) fn into_der(self) -> Vec<CertificateRevocationListDer<'static>> {
        self.0.into_iter().map(|list| list.der).collect()
    }
}

impl List {
    fn keep(der: &CertificateRevocationListDer<'static>, list: &CertificateRevocationList<'_>) -> Self {
        Self {
            der: der.clone(),
            issuer: printable(&list.issuer().to_string(), MAX_NAME),
            number: list.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().map(|time| time.timestamp()),
        }
    }
}

fn parse<'a>(der: &'a CertificateRevocationListDer<'static>) -> Result<CertificateRevocationList<'a>, String> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], list)) => Ok(list),
        Ok(_) => Err("is followed by other bytes".to_owned()),
        Err(_) => Err("is damaged".to_owned()),
    }
}

/// The list of an intermediate, which is not in the bundle, cannot be checked before a device shows that intermediate.
fn check_signature(list: &CertificateRevocationList<'_>, authorities: &[X509Certificate<'_>]) -> Result<(), String> {
    let issuer = list.issuer().as_raw();
    let mut issuers = authorities.iter().filter(|ca| ca.subject().as_raw() == issuer).peekable();
    if issuers.peek().is_some() && !issuers.any(|ca| list.verify_signature(ca.public_key()).is_ok()) {
        return Err(format!("has a signature that is not of {}", printable(&list.issuer().to_string(), MAX_NAME)));
    }
    Ok(())
}
