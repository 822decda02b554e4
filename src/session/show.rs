//! Questions that any session may ask pgring itself, by Pgpool-II's names: `SHOW POOL_NODES` and its like. Pure; never
//! answers.

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// The nodes, their roles and states.
    Nodes,
    /// Counts of each node's answers.
    BackendStats,
    /// The version, as Pgpool-II's tools ask for it.
    Version,
    /// Where this statement would go.
    Route(Vec<u8>),
}

impl Show {
    /// The question that `text` is, if it is one.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let rest = after_word(text.trim_ascii(), b"show")?;
        if let Some(statement) = after_word(rest, b"route") {
            return Some(Self::Route(statement.to_vec()));
        }
        let name = rest.strip_suffix(b";").unwrap_or(rest).trim_ascii();
        match &*name.to_ascii_lowercase() {
            b"pool_nodes" => Some(Self::Nodes),
            b"pool_backend_stats" => Some(Self::BackendStats),
            b"pool_version" => Some(Self::Version),
            _ => None,
        }
    }

    /// True when `text` may be one: cheap, for every request.
    #[inline]
    pub(crate) fn may_be(text: &[u8]) -> bool {
        text.trim_ascii_start()
            .first_chunk()
            .is_some_and(|word: &[u8; 4]| word.eq_ignore_ascii_case(b"show"))
    }

    /// True when it needs no session of a database.
    pub(crate) fn is_of_cluster(&self) -> bool {
        !matches!(self, Self::Route(_))
    }
}

/// Rest of a text behind `word` and space; `None` when it begins otherwise.
fn after_word<'t>(text: &'t [u8], word: &[u8]) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(word.len())?;
    let is_word = start.eq_ignore_ascii_case(word) && rest.first()?.is_ascii_whitespace();
    is_word.then(|| rest.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_known_whatever_their_case_and_space() {
        assert_eq!(Show::read(b"SHOW POOL_NODES"), Some(Show::Nodes));
        assert_eq!(Show::read(b" show\n pool_nodes ; "), Some(Show::Nodes));
        assert_eq!(
            Show::read(b"show pool_backend_stats;"),
            Some(Show::BackendStats)
        );
        let route = Show::Route(b"select 1; select 2".to_vec());
        assert_eq!(Show::read(b"Show Route  select 1; select 2"), Some(route));
        for other in [
            "SHOW",
            "SHOW work_mem",
            "showpool_nodes",
            "SHOW POOL_NODES x",
            "",
        ] {
            assert_eq!(Show::read(other.as_bytes()), None, "{other}");
        }
    }
}
