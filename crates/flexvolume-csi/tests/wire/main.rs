//! What goes over the socket: the code is that of `proto/`, and `proto/` is what the specifications say.
#![allow(clippy::unwrap_used)]

mod code;
mod original;

use std::path::{Path, PathBuf};

use prost_reflect::DescriptorPool;
use protox::{
    Compiler,
    file::{ChainFileResolver, GoogleFileResolver, IncludeFileResolver},
};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of a folder, and what it imports from there.
fn read(folder: &Path, file: &str) -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(folder.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(file).unwrap();
    compiler.descriptor_pool()
}
