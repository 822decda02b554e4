//! A node of the cluster, as everybody sees it: what seldom changes is in the snapshot, and what changes many times
//! a second and only as one number is an atomic beside it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use crossbeam::utils::CachePadded;

use crate::time::Micros;

/// A position in the write-ahead log, in bytes; 0 is unknown.
pub type Lsn = u64;

/// Role of a node in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It replays what the primary writes.
    Standby,
}

/// Asks a standby how far it has replayed.
pub const REPLAYED_SQL: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn()";

/// A position as PostgreSQL writes it: `16/B374D848`.
pub fn read_lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let half = |digits: &str| match digits.len() {
        1..=8 if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        _ => None,
    };
    Some(half(high)? << 32 | half(low)?)
}

impl Role {
    /// As `SHOW POOL_NODES` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}

/// The end of a log that is written up to `lsn`, as those who replay it count.
///
/// A server counts the header of a page as written once the page before it is full, because its next record will
/// be put behind that header; but nothing of the page is there yet, and no standby gets so far before there is.
/// `page` is the server's `wal_block_size`.
pub fn end_of_log(lsn: Lsn, page: u64) -> Lsn {
    /// Bytes of the header of a page, and of the first page of a segment; PostgreSQL has had them since 9.3.
    const HEADERS: [u64; 2] = [24, 40];
    /// The smallest segment there is.
    const SEGMENT: u64 = 1 << 20;
    let header = if lsn % SEGMENT < page {
        HEADERS[1]
    } else {
        HEADERS[0]
    };
    match lsn.checked_rem(page) {
        Some(rest) if HEADERS.contains(&rest) && rest <= header => lsn - rest,
        _ => lsn,
    }
}

/// Whether a node is used. (Pgpool-II's words and meanings.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Usable; no client's connection has been made to it yet.
    Waiting,
    /// Usable.
    Up,
    /// Not used, until it is found well again or attached.
    Down,
    /// Not used by this pgring, which believes that it is not to be trusted: a second primary.
    Quarantine,
    /// Not used, by the operator's will.
    Unused,
}

impl Status {
    /// As `SHOW POOL_NODES` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Quarantine => "quarantine",
            Self::Unused => "unused",
        }
    }

    /// True when statements may go there.
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Waiting | Self::Up)
    }
}

/// One node as of one snapshot.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// Role that it is taken for.
    pub role: Role,
    /// Whether it is used.
    pub status: Status,
    /// Microseconds since 1970 of the last change of either.
    pub since_us: u64,
    /// Cause of the last change, for people.
    pub reason: Arc<str>,
    /// The timeline it is on; 0 is unknown.
    pub timeline: u32,
    /// A standby that may take reads: it follows the primary's timeline.
    pub takes_reads: bool,
    /// An operator has detached it, and what is under way there is to end now.
    pub is_cut: bool,
    /// `pg_stat_replication.state` of its row at the primary; empty without one.
    pub replication_state: Arc<str>,
    /// `pg_stat_replication.sync_state`, likewise.
    pub sync_state: Arc<str>,
    /// Whether the server answered when it was last tried; `None` before that.
    pub answers: Option<bool>,
    /// Role that the server itself told last.
    pub claims: Option<Role>,
    /// Figures that change all the time.
    pub live: Arc<Live>,
}

/// Figures of a node that change all the time. Each group has one kind of writer.
#[derive(Debug, Default)]
pub struct Live {
    /// By the control core.
    position: CachePadded<Position>,
    /// By workers that could not use the node; cleared by the control core.
    suspect: CachePadded<AtomicBool>,
    /// By workers: requests under way.
    busy: CachePadded<AtomicU32>,
}

#[derive(Debug, Default)]
struct Position {
    /// Of a standby how far it has replayed, of the primary how far it has written.
    lsn: AtomicU64,
    /// When it was asked for that; see [`Live::holds_since`].
    asked_us: AtomicU64,
    lag_bytes: AtomicU64,
    lag_us: AtomicU64,
    latency_us: AtomicU64,
}

impl Live {
    /// How far the node has replayed (a standby) or written (the primary), when last asked.
    #[inline]
    pub fn lsn(&self) -> Lsn {
        self.position.lsn.load(Ordering::Acquire)
    }

    /// How far it is behind the primary, in bytes of log.
    pub fn lag_bytes(&self) -> u64 {
        self.position.lag_bytes.load(Ordering::Relaxed)
    }

    /// How long ago the primary wrote the first of what is missing here, in microseconds.
    pub fn lag_us(&self) -> u64 {
        self.position.lag_us.load(Ordering::Relaxed)
    }

    /// How long it took to answer the control core, a moving average in microseconds; 0 is unknown.
    pub fn latency_us(&self) -> u64 {
        self.position.latency_us.load(Ordering::Relaxed)
    }

    /// True when the position was asked for after `opened`, both in microseconds of the process's clock.
    ///
    /// A server that crashes and starts again, with the same postmaster or another one, may begin at an older position
    /// than it had, and all connections end with the crash. So a position holds for a connection when it was asked for
    /// while that connection was there. Read this before the position.
    #[inline]
    pub fn holds_since(&self, opened: Micros) -> bool {
        self.position.asked_us.load(Ordering::Acquire) >= opened
    }

    /// The position is the answer to a question of then.
    pub fn set_asked(&self, asked: Micros) {
        self.position.asked_us.store(asked, Ordering::Release);
    }

    /// The control core has asked.
    pub fn set_position(&self, lsn: Lsn, lag_bytes: u64, lag_us: u64) {
        self.position.lag_bytes.store(lag_bytes, Ordering::Relaxed);
        self.position.lag_us.store(lag_us, Ordering::Relaxed);
        self.position.lsn.store(lsn, Ordering::Release);
    }

    /// The control core has measured.
    pub fn set_latency(&self, microseconds: u64) {
        let before = self.latency_us();
        let mean = match before {
            0 => microseconds.max(1),
            _ => (before * 7 + microseconds) / 8,
        };
        self.position
            .latency_us
            .store(mean.max(1), Ordering::Relaxed);
    }

    /// True while a worker has found it unusable and the control core has not looked since.
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// A worker could not use it. True for the first to say so, who tells the control core.
    pub fn suspect(&self) -> bool {
        !self.suspect.swap(true, Ordering::Relaxed)
    }

    /// The control core has looked.
    pub fn trust(&self) {
        self.suspect.store(false, Ordering::Relaxed);
    }

    /// Requests under way.
    pub fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// One request more or less is under way.
    pub fn count(&self, more: bool) {
        match more {
            true => self.busy.fetch_add(1, Ordering::Relaxed),
            false => self.busy.fetch_sub(1, Ordering::Relaxed),
        };
    }
}
