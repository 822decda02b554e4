//! The sections that choose and watch nodes: `[routing]`, `[[preference]]`, `[health]`, `[failover]`.

use super::{
    address::AbsoluteFile,
    form::{Choice, Name, Toggle, Whole},
    pattern::{FunctionName, NodeChoice, Share, StatementPattern, WholeName},
    quantity::{Size, Span},
    secret::{self, Surroundings},
    section::{Located, Section},
    sections::timeout,
};
use crate::cluster::settings::{
    Balance, Consistency, Failover, FailoverMode, Health, Laggards, Preference, Preferred,
    ReadOnlyTransactions, Routing, SecondOpinion, Strategy,
};

const BALANCES: Choice<Balance> = Choice(&[
    ("statement", Balance::Statement),
    ("session", Balance::Session),
]);
const STRATEGIES: Choice<Strategy> = Choice(&[
    ("weighted", Strategy::Weighted),
    ("least_connections", Strategy::LeastConnections),
    ("lowest_latency", Strategy::LowestLatency),
]);
const CONSISTENCIES: Choice<Consistency> = Choice(&[
    ("eventual", Consistency::Eventual),
    ("session", Consistency::Session),
    ("global", Consistency::Global),
]);
const READ_ONLY: Choice<ReadOnlyTransactions> = Choice(&[
    ("primary", ReadOnlyTransactions::Primary),
    ("read_committed", ReadOnlyTransactions::ReadCommitted),
    ("all", ReadOnlyTransactions::All),
]);
const LAGGARDS: Choice<Laggards> = Choice(&[
    ("others", Laggards::Others),
    ("primary", Laggards::Primary),
    ("least_delayed", Laggards::LeastDelayed),
]);
const MODES: Choice<FailoverMode> =
    Choice(&[("off", FailoverMode::Off), ("sql", FailoverMode::Sql)]);
const OPINIONS: Choice<SecondOpinion> =
    Choice(&[("any", SecondOpinion::Any), ("all", SecondOpinion::All)]);
const LOST_BYTES: Size = Size {
    min: 0,
    max: 1 << 50,
};
const LAG_BYTES: Size = Size {
    min: 1,
    max: 1 << 50,
};
const LAG: Span = Span { zero: None };
const HOLD: Span = Span {
    zero: Some("not at all"),
};
const RETRIES: Whole<u32> = Whole { min: 0, max: 1000 };

/// All of a preference's clients, in thousandths.
const WHOLE_SHARE: u32 = 1000;

/// `[routing]`, but for its preferences.
pub(super) fn routing(mut section: Section<'_>) -> Located<Routing> {
    let it = &mut section;
    let usual = Routing::default();
    let routing = Routing {
        read_write_split: read_or(it, "read_write_split", &Toggle, usual.read_write_split),
        balance: read_or(it, "balance", &BALANCES, usual.balance),
        strategy: read_or(it, "strategy", &STRATEGIES, usual.strategy),
        consistency: read_or(it, "consistency", &CONSISTENCIES, usual.consistency),
        max_lag_bytes: it
            .read("max_lag_bytes", &LAG_BYTES)
            .map(|bytes| bytes as u64),
        max_lag: it.read("max_lag", &LAG),
        laggards: read_or(it, "laggards", &LAGGARDS, usual.laggards),
        leading_reads: read_or(it, "leading_reads", &Toggle, usual.leading_reads),
        read_only_transactions: read_or(
            it,
            "read_only_transactions",
            &READ_ONLY,
            usual.read_only_transactions,
        ),
        read_functions: it.list("read_functions", &FunctionName).unwrap_or_default(),
        write_functions: it
            .list("write_functions", &FunctionName)
            .unwrap_or_default(),
        primary_patterns: it
            .list("primary_patterns", &StatementPattern)
            .unwrap_or_default(),
        replay_poll: timeout(it, "replay_poll", usual.replay_poll),
        catalog_refresh: timeout(it, "catalog_refresh", usual.catalog_refresh),
        preferences: Vec::new(),
    };
    section.finish(routing)
}

fn read_or<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    form: &impl super::form::Form<Value = T>,
    usual: T,
) -> T {
    section.read(key, form).unwrap_or(usual)
}

/// `[[preference]]`.
pub(super) fn preference(mut section: Section<'_>) -> Located<Preference> {
    let it = &mut section;
    let preference = Preference {
        database: it.read("database", &WholeName),
        user: it.read("user", &WholeName),
        application_name: it.read("application_name", &WholeName),
        node: it
            .require("node", &NodeChoice)
            .unwrap_or(Preferred::Primary),
        share: read_or(it, "share", &Share, WHOLE_SHARE),
    };
    section.finish(preference)
}

/// `[health]`.
pub(super) fn health(mut section: Section<'_>, around: &Surroundings<'_>) -> Located<Health> {
    let it = &mut section;
    let usual = Health::default();
    let health = Health {
        user: it.read("user", &Name),
        password: secret::read(it, "password", "[health] password", around),
        database: it.read("database", &Name).unwrap_or(usual.database),
        period: timeout(it, "period", usual.period),
        timeout: timeout(it, "timeout", usual.timeout),
        retries: read_or(it, "retries", &RETRIES, usual.retries),
        retry_delay: timeout(it, "retry_delay", usual.retry_delay),
        status_file: it.read("status_file", &AbsoluteFile),
    };
    section.finish(health)
}

/// `[failover]`.
pub(super) fn failover(mut section: Section<'_>) -> Located<Failover> {
    let it = &mut section;
    let usual = Failover::default();
    let failover = Failover {
        hold: read_or(it, "hold", &HOLD, usual.hold),
        mode: read_or(it, "mode", &MODES, usual.mode),
        second_opinion: read_or(it, "second_opinion", &OPINIONS, usual.second_opinion),
        max_lost_bytes: it
            .read("max_lost_bytes", &LOST_BYTES)
            .map(|bytes| bytes as u64),
        promote_timeout: timeout(it, "promote_timeout", usual.promote_timeout),
        follow_timeout: timeout(it, "follow_timeout", usual.follow_timeout),
        switchover_timeout: timeout(it, "switchover_timeout", usual.switchover_timeout),
    };
    section.finish(failover)
}
