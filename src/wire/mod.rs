//! wire
mod go;
mod json;
