//! What both planes see of the cluster: settings and, later, the snapshot. Pure.

pub mod settings;
