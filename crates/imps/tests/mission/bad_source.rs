//! The Secrets that imps writes.
