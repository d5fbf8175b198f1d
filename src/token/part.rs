//! Decodes one part of a token, as leniently as Breeze does.
//!
//! What Breeze writes, unpadded base64url, takes the fast path: one vectorised
//! pass, no allocation while the part is small. Everything else is decoded by the
//! rules of WHATWG's forgiving base64 with either alphabet, which is what jose
//! does under Node: padding, white space and stray last bits are accepted.
//! Leniency is harmless: a signature covers the text, not what it decodes to.

use base64_simd::{AsOut, URL_SAFE_NO_PAD};

/// Room for a decoded part: `N` bytes on the stack, more on the heap.
pub(super) struct Room<const N: usize> {
    stack: [u8; N],
    heap: Vec<u8>,
}

impl<const N: usize> Room<N> {
    pub(super) const fn new() -> Self {
        Self { stack: [0; N], heap: Vec::new() }
    }

    /// The bytes that `text` spells, or `None` when it is not base64.
    pub(super) fn decode(&mut self, text: &str) -> Option<&[u8]> {
        let text = text.as_bytes();
        // Decoded text is never longer than the text.
        if text.len() <= N
            && let Ok(bytes) = URL_SAFE_NO_PAD.decode(text, self.stack.as_mut_slice().as_out())
        {
            let len = bytes.len();
            return Some(&self.stack[..len]);
        }
        self.heap = match URL_SAFE_NO_PAD.decode_to_vec(text) {
            Ok(bytes) => bytes,
            Err(_) => forgiving(text)?,
        };
        Some(&self.heap)
    }
}

fn forgiving(text: &[u8]) -> Option<Vec<u8>> {
    let standard: Vec<u8> = text
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    base64_simd::forgiving_decode_to_vec(&standard).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        Room::<8>::new().decode(text).map(<[u8]>::to_vec)
    }

    #[test]
    fn every_spelling_that_breeze_reads_is_read() {
        let bytes = vec![0xfb, 0xff, 0xfe, 0x01];
        for text in ["-__-AQ", "+//+AQ==", "-_/-AQ", "-__-AR", " -__-\nAQ\t", "-__-AQ=="] {
            assert_eq!(decode(text), Some(bytes.clone()), "{text:?}");
        }
        for text in ["-__-A", "-__-AQ=", "-__=AQ", "-__-AQ===", "-__-A!", "-__-.AQ"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_part_larger_than_the_stack_is_decoded_too() {
        assert_eq!(decode("AAAAAAAAAAAAAAAA"), Some(vec![0; 12]));
        assert_eq!(decode("AAAAAAAAAAAAAA=="), Some(vec![0; 10]));
        assert_eq!(decode(""), Some(vec![]));
    }
}
