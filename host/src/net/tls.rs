//! TLS as nodes speak it: version 1.3 alone, both sides with a certificate, no resumption.
//!
//! A certificate is only the envelope of a key: nobody signs certificates, and nothing in one is believed but its public
//! key. Whose key it is follows from the key itself (`PublicKey::peer_id`), and whether the owner may do anything is
//! decided afterwards (`admission`). rustls verifies that the other side has the private key.

use crate::key::{KeyPair, PublicKey};
use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    version::TLS13,
};
use std::sync::Arc;

/// The protocol inside TLS. A client or server of anything else fails in the handshake.
const ALPN: &[u8] = b"potluck/1";
/// RFC 9266: what both ends of one TLS connection, and nobody else, can compute.
const CHANNEL_BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What both ends of a connection have in common, and nobody between them.
pub type ChannelBinding = [u8; 32];

/// A node's side of TLS.
pub struct Tls {
    server: Arc<ServerConfig>,
    certified: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
}

/// Whose key the server must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// The key of a peer id.
    Peer(potluck_sdk::PeerId),
    /// The key with this SHA-256.
    Key([u8; 32]),
    /// Anybody's; who it is decides what follows.
    Any,
}

impl Pin {
    /// Whether a key is the one that is expected.
    pub fn admits(&self, key: &PublicKey) -> bool {
        match self {
            Pin::Peer(peer_id) => key.peer_id() == *peer_id,
            Pin::Key(sha256) => key.sha256() == *sha256,
            Pin::Any => true,
        }
    }
}

impl Tls {
    /// Makes the certificate for a node's key, and the settings.
    pub fn new(key: &KeyPair) -> anyhow::Result<Tls> {
        let provider = Arc::new(provider::default_provider());
        let certified = Arc::new(SingleCertAndKey::from(certificate(key, &provider)?));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .context("TLS 1.3 is not there")?
            .with_client_cert_verifier(Arc::new(KeyProof { pin: Pin::Any, provider: Arc::clone(&provider) }))
            .with_cert_resolver(Arc::clone(&certified) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the proof of the key, and outlive a revocation.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Tls { server: Arc::new(server), certified, provider })
    }

    /// The settings of the accepting side.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// The settings of the connecting side. The handshake fails, before this side says who it is, when the server has
    /// another key than the pinned one.
    pub fn client(&self, pin: Pin) -> Result<Arc<ClientConfig>, Error> {
        let verifier = Arc::new(KeyProof { pin, provider: Arc::clone(&self.provider) });
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.certified) as Arc<dyn ResolvesClientCert>);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Arc::new(client))
    }
}

fn certificate(key: &KeyPair, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let document = PrivatePkcs8KeyDer::from(key.pkcs8().to_vec());
    let issuer = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&document, &rcgen::PKCS_ED25519)
        .context("the node's key does not fit into a certificate")?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // For those who look at a connection with other tools; nothing here reads it.
    params.distinguished_name.push(rcgen::DnType::CommonName, key.public().peer_id().to_string());
    let certificate = params.self_signed(&issuer).context("a certificate cannot be made of the node's key")?;
    let signer = provider.key_provider.load_private_key(document.into()).context("rustls does not take the key")?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
}

/// The key of whoever is at the other end of a finished handshake, when both sides speak the same protocol.
pub fn peer_key(connection: &rustls::CommonState) -> Option<PublicKey> {
    if connection.alpn_protocol() != Some(ALPN) {
        return None;
    }
    connection.peer_certificates()?.first().and_then(|certificate| key_of(certificate))
}

/// The channel binding of a finished handshake.
pub fn channel_binding<Data>(connection: &rustls::ConnectionCommon<Data>) -> Result<ChannelBinding, Error> {
    connection.export_keying_material([0; 32], CHANNEL_BINDING_LABEL, None)
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    PublicKey::from_spki(&parsed.subject_public_key_info())
}

/// Takes any certificate that holds an Ed25519 key, if it is the pinned one, and has rustls check that the other side has
/// signed the handshake with it.
#[derive(Debug)]
struct KeyProof {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl KeyProof {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match key_of(certificate) {
            Some(key) if self.pin.admits(&key) => Ok(()),
            Some(_) => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
}

/// TLS 1.2 is not offered, so nobody gets to these.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
}

impl ServerCertVerifier for KeyProof {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyProof {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
