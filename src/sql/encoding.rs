//! Names of client encodings, as the setting `client_encoding` has them. Pure; never converts anything.

/// True for client encodings in which a byte of ASCII may be part of another character, so that a text cannot be
/// read without knowing them. (PostgreSQL manual, "Character Set Support": those that are for clients only.)
pub(crate) fn hides_ascii(encoding: &[u8]) -> bool {
    const SUCH: [&[u8]; 7] = [
        b"sjis", b"big5", b"gbk", b"gb18030", b"uhc", b"johab", b"shift",
    ];
    const OTHERS: [&[u8]; 9] = [
        b"mskanji",
        b"win932",
        b"windows932",
        b"win949",
        b"windows949",
        b"win950",
        b"windows950",
        b"win936",
        b"windows936",
    ];
    /// Longer than any name of an encoding.
    const ENCODING_BYTES_MAX: usize = 32;
    let name = plain(encoding);
    let has = |such: &&[u8]| memchr::memmem::find(&name, such).is_some();
    name.len() > ENCODING_BYTES_MAX || SUCH.iter().any(has) || OTHERS.contains(&&*name)
}

/// True for UTF-8.
pub(crate) fn is_utf8(encoding: &[u8]) -> bool {
    matches!(&*plain(encoding), b"utf8" | b"unicode")
}

/// The name without what PostgreSQL does not look at.
fn plain(encoding: &[u8]) -> Vec<u8> {
    let letters = encoding.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.map(u8::to_ascii_lowercase).collect()
}
