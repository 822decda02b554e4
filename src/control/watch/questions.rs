//! Questions to nodes, and how their answers are read. Pure; never believes that an answer has the form asked for.

use std::time::Duration;

use crate::{
    cluster::node::{Lsn, end_of_log, read_lsn},
    control::{
        failover::{conninfo, seen::Receiver},
        state::{Follower, NodeFacts},
    },
    protocol::backend::DataRow,
};

/// Whether it is a standby, how far it is, its timeline, the size of a page of its log, of a primary how far that is
/// flushed, and how late it may be; of a standby how far it has received, whether it is connected to whom it follows, how
/// long ago it was last told something, and how long it may be told nothing. One row.
///
/// A standby that streams says which timeline it receives; another one knows that of its last restart point, and that of
/// the last change that it has written out. A primary's is in the name of the file it writes, since the moment of its promotion.
pub(super) const POSITION: &str = "\
SELECT r, CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END, \
CASE WHEN r THEN greatest(w.received_tli, \
(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()), \
(SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()))::text \
ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END, current_setting('wal_block_size'), \
CASE WHEN NOT r THEN pg_current_wal_flush_lsn() END, current_setting('wal_writer_delay'), \
CASE WHEN r THEN pg_last_wal_receive_lsn() END, \
CASE WHEN w.pid IS NOT NULL THEN coalesce(w.status, '?') END, \
(1000000 * extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time))::bigint, \
current_setting('wal_receiver_timeout') \
FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) AS recovery \
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON r";

/// Behind [`POSITION`]: which cluster it is, its names, and then one row for each that follows it.
pub(super) const FACTS: &str = "\
; SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), current_setting('cluster_name'), \
(SELECT conninfo FROM pg_catalog.pg_stat_wal_receiver), current_setting('synchronous_standby_names')\
; SELECT application_name, state, sync_state FROM pg_catalog.pg_stat_replication";

/// The answer to [`POSITION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) in_recovery: bool,
    /// 0 when it has replayed nothing yet.
    pub(super) lsn: Lsn,
    /// 0 is unknown.
    pub(super) timeline: u32,
    /// How far a primary's log is flushed.
    pub(super) flushed: Lsn,
    /// How often it flushes what nobody waits for.
    pub(super) flush_delay: Duration,
    /// How far a standby has received; 0 is unknown.
    pub(super) received: Lsn,
    pub(super) receiver: Receiver,
}

/// Both answers, as their rows come in.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) position: Option<Position>,
    pub(super) facts: Option<NodeFacts>,
}

/// More rows of followers than any server has senders.
const FOLLOWERS_MAX: usize = 10_000;

impl Reading {
    /// One row of one of the statements.
    pub(super) fn row(&mut self, statement: usize, row: DataRow<'_>) -> Result<(), &'static str> {
        match statement {
            0 => self.position = Some(position(row)?),
            1 => self.facts = Some(facts(row)?),
            2 => {
                let facts = self.facts.as_mut().ok_or("followers of nobody")?;
                if facts.followers.len() >= FOLLOWERS_MAX {
                    return Err("too many followers");
                }
                facts.followers.push(follower(row)?);
            }
            _ => return Err("more answers than questions"),
        }
        Ok(())
    }
}

/// The values of a row that must have so many; `""` for NULL.
fn values<const N: usize>(row: DataRow<'_>) -> Result<[String; N], &'static str> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into();
    let values: Vec<String> = row.take(N + 1).map(text).collect();
    values.try_into().map_err(|_| "a row of another width")
}

fn position(row: DataRow<'_>) -> Result<Position, &'static str> {
    let [
        recovery,
        lsn,
        timeline,
        page,
        flushed,
        delay,
        received,
        status,
        silent,
        limit,
    ] = values(row)?;
    let in_recovery = match recovery.as_str() {
        "t" => true,
        "f" => false,
        _ => return Err("neither true nor false"),
    };
    let read = |lsn: &str| match lsn {
        "" => Ok(0),
        lsn => read_lsn(lsn).ok_or("not a position in the log"),
    };
    let (lsn, flushed) = (read(&lsn)?, read(&flushed)?);
    let timeline = match in_recovery {
        true => timeline.parse().unwrap_or(0),
        false => timeline
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or("not the name of a log file")?,
    };
    let page = page.parse().map_err(|_| "not the size of a page")?;
    let end = |lsn| match in_recovery {
        true => lsn,
        false => end_of_log(lsn, page),
    };
    Ok(Position {
        in_recovery,
        lsn: end(lsn),
        timeline,
        flushed: end(flushed),
        flush_delay: read_time(&delay).ok_or("not a time")?,
        received: read(&received)?,
        receiver: receiver(&status, &silent, &limit)?,
    })
}

/// A standby's connection. `status` is empty where there is none, and `?` for whom may not know.
fn receiver(status: &str, silent: &str, limit: &str) -> Result<Receiver, &'static str> {
    let limit = read_time(limit).ok_or("not a time")?;
    let silent: Option<i64> = match silent {
        "" => None,
        silent => Some(silent.parse().map_err(|_| "not a number")?),
    };
    Ok(match status {
        "streaming" | "?" => Receiver::Streaming {
            silent_us: silent.map(|silent| silent.max(0) as u64),
            patience_us: (limit > Duration::ZERO).then(|| {
                let patience = limit / 2 + RECEIVER_GRACE;
                patience.as_micros() as u64
            }),
        },
        _ => Receiver::None,
    })
}

/// Beyond half of `wal_receiver_timeout`, after which a standby asks for a sign of life, until one must have come.
const RECEIVER_GRACE: Duration = Duration::from_secs(1);

/// A time of whole milliseconds as `SHOW` writes it.
fn read_time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("min", 60_000),
        ("s", 1000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = |(unit, factor): (&str, u64)| Some((text.strip_suffix(unit)?, factor));
    let (digits, factor) = UNITS.into_iter().find_map(unit)?;
    let number: u64 = digits.parse().ok()?;
    Some(Duration::from_millis(number.checked_mul(factor)?))
}

fn facts(row: DataRow<'_>) -> Result<NodeFacts, &'static str> {
    let [system, cluster_name, conninfo, synchronous] = values(row)?;
    let pairs = conninfo::read_pairs(&conninfo).unwrap_or_default();
    let names = ["application_name", "fallback_application_name"]
        .into_iter()
        .filter_map(|key| Some(pairs.iter().find(|(it, _)| it == key)?.1.clone()))
        .chain([cluster_name]);
    Ok(NodeFacts {
        // Signed in SQL, though it is not.
        system: system.parse::<i64>().map_err(|_| "not a number")? as u64,
        names: names.filter(|name| !name.is_empty()).collect(),
        synchronous,
        followers: Vec::new(),
    })
}

fn follower(row: DataRow<'_>) -> Result<Follower, &'static str> {
    let [application_name, state, sync_state] = values(row)?;
    Ok(Follower {
        application_name,
        state,
        sync_state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::watch::lag::Samples,
        protocol::{Frames, Writer},
    };

    const DELAY: Option<&str> = Some("200ms");

    /// A row of a standby that is connected to nobody.
    fn with_receiver(values: [Option<&'static str>; 6]) -> [Option<&'static str>; 10] {
        let mut row = [None; 10];
        row[..6].copy_from_slice(&values);
        row[9] = Some("1min");
        row
    }

    fn row<T>(values: &[Option<&str>], read: impl FnOnce(DataRow<'_>) -> T) -> T {
        let mut out = Vec::new();
        Writer::new(&mut out).data_row(values.iter().map(|value| value.map(str::as_bytes)));
        let frame = Frames::new(&out).next().unwrap().unwrap();
        read(DataRow::read(frame.body).unwrap())
    }

    #[test]
    fn positions_are_read() {
        let standby = [
            Some("t"),
            Some("16/B374D848"),
            Some("7"),
            Some("8192"),
            None,
            DELAY,
            Some("16/B374D900"),
            Some("streaming"),
            Some("1500"),
            Some("1min"),
        ];
        let read = Position {
            in_recovery: true,
            lsn: 0x16_B374_D848,
            timeline: 7,
            flushed: 0,
            flush_delay: Duration::from_millis(200),
            received: 0x16_B374_D900,
            receiver: Receiver::Streaming {
                silent_us: Some(1500),
                patience_us: Some(31_000_000),
            },
        };
        assert_eq!(row(&standby, position), Ok(read));
        let file = "0000000A0000001600000012";
        let primary = [
            Some("f"),
            Some("0/3000028"),
            Some(file),
            Some("8192"),
            Some("0/2FFFFF0"),
            DELAY,
            None,
            None,
            None,
            Some("0"),
        ];
        let read = Position {
            in_recovery: false,
            // The header of a page that has nothing else.
            lsn: 0x300_0000,
            timeline: 10,
            flushed: 0x2FF_FFF0,
            flush_delay: Duration::from_millis(200),
            received: 0,
            receiver: Receiver::None,
        };
        assert_eq!(row(&primary, position), Ok(read));
        let fresh = with_receiver([Some("t"), None, None, Some("8192"), None, DELAY]);
        let unknown = row(&fresh, position).unwrap();
        assert_eq!((unknown.lsn, unknown.timeline), (0, 0));
    }

    /// Pgpool-II, 3.4: the high half of a position counted for 16 MiB too little.
    #[test]
    fn quirk_positions_go_on_across_four_gibibytes() {
        let at = |text: &'static str| {
            let columns =
                with_receiver([Some("t"), Some(text), Some("1"), Some("8192"), None, DELAY]);
            row(&columns, position).unwrap().lsn
        };
        assert_eq!(at("1/100") - at("0/FFFFFF00"), 0x200);
        assert_eq!(at("A/5000") - at("9/5000"), 1 << 32);
        let mut samples = Samples::default();
        let now = crate::time::now();
        samples.add(1, at("1/100"), now);
        assert_eq!(samples.lag(at("0/FFFFFF00"), now).0, 0x200);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = with_receiver([Some("t"), Some("0/1"), Some("1"), Some("8192"), None, DELAY]);
        assert!(row(&good, position).is_ok());
        for (place, wrong) in [
            (0, "yes"),
            (1, "0-1"),
            (1, "0/+1"),
            (1, "0/123456789"),
            (3, "many"),
            (4, "x"),
            (5, "soon"),
            (6, "0"),
            (8, "long"),
            (9, "never"),
        ] {
            let mut values = good;
            values[place] = Some(wrong);
            assert!(row(&values, position).is_err(), "{values:?}");
        }
        for file in ["000", "äöüäöü"] {
            let mut values = good;
            (values[0], values[2]) = (Some("f"), Some(file));
            assert!(row(&values, position).is_err(), "{values:?}");
        }
        assert!(row(&[None; 10], position).is_err());
        assert!(row(&good[..9], position).is_err());
        assert!(row(&[&good[..], &[None]].concat(), position).is_err());
        let mut reading = Reading::default();
        let one = [Some("a"), Some("b"), Some("c")];
        assert!(row(&one, |row| reading.row(2, row)).is_err());
        assert!(row(&one, |row| reading.row(1, row)).is_err());
        assert!(row(&one, |row| reading.row(3, row)).is_err());
    }

    #[test]
    fn a_connection_is_read() {
        let read = |status, silent, limit| receiver(status, silent, limit).unwrap();
        assert_eq!(read("", "", "1min"), Receiver::None);
        assert_eq!(read("starting", "5", "1min"), Receiver::None);
        let unknown = Receiver::Streaming {
            silent_us: None,
            patience_us: Some(6_000_000),
        };
        assert_eq!(read("?", "", "10s"), unknown);
        let for_ever = Receiver::Streaming {
            silent_us: Some(0),
            patience_us: None,
        };
        assert_eq!(read("streaming", "-3", "0"), for_ever);
        assert!(unknown.may_hear() && for_ever.may_hear());
    }

    #[test]
    fn times_are_read_as_servers_write_them() {
        let delays = ["200ms", "1s", "2min", "0", "1h", "2d", "ms", "soon"].map(read_time);
        let millis = |delay: Option<Duration>| delay.map(|delay| delay.as_millis());
        assert_eq!(
            delays.map(millis),
            [
                Some(200),
                Some(1000),
                Some(120_000),
                Some(0),
                Some(3_600_000),
                Some(172_800_000),
                None,
                None
            ]
        );
    }

    #[test]
    fn names_are_found_in_connection_strings() {
        let conninfo = "user=postgres passfile=/a host=/tmp port=5 application_name='it\\'s b' \
                        fallback_application_name=walreceiver krbsrvname=postgres";
        let names = |conninfo| {
            row(&[Some("7"), Some("main"), conninfo, Some("")], facts)
                .unwrap()
                .names
        };
        assert_eq!(names(Some(conninfo)), ["it's b", "walreceiver", "main"]);
        assert_eq!(names(Some("host='never ends")), ["main"]);
        assert_eq!(names(None), ["main"]);
    }

    proptest::proptest! {
        #[test]
        fn no_position_panics(text in "[0-9a-fA-F/+x ä]{0,20}") {
            read_lsn(&text);
        }
    }
}
