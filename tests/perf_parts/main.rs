//! Runs the tests of the pure parts of `perf/`, whose own target has no test harness.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "only the tests inside these files are wanted here"
)]

#[path = "../../perf/answers.rs"]
mod answers;
#[path = "../../perf/chart.rs"]
mod chart;
#[path = "../../perf/frames.rs"]
mod frames;
#[path = "../../perf/histogram.rs"]
mod histogram;
#[path = "../../perf/messages.rs"]
mod messages;
#[path = "../../perf/sample.rs"]
mod sample;
#[path = "../../perf/settings.rs"]
mod settings;
#[path = "../../perf/slots.rs"]
mod slots;

mod answers_tests;
mod chart_tests;
mod frames_tests;
mod histogram_tests;
mod sample_tests;
mod slots_tests;
