//! Receivers whose certificate is not to be trusted, beside one whose certificate is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fire_receiver::read;
use crate::stand::{Plan, Stand};

const OWN_NAME: &str = "127.0.0.1";

/// What went over a connection: `None` when there was no TLS session, else the body of the request in it.
type Session = Option<Vec<u8>>;

struct TlsReceiver {
    address: SocketAddr,
    sessions: Arc<Mutex<Vec<Session>>>,
    _serving: JoinSet<()>,
}

impl TlsReceiver {
    async fn start(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((OWN_NAME, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut serving) = (sessions.clone(), JoinSet::new());
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    seen.lock().unwrap().push(None);
                    continue;
                };
                let body = read(&mut stream).await.ok().flatten().map(|got| got.body).unwrap_or_default();
                seen.lock().unwrap().push(Some(body));
                // whoever went away without an answer has a test that fails
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.ok();
                stream.shutdown().await.ok();
            }
        });
        Self { address, sessions, _serving: serving }
    }

    fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().unwrap().clone()
    }
}

/// The certificates' authority; the server is told to trust it and nobody else.
fn authority(trusted: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "the authority of this test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(trusted, authority.pem()).unwrap();
    authority
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a receiver");
    params
}

#[tokio::test]
async fn a_receiver_with_a_bad_certificate_gets_no_byte_and_the_reason_names_tls() {
    let mut stand = Stand::built(Plan::default()).await;
    let trusted = stand.path("trusted.pem");
    let authority = authority(&trusted);
    stand.set_env("SSL_CERT_FILE", trusted.display());
    stand.set_env("OFFSHOOT_CALLBACKS_RETRY_SECONDS", 1);
    stand.expect_undelivered();
    stand.start().await;
    stand.post("/queue/pause", &json!({})).await;

    let key = KeyPair::generate().unwrap();
    let mut expired = params(OWN_NAME);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let signed = |params: CertificateParams| params.signed_by(&key, &authority).unwrap();
    // each has one fault and no other
    let rows = [
        ("good", signed(params(OWN_NAME)), None),
        ("self-signed", params(OWN_NAME).self_signed(&key).unwrap(), Some("UnknownIssuer")),
        ("wrong-host", signed(params("elsewhere.example")), Some("not valid for name")),
        ("expired", signed(expired), Some("expired")),
    ];
    for (name, certificate, fault) in rows {
        let receiver = TlsReceiver::start(certificate.der().clone(), &key).await;
        let url = format!("https://{}/hook", receiver.address);
        let id = stand.submit(json!({"prompt": "x", "branchName": name, "osCallbackUrl": url})).await;
        assert_eq!(stand.cancel(&id).await.0, 200);
        let wanted = if fault.is_none() { "delivered" } else { "dead" };
        let over = |job: &Value| !matches!(job["callback"]["state"].as_str(), None | Some("pending"));
        let job = stand.wait_for(&id, "told or given up", over).await;
        assert_eq!(job["callback"]["state"], wanted, "{name}: {job:#}");

        let delivery = stand.get(&format!("/jobs/{id}/deliveries")).await["deliveries"][0].clone();
        let Some(fault) = fault else {
            let sessions = receiver.sessions();
            let [Some(body)] = sessions.as_slice() else { panic!("{name}: {sessions:?}") };
            assert!(String::from_utf8_lossy(body).contains(&id), "{name}");
            continue;
        };
        let history = delivery["history"].as_array().unwrap();
        assert_eq!(history.len(), 2, "{name}: {delivery:#}");
        for one in history {
            let error = one["error"].as_str().unwrap();
            assert!(error.contains("TLS") && error.contains(fault), "{name}: {error}");
            assert!(one["status"].is_null(), "{name}: {delivery:#}");
        }
        assert_eq!(receiver.sessions(), [None, None], "{name}");
    }
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}
