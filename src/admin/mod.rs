//! Tables and commands for operators, as plain data: made of the cores' reports and the cluster's snapshot, which both
//! planes have. Pure; knows no wire format. The console is one face of them.

pub mod command;
mod connections;
mod counts;
pub mod listings;
mod nodes;
mod pools;
pub mod route;
pub mod table;
