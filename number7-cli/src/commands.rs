//! One file for each subcommand.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod inbox;
pub(crate) mod listen;
pub(crate) mod man;
pub(crate) mod replay;
pub(crate) mod result;
pub(crate) mod sandbox;
pub(crate) mod send;
pub(crate) mod sign;
pub(crate) mod upload;
pub(crate) mod verify;
