//! The book: built with mdBook where that is installed; its drivers are compiled wherever the tests run.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The door: the book as pages to read, below the target directory.
pub(crate) fn main() -> Result<()> {
    let book = ["book.toml", "docs/book.toml"].iter().map(|path| sh::project().join(path)).find(|path| path.exists());
    let Some(dir) = book.as_deref().and_then(Path::parent) else {
        bail!("there is no book.toml, neither here nor in docs/")
    };
    if !sh::works(Command::new("mdbook").arg("--version")) {
        bail!("mdbook is not installed; to get it, type: cargo install mdbook");
    }
    let to = sh::target_dir()?.join("book").join("html");
    sh::run(Command::new("mdbook").arg("build").arg("--dest-dir").arg(&to).arg(dir))?;
    println!("the book is at {}", to.join("index.html").display());
    Ok(())
}

/// One code block of the book that is a whole driver.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// A name for its executable: page and number.
    name: String,
    code: String,
}

/// Compiles every block marked `rust,driver` as a reader would: a package of its own that uses the kit.
pub(crate) fn check() -> Result<()> {
    let project = sh::project();
    let mut blocks = Vec::new();
    pages(&project.join("docs"), &mut |page, text| blocks.extend(extract(page, text)))?;
    if blocks.is_empty() {
        println!("no page holds a block marked `rust,driver`");
        return Ok(());
    }
    let package = sh::target_dir()?.join("book").join("drivers");
    lay_out(&project, &package, &blocks)?;
    let mut cargo = sh::cargo();
    cargo.args(["check", "--quiet", "--offline", "--bins"]).arg("--manifest-path").arg(package.join("Cargo.toml"));
    sh::run(cargo.arg("--target-dir").arg(sh::target_dir()?)).context("a driver in the book does not compile")?;
    println!("{} of the book's code blocks compile", blocks.len());
    Ok(())
}

/// Writes the scratch package. Versions are those of our own lock file, so that nothing needs to be fetched.
fn lay_out(project: &Path, package: &Path, blocks: &[Block]) -> Result<()> {
    let src = package.join("src").join("bin");
    if package.exists() {
        std::fs::remove_dir_all(package).with_context(|| format!("cannot clear {}", package.display()))?;
    }
    std::fs::create_dir_all(&src).with_context(|| format!("cannot make {}", src.display()))?;
    let crates = project.join("crates");
    let manifest = format!(
        "[package]\nname = \"book-drivers\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n\n[profile.dev.package.\"*\"]\ndebug = false\n\n[dependencies]\n\
         flexvolume = {{ path = {:?} }}\nflexvolume-linux = {{ path = {:?} }}\n",
        crates.join("flexvolume"),
        crates.join("flexvolume-linux"),
    );
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&package.join("Cargo.toml"), &manifest)?;
    let lock = project.join("Cargo.lock");
    std::fs::copy(&lock, package.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    for block in blocks {
        write(&src.join(format!("{}.rs", block.name)), &block.code)?;
    }
    Ok(())
}

fn pages(dir: &Path, found: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        if path.is_dir() {
            pages(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "md") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            found(&path.file_stem().unwrap_or_default().to_string_lossy(), &text);
        }
    }
    Ok(())
}

/// The marked blocks of a page. Lines that mdBook hides (`# …`) are code all the same.
fn extract(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let marks: Vec<&str> = info.split(',').map(str::trim).collect();
        let mut code = String::new();
        for line in lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")) {
            let line = if line.trim() == "#" { "" } else { line.strip_prefix("# ").unwrap_or(line) };
            code.push_str(line);
            code.push('\n');
        }
        // What is included from a file is compiled where that file lies.
        if marks.contains(&"rust") && marks.contains(&"driver") && !code.contains("{{#") {
            blocks.push(Block { name: format!("{page}-{}", blocks.len() + 1), code });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_found_and_others_left() {
        let text = "# Page\n```rust,driver\n# use a::b;\nfn main() {}\n```\ntext\n```rust\nno\n```\n```sh\n$ rust,driver\n```\n\
                    ```rust,driver\n{{#include ../main.rs}}\n```\n```rust, driver\nx\n#\n#[a]\n```\n";
        let blocks = extract("page", text);
        assert_eq!(blocks.iter().map(|block| block.name.as_str()).collect::<Vec<_>>(), ["page-1", "page-2"]);
        assert_eq!(blocks[0].code, "use a::b;\nfn main() {}\n");
        assert_eq!(blocks[1].code, "x\n\n#[a]\n");
    }

    #[test]
    fn the_scratch_package_is_whole_and_replaces_a_former_one() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("drivers");
        std::fs::write(dir.path().join("Cargo.lock"), "version = 4\n").unwrap();
        let block = |name: &str| Block { name: name.into(), code: "fn main() {}\n".into() };
        lay_out(dir.path(), &package, &[block("old-1")]).unwrap();
        lay_out(dir.path(), &package, &[block("new-1")]).unwrap();
        assert!(package.join("src/bin/new-1.rs").exists() && !package.join("src/bin/old-1.rs").exists());
        assert!(std::fs::read_to_string(package.join("Cargo.toml")).unwrap().contains("crates/flexvolume-linux"));
    }
}
