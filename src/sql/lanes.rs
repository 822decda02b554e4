//! Texts in blocks of 64 bytes, as bits of a word: where quotes are, and which bytes are in them. Both quick ways, that
//! of `effects/fast.rs` and that of `class/fast.rs`, look at texts like this. Never knows what they stop at.

use super::token::is_in_word;

/// Bytes that are looked at together.
pub(super) const BLOCK: usize = 64;

/// Bytes that every machine looks at together.
pub(super) const PART: usize = 16;

/// The byte before a block tells whether a word begins in it, and three behind it how one goes on.
pub(super) const WINDOW: usize = 1 + BLOCK + 3;

/// The window of the block that begins at `base`, behind the first byte of `text`. Where the text ends in it there
/// are spaces, and `end` holds it.
#[inline]
pub(super) fn window<'w>(
    text: &'w [u8],
    base: usize,
    end: &'w mut [u8; WINDOW],
) -> &'w [u8; WINDOW] {
    let rest = text.get(base - 1..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk() {
        return whole;
    }
    *end = [b' '; WINDOW];
    end[..rest.len()].copy_from_slice(rest);
    end
}

/// Bytes that [`bits`] wants where something is found: bit n in each of the eight bytes of part n.
pub(super) static FOUND: [u8; BLOCK] = weights();

const fn weights() -> [u8; BLOCK] {
    let mut weights = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        weights[at] = 1 << (at / 8);
        at += 1;
    }
    weights
}

/// A bit per byte of a block in which something is found.
#[inline]
pub(super) fn bits(found: &[u8; BLOCK]) -> u64 {
    let (parts, _) = found.as_chunks::<8>();
    let parts = parts.iter().map(|part| u64::from_le_bytes(*part));
    transposed(parts.fold(0, |all, part| all | part))
}

/// Bit m of byte n becomes bit n of byte m.
#[inline]
fn transposed(mut bits: u64) -> u64 {
    for (distance, mask) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let changed = (bits ^ bits >> distance) & mask;
        bits ^= changed ^ changed << distance;
    }
    bits
}

/// Which bytes are in quotes, when `quotes` are all there are: from each opening one up to the one that closes it,
/// which is no longer in. `open` has all bits when a quote is open before the first.
#[inline]
pub(super) fn within(quotes: u64, open: u64) -> u64 {
    let mut within = quotes;
    for step in [1, 2, 4, 8, 16, 32] {
        within ^= within << step;
    }
    within ^ open
}

/// The places of these bits, in order.
#[inline]
pub(super) fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(place)
    })
}

/// True when one of the stops is a quote.
#[inline]
pub(super) fn has_quote(window: &[u8; WINDOW], stops: u64) -> bool {
    places(stops).any(|place| window[1 + place] == b'\'')
}

/// Where quotes are.
#[inline]
pub(super) fn quotes(window: &[u8; WINDOW]) -> u64 {
    let mut found = [0; BLOCK];
    for at in 0..BLOCK {
        found[at] = if window[at + 1] == b'\'' {
            FOUND[at]
        } else {
            0
        };
    }
    bits(&found)
}

/// Bytes behind which a quote begins no plain literal: those of words, and that of `U&`.
#[inline]
pub(super) fn prefixes(window: &[u8; WINDOW]) -> u64 {
    let mut found = [0; BLOCK];
    for at in 0..BLOCK {
        let is_prefix = may_be_in_word(window[at]) | (window[at] == b'&');
        found[at] = if is_prefix { FOUND[at] } else { 0 };
    }
    bits(&found)
}

/// True for the bytes of [`is_in_word`], without a table, so that the compiler makes vectors of it.
#[inline]
fn may_be_in_word(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_digit = byte.wrapping_sub(b'0') < 10;
    is_letter | is_digit | (byte == b'_') | (byte == b'$') | (byte >= 0x80)
}

/// How many bytes of a word there are from `start` on.
#[inline]
pub(super) fn word_length(text: &[u8], start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.iter().position(|byte| !is_in_word(*byte));
    end.unwrap_or(rest.len())
}

/// How many bytes of a word there are before `end`.
#[inline]
pub(super) fn word_length_before(text: &[u8], end: usize) -> usize {
    let before = text.get(..end).unwrap_or_default();
    let behind = before.iter().rposition(|byte| !is_in_word(*byte));
    behind.map_or(before.len(), |behind| before.len() - behind - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_measured_both_ways() {
        for length in 0..40 {
            for sign in (0..=0xff).filter(|byte| !is_in_word(*byte)) {
                let word = vec![b'a'; length];
                let text = [&[sign][..], &word, &[sign]].concat();
                assert_eq!(word_length(&text, 1), length);
                assert_eq!(word_length_before(&text, length + 1), length);
                assert_eq!(word_length_before(&text[1..], length), length);
                assert_eq!(word_length(&text[..=length], 1), length);
            }
        }
        for byte in 0..=0xff {
            assert_eq!(may_be_in_word(byte), is_in_word(byte), "{byte}");
        }
    }

    #[test]
    fn bits_are_those_of_the_bytes() {
        for at in 0..64 {
            let mut found = [0; BLOCK];
            found[at] = FOUND[at];
            assert_eq!(bits(&found), 1 << at);
            assert_eq!(within(1 << at, 0), u64::MAX << at);
            assert_eq!(within(1 << at, u64::MAX), !(u64::MAX << at));
        }
        assert_eq!(within(0b0010_0001_0010_0010, 0), 0b0001_1111_0001_1110);
    }

    #[test]
    fn windows_end_with_the_text() {
        let text: Vec<u8> = (1..=200).collect();
        for base in 1..=200 {
            let mut end = [0; WINDOW];
            let window = window(&text, base, &mut end);
            for (at, byte) in window.iter().enumerate() {
                let expected = text.get(base - 1 + at).copied().unwrap_or(b' ');
                assert_eq!(*byte, expected);
            }
        }
    }
}
