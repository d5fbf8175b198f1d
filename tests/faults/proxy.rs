//! A TCP proxy between one replica and the database, which can be slow, cut, or deaf.
//!
//! What a deaf direction is given it keeps, and passes on when it hears again: TCP
//! would have sent it again. What a cut finds under way is lost.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// It passes at once.
    Passes,
    /// It passes later, each way.
    Delays(Duration),
    /// Connections are closed, open ones and new ones.
    Cut,
    /// Nothing reaches the database.
    DeafUp,
    /// Nothing comes back from it.
    DeafDown,
    /// Neither.
    Deaf,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Link {
    const fn holds(self, way: Way) -> bool {
        matches!(
            (self, way),
            (Self::Deaf, _) | (Self::DeafUp, Way::Up) | (Self::DeafDown, Way::Down)
        )
    }
}

/// A proxy to one port; its connections end with this value.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    link: Arc<watch::Sender<Link>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `target`, on a port of its own.
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Arc::new(watch::Sender::new(Link::Passes));
        let links = Arc::clone(&link);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = links.subscribe();
                if *link.borrow() != Link::Cut {
                    tokio::spawn(carry(client, target, link));
                }
            }
        });
        Self { port, link, accepting }
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on, for every connection.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.link.send_replace(Link::Cut);
    }
}

/// Carries one connection until either side closes it, or it is cut.
async fn carry(client: TcpStream, target: u16, mut link: watch::Receiver<Link>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    for stream in [&client, &server] {
        drop(stream.set_nodelay(true));
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, link.clone(), Way::Up) => {}
        () = copy(from_server, to_client, link.clone(), Way::Down) => {}
        _ = link.wait_for(|link| *link == Link::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut link: watch::Receiver<Link>,
    way: Way,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = link.wait_for(|link| !link.holds(way)).await.map(|now| *now) else { return };
        if let Link::Delays(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// A connection through a proxy to a server that answers what it is told.
    async fn connected() -> (Proxy, TcpStream) {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Proxy::to(server.local_addr().unwrap().port()).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        (proxy, client)
    }

    async fn told(client: &mut TcpStream) -> Option<u8> {
        timeout(SOON, client.read_u8()).await.ok().and_then(Result::ok)
    }

    #[tokio::test]
    async fn a_deaf_link_keeps_what_it_is_given_until_it_hears_again() {
        let (proxy, mut client) = connected().await;
        for link in [Link::Deaf, Link::DeafUp, Link::DeafDown] {
            proxy.set(link);
            client.write_u8(7).await.unwrap();
            assert_eq!(told(&mut client).await, None, "{link:?}");
            proxy.set(Link::Passes);
            assert_eq!(told(&mut client).await, Some(7), "{link:?}");
        }
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open_and_what_comes() {
        let (proxy, mut client) = connected().await;
        client.write_u8(7).await.unwrap();
        assert_eq!(told(&mut client).await, Some(7));
        proxy.set(Link::Cut);
        let closed = timeout(SOON, client.read_u8()).await.expect("closed at once");
        assert!(closed.is_err());
        let mut another = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        assert!(timeout(SOON, another.read_u8()).await.expect("closed at once").is_err());
    }
}
