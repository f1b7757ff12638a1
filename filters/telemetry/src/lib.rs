//! Counts and logs requests, and continues traces.
