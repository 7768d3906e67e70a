//! The operator: the loop around the machine of `imps-core`, and the window through which probes and metrics look in.

mod clock;
pub(crate) mod crank;
pub(crate) mod exchanger;
pub(crate) mod inspection;
pub(crate) mod window;
