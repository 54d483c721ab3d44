//! The inbox, on every store. It is one program, so that its tests share the servers that it starts.

mod accept;
mod contract;
mod handlers;
mod lost;
mod opening;
mod operator;
mod provenance;
mod reconcile;
mod shared_inbox;
mod storage;
mod transactions;
mod worker;
