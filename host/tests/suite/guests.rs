//! Real guests in the real runtime: what plugins can do, and what they cannot do to others.

mod fixture;
mod handlers;
mod hostile;
mod languages;
mod lifecycle;
mod modules;
