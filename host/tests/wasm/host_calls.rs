//! The functions guests import.
