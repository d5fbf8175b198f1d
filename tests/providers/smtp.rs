//! `SMTP_USER` and `SMTP_PASS`, against a real mail server.

use std::sync::Arc;

use breeze_rollover::{
    material::Material,
    provider::{
        Provider, ProviderError, Trust,
        smtp::{Encrypted, Smtp},
    },
};

use crate::site::{World, limits};
pub use crate::support::smtp::{NEW, OLD, Server, value};

fn provider(server: &Server, encrypted: Encrypted, trust: &Trust) -> Arc<Smtp> {
    let from = "Breeze <breeze@example.test>".parse().unwrap();
    Arc::new(Smtp::new("localhost", server.port, encrypted, from, trust, limits()).unwrap())
}

pub async fn world() -> World {
    let server = Server::start("starttls").await;
    let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
    World {
        provider: provider(&server, Encrypted::StartTls, &trust),
        site: None,
        variables: [("SMTP_USER", OLD.0), ("SMTP_PASS", OLD.1)]
            .map(|(name, text)| (name, text.to_owned()))
            .into(),
        new: value(NEW),
        unknown: |number| value(("breeze", &format!("an unknown password {number}"))),
        malformed: "breeze:password",
        secrets: vec![OLD.1.into(), NEW.1.into(), "an unknown password".into()],
        revokes: false,
        kept: Box::new(server),
    }
}

fn pair(pair: (&str, &str)) -> Material {
    Material::new(value(pair)).unwrap()
}

#[tokio::test]
#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
async fn a_password_goes_to_no_server_that_cannot_prove_its_name() {
    for (encrypted, how) in [("starttls", Encrypted::StartTls), ("at-once", Encrypted::AtOnce)] {
        let server = Server::start(encrypted).await;
        let unknown = provider(&server, how, &Trust::public()).probe(&pair(OLD)).await;
        let Err(ProviderError::Unreachable(said)) = unknown else { panic!("{unknown:?}") };
        assert!(said.contains("certificate"), "{said}");
        let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
        let shown = provider(&server, how, &trust).probe(&pair(OLD)).await.unwrap();
        assert_eq!(shown, "the server took the password, over TLS");
    }
}

#[tokio::test]
#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
async fn a_server_without_tls_or_without_words_gets_no_password() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (greeting, capabilities) in
        [("220 plain\r\n", "250-plain\r\n250 AUTH PLAIN LOGIN\r\n"), ("hello!\r\n", ""), ("", "")]
    {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut heard = vec![0; 4096];
            let read = stream.read(&mut heard).await.unwrap_or(0);
            stream.write_all(capabilities.as_bytes()).await.ok();
            let more = stream.read(&mut heard[read..]).await.unwrap_or(0);
            String::from_utf8_lossy(&heard[..read + more]).into_owned()
        });
        let from = "breeze@example.test".parse().unwrap();
        let (how, trust) = (Encrypted::StartTls, Trust::public());
        let smtp = Smtp::new("localhost", port, how, from, &trust, limits()).unwrap();
        let refused = smtp.probe(&pair(OLD)).await;
        assert!(refused.is_err(), "{greeting}: {refused:?}");
        assert!(!heard.await.unwrap().contains("AUTH"), "{greeting}");
    }
}
