//! Which file uses which other file of its crate, read from the text alone: modules, imports, paths, and the re-exports between.
//!
//! It is no compiler: it follows `mod name;`, `use …` and `a::b::c` in product code, through any number of re-exports
//! to the file that defines the name. What a macro makes counts as defined where the path ends. Code of tests is left
//! out, and a module written inside a file counts as that file.

use super::code::{children, code_only, without_tests};
use super::finding::File;
use std::collections::{BTreeMap, BTreeSet};

/// One file that uses a name of another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    /// The two files, as numbers into the list of files that was read.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) name: String,
    /// Where the first file does so, counted from one.
    pub(super) line: usize,
}

/// The names whose meaning is being looked for: in which file, and whether as the end of a path. One that is asked for
/// again on the way to its own meaning has none.
type Asked<'a> = Vec<(usize, &'a str, bool)>;

#[derive(Default)]
struct Module {
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The names of `mod name;`.
    declared: Vec<String>,
    /// What it defines itself.
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Every path in its code, imports apart, with its line.
    paths: Vec<(Vec<String>, usize)>,
}

struct Import {
    path: Vec<String>,
    /// `*` for all there is.
    alias: String,
    public: bool,
    line: usize,
}

/// What a path leads to.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// Something defined in that file.
    Item(usize),
}

struct House(Vec<Module>);

/// Every arrow between files of one crate. A file that only passes on names of its own child modules does not use them.
pub(super) fn arrows(files: &[File]) -> Vec<Arrow> {
    let house = House::read(files);
    let mut arrows = BTreeSet::new();
    for from in 0..house.0.len() {
        for (path, line) in house.uses(from) {
            if let (Some(Target::Item(to)), Some(name)) =
                (house.resolve(from, path, true, &mut Asked::new()), path.last())
                && to != from
            {
                arrows.insert(Arrow { from, to, name: name.clone(), line });
            }
        }
    }
    arrows.into_iter().collect()
}

impl House {
    fn read(files: &[File]) -> Self {
        let mut modules: Vec<Module> = files
            .iter()
            .map(|file| if file.path.ends_with(".rs") { Module::read(&file.text) } else { Module::default() })
            .collect();
        let numbers: BTreeMap<&str, usize> = files.iter().zip(0..).map(|(file, n)| (file.path.as_str(), n)).collect();
        for (number, file) in files.iter().enumerate() {
            for name in std::mem::take(&mut modules[number].declared) {
                let stem = format!("{}{name}", children(&file.path));
                let found = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                if let Some(child) = found.iter().find_map(|path| numbers.get(path.as_str())) {
                    modules[*child].parent = Some(number);
                    modules[number].children.insert(name, *child);
                }
            }
        }
        Self(modules)
    }

    /// The paths by which a file uses something, wherever they lead.
    fn uses(&self, from: usize) -> impl Iterator<Item = (&[String], usize)> {
        let module = &self.0[from];
        let passed_on = move |import: &Import| {
            import.public
                && matches!(self.resolve(from, &import.path, true, &mut Asked::new()), Some(Target::Item(to)) if self.is_below(to, from))
        };
        let imports = module.imports.iter().filter(move |import| import.alias != "*" && !passed_on(import));
        let imports = imports.map(|import| (import.path.as_slice(), import.line));
        imports.chain(module.paths.iter().map(|(path, line)| (path.as_slice(), *line)))
    }

    fn is_below(&self, module: usize, above: usize) -> bool {
        std::iter::successors(self.0[module].parent, |parent| self.0[*parent].parent).any(|parent| parent == above)
    }

    fn root(&self, module: usize) -> usize {
        std::iter::successors(Some(module), |module| self.0[*module].parent).last().unwrap_or(module)
    }

    /// `whole` says that nothing follows the path: then a name that is both a module and a function means the function.
    fn resolve<'a>(&'a self, from: usize, path: &'a [String], whole: bool, asked: &mut Asked<'a>) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" => Target::Module(self.root(from)),
            "self" => Target::Module(from),
            "super" => Target::Module(self.0[from].parent?),
            name => self.look_up(from, name, whole && rest.is_empty(), asked)?,
        };
        for (n, name) in rest.iter().enumerate() {
            let Target::Module(module) = target else { break };
            target = match name.as_str() {
                "super" => Target::Module(self.0[module].parent?),
                name => {
                    let last = whole && n + 1 == rest.len();
                    self.look_up(module, name, last, asked).unwrap_or(Target::Item(module))
                }
            };
        }
        Some(target)
    }

    /// What a name means inside a module; none if it comes from elsewhere.
    fn look_up<'a>(&'a self, within: usize, name: &'a str, last: bool, asked: &mut Asked<'a>) -> Option<Target> {
        let module = &self.0[within];
        let child = module.children.get(name).map(|child| Target::Module(*child));
        if child.is_some() && !last {
            return child;
        }
        if module.items.contains(name) {
            return Some(Target::Item(within));
        }
        if asked.contains(&(within, name, last)) {
            return None;
        }
        asked.push((within, name, last));
        let imported = module.imports.iter().find(|import| import.alias == name);
        let mut found = imported.and_then(|import| self.resolve(within, &import.path, last, asked)).or(child);
        for glob in module.imports.iter().filter(|import| import.alias == "*") {
            if found.is_none()
                && let Some(Target::Module(other)) = self.resolve(within, &glob.path, false, asked)
            {
                found = self.look_up(other, name, last, asked);
            }
        }
        asked.pop();
        found
    }
}

impl Module {
    fn read(text: &str) -> Self {
        let code = without_tests(&code_only(text));
        let tokens = tokens(&code);
        let word = |n: usize| tokens.get(n).map_or("", |(_, word)| *word);
        let mut module = Self::default();
        let mut n = 0;
        while n < tokens.len() {
            let line = tokens[n].0;
            match word(n) {
                // `use<…>` is a bound.
                "use" if word(n + 1) != "<" => {
                    let public = n > 0 && matches!(word(n - 1), "pub" | ")");
                    n += 1;
                    module.import(&tokens, &mut n, &[], public);
                }
                "mod" if word(n + 2) == ";" => {
                    module.declared.push(word(n + 1).to_owned());
                    n += 2;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" if is_name(word(n + 1)) => {
                    module.items.insert(word(n + 1).to_owned());
                    n += 2;
                }
                first if is_name(first) => {
                    // After these it is a field, a method, or the end of a path that began as none of ours.
                    let begins = n == 0 || !matches!(word(n - 1), "." | "::");
                    let mut path = vec![first.to_owned()];
                    while word(n + 1) == "::" && is_name(word(n + 2)) {
                        path.push(word(n + 2).to_owned());
                        n += 2;
                    }
                    // A bare `name:` is a field or a variable.
                    let labels = path.len() == 1 && word(n + 1) == ":";
                    if begins && !labels {
                        module.paths.push((path, line));
                    }
                }
                _ => {}
            }
            n += 1;
        }
        // A bare name means something here only if it was imported, and most of a text is bare names.
        let known: BTreeSet<&str> = module.imports.iter().map(|import| import.alias.as_str()).collect();
        let globs = known.contains("*");
        module.paths.retain(|(path, _)| path.len() > 1 || globs || known.contains(path[0].as_str()));
        module
    }

    /// Reads one tree of a `use`, from `n` to just before what follows it.
    fn import(&mut self, tokens: &[(usize, &str)], n: &mut usize, before: &[String], public: bool) {
        let word = |n: usize| tokens.get(n).map_or("", |(_, word)| *word);
        let mut path = before.to_vec();
        let mut alias = None;
        let line = tokens.get(*n).map_or(0, |(line, _)| *line);
        loop {
            match word(*n) {
                "{" => {
                    *n += 1;
                    while !matches!(word(*n), "}" | ";" | "") {
                        self.import(tokens, n, &path, public);
                        if word(*n) == "," {
                            *n += 1;
                        }
                    }
                    *n += 1;
                    return;
                }
                "*" => alias = Some("*".to_owned()),
                "as" => {
                    *n += 1;
                    alias = Some(word(*n).to_owned());
                }
                "::" => {}
                "self" if !before.is_empty() => {}
                name if is_name(name) => path.push(name.to_owned()),
                _ => break,
            }
            *n += 1;
        }
        if let Some(alias) = alias.or_else(|| path.last().cloned()) {
            self.imports.push(Import { path, alias, public, line });
        } else {
            *n += 1; // what is no import at all must not hold us up
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The words and signs of a text, each with its line; `::` is one sign.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = code[at..].chars().next() {
        let length = if part(first) {
            code[at..].find(|c| !part(c)).unwrap_or(code.len() - at)
        } else if code[at..].starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push((line, &code[at..at + length]));
        }
        line += usize::from(first == '\n');
        at += length;
    }
    tokens
}
