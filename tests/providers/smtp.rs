//! `SMTP_USER` and `SMTP_PASS`, against a real mail server.

use std::sync::Arc;

use breeze_rollover::{
    material::Material,
    provider::{
        Provider, ProviderError, Trust,
        smtp::{Encrypted, Smtp},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use crate::site::{Mood, Site, World, limits};
pub use crate::support::smtp::{NEW, OLD, Server, value};

fn provider(port: u16, encrypted: Encrypted, trust: &Trust) -> Arc<Smtp> {
    let from = "Breeze <breeze@example.test>".parse().unwrap();
    Arc::new(Smtp::new("localhost", port, encrypted, from, trust, limits()).unwrap())
}

/// The moods of a mail server. Whom it refuses, it tells what it was sent, in every mood.
const OF_SMTP: &[(Mood, &str)] = &[
    (Mood::Hanging, "no answer in time"),
    (Mood::Nonsense, "something unexpected"),
    (Mood::OtherJson, "something unexpected"),
    (Mood::Endless, "too large"),
    (Mood::Failing, "451"),
    (Mood::Overloaded, "421"),
    (Mood::Redirecting, "something unexpected"),
];

/// What a mail server in this mood does with a connection; the one at `port` when it is well.
async fn speak(mut near: TcpStream, mood: Mood, port: u16) {
    let said = match mood {
        Mood::Well | Mood::Echoing => {
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            return drop(copy_bidirectional(&mut near, &mut far).await);
        }
        Mood::Hanging => return std::future::pending().await,
        Mood::Nonsense => "<html><body>Welcome!</body></html>\r\n",
        Mood::OtherJson => "{\"hello\": [1, 2]}\r\n",
        Mood::Failing => "451 4.3.0 it failed\r\n",
        Mood::Overloaded => "421 4.3.2 too much to do\r\n",
        // Elsewhere: what a server of the web says.
        Mood::Redirecting => "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\n\r\n",
        Mood::Endless => {
            let line = format!("220-{}\r\n", "and more ".repeat(100));
            while near.write_all(line.as_bytes()).await.is_ok() {}
            return;
        }
    };
    near.write_all(said.as_bytes()).await.ok();
    // Until the other side has read it, and gone.
    near.read_to_end(&mut vec![]).await.ok();
}

/// The server, behind its moods.
pub async fn site(server: &Server) -> Site {
    Site::speaking(speak, server.port).await
}

pub async fn world() -> World {
    let server = Server::start("starttls").await;
    let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
    let site = site(&server).await;
    World {
        provider: provider(site.address.parse().unwrap(), Encrypted::StartTls, &trust),
        site: Arc::new(site),
        moods: OF_SMTP,
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
        let unknown = provider(server.port, how, &Trust::public()).probe(&pair(OLD)).await;
        let Err(ProviderError::Unreachable(said)) = unknown else { panic!("{unknown:?}") };
        assert!(said.contains("certificate"), "{said}");
        let trust = Trust::public().and_pem(server.certificate().as_bytes()).unwrap();
        let shown = provider(server.port, how, &trust).probe(&pair(OLD)).await.unwrap();
        assert_eq!(shown, "the server took the password, over TLS");
    }
}

#[tokio::test]
#[cfg_attr(not(smtp_tests), ignore = "needs aiosmtpd; tests/run installs it")]
async fn a_server_without_tls_or_without_words_gets_no_password() {
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
