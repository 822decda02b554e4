//! Owns the latency histogram: fixed memory, one addition per sample, quantiles within two per cent. It never sees a clock;
//! samples are nanoseconds. (pure)

/// Each power of two is cut into this many equal steps, which bounds the error of a quantile to 1/64.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Powers of two covered: the last bucket ends above an hour in nanoseconds.
const OCTAVES: usize = 36;

/// Counts of samples by size.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            counts: vec![0; OCTAVES * STEPS as usize],
            total: 0,
            largest: 0,
        }
    }

    /// Adds one sample; what lies above the range counts in the last bucket.
    pub(crate) fn record(&mut self, value: u64) {
        let bucket = bucket_of(value).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.largest = self.largest.max(value);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The smallest bucket end at or below which `quantile` (0 to 1) of the samples lie; 0 without samples.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let reached = self.counts.iter().position(|count| {
            below += count;
            below >= wanted
        });
        match reached {
            Some(bucket) if bucket + 1 < self.counts.len() => bucket_end(bucket).min(self.largest),
            _ => self.largest,
        }
    }
}

/// Values below `STEPS` have a bucket each; above, the highest bit chooses the octave and the next six bits the step.
fn bucket_of(value: u64) -> usize {
    let octave = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = value >> octave;
    (u64::from(octave) * STEPS + step) as usize
}

/// The largest value that falls into `bucket`: the inverse of `bucket_of`.
fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let octave = bucket / STEPS - 1;
    let step = bucket - octave * STEPS;
    ((step + 1) << octave) - 1
}
