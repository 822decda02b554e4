//! Passwords: told in the file, in another file or in the environment. Never shows one.

use std::{fs::File, io::Read, path::Path};

use toml::de::DeValue;

use super::{
    error::{Cause, SecretError},
    form::{kind, text},
    section::Section,
};
use crate::{auth::Verifier, cluster::settings::Secret, limits::AUTHENTICATION_BYTES_MAX};

/// Files and environment that a configuration may refer to.
pub(super) struct Surroundings<'s> {
    /// Where relative file names start.
    pub(super) folder: &'s Path,
    /// Looks up an environment variable.
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
}

/// Reads `key`, e.g. `password`; `title` is how messages call the table it may be.
pub(super) fn read(
    section: &mut Section<'_>,
    key: &'static str,
    title: &'static str,
    around: &Surroundings<'_>,
) -> Option<Secret> {
    let value = section.take(key)?;
    let text = match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Table(table) => {
            let line = section.report().line(value.span().start);
            let mut source = Section::inside(section.report(), title, line, table);
            let text = from_source(&mut source, around);
            source.finish(());
            text
        }
        other => Err(SecretError::Kind { found: kind(other) }),
    };
    match text.and_then(classify) {
        Ok(secret) => Some(secret),
        Err(error) => {
            section.refuse(key, Cause::Secret(error));
            None
        }
    }
}

fn from_source(source: &mut Section<'_>, around: &Surroundings<'_>) -> Result<String, SecretError> {
    let file = source.take("file").map(|value| text(value.get_ref()));
    let variable = source.take("env").map(|value| text(value.get_ref()));
    match (file, variable) {
        (Some(Ok(path)), None) => from_file(&around.folder.join(path)),
        (None, Some(Ok(name))) => {
            let missing = || SecretError::Environment(name.to_owned());
            (around.environment)(name).ok_or_else(missing)
        }
        _ => Err(SecretError::Source),
    }
}

/// The text of a file without the newline that editors put at its end.
fn from_file(path: &Path) -> Result<String, SecretError> {
    // One byte above the limit is enough to see that it is passed, however long the file.
    let bytes_max = AUTHENTICATION_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max).read_to_string(&mut text));
    read.map_err(|source| {
        let path = path.to_owned();
        SecretError::File { path, source }
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Tells the three forms apart as PostgreSQL does, except that a broken SCRAM verifier is refused
/// instead of being taken for a plain password.
fn classify(text: String) -> Result<Secret, SecretError> {
    const BYTES_MAX: usize = AUTHENTICATION_BYTES_MAX;
    match &text {
        _ if text.is_empty() => Err(SecretError::Empty),
        _ if text.len() > BYTES_MAX => Err(SecretError::TooLong { max: BYTES_MAX }),
        _ if text.contains('\0') => Err(SecretError::Nul),
        _ if is_md5(&text) => Ok(Secret::Md5(text)),
        _ if !text.starts_with("SCRAM-SHA-256$") => Ok(Secret::Plain(text)),
        _ if text.parse::<Verifier>().is_ok() => Ok(Secret::Scram(text)),
        _ => Err(SecretError::Verifier),
    }
}

fn is_md5(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = text.strip_prefix("md5").map(str::as_bytes);
    digits.is_some_and(|digits| digits.len() == 32 && digits.iter().copied().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_forms_are_told_apart() {
        let md5 = "md5aaaabbbbccccddddeeeeffff00001111";
        assert_eq!(
            classify(md5.to_owned()).unwrap(),
            Secret::Md5(md5.to_owned())
        );
        let upper = md5.to_uppercase().replace("MD5", "md5");
        assert_eq!(classify(upper.clone()).unwrap(), Secret::Plain(upper));
        assert_eq!(
            classify(VERIFIER.to_owned()).unwrap(),
            Secret::Scram(VERIFIER.to_owned())
        );
        assert_eq!(
            classify("md5".to_owned()).unwrap(),
            Secret::Plain("md5".to_owned())
        );
    }

    #[test]
    fn a_verifier_that_lost_any_byte_is_refused() {
        for end in "SCRAM-SHA-256$".len()..VERIFIER.len() {
            let cut = VERIFIER[..end].to_owned();
            assert!(matches!(classify(cut), Err(SecretError::Verifier)), "{end}");
        }
        let weak = VERIFIER.replace("$4096:", "$0:");
        assert!(matches!(classify(weak), Err(SecretError::Verifier)));
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        assert!(matches!(classify(String::new()), Err(SecretError::Empty)));
        assert!(matches!(classify("a\0b".to_owned()), Err(SecretError::Nul)));
        let long = "x".repeat(AUTHENTICATION_BYTES_MAX + 1);
        assert!(matches!(classify(long), Err(SecretError::TooLong { .. })));
    }

    #[test]
    fn a_file_gives_its_text_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (written, read) in [
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
        ] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(from_file(&path).unwrap(), read);
        }
        let missing = from_file(&folder.path().join("none")).unwrap_err();
        assert!(
            missing.to_string().contains("none cannot be read"),
            "{missing}"
        );
    }
}
