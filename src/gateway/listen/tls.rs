//! TLS: certificates that can be changed while running, and client certificates when asked for.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tracing::{info, warn};

/// A listener's certificate chain and key, as they stand now.
#[derive(Debug)]
pub struct Certificates {
    files: Files,
    config: ArcSwap<ServerConfig>,
    /// Of the files as they were last read, good or bad.
    seen: Mutex<Stamp>,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or isn't PEM.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The pieces don't fit: a key of another certificate, a bad authority.
    #[error("{0}")]
    Unusable(String),
}

#[derive(Debug)]
struct Files {
    certificates: PathBuf,
    key: PathBuf,
    client_authority: Option<PathBuf>,
}

/// Modification time and length: enough to see that a file was replaced.
type Stamp = [Option<(SystemTime, u64)>; 3];

// === impl Certificates ===

impl Certificates {
    /// Reads a PEM chain and key. With `client_authority`, clients must show a certificate that it signed.
    pub fn load(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        client_authority: Option<PathBuf>,
    ) -> Result<Arc<Self>, TlsError> {
        let files = Files {
            certificates: certificates.into(),
            key: key.into(),
            client_authority,
        };
        // Before the files are read: what changes meanwhile is read again.
        let seen = Mutex::new(files.stamp());
        let config = ArcSwap::from_pointee(files.read()?);
        Ok(Arc::new(Self {
            files,
            config,
            seen,
        }))
    }

    /// Reads the files again; new connections get what is in them now. On an error the old ones stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen() = self.files.stamp();
        self.config.store(Arc::new(self.files.read()?));
        Ok(())
    }

    /// Reloads whenever a file has changed since it was last read; looks every `interval`, for ever. A bad file is
    /// reported, and tried again when it changes.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let this = self.clone();
            let has_changed = tokio::task::spawn_blocking(move || {
                let stamp = this.files.stamp();
                stamp != *this.seen()
            });
            if !has_changed.await.unwrap_or(false) {
                continue;
            }
            let path = self.files.certificates.display().to_string();
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(())) => info!(path, "certificates reloaded"),
                Ok(Err(error)) => {
                    warn!(path, %error, "new certificates are bad, the old ones stay")
                }
                Err(_) => return,
            }
        }
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Stamp> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Files ===

impl Files {
    fn stamp(&self) -> Stamp {
        let files = [
            Some(&self.certificates),
            Some(&self.key),
            self.client_authority.as_ref(),
        ];
        files.map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            metadata.modified().ok().map(|time| (time, metadata.len()))
        })
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let chain = read_chain(&self.certificates)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|why| wrong(&self.key, why))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // New with every load: a ticket must not outlive the authority that its client was checked against.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(config)
    }
}

fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|why| wrong(path, why))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(unusable)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|why| wrong(path, why))?;
    if chain.is_empty() {
        let why = io::Error::new(io::ErrorKind::InvalidData, "no certificate in it");
        return Err(wrong(path, why));
    }
    Ok(chain)
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn unusable(why: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable(why.to_string())
}
