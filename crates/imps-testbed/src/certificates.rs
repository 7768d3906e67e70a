//! Certificates and keys of what runs here, made in this process and of use on loopback only.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::daemon::write_private;

/// By which the API server is reached. 10.0.0.1 is the first address of the service range, under which pods would find
/// it.
const SERVER_NAMES: [&str; 4] = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"];

/// Where the files of a control plane are, all inside the folder of the control plane.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) serving_certificate: PathBuf,
    pub(crate) serving_key: PathBuf,
    pub(crate) account_public_key: PathBuf,
    pub(crate) account_key: PathBuf,
}

impl Certificates {
    /// Makes a CA, a serving certificate for loopback and the key that signs ServiceAccount tokens.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let files = Self {
            ca: folder.join("ca.crt"),
            serving_certificate: folder.join("serving.crt"),
            serving_key: folder.join("serving.key"),
            account_public_key: folder.join("service-account.pub"),
            account_key: folder.join("service-account.key"),
        };
        let ca = authority()?;
        let serving_key = key()?;
        let serving = serving_parameters(&SERVER_NAMES, "kube-apiserver")?
            .signed_by(&serving_key, &ca)
            .context("cannot sign a certificate")?;
        let account_key = key()?;
        write_private(&files.ca, &ca.pem())?;
        write_private(&files.serving_certificate, &serving.pem())?;
        write_private(&files.serving_key, &serving_key.serialize_pem())?;
        write_private(&files.account_public_key, &account_key.public_key_pem())?;
        write_private(&files.account_key, &account_key.serialize_pem())?;
        Ok(files)
    }
}

/// What a server shows that goes by the names of hosts, and who vouches for it.
pub(crate) struct ServerIdentity {
    /// The certificate of the authority, as PEM.
    pub(crate) authority: String,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl ServerIdentity {
    /// Makes one, and an authority of its own.
    pub(crate) fn make(hosts: &[&str]) -> Result<Self> {
        let (ca, certificate, key) = identity(hosts)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(Self { authority: ca.pem(), certificate: certificate.der().clone(), key })
    }
}

/// The same as files, for a server that is no part of this process.
pub(crate) struct ServerFiles {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl ServerFiles {
    /// Makes them in a folder, and an authority of its own.
    pub(crate) fn write(hosts: &[&str], folder: &Path) -> Result<Self> {
        let (ca, certificate, key) = identity(hosts)?;
        let file = |name| folder.join(name);
        let files = Self { authority: file("ca.crt"), certificate: file("tls.crt"), key: file("tls.key") };
        write_private(&files.authority, &ca.pem())?;
        write_private(&files.certificate, &certificate.pem())?;
        write_private(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

fn identity(hosts: &[&str]) -> Result<(CertifiedIssuer<'static, KeyPair>, Certificate, KeyPair)> {
    let (ca, key) = (authority()?, key()?);
    let parameters = serving_parameters(hosts, hosts.first().context("a server without a name")?)?;
    let certificate = parameters.signed_by(&key, &ca).context("cannot sign a certificate")?;
    Ok((ca, certificate, key))
}

/// P-256, because kube-apiserver takes it for tokens too and making one costs microseconds (RSA: a second).
fn key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a P-256 key")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "imps test authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, key()?).context("cannot make a certificate authority")
}

fn serving_parameters(names: &[&str], common_name: &str) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).context("cannot name a serving certificate")?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}
