//! A provider's certificate is verified before a credential goes out.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread::{self, JoinHandle},
};

use breeze_rollover::{
    material::Material,
    provider::{Provider, ProviderError, Trust, anthropic::Anthropic},
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{anthropic::OLD, site::limits};

const MODEL: &str = r#"{"type":"model","id":"a-model"}"#;

/// Answers one request as the bearer of `certified`; what it has read is the thread's.
fn server(certified: &CertifiedKey<KeyPair>) -> (u16, JoinHandle<String>) {
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], PrivateKeyDer::from(key))
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let (mut read, mut buffer) = (String::new(), [0; 4096]);
        while !read.contains("\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return read,
                Ok(count) => read += &String::from_utf8_lossy(&buffer[..count]),
            }
        }
        let length = MODEL.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{MODEL}").unwrap();
        read
    });
    (port, serving)
}

async fn probed(port: u16, trust: &Trust) -> Result<String, ProviderError> {
    let address = format!("https://localhost:{port}").parse().unwrap();
    let anthropic = Anthropic::new(address, trust, limits(), "a-model");
    anthropic.probe(&Material::new(OLD).unwrap()).await
}

#[tokio::test]
async fn a_credential_goes_to_no_server_that_cannot_prove_its_name() {
    let ours = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let others = generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    let trusting = |certified: &CertifiedKey<KeyPair>| {
        Trust::public().and_pem(certified.cert.pem().as_bytes()).unwrap()
    };
    for (certified, trust, why) in [
        (&ours, Trust::public(), "UnknownIssuer"),
        (&ours, trusting(&others), "BadSignature"), // of the same name
        (&others, trusting(&others), "not valid for name"),
    ] {
        let (port, serving) = server(certified);
        let refused = probed(port, &trust).await;
        let Err(ProviderError::Unreachable(said)) = refused else { panic!("{refused:?}") };
        assert!(said.contains(why), "{said}");
        assert_eq!(serving.join().unwrap(), "", "nothing was sent");
    }
    let (port, serving) = server(&ours);
    assert_eq!(probed(port, &trusting(&ours)).await.unwrap(), "the key may use a-model");
    assert!(serving.join().unwrap().contains(OLD));
}
