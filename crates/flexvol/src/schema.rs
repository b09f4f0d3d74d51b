//! What programs may rely on: for each verb that prints results, the JSON Schema of what `-o json` prints.

/// Verbs and their schemas, and that of the lines of `--log-format json`.
const ALL: &[(&str, &str)] = &[
    ("up", include_str!("../../../docs/schema/up.json")),
    ("down", include_str!("../../../docs/schema/down.json")),
    ("ls", include_str!("../../../docs/schema/ls.json")),
    ("inspect", include_str!("../../../docs/schema/inspect.json")),
    ("drivers", include_str!("../../../docs/schema/drivers.json")),
    ("doctor", include_str!("../../../docs/schema/doctor.json")),
    ("install", include_str!("../../../docs/schema/install.json")),
    ("call", include_str!("../../../docs/schema/call.json")),
    ("check", include_str!("../../../docs/schema/check.json")),
    ("man", include_str!("../../../docs/schema/man.json")),
    ("log", include_str!("../../../docs/schema/log.json")),
];

/// Everything that has a schema.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The schema of that name.
pub(crate) fn get(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What these print is text of their own, or another program's.
    const NO_RESULTS: [&str; 4] = ["exec", "csi", "completions", "schema"];

    #[test]
    fn every_verb_that_prints_results_has_a_schema() {
        for verb in crate::cli::command().get_subcommands() {
            let name = verb.get_name();
            assert_ne!(get(name).is_some(), NO_RESULTS.contains(&name), "the schema of {name}");
        }
    }

    #[test]
    fn the_book_describes_every_field_as_the_schema_does() {
        let page = include_str!("../../../docs/output.md");
        for (name, text) in ALL {
            let schema: Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
            let section = page.split("\n## ").find(|section| section.lines().next() == Some(name));
            let section = section.unwrap_or_else(|| panic!("docs/output.md has no section {name}"));
            for object in objects(&schema) {
                for (field, about) in object["properties"].as_object().unwrap() {
                    let row = row(field, about);
                    assert!(section.lines().any(|line| line == row), "docs/output.md does not have for {name}:\n{row}");
                }
            }
        }
    }

    #[test]
    fn a_field_that_may_be_missing_says_when_it_is_there() {
        for (name, text) in ALL.iter().filter(|(name, _)| *name != "log") {
            let schema: Value = serde_json::from_str(text).unwrap();
            for object in objects(&schema) {
                for (field, about) in object["properties"].as_object().unwrap() {
                    let required = object["required"].as_array().unwrap().iter().any(|name| name == field);
                    let when = about["description"].as_str().unwrap().contains("Only ");
                    assert!(required || when, "{name}: nothing says when {field} is there");
                }
            }
        }
    }

    /// A schema's objects, from the outside in.
    fn objects(schema: &Value) -> Vec<&Value> {
        let mut found = Vec::new();
        if let Some(properties) = schema["properties"].as_object() {
            found.push(schema);
            found.extend(properties.values().flat_map(objects));
        }
        found.extend(schema.get("items").into_iter().flat_map(objects));
        found
    }

    /// A field as the book shows it.
    fn row(field: &str, about: &Value) -> String {
        format!("| `{field}` | {} | {} |", kind(about), about["description"].as_str().unwrap())
    }

    fn kind(about: &Value) -> String {
        let quoted = |list: &Value| {
            list.as_array().map(|all| all.iter().map(|one| format!("`{}`", one.as_str().unwrap())).collect::<Vec<_>>())
        };
        match (&about["type"], quoted(&about["enum"])) {
            (_, Some(values)) => values.join(", "),
            (Value::Array(types), None) => {
                types.iter().map(|kind| kind.as_str().unwrap()).collect::<Vec<_>>().join(" or ")
            }
            (kind, None) if kind == "array" => format!("array of {}s", about["items"]["type"].as_str().unwrap()),
            (kind, None) => kind.as_str().unwrap().to_owned(),
        }
    }
}
