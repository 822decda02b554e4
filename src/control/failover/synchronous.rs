//! `synchronous_standby_names`: whose word the commits of a primary waited for, and so who must be asked before it is certain
//! that none of them is lost. Pure.

/// The setting, read. (PostgreSQL manual, 20.6.2.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Synchronous {
    /// How many of them a commit waits for.
    pub(crate) count: usize,
    /// Names of standbys, in lower case; `*` is any.
    pub(crate) names: Vec<String>,
}

impl Synchronous {
    /// Reads the setting; `None` when no commit waits for anybody, or it cannot be read.
    pub(crate) fn read(setting: &str) -> Option<Self> {
        let (words, rest) = match setting.split_once('(') {
            Some((words, rest)) => (words, rest.trim_end().strip_suffix(')')?),
            None => ("", setting),
        };
        let count = match words.split_whitespace().last() {
            Some(count) => count.parse().ok()?,
            None => 1,
        };
        let names = names(rest);
        (count > 0 && !names.is_empty()).then_some(Self { count, names })
    }

    /// It without the primary itself, which waits for others only. `names`: those by which it would be known.
    pub(crate) fn without<'n>(mut self, names: impl Iterator<Item = &'n String>) -> Self {
        for name in names {
            let name = name.to_lowercase();
            self.names.retain(|it| *it != name);
        }
        self
    }

    /// True when a standby that is known by this name is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.names.iter().any(|it| *it == name || it == "*")
    }

    /// How many of them must be asked so that none of the commits is missed: whichever `count` a commit waited for, one of
    /// these is among them. `members` of them are known, where the setting names nobody.
    pub(crate) fn needed(&self, members: usize) -> usize {
        let all = match self.names.iter().any(|name| name == "*") {
            true => members.max(self.names.len()),
            false => self.names.len(),
        };
        (all + 1).saturating_sub(self.count).max(1)
    }
}

/// Names between commas, in double quotes or not.
fn names(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for character in text.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => names.push(String::new()),
            other => names.last_mut().expect("there is one").push(other),
        }
    }
    let trimmed = names.iter().map(|name| name.trim().to_lowercase());
    trimmed.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        for (setting, count, names, needed) in [
            ("s1", 1, &["s1"][..], 1),
            ("s1, S2", 1, &["s1", "s2"], 2),
            ("FIRST 2 (s1, s2, s3)", 2, &["s1", "s2", "s3"], 2),
            ("any 1 (s1,\"S, 2\")", 1, &["s1", "s, 2"], 2),
            ("2 (s1, s2)", 2, &["s1", "s2"], 1),
            ("ANY 2 (*)", 2, &["*"], 2),
        ] {
            let read = Synchronous::read(setting).unwrap();
            assert_eq!(
                (read.count, &read.names[..]),
                (
                    count,
                    &names.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                )
            );
            assert_eq!(read.needed(3), needed, "{setting}");
        }
        for none in [
            "",
            " ",
            "FIRST 0 (a)",
            "FIRST x (a)",
            "ANY 1 (a",
            "ANY 1 ()",
        ] {
            assert_eq!(Synchronous::read(none), None, "{none}");
        }
        let any = Synchronous::read("*").unwrap();
        assert!(any.has("whoever") && any.needed(2) == 2);
    }

    proptest::proptest! {
        /// Whoever acknowledged, one of those who are asked did.
        #[test]
        fn no_commit_is_missed(all in 1usize..6, count in 1usize..6, asked in 0u32..64, told in 0u32..64) {
            let names: Vec<_> = (0..all).map(|it| format!("s{it}")).collect();
            let read = Synchronous { count, names };
            let within = |set: u32| set & ((1 << all) - 1);
            let (asked, told) = (within(asked), within(told));
            if asked.count_ones() as usize >= read.needed(all) && told.count_ones() as usize >= count {
                proptest::prop_assert!(asked & told != 0);
            }
        }
    }
}
