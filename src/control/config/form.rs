//! The forms a value may take: words, numbers, texts. Each says what it allows and reads it.
//! Pure: knows neither sections nor lines.

use toml::de::DeValue;

use super::error::Wrong;

/// One kind of value.
pub(super) trait Form {
    /// Type of the value.
    type Value;

    /// Values that the file may have; follows "allowed: ".
    fn allowed(&self) -> String;

    /// The value, or what is wrong with it.
    fn read(&self, value: &DeValue<'_>) -> Result<Self::Value, Wrong>;
}

/// The text of a string, or the type it is instead.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::Kind(kind(value)))
}

/// Name of a TOML type with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value as a message shows it.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    const CHARACTERS_MAX: usize = 60;
    match value {
        DeValue::String(text) if text.chars().count() > CHARACTERS_MAX => {
            let start: String = text.chars().take(CHARACTERS_MAX).collect();
            format!("{start:?}...")
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "this".to_owned(),
    }
}

/// The integer in a value; what does not fit 128 bits is surely too large.
pub(super) fn integer(value: &DeValue<'_>) -> Result<i128, Wrong> {
    let number = value.as_integer().ok_or(Wrong::Kind(kind(value)))?;
    i128::from_str_radix(number.as_str(), number.radix()).map_err(|_| Wrong::TooLarge)
}

/// The candidate most like `word`, when one is like it at all.
///
/// Several measures, the best one counts: letters (a slip of the finger), and whole words between
/// underscores (`server_idle_timeout` for `idle_timeout`). A common start is just enough.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    candidates
        .map(|candidate| (likeness(&word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

/// Below this, two words have nothing to do with each other; 1 is the same word.
const LIKENESS_MIN: f64 = 0.5;

fn likeness(word: &str, candidate: &str) -> f64 {
    let pieces = |text: &str| {
        text.split(['_', '-'])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (pieces(word), pieces(candidate));
    let common = ours.iter().filter(|piece| theirs.contains(piece)).count();
    let by_word = 2.0 * common as f64 / (ours.len() + theirs.len()) as f64;
    let starts = word.starts_with(candidate) || candidate.starts_with(word);
    let by_start = if starts { LIKENESS_MIN } else { 0.0 };
    by_word
        .max(by_start)
        .max(strsim::normalized_damerau_levenshtein(word, candidate))
}

/// A whole number.
pub(super) struct Whole<T> {
    /// Smallest allowed.
    pub(super) min: T,
    /// Largest allowed.
    pub(super) max: T,
}

impl<T: Copy + Into<i128> + TryFrom<i128> + std::fmt::Display> Form for Whole<T> {
    type Value = T;

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn read(&self, value: &DeValue<'_>) -> Result<T, Wrong> {
        let number = integer(value)?;
        if number < self.min.into() {
            return Err(Wrong::TooSmall);
        }
        if number > self.max.into() {
            return Err(Wrong::TooLarge);
        }
        T::try_from(number).map_err(|_| Wrong::TooLarge)
    }
}

/// `true` or `false`.
pub(super) struct Toggle;

impl Form for Toggle {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<bool, Wrong> {
        value.as_bool().ok_or_else(|| Wrong::Kind(kind(value)))
    }
}

/// One word out of a few.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Form for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        words.join(", ")
    }

    fn read(&self, value: &DeValue<'_>) -> Result<T, Wrong> {
        let word = text(value)?;
        if let Some((_, value)) = self.0.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let nearest = nearest(word, self.0.iter().map(|(name, _)| *name));
        Err(Wrong::Word {
            nearest: nearest.map(|word| format!("{word:?}")),
        })
    }
}

/// Name of a role, a database or a node.
pub(super) struct Name;

/// PostgreSQL cuts longer names off (`NAMEDATALEN - 1`), so that they would never match.
const NAME_BYTES_MAX: usize = 63;

impl Form for Name {
    type Value = String;

    fn allowed(&self) -> String {
        format!("a name of 1 to {NAME_BYTES_MAX} bytes")
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        let name = text(value)?;
        if name.is_empty() {
            return Err(Wrong::Empty);
        }
        bounded(name, NAME_BYTES_MAX)
    }
}

/// Name under which clients ask for a database.
pub(super) struct DatabaseName;

impl Form for DatabaseName {
    type Value = String;

    fn allowed(&self) -> String {
        format!("{}, or \"*\" for every other one", Name.allowed())
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        let name = Name.read(value)?;
        // The virtual database of administrators would hide it.
        if name == "pgring" {
            return Err(Wrong::Reserved);
        }
        Ok(name)
    }
}

/// SQL text; may be empty.
pub(super) struct Statement;

const STATEMENT_BYTES_MAX: usize = 8192;

impl Form for Statement {
    type Value = String;

    fn allowed(&self) -> String {
        format!("SQL of at most {STATEMENT_BYTES_MAX} bytes, or \"\" for none")
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        bounded(text(value)?, STATEMENT_BYTES_MAX)
    }
}

fn bounded(text: &str, bytes_max: usize) -> Result<String, Wrong> {
    if text.len() > bytes_max {
        return Err(Wrong::TooLong);
    }
    if text.contains('\0') {
        return Err(Wrong::Nul);
    }
    Ok(text.to_owned())
}

/// Number of worker cores.
pub(super) struct Workers;

/// More cores than any machine this was made for; guards against a slip of the finger.
const WORKERS: Whole<u16> = Whole { min: 1, max: 1024 };

impl Form for Workers {
    type Value = u16;

    fn allowed(&self) -> String {
        format!("\"auto\" or {}", WORKERS.allowed())
    }

    fn read(&self, value: &DeValue<'_>) -> Result<u16, Wrong> {
        match value.as_str() {
            Some("auto") => Ok(allowed_cpus()),
            Some(_) => Err(Wrong::Word { nearest: None }),
            None => WORKERS.read(value),
        }
    }
}

/// CPUs that this process may run on: its affinity mask and the quota of its control group.
pub(super) fn allowed_cpus() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus).unwrap_or(WORKERS.max).min(WORKERS.max)
}

/// A `tracing` filter.
pub(super) struct LogFilter;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl Form for LogFilter {
    type Value = String;

    fn allowed(&self) -> String {
        format!(
            "{}, also per part: \"info,pgring::net=debug\"",
            LEVELS.join(", ")
        )
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        let filter = text(value)?;
        // The filter's own parser takes a mistyped level for the name of a module.
        for word in filter.split(',').filter(|part| !part.contains(['=', '['])) {
            level(word.trim())?;
        }
        let parsed = tracing_subscriber::EnvFilter::try_new(filter);
        parsed.map(|_| filter.to_owned()).map_err(|_| Wrong::Filter)
    }
}

fn level(word: &str) -> Result<(), Wrong> {
    if LEVELS.contains(&word.to_lowercase().as_str()) {
        return Ok(());
    }
    let nearest = nearest(word, LEVELS.into_iter()).map(|word| format!("{word:?}"));
    Err(Wrong::Word { nearest })
}
