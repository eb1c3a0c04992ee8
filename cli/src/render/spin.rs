//! Spin's form: the application's variables, and the page as rows of its key-value store.
//!
//! `spin up --key-value` takes text alone, and a command line's argument is at most 128 KiB on
//! Linux; the page has neither property. So its values are put into the file that Spin keeps its
//! default store in, by SQLite's own program.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::output::{File, Next, Rendered, word};
use super::{Problem, Source};

/// Where Spin keeps the default key-value store, from the folder of `spin.toml`.
const STORE: &str = ".spin/sqlite_key_value.db";

/// The table as Spin makes it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
  store TEXT NOT NULL,
  key   TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (store, key)
);\n";

pub(super) fn render(source: &Source) -> Result<Rendered, Problem> {
    let (config, secrets) = source.deployment.to_parts();
    let variables = json!({ "outport_config": config, "outport_secrets": secrets });
    let values = source.value_files();
    let index: Map<String, Value> =
        values.iter().map(|(key, file)| ((*key).to_owned(), file.name.as_str().into())).collect();
    let mut files = vec![
        File::secret("variables.json", variables.to_string()),
        File::open("values.json", Value::Object(index).to_string()),
        File::open("values.sql", sql(source)),
    ];
    files.extend(values.into_iter().map(|(_, file)| file));
    Ok(Rendered { files, next: next(source) })
}

fn sql(source: &Source) -> String {
    let mut sql = format!("BEGIN;\n{TABLE}");
    for (key, value) in &source.values {
        let key = key.replace('\'', "''");
        let _ = write!(sql, "INSERT OR REPLACE INTO spin_key_value VALUES ('default', '{key}', x'");
        for byte in *value {
            let _ = write!(sql, "{byte:02x}");
        }
        sql.push_str("');\n");
    }
    sql.push_str("COMMIT;\n");
    sql
}

fn next(source: &Source) -> Vec<Next> {
    let [variables, rows] = ["variables.json", "values.sql"].map(|name| word(source.path(name)));
    vec![Next {
        title: "To run it, in the folder of spin.toml",
        commands: vec![
            "outport check --for spin".to_owned(),
            "mkdir -p .spin".to_owned(),
            format!("sqlite3 {STORE} < {rows}"),
            format!("spin up --variable @{variables}"),
        ],
    }]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, source};
    use super::*;
    use crate::target::Target;
    use outport_edge_core::deployment::Deployment;

    #[test]
    fn the_variables_are_the_deployment() {
        let source = source(Target::Spin, "");
        let rendered = render(&source).unwrap();
        let variables = read(&rendered, "variables.json");
        let text = |name: &str| variables[name].as_str().unwrap().to_owned();
        let whole =
            Deployment::from_parts(&text("outport_config"), &text("outport_secrets")).unwrap();
        assert_eq!(whole.to_parts(), source.deployment.to_parts());
        assert!(rendered.files[0].secret);
    }

    #[test]
    fn the_index_leads_from_keys_to_values() {
        let rendered = render(&source(Target::Spin, "")).unwrap();
        let index = read(&rendered, "values.json");
        let name = index["page a.js t br"].as_str().unwrap();
        let file = rendered.files.iter().find(|file| file.name == name).unwrap();
        assert_eq!(file.content, [0xff, 0, 1]);
    }

    #[test]
    fn rows() {
        let rendered = render(&source(Target::Spin, "")).unwrap();
        let sql = String::from_utf8(rendered.files[2].content.clone()).unwrap();
        assert!(sql.contains("VALUES ('default', 'page a.js t br', x'ff0001');\n"), "{sql}");
        assert!(sql.contains("VALUES ('default', 'page it''s t', x'61');\n"), "{sql}");
    }
}
