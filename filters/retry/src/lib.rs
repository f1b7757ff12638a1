//! Sends a request again when it failed.
