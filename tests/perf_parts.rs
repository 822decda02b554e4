//! Runs the tests of the pure parts of `perf/`, whose own target has no test harness.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "only the tests inside these files are wanted here"
)]

#[path = "../perf/answers.rs"]
mod answers;
#[path = "../perf/frames.rs"]
mod frames;
#[path = "../perf/histogram.rs"]
mod histogram;
#[path = "../perf/slots.rs"]
mod slots;
