//! Tests of the beliefs.
