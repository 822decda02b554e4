//! The forms of `[routing]` and `[[preference]]`: regular expressions, function names, shares, nodes.
//! Pure: knows neither sections nor lines.

use regex::bytes::RegexBuilder;
use toml::de::DeValue;

use super::{
    error::Wrong,
    form::{Form, Name, integer, kind, text},
};
use crate::{
    cluster::settings::{Pattern, Preferred},
    sql::class::overrides::Overrides,
};

/// Longest regular expression, and longest list entry, in bytes.
const PATTERN_BYTES_MAX: usize = 1000;

/// Memory that one compiled expression may take: patterns such as `(.{999}){999}` are refused.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A regular expression for whole names, without regard to case.
pub(super) struct WholeName;

impl Form for WholeName {
    type Value = Pattern;

    fn allowed(&self) -> String {
        "a regular expression for the whole name, such as \"report.*\"".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<Pattern, Wrong> {
        let expression = expression(text(value)?)?;
        // The expression alone must be right: "a)(b" is, once brackets are put around it.
        compile(expression, true)?;
        compile(&format!("^(?:{expression})$"), true).map(Pattern)
    }
}

/// A regular expression that is looked for in the text of a statement.
pub(super) struct StatementPattern;

impl Form for StatementPattern {
    type Value = String;

    fn allowed(&self) -> String {
        "a regular expression, such as \"FROM queue\"".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        let expression = expression(text(value)?)?;
        compile(expression, true)?;
        match Overrides::new(&[], &[], &[expression]) {
            Ok(_) => Ok(expression.to_owned()),
            Err(error) => Err(Wrong::Expression(error.to_string())),
        }
    }
}

/// The name of a function, or a pattern for names.
pub(super) struct FunctionName;

impl Form for FunctionName {
    type Value = String;

    fn allowed(&self) -> String {
        "the name of a function, such as \"now\" or \"my_schema.f\", or a regular expression for whole \
         names between slashes, such as \"/get_.*/\""
            .to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<String, Wrong> {
        let name = expression(text(value)?)?;
        if let Some(inner) = name
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
        {
            compile(expression(inner)?, true)?;
        }
        match Overrides::new(&[name], &[], &[]) {
            Ok(_) => Ok(name.to_owned()),
            Err(_) => Err(Wrong::Function),
        }
    }
}

fn expression(text: &str) -> Result<&str, Wrong> {
    match text {
        _ if text.is_empty() => Err(Wrong::Empty),
        _ if text.len() > PATTERN_BYTES_MAX => Err(Wrong::TooLong),
        _ if text.contains('\0') => Err(Wrong::Nul),
        _ => Ok(text),
    }
}

fn compile(expression: &str, any_case: bool) -> Result<regex::bytes::Regex, Wrong> {
    let built = RegexBuilder::new(expression)
        .case_insensitive(any_case)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Wrong::TooCostly,
        // The parser draws the place below the expression, over several lines; its last one has the reason.
        error => {
            let said = error.to_string();
            let reason = said.lines().last().unwrap_or_default();
            Wrong::Expression(reason.trim_start_matches("error: ").to_owned())
        }
    })
}

/// Part of something, 0 to 1, in thousandths.
pub(super) struct Share;

impl Form for Share {
    type Value = u32;

    fn allowed(&self) -> String {
        "a part from 0 to 1, such as 0.25, in steps of 0.001".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<u32, Wrong> {
        const WHOLE: f64 = 1000.0;
        let share = match value {
            DeValue::Float(number) => number
                .as_str()
                .parse::<f64>()
                .map_err(|_| Wrong::Kind(kind(value)))?,
            _ => integer(value)? as f64,
        };
        match share {
            _ if share.is_nan() || share < 0.0 => Err(Wrong::TooSmall),
            _ if share > 1.0 => Err(Wrong::TooLarge),
            _ => Ok((share * WHOLE).round() as u32),
        }
    }
}

/// A node, or what a node is.
pub(super) struct NodeChoice;

impl Form for NodeChoice {
    type Value = Preferred;

    fn allowed(&self) -> String {
        "\"primary\", \"standby\" for any of them, or the name of a [[node]]".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<Preferred, Wrong> {
        Ok(match Name.read(value)?.as_str() {
            "primary" => Preferred::Primary,
            "standby" => Preferred::Standby,
            name => Preferred::Named(name.to_owned()),
        })
    }
}
