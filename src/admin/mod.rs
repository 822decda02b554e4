//! What operators are shown, as plain tables: made of the cores' reports and the cluster's snapshot, which both planes
//! have. Pure; knows no wire format.

mod nodes;
mod route;
mod tables;

pub(crate) use route::Route;
pub(crate) use tables::{TEXTS, Table};
