//! A package of examples needs a library.
