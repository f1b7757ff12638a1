//! The filter host against guests written in WebAssembly text: what it accepts, what it refuses, and how it gets its
//! thread and its memory back from guests that misbehave.

mod calls;
mod cases_guests;
mod cases_host_calls;
mod compiling;
mod faults;
mod filter_memory;
mod guest;
mod host_calls;
mod loading;
mod logging;
mod setup_errors;
