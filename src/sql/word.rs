//! Keywords: comparing a word of a statement with them, whatever its case. Knows no grammar.

use super::token::{Kind, Token};

/// Longest word that is folded, in bytes.
pub(crate) const FOLDED_BYTES_MAX: usize = 16;

/// A word in lower case, as a number, so that a comparison with another takes one step. Longer words are 0, which is
/// none.
pub(crate) type Folded = u128;

/// The fifth bit makes letters small. In words it is set in digits and `$` anyway, and `_` becomes a byte that no word
/// has.
pub(crate) const SMALL: Folded = Folded::from_le_bytes([0x20; FOLDED_BYTES_MAX]);

/// Folds a word: letters, digits, `_`, `$` and bytes of other alphabets. The parts that are read may overlap.
#[inline]
pub(crate) fn fold(word: &[u8]) -> Folded {
    let behind = |part: usize| 8 * (word.len() - part);
    let bytes = match word.len() {
        8..=FOLDED_BYTES_MAX => {
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
    assert!(name.len() <= FOLDED_BYTES_MAX);
    let mut bytes = [0; FOLDED_BYTES_MAX];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    Folded::from_le_bytes(bytes) | SMALL
}

macro_rules! keywords {
    ($($name:ident)*) => {
        $(pub(crate) const $name: Folded = keyword(stringify!($name));)*
    };
}

keywords! {
    ABORT ALL ALTER ANALYSE ANALYZE AND ANY ARRAY AS ASYMMETRIC ATOMIC BEGIN BERNOULLI BETWEEN BIT BOTH BY CALL
    CASE CAST CHAIN CHAR CHARACTER CHECKPOINT CLOSE CLUSTER COALESCE COLLATE COLUMNS COMMENT COMMIT COMMITTED
    CONSTRAINTS CONTENT COPY CREATE CUBE CURRENT_TIME DEALLOCATE DEC DECIMAL DECLARE DEFAULT DEFERRABLE DELETE
    DISCARD DISTINCT DO DOCUMENT DROP ELSE END ESCAPE EXCEPT EXECUTE EXISTS EXPLAIN EXTRACT FETCH FILTER FIRST
    FLOAT FOR FROM FUNCTION GLOBAL GRANT GREATEST GROUP GROUPING HAVING HOLD ILIKE IMPORT IN INSERT INTERSECT
    INTERVAL INTO IS ISOLATION JOIN JSON JSON_ARRAY JSON_ARRAYAGG JSON_EXISTS JSON_OBJECT JSON_OBJECTAGG
    JSON_QUERY JSON_SCALAR JSON_SERIALIZE JSON_TABLE JSON_VALUE KEY LATERAL LEADING LEAST LEVEL LIKE LIMIT
    LISTEN LOAD LOCAL LOCALTIME LOCALTIMESTAMP LOCK LOOP MATERIALIZED MERGE MOVE NATIONAL NCHAR NEXT NO NORMALIZE NOT
    NOTIFY NULLIF NUMERIC OFFSET ON ONLY OPERATOR OR ORDER ORDINALITY OVER OVERLAPS OVERLAY PASSING PLACING
    POSITION PRECISION PREPARE PREPARED PROCEDURE READ REASSIGN RECURSIVE REFRESH REINDEX RELEASE REPEATABLE
    REPLACE RESET RETURN REVOKE ROLLBACK ROLLUP ROW ROWS SAVEPOINT SECOND SECURITY SELECT SERIALIZABLE SESSION
    SET SETS SHARE SHOW SOME START STDOUT SUBSTRING SYMMETRIC SYSTEM TABLE TABLESAMPLE TEMP TEMPORARY THEN TIME
    TIMESTAMP TO TRAILING TRANSACTION TREAT TRIM TRUE TRUNCATE UESCAPE UNCOMMITTED UNION UNLISTEN UPDATE USING
    VACUUM VALUES VARCHAR VARIADIC VARYING VERBOSE WHEN WHERE WINDOW WITH WORK WRITE XMLATTRIBUTES XMLCONCAT
    XMLELEMENT XMLEXISTS XMLFOREST XMLNAMESPACES XMLPARSE XMLPI XMLROOT XMLSERIALIZE XMLTABLE ZONE
}

/// Lengths of some keywords by their first letter, by which most words are told from all of them.
pub(crate) struct Lengths([u32; 256]);

impl Lengths {
    pub(crate) const fn of(keywords: &[Folded]) -> Self {
        let mut lengths = [0; 256];
        let mut at = 0;
        while at < keywords.len() {
            let word = keywords[at].to_le_bytes();
            let mut length = 0;
            while length < FOLDED_BYTES_MAX && word[length] != 0x20 {
                length += 1;
            }
            lengths[word[0] as usize] |= 1 << length;
            lengths[word[0].to_ascii_uppercase() as usize] |= 1 << length;
            at += 1;
        }
        Self(lengths)
    }

    /// False for words that are none of the keywords for sure.
    #[inline]
    pub(crate) fn allow(&self, word: &[u8]) -> bool {
        let first = word.first().copied().unwrap_or_default();
        word.len() < 32 && self.0[usize::from(first)] >> word.len() & 1 != 0
    }
}

/// The keyword that a token may be; 0 when it is no word.
#[inline]
pub(crate) fn folded(token: Option<Token<'_>>) -> Folded {
    match token {
        Some(token) if token.kind == Kind::Word => fold(token.text),
        _ => 0,
    }
}
