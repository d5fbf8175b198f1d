//! Everything that is traced, down to TRACE, as text.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{level_filters::LevelFilter, subscriber::DefaultGuard};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// What has been traced since [`capture`], until this value is dropped.
pub struct Traces {
    written: Written,
    _guard: DefaultGuard,
}

/// Captures what this thread traces: everything, under `#[tokio::test]`'s own
/// runtime, but for what runs in `spawn_blocking`.
pub fn capture() -> Traces {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(written.clone())
        .finish();
    Traces { written, _guard: tracing::subscriber::set_default(subscriber) }
}

impl Traces {
    /// The text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap()).into_owned()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
