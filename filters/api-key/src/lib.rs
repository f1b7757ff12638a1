//! Lets requests with a known key pass.
