//! Names as SQL writes them, and tables that find what is stored under the names that the server would see. A lookup
//! allocates nothing. Never looks at a grammar.

use hashbrown::HashTable;

use crate::sql::{
    token::clipped,
    word::{Folded, SMALL, fold},
};

/// A name in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identifier<'a> {
    name: &'a [u8],
    exact: bool,
}

impl<'a> Identifier<'a> {
    /// A name without quotes, which is a word: the server makes its ASCII letters small.
    #[inline]
    pub fn plain(name: &'a [u8]) -> Self {
        Self { name, exact: false }
    }

    /// A name between double quotes, none of them doubled in it: it is taken as it is.
    #[inline]
    pub fn quoted(name: &'a [u8]) -> Self {
        Self { name, exact: true }
    }

    /// As it is written, without quotes.
    pub fn written(self) -> &'a [u8] {
        self.name
    }

    /// True when the server takes both for the same.
    pub fn is_same(self, other: Identifier<'_>) -> bool {
        let folded = |name: Identifier<'_>, byte: &u8| {
            if name.exact {
                *byte
            } else {
                byte.to_ascii_lowercase()
            }
        };
        let mut pairs = self.name.iter().zip(other.name);
        self.name.len() == other.name.len()
            && pairs.all(|(one, another)| folded(self, one) == folded(other, another))
    }

    /// True when the server takes it for `name`.
    #[inline]
    pub fn is(self, name: &[u8]) -> bool {
        if self.exact {
            return self.name == name;
        }
        let folded = self.name.iter().map(u8::to_ascii_lowercase);
        self.name.len() == name.len() && folded.eq(name.iter().copied())
    }
}

/// Values under names.
#[derive(Clone, Debug)]
pub(super) struct Names<T>(HashTable<Entry<T>>);

#[derive(Clone, Debug)]
struct Entry<T> {
    name: Box<[u8]>,
    /// The fold of words that are this name; 0 when folding does not tell.
    folded: Folded,
    /// It has no large ASCII letters, so that it is what a name without quotes becomes.
    is_small: bool,
    value: T,
}

impl<T> Entry<T> {
    #[inline]
    fn is(&self, name: Identifier<'_>) -> bool {
        if self.name.len() != name.name.len() {
            return false;
        }
        if name.exact || self.is_small && *self.name == *name.name {
            return *self.name == *name.name;
        }
        self.is_small && name.name.eq_ignore_ascii_case(&self.name)
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<T: Default> Names<T> {
    /// The value under a name, which is made if there is none.
    pub(super) fn entry(&mut self, name: &[u8]) -> &mut T {
        let entry = self.0.entry(
            hash(name),
            |known| *known.name == *name,
            |known| hash(&known.name),
        );
        let entry = entry.or_insert_with(|| Entry {
            name: name.into(),
            folded: if name.iter().all(is_plain) {
                fold(name)
            } else {
                0
            },
            is_small: !name.iter().any(u8::is_ascii_uppercase),
            value: T::default(),
        });
        &mut entry.into_mut().value
    }
}

impl<T> Names<T> {
    #[inline]
    pub(super) fn find(&self, name: Identifier<'_>) -> Option<&T> {
        let name = Identifier {
            name: clipped(name.name),
            ..name
        };
        let folded = fold(name.name);
        let found = if folded == 0 || name.exact {
            self.0.find(hash(name.name), |known| known.is(name))
        } else {
            let is_it =
                |known: &Entry<T>| known.folded == folded || known.folded == 0 && known.is(name);
            self.0.find(hash_folded(folded), is_it)
        };
        found.map(|known| &known.value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// True for bytes that words have, and that no other byte of a word becomes when it is folded.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'$')
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn hash_folded(name: Folded) -> u64 {
    mix(mix(0, name as u64), (name >> 64) as u64)
}

/// Hash of a name of any length: equal for names that differ in the case of ASCII letters only.
#[inline]
fn hash(name: &[u8]) -> u64 {
    let folded = fold(name);
    if folded != 0 {
        return hash_folded(folded);
    }
    let last = name.last_chunk().copied().map_or(0, u64::from_le_bytes);
    let (words, _) = name.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    // That other bytes become equal too costs a comparison at most.
    words.chain([last]).fold(name.len() as u64, |hash, word| {
        mix(hash, word | SMALL as u64)
    })
}
