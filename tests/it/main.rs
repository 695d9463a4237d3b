//! End-to-end tests: the real binary between real clients and upstreams that record what they see.

mod keys;
mod support;
