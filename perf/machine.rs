//! Owns the facts about where and of what a record was made: machine, kernel, commit, day. It measures nothing.

use crate::{peers::first_line, procfs, suite::Findings};
use std::process::Command;

/// Machine, versions and commit behind a record: all that is needed to repeat or to doubt it.
pub(crate) struct Facts {
    /// `YYYY-MM-DD`.
    pub(crate) date: String,
    /// Abbreviated, with `-dirty` when the tree had changes.
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) versions: Vec<(String, String)>,
}

/// Asks the machine; what it does not answer is "unknown".
pub(crate) fn facts(findings: &Findings) -> Facts {
    Facts {
        date: said("date", &["+%F"]),
        commit: said(
            "git",
            &[
                "-C",
                env!("CARGO_MANIFEST_DIR"),
                "describe",
                "--always",
                "--dirty",
                "--exclude=*",
            ],
        ),
        cpu: procfs::cpu_model(),
        cpus: procfs::cpus_of_machine(),
        memory_mib: procfs::machine_memory_mib(),
        kernel: said("uname", &["-r"]),
        versions: findings.versions.clone(),
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    first_line(Command::new(program).args(arguments)).unwrap_or_else(|_| "unknown".into())
}
