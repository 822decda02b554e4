//! Owns what measurements found: one sample per round, medians over rounds, ratios round by round. (pure)

/// One figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    QueriesPerSecond,
    /// CPU of the proxy (user and system) per query.
    CpuMicroseconds,
    /// Share of one CPU that the proxy used.
    Busy,
    P50Microseconds,
    P99Microseconds,
    P999Microseconds,
    /// Bytes that reached the load generator.
    MegabytesPerSecond,
}

const METRICS: usize = Metric::MegabytesPerSecond as usize + 1;

/// Figures of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample([f64; METRICS]);

impl Sample {
    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.0[metric as usize] = value;
    }

    pub(crate) fn of(&self, metric: Metric) -> f64 {
        self.0[metric as usize]
    }

    /// The line that `perf load` prints.
    pub(crate) fn line(&self) -> String {
        self.0
            .iter()
            .fold("sample".into(), |line, value| format!("{line} {value}"))
    }

    /// Reads what `perf load` printed.
    pub(crate) fn read(output: &str) -> Option<Sample> {
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("sample "))?;
        let numbers: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        Some(Sample(numbers.ok()?.try_into().ok()?))
    }
}

/// Results of all rounds of one scenario for one proxy, in order; a failed round keeps its sentence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(pub(crate) Vec<Result<Sample, String>>);

impl Rounds {
    /// The median of one figure over the rounds that succeeded.
    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        median(
            self.0
                .iter()
                .flatten()
                .map(|sample| sample.of(metric))
                .collect(),
        )
    }

    /// The median of this proxy's figure over the other's in the same round, which drift of the machine does not move.
    pub(crate) fn ratio(&self, other: &Rounds, metric: Metric) -> Option<f64> {
        let pairs = self.0.iter().zip(&other.0);
        let both =
            pairs.filter_map(|(own, other)| Some((own.as_ref().ok()?, other.as_ref().ok()?)));
        median(
            both.map(|(own, other)| own.of(metric) / other.of(metric))
                .collect(),
        )
    }
}

/// The middle value; the mean of the two middle ones for an even count.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[middle - 1] + upper) / 2.0)
}
