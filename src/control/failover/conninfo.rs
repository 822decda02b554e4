//! Connection strings of standbys (`primary_conninfo`): what keeps everything but where it leads. Pure.
//!
//! All forms that libpq reads (PostgreSQL manual, 34.1.1) are read, and the form of keywords and values is written.

/// Why a connection string cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A keyword without a value.
    #[error("missing \"=\" after \"{0}\"")]
    NoValue(String),
    /// A quote that never ends.
    #[error("a quoted value does not end")]
    NoEnd,
    /// Two characters after a percent sign that are no hexadecimal number, or bytes that are no text.
    #[error("\"{0}\" is not percent-encoded text")]
    Percent(String),
}

/// Keywords and values, in their order.
type Pairs = Vec<(String, String)>;

/// Keywords that say where a connection leads.
const PLACE: [&str; 3] = ["host", "hostaddr", "port"];

/// The string with another place; `host` may be the folder of a Unix socket.
///
/// # Errors
/// It is none that libpq would read.
pub(crate) fn redirected(conninfo: &str, host: &str, port: u16) -> Result<String, Unreadable> {
    let uri = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| conninfo.strip_prefix(scheme));
    let mut pairs = match uri {
        Some(rest) => read_uri(rest)?,
        None => read_pairs(conninfo)?,
    };
    pairs.retain(|(key, _)| !PLACE.contains(&key.as_str()));
    pairs.push(("host".to_owned(), host.to_owned()));
    pairs.push(("port".to_owned(), port.to_string()));
    let texts = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", quoted(value)));
    Ok(texts.collect::<Vec<_>>().join(" "))
}

/// The values of a string of keywords and values.
///
/// # Errors
/// It is none that libpq would read.
pub(crate) fn read_pairs(conninfo: &str) -> Result<Pairs, Unreadable> {
    let mut pairs = Pairs::new();
    let mut rest = conninfo.trim_start();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return Err(Unreadable::NoValue(rest.trim_end().to_owned()));
        };
        let key = key.trim_end();
        if key.contains(char::is_whitespace) {
            return Err(Unreadable::NoValue(key.to_owned()));
        }
        let (value, after) = read_value(after.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// One value, and what comes after it.
fn read_value(text: &str) -> Result<(String, &str), Unreadable> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return Ok((value, &text[at + 1..])),
            space if !is_quoted && space.is_whitespace() => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    match is_quoted {
        true => Err(Unreadable::NoEnd),
        false => Ok((value, "")),
    }
}

/// `[user[:password]@][hosts][/database][?key=value&...]`.
fn read_uri(rest: &str) -> Result<Pairs, Unreadable> {
    let mut pairs = Pairs::new();
    let (head, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (head, database) = head.split_once('/').unwrap_or((head, ""));
    let mut add = |key: &str, value: &str| -> Result<(), Unreadable> {
        if !value.is_empty() {
            pairs.push((key.to_owned(), decoded(value)?));
        }
        Ok(())
    };
    if let Some((who, _)) = head.rsplit_once('@') {
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        add("user", user)?;
        add("password", password)?;
    }
    add("dbname", database)?;
    for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(Unreadable::NoValue(parameter.to_owned()));
        };
        add(&decoded(key)?, value)?;
    }
    Ok(pairs)
}

/// A text without its percent signs.
fn decoded(text: &str) -> Result<String, Unreadable> {
    let wrong = || Unreadable::Percent(text.to_owned());
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        let (high, low) = digit().zip(digit()).ok_or_else(wrong)?;
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

/// A value as it is written, in quotes where it must be.
fn quoted(value: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-.:/,@".contains(it);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(conninfo: &str) -> String {
        redirected(conninfo, "10.0.0.7", 5433).unwrap()
    }

    #[test]
    fn everything_but_the_place_is_kept() {
        for (before, after) in [
            ("", "host=10.0.0.7 port=5433"),
            (
                "user=rep password='it\\'s a \\\\' host=a port=5432 application_name=s1",
                "user=rep password='it\\'s a \\\\' application_name=s1 host=10.0.0.7 port=5433",
            ),
            (
                "service=main passfile=/var/lib/x/.pgpass sslmode = verify-full",
                "service=main passfile=/var/lib/x/.pgpass sslmode=verify-full host=10.0.0.7 port=5433",
            ),
            (
                "host=a,b,c port=1,2,3 hostaddr=1.1.1.1 target_session_attrs=read-write user=''",
                "target_session_attrs=read-write user='' host=10.0.0.7 port=5433",
            ),
            (
                "postgresql://rep:p%40ss%20w@[::1]:5432,b/db?application_name=s%2F1&sslmode=require",
                "user=rep password='p@ss w' dbname=db application_name=s/1 sslmode=require host=10.0.0.7 port=5433",
            ),
            ("postgres://", "host=10.0.0.7 port=5433"),
        ] {
            assert_eq!(to(before), after, "{before}");
        }
        let socket = redirected("user=x", "/run/my sockets", 5432).unwrap();
        assert_eq!(socket, "user=x host='/run/my sockets' port=5432");
    }

    #[test]
    fn what_libpq_would_refuse_is_refused() {
        for wrong in [
            "host",
            "a b=c",
            "host='x",
            "postgres://%zz@a/",
            "postgres://a/?x",
            "postgres://%ff@a/",
        ] {
            assert!(redirected(wrong, "a", 1).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in proptest::collection::vec(("[a-z]{1,8}", "\\PC{0,12}"), 0..5)) {
            let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
            let read = read_pairs(&text.join(" ")).unwrap();
            proptest::prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_string_panics(text in "\\PC{0,60}") {
            let _ = redirected(&text, "a", 1);
            let _ = redirected(&format!("postgres://{text}"), "a", 1);
        }
    }
}
