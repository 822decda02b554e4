//! The ground that both planes stand on: settings, the snapshot, budgets, and the messages between cores. No socket here.

pub mod balance;
pub mod budget;
pub mod commits;
pub mod facts;
pub mod failover_state;
pub mod last_welcome;
pub mod messages;
pub mod node;
pub mod publish;
pub mod replies;
pub mod report;
pub mod settings;
pub mod shared;
pub mod snapshot;
pub mod stamps;
pub mod welcome;
