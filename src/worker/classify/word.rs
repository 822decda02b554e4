//! Keywords: comparing a word of a statement with them, whatever its case. Knows no grammar.

use super::token::{Kind, Token};

/// Longest keyword that is known here.
const KEYWORD_BYTES_MAX: usize = 16;

/// A word in lower case, as a number, so that a `match` compares it with all keywords at once. Longer words
/// are 0, which is no keyword.
pub(super) type Folded = u128;

/// The fifth bit makes letters small. In words it is set in digits and `$` anyway, and `_` becomes a byte that no word has.
const SMALL: Folded = Folded::from_le_bytes([0x20; KEYWORD_BYTES_MAX]);

/// Folds a word (bytes that [`Kind::Word`] may have). The parts that are read may overlap.
#[inline]
pub(super) fn fold(word: &[u8]) -> Folded {
    let behind = |part: usize| 8 * (word.len() - part);
    let bytes = match word.len() {
        8..=KEYWORD_BYTES_MAX => {
            let [first, last] = [word.first_chunk(), word.last_chunk()]
                .map(|part| part.copied().map_or(0, u64::from_le_bytes));
            Folded::from(first) | Folded::from(last) << behind(8)
        }
        4..8 => {
            let [first, last] = [word.first_chunk(), word.last_chunk()]
                .map(|part| part.copied().map_or(0, u32::from_le_bytes));
            Folded::from(u64::from(first) | u64::from(last) << behind(4))
        }
        2..4 => {
            let [first, last] = [word.first_chunk(), word.last_chunk()]
                .map(|part| part.copied().map_or(0, u16::from_le_bytes));
            Folded::from(u32::from(first) | u32::from(last) << behind(2))
        }
        1 => Folded::from(word[0]),
        _ => return 0,
    };
    bytes | SMALL
}

const fn keyword(name: &str) -> Folded {
    let name = name.as_bytes();
    assert!(name.len() <= KEYWORD_BYTES_MAX);
    let mut bytes = [0; KEYWORD_BYTES_MAX];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    Folded::from_le_bytes(bytes) | SMALL
}

macro_rules! keywords {
    ($($name:ident)*) => {
        $(pub(super) const $name: Folded = keyword(stringify!($name));)*
    };
}

keywords! {
    ABORT ALL ALTER ANALYSE ANALYZE AND AS ATOMIC BEGIN CALL CASE CHAIN CHECKPOINT CLOSE CLUSTER COMMENT
    COMMIT COMMITTED CONSTRAINTS COPY CREATE DEALLOCATE DECLARE DEFERRABLE DELETE DISCARD DO DROP END EXECUTE
    EXPLAIN FETCH FUNCTION GLOBAL GRANT HOLD IMPORT INSERT INTO ISOLATION LEVEL LISTEN LOAD LOCAL LOCK MERGE
    MOVE NO NOT NOTIFY ONLY ON OR PREPARE PREPARED PROCEDURE READ REASSIGN REFRESH REINDEX RELEASE
    REPEATABLE REPLACE RESET RETURN REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SERIALIZABLE SESSION
    SET SHOW START TABLE TEMP TEMPORARY TO TRANSACTION TRUE TRUNCATE UESCAPE UNCOMMITTED UNLISTEN UPDATE
    VACUUM VALUES VERBOSE WITH WORK WRITE
}

/// The keyword that a token may be; 0 when it is no word.
#[inline]
pub(super) fn folded(token: Option<Token<'_>>) -> Folded {
    match token {
        Some(token) if token.kind == Kind::Word => fold(token.text),
        _ => 0,
    }
}
