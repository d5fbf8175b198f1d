//! What a loop has told already: it looks every second, and tells each thing once.

use std::sync::{Mutex, PoisonError};

/// The last text that was told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<String>);

impl Told {
    /// Whether `text` is not what was told last; it is now.
    pub(crate) fn is_news(&self, text: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *last != text;
        if is_news {
            text.clone_into(&mut last);
        }
        is_news
    }

    /// Forgets it: were it to come again, it would be news.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
