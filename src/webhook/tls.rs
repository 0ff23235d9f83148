//! What a TLS session with a receiver is made with. The system's certificates are read once in a while and not for every try:
//! that takes longer than all the rest of a try to a receiver nearby.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::Verifier;
use tokio::time::Instant;

/// An authority that the system trusts no more is trusted so long at most.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Cheap to clone; all clones share what was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls(Arc<Mutex<Option<(Instant, ClientConfig)>>>);

impl Tls {
    /// As the system trusts, read at most ten minutes ago.
    pub(super) fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, config)) = &*kept
            && read_at.elapsed() < AGE_MAX
        {
            return Ok(config.clone());
        }
        let config = read()?;
        *kept = Some((Instant::now(), config.clone()));
        Ok(config)
    }
}

fn read() -> Result<ClientConfig, rustls::Error> {
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let verifier = Verifier::new(Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // despite its name: it is the verifier that is used everywhere else too
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // a session that goes on looks at no certificate
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn certificates_are_read_anew_after_a_while_and_not_before() {
        let tls = Tls::default();
        let read_at = |tls: &Tls| tls.0.lock().unwrap().as_ref().map(|(read_at, _)| *read_at);
        tls.config().unwrap();
        let first = read_at(&tls);
        tokio::time::advance(AGE_MAX - Duration::from_secs(1)).await;
        tls.clone().config().unwrap();
        assert_eq!(read_at(&tls), first);
        tokio::time::advance(Duration::from_secs(2)).await;
        tls.config().unwrap();
        assert_ne!(read_at(&tls), first);
    }
}
