//! `sql` of `checks.rs`, on what libFuzzer makes of the corpus.

#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "the other targets")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::sql(bytes));
