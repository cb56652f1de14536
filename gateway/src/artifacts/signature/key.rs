//! Keys: ECDSA on P-256 with SHA-256, and Ed25519, as PEM files.

use std::fmt::{self, Debug, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use thiserror::Error;

/// What stands before the point of a P-256 key in its `SubjectPublicKeyInfo` (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What stands before an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410).
const ED25519_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the seed of an Ed25519 key in its `PrivateKeyInfo` (RFC 8410).
const ED25519_PRIVATE: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
const SEED_BYTES: usize = 32;

/// A kind of key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256: cosign's own.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::Ed25519 => "Ed25519",
        }
    }

    const fn info(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256 => &P256_INFO,
            Self::Ed25519 => &ED25519_INFO,
        }
    }
}

/// A key cannot be used; the operator brings another.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum KeyError {
    /// No PEM with a public key in it.
    #[error("it holds no public key; write the PEM that begins with `-----BEGIN PUBLIC KEY-----`")]
    NoPublicKey,
    /// Another algorithm.
    #[error(
        "its key is neither ECDSA P-256 nor Ed25519; make one with `causeway plugin keygen` or `cosign generate-key-pair`"
    )]
    Algorithm,
    /// No PEM with a private key in it.
    #[error(
        "it holds no private key; write the PEM that begins with `-----BEGIN PRIVATE KEY-----`, or convert it with `openssl pkcs8 -topk8 -nodes`"
    )]
    NoPrivateKey,
    /// Encrypted.
    #[error(
        "its private key is encrypted; sign with the tool that made it, or make a key with `causeway plugin keygen`"
    )]
    Encrypted,
    /// Nothing to make a key or a signature from.
    #[error("the system has no random numbers")]
    Random,
}

/// A key whose signatures can be checked.
#[derive(Clone, Eq, PartialEq)]
pub struct PublicKey {
    kind: KeyKind,
    key: Vec<u8>,
}

impl PublicKey {
    /// The one public key in a PEM text.
    ///
    /// # Errors
    /// [`KeyError::NoPublicKey`] and [`KeyError::Algorithm`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NoPublicKey)?;
        let of = |kind: KeyKind| Some(Self { kind, key: info.strip_prefix(kind.info())?.to_owned() });
        let is_point = |key: &Self| key.key.len() == POINT_BYTES && key.key.first() == Some(&UNCOMPRESSED);
        let ecdsa = of(KeyKind::EcdsaP256).filter(is_point);
        let ed25519 = of(KeyKind::Ed25519).filter(|key| key.key.len() == SEED_BYTES);
        ecdsa.or(ed25519).ok_or(KeyError::Algorithm)
    }

    /// The PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[self.kind.info(), &self.key].concat())
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether this is the key's signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            KeyKind::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.key).verify(message, signature),
            KeyKind::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature),
        }
        .is_ok()
    }
}

impl Debug for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind.name())
    }
}

/// A key that signs. It is never printed.
pub struct PrivateKey {
    pair: Pair,
    pkcs8: Vec<u8>,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pkcs8 = match kind {
            KeyKind::EcdsaP256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .map_err(|_| KeyError::Random)?
                .as_ref()
                .to_vec(),
            // ring's own form has the public key in it, which OpenSSL does not read.
            KeyKind::Ed25519 => {
                let mut seed = [0; SEED_BYTES];
                random.fill(&mut seed).map_err(|_| KeyError::Random)?;
                [ED25519_PRIVATE.as_slice(), &seed].concat()
            }
        };
        Self::from_pkcs8(pkcs8)
    }

    /// The first private key in a PEM text (PKCS #8).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("-----BEGIN ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NoPrivateKey)?;
        Self::from_pkcs8(der.secret_pkcs8_der().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random).map(Pair::EcdsaP256);
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map(Pair::Ed25519);
        let pair = ecdsa.or_else(|_| ed25519()).map_err(|_| KeyError::Algorithm)?;
        Ok(Self { pair, pkcs8 })
    }

    /// The PEM text: for its owner alone.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    /// The key by which its signatures are checked.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &self.pair {
            Pair::EcdsaP256(pair) => PublicKey { kind: KeyKind::EcdsaP256, key: pair.public_key().as_ref().to_owned() },
            Pair::Ed25519(pair) => PublicKey { kind: KeyKind::Ed25519, key: pair.public_key().as_ref().to_owned() },
        }
    }

    /// The PEM text of [`Self::public_key`].
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        self.public_key().to_pem()
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.pair {
            Pair::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Random)?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        Ok(signature.as_ref().to_owned())
    }
}

impl Debug for PrivateKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public_key().kind().name())
    }
}

/// A PEM text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}
