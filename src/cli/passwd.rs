//! `pgring passwd`: a password in, the text for the configuration file out. Keeps nothing.

use std::{
    io::{self, BufRead, IsTerminal},
    process::ExitCode,
};

use zeroize::Zeroizing;

use super::command_line::{Method, PasswdArgs};
use crate::{
    auth::{ITERATIONS, Md5Hash, SALT_BYTES, Verifier, derive_with_pbkdf2},
    random,
};

/// Why there is no verifier.
#[derive(Debug, thiserror::Error)]
enum PasswdError {
    #[error("the password cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the two passwords are not the same")]
    Mistyped,
    #[error("the password is empty; PostgreSQL accepts no empty password")]
    Empty,
    #[error("--method md5 needs --user, because the name is part of the hash")]
    NoUser,
}

/// Prints the verifier.
pub(crate) fn run(args: &PasswdArgs) -> ExitCode {
    match ask().and_then(|password| hashed(args, &password)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pgring passwd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask() -> Result<Zeroizing<String>, PasswdError> {
    let password = if io::stdin().is_terminal() {
        ask_twice()?
    } else {
        first_line()?
    };
    if password.is_empty() {
        return Err(PasswdError::Empty);
    }
    Ok(password)
}

fn ask_twice() -> Result<Zeroizing<String>, PasswdError> {
    let password = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("Again: ")?);
    if password == again {
        Ok(password)
    } else {
        Err(PasswdError::Mistyped)
    }
}

fn first_line() -> Result<Zeroizing<String>, PasswdError> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line)?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\n', '\r']).to_owned(),
    ))
}

fn hashed(args: &PasswdArgs, password: &str) -> Result<String, PasswdError> {
    match args.method {
        Method::Md5 => {
            let user = args.user.as_deref().ok_or(PasswdError::NoUser)?;
            Ok(md5_hash(password, user))
        }
        Method::ScramSha256 => {
            let mut salt = [0; SALT_BYTES];
            random::fill(&mut salt);
            Ok(verifier(password, &salt, ITERATIONS))
        }
    }
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5802, RFC 7677).
fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    Verifier::of(&derive_with_pbkdf2(password.as_bytes(), salt, iterations)).to_string()
}

/// `md5` and the digest of password and user, as `pg_authid.rolpassword` has it.
fn md5_hash(password: &str, user: &str) -> String {
    Md5Hash::of(user.as_bytes(), password.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn the_verifier_is_the_one_of_rfc_7677() {
        // User "user", password "pencil": the RFC gives salt, iterations and the server's
        // signature; the keys follow from these (checked with an independent implementation).
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier("pencil", &salt, 4096), expected);
    }

    #[test]
    fn letters_that_look_the_same_are_the_same() {
        // Soft hyphen and full-width letters: examples of RFC 4013.
        assert_eq!(verifier("I\u{ad}X", b"salt", 1), verifier("IX", b"salt", 1));
        assert_eq!(verifier("\u{2168}", b"salt", 1), verifier("IX", b"salt", 1));
    }

    #[test]
    fn the_md5_hash_is_postgresqls() {
        assert_eq!(
            md5_hash("secret", "app"),
            "md56a422f785c9e20873908ce25d1736ae2"
        );
    }
}
