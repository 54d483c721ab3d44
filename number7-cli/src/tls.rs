//! Which certificates are trusted.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::BoxError;

#[derive(clap::Args)]
pub(crate) struct TlsArgs {
    /// Trust these certificates (PEM), instead of the usual authorities
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl TlsArgs {
    pub(crate) fn certificates(&self) -> Result<Option<Vec<CertificateDer<'static>>>, BoxError> {
        let Some(file) = &self.cacert else { return Ok(None) };
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| named(&error))?;
        let certificates: Result<Vec<_>, _> = certificates.collect();
        Ok(Some(certificates.map_err(|error| named(&error))?))
    }

    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, BoxError> {
        let mut roots = RootCertStore::empty();
        match self.certificates()? {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(certificates) => {
                for certificate in certificates {
                    roots.add(certificate)?;
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}
