//! Jobs whose webhook is overdue.

pub(crate) mod reconcile;
